"""Whether PostgreSQL is reached and may be used.

Belongs here: what is asked of the server. Does not belong here: its address and why it cannot be used
(`settings/postgres_address.py`), and what Dagster keeps there (`dagster_checks.py`).
"""

from collections.abc import Mapping

from health_pipelines.doctor.finding import Finding, not_set_up, ok, problem, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.http import is_loopback
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError
from health_pipelines.settings.variables import DAGSTER_POSTGRES_URL


def database(installation: Installation) -> Finding:
    """The server's version, or why it cannot be used."""
    url = installation.settings.postgres_url
    if url is None:
        return not_set_up(f"{DAGSTER_POSTGRES_URL.name} is not set; Dagster then keeps its events in files.")
    try:
        address = PostgresAddress.of(url)
        with address.connected() as connection:
            encrypted = bool(connection.pgconn.ssl_in_use)
            found = connection.execute(
                "SELECT current_setting('server_version'), has_schema_privilege(current_schema(), 'CREATE')"
            ).fetchone()
    except PostgresError as error:
        return problem(str(error))
    assert found is not None
    version, may_create = found
    if not may_create:
        return warning(
            f"PostgreSQL {version} answers, but its user may not make tables; Dagster needs that at its "
            "first start and when it is upgraded."
        )
    return ok(f"PostgreSQL {version} answers.{on_its_way(address.parts, encrypted=encrypted)}")


def on_its_way(parts: Mapping[str, str], *, encrypted: bool) -> str:
    """What is to be said of a connection to another machine; nothing of one that is protected, or to here.

    `parts`: of the address, as libpq names them. Begins with a space. Dagster's events hold no patient, but
    the ledger is in them, and whoever pretends to be the server gets the password.
    """
    host = parts.get("host", "")
    if not host or host.startswith("/") or is_loopback(host):
        return ""
    how = "not encrypted"
    if encrypted:
        if parts.get("sslmode") in ("verify-ca", "verify-full"):
            return ""
        how = "encrypted, to a server that nobody has verified"
    return (
        f" The connection to {host} is {how}: write ?sslmode=verify-full behind {DAGSTER_POSTGRES_URL.name}, "
        "unless the network in between is yours alone."
    )
