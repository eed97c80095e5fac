"""SQL Server as a target: connections, turns, schemas.

Belongs here: everything around a table's transaction. Does not belong here: the statements in it
(`statements.py`, `transaction.py`), and the sentences of errors (`errors.py`).

Connections are not pooled: temporary tables, with patients' rows in them, end with their session.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import duckdb

from health_pipelines.publish.mssql import statements, types
from health_pipelines.publish.mssql.address import MssqlAddress
from health_pipelines.publish.mssql.errors import (
    LOCKED,
    ServerError,
    cannot_be_reached,
    refused,
    schema_cannot_be_made,
)
from health_pipelines.publish.mssql.session import Connection, Session
from health_pipelines.publish.mssql.transaction import MssqlTransaction
from health_pipelines.publish.names import NameLimit
from health_pipelines.publish.tables import PublishError, WantedTable
from health_pipelines.publish.target import NOTES, Access
from health_pipelines.publish.types import ColumnType
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.variables import PUBLISH_SCHEMA, PUBLISH_TABLES, PUBLISH_URL

# How long a publisher waits for another one of the same table, for the locks of other people, and for the
# server to answer.
TURN_WITHIN_SECONDS = 900
LOCK_WITHIN_SECONDS = 30
CONNECT_WITHIN_SECONDS = 15
# SQL Server 2016; Azure's databases, which are always new, call themselves 12.
_LEAST_VERSION, _FIRST_EDITION_OF_AZURE = 13, 5
_NOTES_ABOUT = "What was published when, and how many rows. Made and used by the publisher."


def connected(address: MssqlAddress, within_seconds: int = CONNECT_WITHIN_SECONDS) -> Connection:
    """By Microsoft's own driver, which is an extra. Raises `PublishError` if it is not installed."""
    try:
        import mssql_python  # noqa: PLC0415 - an extra, and only needed here
    except ImportError:
        raise PublishError(
            f"{PUBLISH_URL.name} leads to SQL Server, whose driver is not installed: install "
            "health-pipelines[mssql]."
        ) from None
    mssql_python.pooling(enabled=False)
    parameters: dict[str, Any] = dict(address.parameters)
    return mssql_python.connect("", autocommit=True, timeout=within_seconds, **parameters)


class MssqlTarget:
    """`url`: of PUBLISH_URL. Raises `PublishError` if it is no address."""

    def __init__(
        self,
        url: Secret,
        *,
        connect: Callable[[MssqlAddress], Connection] = connected,
        turn_within_seconds: float = TURN_WITHIN_SECONDS,
        lock_within_seconds: float = LOCK_WITHIN_SECONDS,
    ) -> None:
        self._address = MssqlAddress.of(url)
        self._connect = connect
        self._turn = turn_within_seconds
        self._lock = lock_within_seconds

    @property
    def identity(self) -> str:
        return f"mssql {self._address.shown}"

    @property
    def name_limit(self) -> NameLimit:
        return NameLimit(128, in_bytes=False)

    @property
    def most_columns(self) -> int:
        return 1024

    def value(self, type_: ColumnType, sql: str) -> str:
        return types.value(type_, sql)

    def alters(self, type_: ColumnType, sql: str) -> str | None:
        return types.alters(type_, sql)

    def prepare(self, schemas: Sequence[str]) -> None:
        with self._session() as session:
            for schema in schemas:
                try:
                    self._prepare(session, schema)
                except ServerError as error:
                    raise schema_cannot_be_made(error, schema) from None

    @contextmanager
    def publishing(self, table: WantedTable) -> Iterator[MssqlTransaction]:
        if table.name.startswith("#"):
            raise PublishError(
                f"{table.full_name} is not published: its name begins with #, as those of SQL Server's "
                f"temporary tables do; leave it out of {PUBLISH_TABLES.name}."
            )
        with self._session() as session:
            try:
                self._begin(session, table.full_name)
                yield MssqlTransaction(session, table)
                session.do(statements.COMMIT)
            except ServerError as error:
                problem = self._locked(table) if error.number == LOCKED else None
                raise problem or refused(error, table.full_name, table.schema) from None
            except duckdb.Error as error:
                raise PublishError(
                    f"{table.full_name} is as it was: the warehouse could not be read to its end "
                    f"({type(error).__name__}); see that there is room in HEALTH_DATA_DIR."
                ) from None

    def examine(self, schemas: Sequence[str]) -> Access:
        problems = []
        try:
            with self._session() as session:
                [(version, edition, updateability, may_make_schemas, may_make_tables)] = session.ask(
                    statements.SERVER
                )
                if edition < _FIRST_EDITION_OF_AZURE and int(version.split(".")[0]) < _LEAST_VERSION:
                    problems.append(
                        f"SQL Server {version} is too old; publishing needs 2016 (13.0) or newer."
                    )
                if updateability != "READ_WRITE":
                    problems.append(f"It takes no changes; let {PUBLISH_URL.name} lead to the primary.")
                if not may_make_tables:
                    problems.append("Its user may not make tables; GRANT CREATE TABLE.")
                for schema in schemas:
                    found = session.ask(statements.SCHEMA, [schema])
                    if not found and not may_make_schemas:
                        problems.append(
                            f"Its user may not make the schema {schema}; GRANT CREATE SCHEMA, or make it."
                        )
                    elif found and not found[0][1]:
                        problems.append(
                            f"Its user may not make tables in the schema {schema}; GRANT ALTER, or choose "
                            f"another {PUBLISH_SCHEMA.name}."
                        )
        except ServerError as error:
            raise cannot_be_reached(error) from None
        return Access(f"SQL Server {version}", problems)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session that is closed, and whose transaction is undone if it still is one."""
        try:
            session = Session(lambda: self._connect(self._address))
        except ServerError as error:
            raise cannot_be_reached(error) from None
        try:
            yield session
        finally:
            with suppress(ServerError):
                session.do(statements.ROLLBACK)
            session.close()

    def _begin(self, session: Session, name: str) -> None:
        """Begin a transaction and wait for the turn of whoever has that name."""
        session.do(statements.SETTINGS)
        session.do(statements.lock_timeout(int(self._lock * 1000)))
        session.do(statements.BEGIN)
        [(got,)] = session.ask(statements.turn(name, int(self._turn * 1000)))
        if got < 0:
            raise PublishError(
                f"{name} is as it was: another publisher has been at it for longer than {self._turn:g} s; "
                "the next publishing tries again."
            )

    def _prepare(self, session: Session, schema: str) -> None:
        if session.ask(statements.OBJECT, [schema, NOTES]):
            return
        # Two that make the same schema at once would refuse each other.
        self._begin(session, schema)
        if not session.ask(statements.SCHEMA, [schema]):
            session.do(statements.create_schema(schema))
        if not session.ask(statements.OBJECT, [schema, NOTES]):
            session.do(statements.create_notes(statements.quoted(schema, NOTES)))
            comment = statements.comment(known=False, wanted=True, on_column=False)
            session.do(comment, [_NOTES_ABOUT, schema, NOTES])
        session.do(statements.COMMIT)

    def _locked(self, table: WantedTable) -> PublishError:
        """Says who has locked it, if that can still be seen and its user may see it."""
        holder = ""
        with suppress(ServerError, PublishError), self._session() as session:
            name = statements.of(table)
            for number, user, program, since in session.ask(statements.HOLDER, [name]):
                who = f"{user} ({program or 'unnamed'})"
                holder = f" by the session {number} of {who} since {since:%Y-%m-%d %H:%M}"
        return PublishError(
            f"{table.full_name} is as it was: it is locked{holder}, for longer than {self._lock:g} s; end "
            "that transaction, and the next publishing tries again."
        )
