"""Where a SQL Server is, as PUBLISH_URL describes it.

Belongs here: reading the URL. Does not belong here: connecting (`target.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from health_pipelines.publish.tables import PublishError
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.variables import PUBLISH_URL

SCHEMES = ("mssql", "mssql+mssqlpython", "mssql+pyodbc", "mssql+pymssql", "sqlserver")
_PORT = 1433
# What a URL may say behind its `?`, and what holds if it does not. A session of a server that is gone ends
# within a minute.
_OPTIONS: Mapping[str, str | None] = {
    "Encrypt": "yes",
    "TrustServerCertificate": "no",
    "HostNameInCertificate": None,
    "ServerCertificate": None,
    "Authentication": None,
    "MultiSubnetFailover": None,
    "IpAddressPreference": None,
    "PacketSize": None,
    "KeepAlive": "30",
    "KeepAliveInterval": "10",
}
_SPELLED = {name.lower(): name for name in _OPTIONS}


@dataclass(frozen=True)
class MssqlAddress:
    """`parameters`: as ODBC names them. They hold the password and are not shown."""

    host: str
    port: int
    database: str
    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: Secret) -> "MssqlAddress":
        """Raises `PublishError` if it is malformed, or if it is read in a way that nobody can have meant."""
        found = _read(url.reveal())
        if found is None:
            raise PublishError(
                f"{PUBLISH_URL.name} is not a URL like mssql://user:password@host:1433/database; "
                "characters such as @, /, ?, # and % in a password are written as %40, %2F, %3F, %23 and "
                f"%25, and behind a ? there may be {', '.join(_OPTIONS)}."
            )
        return found

    @property
    def shown(self) -> str:
        """For people: without user, password and options."""
        return f"{self.host}:{self.port}, database {self.database}"


def _read(url: str) -> MssqlAddress | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    database = unquote(parts.path.removeprefix("/"))
    # A password with such a sign in it is split there.
    misread = "@" in f"{parts.path}{parts.query}" or parts.fragment or "/" in database or "\0" in unquote(url)
    options = _options(parts.query)
    if parts.scheme not in SCHEMES or not host or not database or misread or options is None:
        return None
    port = port or _PORT
    who = {"UID": unquote(parts.username or ""), "PWD": unquote(parts.password or "")}
    where = {"Server": f"tcp:{host},{port}", "Database": database}
    given = {name: text for name, text in who.items() if text}
    return MssqlAddress(host, port, database, {**where, **given, **options})


def _options(query: str) -> Mapping[str, str] | None:
    """None if there is one that is not known."""
    options = {name: text for name, text in _OPTIONS.items() if text is not None}
    for part in query.split("&") if query else ():
        name, sign, text = part.partition("=")
        if not sign or name.lower() not in _SPELLED:
            return None
        options[_SPELLED[name.lower()]] = unquote(text)
    return options
