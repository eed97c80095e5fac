"""Whether PostgreSQL is reached and may be used.

Belongs here: the connection that DAGSTER_POSTGRES_URL describes. Does not belong here: what Dagster keeps
there (`dagster_checks.py`).

No words of an error are shown: they may hold the address with its password, or a part of it that a badly
written address makes look like a host.
"""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from health_pipelines.doctor.finding import Finding, not_set_up, ok, problem, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.settings import DAGSTER_POSTGRES_URL

CONNECT_WITHIN_SECONDS = 5
_MEANINGS = {
    "password authentication failed": "the server refuses the user or the password",
    "no password supplied": "the server wants a password and the URL has none",
    "no pg_hba.conf entry": "the server does not let in this user from this machine",
    "database .* does not exist": "the server has no such database",
    "role .* does not exist": "the server has no such user",
    "connection refused": "no server listens there",
    "no such file or directory": "no server listens there",
    "name or service not known|could not translate host name|failed to resolve": "the host is not known",
    "timeout": "the host does not answer",
}


def database(installation: Installation) -> Finding:
    """The server's version, or why it cannot be used."""
    url = installation.settings.postgres_url
    if url is None:
        return not_set_up(f"{DAGSTER_POSTGRES_URL.name} is not set; Dagster then keeps its events in files.")
    # SQLAlchemy, and so Dagster, also takes a driver in the scheme; libpq does not.
    address = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url.reveal())
    malformed = False
    try:
        conninfo_to_dict(address)
    except psycopg.Error:
        malformed = True
    # Said out here: the exception above holds the whole address.
    if malformed or "://" not in address:
        return problem(
            f"{DAGSTER_POSTGRES_URL.name} is not a URL like postgresql://user:password@host:5432/database; "
            "characters such as @, / and % in a password are written as %40, %2F and %25."
        )
    try:
        with psycopg.connect(address, connect_timeout=CONNECT_WITHIN_SECONDS) as connection:
            found = connection.execute(
                "SELECT current_setting('server_version'), has_schema_privilege(current_schema(), 'CREATE')"
            ).fetchone()
    except psycopg.Error as error:
        why = next(
            (meaning for words, meaning in _MEANINGS.items() if re.search(words, str(error), re.IGNORECASE)),
            "",
        )
        return problem(
            f"The database of {DAGSTER_POSTGRES_URL.name} cannot be used: {why or type(error).__name__}. "
            "Check the setting and that the server runs."
        )
    assert found is not None
    version, may_create = found
    if not may_create:
        return warning(
            f"PostgreSQL {version} answers, but its user may not make tables; Dagster needs that at its "
            "first start and when it is upgraded."
        )
    return ok(f"PostgreSQL {version} answers.")
