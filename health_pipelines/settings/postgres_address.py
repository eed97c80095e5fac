"""PostgreSQL as a setting describes it: its address, and why it cannot be used.

Belongs here: reading the address, connecting, and what is said of a failure. Does not belong here: what is
kept there (`instance/postgres_storage.py`, `lake/host_locks.py`, `drchrono/api`, `publish/postgres`).

No words of an error are shown: they may hold the address with its password, or a part of it that a badly
written address makes look like a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import DAGSTER_POSTGRES_URL

if TYPE_CHECKING:
    import psycopg
    from psycopg import conninfo
else:
    conninfo = loaded_when_used("psycopg.conninfo")
    psycopg = loaded_when_used("psycopg")

CONNECT_WITHIN_SECONDS = 5
# What a URL has a place for; all else is in its query, where a host may also be a folder or many hosts.
_IN_PLACE = ("user", "password", "dbname")
# The server's refusals, in its words and in ours.
_REFUSALS = {
    "password authentication failed": "the server refuses the user or the password",
    "no password supplied": "the server wants a password and the URL has none",
    "no pg_hba.conf entry": "the server does not let in this user from this machine",
    "database .* does not exist": "the server has no such database",
    "role .* does not exist": "the server has no such user",
    "certificate verify failed|(server|root) certificate|does not support SSL": "the server's certificate "
    "cannot be verified; sslrootcert and sslmode in the URL say by what and whether",
    "permission denied": "its user may not make tables",
}
# What may be over in a moment: servers start, and databases fail over.
_ABSENCES = {
    "connection refused": "no server listens there",
    "no such file or directory": "no server listens there",
    "name or service not known|could not translate host name|failed to resolve": "the host is not known",
    "timeout": "the host does not answer",
    "is starting up|is shutting down|in recovery mode": "the server is starting or stopping",
    "too many clients|remaining connection slots": "the server has no connection left",
    "too many open files": "this process may open no more files (LimitNOFILE, ulimit -n)",
}


class PostgresError(Exception):
    """PostgreSQL cannot be used; one sentence that names the setting and shows nothing of its value.

    `may_pass`: whether it may be otherwise in a moment.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True)
class PostgresAddress:
    """Where a database is and who asks for it, as libpq names the parts."""

    # Not shown: it holds the password.
    parts: Mapping[str, str] = field(repr=False)
    setting: Setting = DAGSTER_POSTGRES_URL

    @classmethod
    def of(cls, url: Secret, setting: Setting = DAGSTER_POSTGRES_URL) -> PostgresAddress:
        """Raises `PostgresError` if it is malformed, or if it is read in a way that nobody can have meant."""
        # SQLAlchemy, and so Dagster, also takes a driver in the scheme; libpq does not.
        address = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url.reveal())
        parts: Mapping[str, Any] = {}
        # Said out here: the exception holds the whole address.
        with suppress(psycopg.Error):
            parts = conninfo.conninfo_to_dict(address)
        # A password with an @ or a / in it is split there, and its end is taken for a host or a database.
        misread = "@" in f"{parts.get('host')}{parts.get('dbname')}"
        if not parts or "://" not in address or misread:
            raise PostgresError(
                f"{setting.name} is not a URL like "
                "postgresql://user:password@host:5432/database; "
                "characters such as @, / and % in a password are written as %40, %2F and %25."
            )
        return cls({name: str(value) for name, value in parts.items()}, setting)

    @property
    def shown(self) -> str:
        """For people: without user, password and options."""
        host = self.parts.get("host", "this machine")
        port = f":{self.parts['port']}" if "port" in self.parts else ""
        return f"{host}{port}, database {self.parts.get('dbname', 'of the user')}"

    @property
    def url(self) -> Secret:
        """As libpq and SQLAlchemy read it alike."""
        user, password, database = (quote(self.parts.get(one, ""), safe="") for one in _IN_PLACE)
        rest = {name: value for name, value in self.parts.items() if name not in _IN_PLACE}
        owner = f"{user}:{password}@" if password else f"{user}@" if user else ""
        return Secret(f"postgresql://{owner}/{database}?{urlencode(rest, quote_via=quote)}".rstrip("?"))

    def with_option(self, name: str, value: str) -> PostgresAddress:
        """The same address with a parameter of the server for each connection."""
        options = f"{self.parts.get('options', '')} -c{name}={value}".strip()
        return replace(self, parts={**self.parts, "options": options})

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection. What goes wrong with it is a `PostgresError`."""
        patience = {"connect_timeout": str(CONNECT_WITHIN_SECONDS)}
        problem = None
        try:
            with psycopg.connect("", **{**patience, **self.parts}) as connection:  # type: ignore[arg-type]
                yield connection
        except psycopg.Error as error:
            problem = cannot_be_used(error, self.setting)
        # Of nothing: the exception above holds parts of the address.
        if problem is not None:
            raise problem from None


def has_table(connection: psycopg.Connection[Any], name: str) -> bool:
    """Whether there is such a table. `name`: as SQL has it, quoted where it must be.

    Asked before one is made: a role that may not make tables can use one that was made for it.
    """
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return row is not None and bool(row[0])


def cannot_be_used(error: Exception, setting: Setting = DAGSTER_POSTGRES_URL) -> PostgresError:
    """What to say of an error of a driver or of SQLAlchemy."""
    refusal, absence = (_meaning(error, words) for words in (_REFUSALS, _ABSENCES))
    why = refusal or absence or type(error).__name__
    return PostgresError(
        f"The database of {setting.name} cannot be used: {why}. Check the setting and that the server runs.",
        may_pass=not refusal and bool(absence),
    )


def _meaning(error: Exception, meanings: Mapping[str, str]) -> str:
    found = (said for words, said in meanings.items() if re.search(words, str(error), re.IGNORECASE))
    return next(found, "")
