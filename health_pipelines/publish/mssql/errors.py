"""What SQL Server says when a table cannot be published, as one sentence of ours.

Belongs here: which error it is, and the sentences. Does not belong here: catching errors (`session.py`).

None of the server's words is shown: they may quote a value. mssql-python tells no error's number; it is known
by how the server's English message for that number begins, and every session asks for English. A value is
never at that place.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto

from health_pipelines.publish.tables import PublishError
from health_pipelines.settings.variables import PUBLISH_SCHEMA, PUBLISH_TABLES, PUBLISH_URL

LOCKED = 1222
# How the message of a number begins.
_MESSAGES = {
    229: "The [A-Z ]+ permission was denied",
    262: "[A-Z ]+ permission denied in database",
    511: "Cannot create a row of size",
    515: "Cannot insert the value NULL",
    547: "The [A-Z ]+ statement conflicted with the",
    596: "Cannot continue the execution because the session is in the kill state",
    701: "There is insufficient system memory",
    1088: "Cannot find the object",
    1105: "Could not allocate space for object",
    1205: "Transaction .* was deadlocked",
    LOCKED: "Lock request time out period exceeded",
    1505: "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found",
    1701: "Creating or altering table .* failed because the minimum row size",
    1702: "CREATE TABLE failed because column .* exceeds the maximum",
    1946: "Operation failed. The index entry of length",
    2601: "Cannot insert duplicate key row",
    2627: "Violation of [A-Z ]+ constraint",
    2628: "String or binary data would be truncated",
    2705: "Column names in each table must be unique",
    2714: "There is already an object named",
    2760: "The specified schema name",
    3725: "The constraint .* is being referenced by table",
    3906: "Failed to update database .* because the database is read-only",
    4060: "Cannot open database",
    4922: "ALTER TABLE ALTER COLUMN .* failed because one or more objects access this column",
    5074: "The (object|column|index|statistics) .* is dependent on column",
    6005: "SHUTDOWN is in progress",
    9002: "The transaction log for database",
    15247: "User does not have permission to perform this action",
    18456: "Login failed for user",
    40501: "The service is currently busy",
    40544: "The database .* has reached its size quota",
    40613: "Database .* on server .* is not currently available",
}
# Errors of the driver, by its own words for ODBC's states 08..., HYT00 and HYT01.
_LOST = (
    "Client unable to establish connection|Connection name in use|Connection not open|"
    "Server rejected the connection|Connection failure|Communication link failure|"
    "Connection timeout expired|Timeout expired|Connection operation failed"
)
_UNVERIFIED = "SSL Provider|certificate verify failed"
_NOT_LOADED = "Failed to load the driver"

_MAY_NOT = (
    f"the user of {PUBLISH_URL.name} may not do that in the target; let it create schemas and tables in the "
    "database, or own {schema} and what is in it"
)
_REPEATS = (
    "its key repeats in the target, or somebody wrote into it meanwhile; the next publishing compares all of "
    "it"
)
_WIDE = f"it is too wide for SQL Server; leave it out of {PUBLISH_TABLES.name}"
_LONG_KEY = f"a key is too long for an index of SQL Server; leave it out of {PUBLISH_TABLES.name}"
_FULL = "the server's disk, log or quota is full; make room there"
_USED = (
    "a column or the key of it has to be altered, and something of others depends on that, such as an index, "
    "a view or a foreign key; drop that, and make it again afterwards"
)
_STOPPED = "the server was stopped or ended the session meanwhile; the next publishing tries again"
_BUSY = "the server is busy; the next publishing tries again"
_RULED = "a rule of others in the target refuses a row, such as a constraint; drop that"
_SENTENCES = {
    **dict.fromkeys((229, 262, 1088, 2760, 15247), _MAY_NOT),
    **dict.fromkeys((511, 1701, 1702), _WIDE),
    **dict.fromkeys((1505, 2601, 2627), _REPEATS),
    **dict.fromkeys((1946,), _LONG_KEY),
    **dict.fromkeys((1105, 9002, 40544), _FULL),
    **dict.fromkeys((3725, 4922, 5074), _USED),
    **dict.fromkeys((596, 6005, 40613), _STOPPED),
    **dict.fromkeys((515, 547), _RULED),
    701: "the server has no memory left; see what else it does",
    1205: "others worked with it at the same time; the next publishing tries again",
    LOCKED: "something of it is locked; end the transaction that does it",
    2628: "somebody made a column of it shorter in the target; drop that column, and it is filled anew",
    2705: "two of its columns have names that the database takes for one; rename one in the target, or leave "
    f"the table out of {PUBLISH_TABLES.name}",
    2714: "something of that name is there that its user may not see; let it own {schema} and what is in it",
    3906: f"the database takes no changes; let {PUBLISH_URL.name} lead to the primary",
    40501: _BUSY,
}


class Lack(Enum):
    """What a driver has not."""

    CONNECTION = auto()
    TRUST = auto()
    LIBRARIES = auto()


_CANNOT_CONNECT: Mapping[int | Lack | None, str] = {
    Lack.CONNECTION: "the host is not known, does not answer, or no server listens there",
    Lack.TRUST: "the server's certificate cannot be verified; HostNameInCertificate, ServerCertificate and "
    "TrustServerCertificate in the URL say by what and whether",
    Lack.LIBRARIES: "the driver lacks libraries of the operating system; install libltdl7 and "
    "libgssapi-krb5-2, or what they are called there",
    18456: "the server refuses the user or the password",
    4060: "the server has no such database, or its user may not open it",
    40613: "the server is starting or stopping",
}


class ServerError(Exception):
    """What the driver raised, without its words. `kind`: of exception. `number`: the server's, if it is known
    here. `lacks`: what made the driver fail by itself, if that is known.
    """

    def __init__(self, kind: str, number: int | None = None, lacks: Lack | None = None) -> None:
        super().__init__(f"{kind}, {number or 'no number'}")
        self.kind = kind
        self.number = number
        self.lacks = lacks


def server_error(error: Exception) -> ServerError:
    """To be raised where the driver's own is no longer handled."""
    whole = str(getattr(error, "ddbc_error", error))
    _, is_of_server, said = whole.partition("[SQL Server]")
    number, lacks = None, None
    if is_of_server:
        number = next((one for one, words in _MESSAGES.items() if re.match(words, said)), None)
    elif re.match(_NOT_LOADED, whole):
        lacks = Lack.LIBRARIES
    elif re.search(_UNVERIFIED, whole):
        lacks = Lack.TRUST
    elif re.match(_LOST, str(getattr(error, "driver_error", ""))):
        lacks = Lack.CONNECTION
    return ServerError(type(error).__name__, number, lacks)


def sentence_of(error: ServerError, schema: str) -> str:
    """Why a table is as it was, without its name. `schema`: that it is published into."""
    if error.number in _SENTENCES:
        return _SENTENCES[error.number].format(schema=schema)
    if error.lacks is Lack.CONNECTION:
        return "the connection to the server broke; the next publishing tries again"
    return f"the server refuses it ({error})"


def refused(error: ServerError, full_name: str, schema: str) -> PublishError:
    """The error of a table."""
    return PublishError(f"{full_name} is as it was: {sentence_of(error, schema)}.")


def schema_cannot_be_made(error: ServerError, schema: str) -> PublishError:
    return PublishError(
        f"The schema {schema} cannot be made: {sentence_of(error, schema)}; or choose another "
        f"{PUBLISH_SCHEMA.name}."
    )


def cannot_be_reached(error: ServerError) -> PublishError:
    why = _CANNOT_CONNECT.get(error.number or error.lacks)
    return PublishError(
        f"The database of {PUBLISH_URL.name} cannot be used: {why or error.kind}. Check the setting and "
        "that the server runs."
    )
