"""PostgreSQL as a target: connections, locks, schemas.

Belongs here: everything around a table's transaction. Does not belong here: the statements in it
(`transaction.py`), and the sentences of errors (`errors.py`).
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from health_pipelines.publish import conversions
from health_pipelines.publish.names import NameLimit
from health_pipelines.publish.postgres.errors import refused, schema_cannot_be_made
from health_pipelines.publish.postgres.transaction import PostgresTransaction
from health_pipelines.publish.tables import PublishError, WantedTable
from health_pipelines.publish.target import NOTES, Access
from health_pipelines.publish.types import ColumnType
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.variables import PUBLISH_SCHEMA, PUBLISH_URL

# How long a publisher waits for another one of the same table, and for the locks of other people.
TURN_WITHIN_SECONDS = 900
LOCK_WITHIN_SECONDS = 30
# Of every transaction, so that values are written and read in one way, and that a server soon lets go what a
# killed publisher has locked. LOCAL: a pooler before the server hands the connection to others afterwards.
_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    # Its default is for many small queries; here rows of two tables are compared once.
    "work_mem": "64MB",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
# Not every server has it.
_IF_IT_CAN = {"client_connection_check_interval": "5s"}
_LOCK_TIMEOUT = "55P03"
_LEAST_VERSION = 130000
# Who has held a lock on a table the longest that keeps others from writing.
_HOLDER = """
SELECT a.pid, a.usename, a.application_name, to_char(a.xact_start, 'YYYY-MM-DD HH24:MI TZ')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.relation = to_regclass(%s) AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
ORDER BY a.xact_start LIMIT 1
"""


class PostgresTarget:
    """`url`: of PUBLISH_URL. Raises `PublishError` if it is no address."""

    def __init__(
        self,
        url: Secret,
        *,
        turn_within_seconds: float = TURN_WITHIN_SECONDS,
        lock_within_seconds: float = LOCK_WITHIN_SECONDS,
    ) -> None:
        try:
            self.address = _verified(PostgresAddress.of(url, PUBLISH_URL))
        except PostgresError as error:
            raise PublishError(str(error)) from None
        self._turn = turn_within_seconds
        self._lock = lock_within_seconds

    @property
    def identity(self) -> str:
        return f"postgresql {self.address.shown}"

    @property
    def name_limit(self) -> NameLimit:
        return NameLimit(63, in_bytes=True)

    @property
    def most_columns(self) -> int:
        return 1600

    def value(self, type_: ColumnType, sql: str) -> str:
        return conversions.value(type_, sql)

    def alters(self, type_: ColumnType, sql: str) -> str | None:
        return conversions.alters(type_, sql)

    def prepare(self, schemas: Sequence[str]) -> None:
        with self._connected() as connection:
            for schema in schemas:
                problem = None
                try:
                    self._prepare(connection, schema)
                except psycopg.Error as error:
                    problem = schema_cannot_be_made(error, schema)
                if problem is not None:
                    raise problem

    @contextmanager
    def publishing(self, table: WantedTable) -> Iterator[PostgresTransaction]:
        problem: PublishError | None = None
        with self._connected() as connection:
            try:
                with connection.transaction():
                    self._begin(connection)
                    self._take_turn(connection, table.full_name)
                    yield PostgresTransaction(connection, table)
            except psycopg.Error as error:
                is_locked = error.sqlstate == _LOCK_TIMEOUT
                problem = self._locked(table) if is_locked else refused(error, table.full_name, table.schema)
            except duckdb.Error as error:
                problem = PublishError(
                    f"{table.full_name} is as it was: the warehouse could not be read to its end "
                    f"({type(error).__name__}); see that there is room in HEALTH_DATA_DIR."
                )
            # The server's words, which may quote a value, are not to follow it.
            if problem is not None:
                raise problem from None

    def examine(self, schemas: Sequence[str]) -> Access:
        problems = []
        with self._connected() as connection:
            asked = "SELECT current_setting('server_version'), current_setting('server_version_num')::int, "
            asked += "pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE')"
            [(version, number, is_standby, may_create)] = connection.execute(asked).fetchall()
            if number < _LEAST_VERSION:
                problems.append(f"PostgreSQL {version} is too old; publishing needs 13 or newer.")
            if is_standby:
                problems.append(f"It takes no changes; let {PUBLISH_URL.name} lead to the primary.")
            for schema in schemas:
                found = connection.execute(
                    "SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') "
                    "FROM pg_namespace WHERE nspname = %s",
                    (schema,),
                ).fetchone()
                if found is None and not may_create:
                    problems.append(
                        f"Its user may not make the schema {schema}; GRANT CREATE ON DATABASE, or make it."
                    )
                elif found is not None and not found[0]:
                    problems.append(
                        f"Its user may not make tables in the schema {schema}; GRANT USAGE, CREATE, "
                        f"or choose another {PUBLISH_SCHEMA.name}."
                    )
        return Access(version, problems)

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[TupleRow]"]:
        """Raises `PublishError` if nobody answers, and leaves the errors of statements to the block."""
        problem = None
        try:
            with self.address.connected() as connection:
                connection.autocommit = True
                yield connection
        except PostgresError as error:
            problem = str(error)
        if problem is not None:
            raise PublishError(problem) from None

    def _prepare(self, connection: "psycopg.Connection[TupleRow]", schema: str) -> None:
        notes = sql.Identifier(schema, NOTES)
        there = connection.execute("SELECT to_regclass(%s)", (notes.as_string(connection),)).fetchone()
        if there is not None and there[0] is not None:
            return
        with connection.transaction():
            self._begin(connection)
            # Two that make the same schema at once would refuse each other.
            self._take_turn(connection, schema)
            exists = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
            if exists is None:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            connection.execute(
                sql.SQL(
                    "CREATE TABLE IF NOT EXISTS {} (table_name text PRIMARY KEY, version text NOT NULL, "
                    "rows bigint NOT NULL, combined_hash numeric NOT NULL, "
                    "published_at timestamptz NOT NULL, compared_at timestamptz NOT NULL)"
                ).format(notes)
            )
            about = "What was published when, and how many rows. Made and used by the publisher."
            connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(notes, sql.Literal(about)))

    def _begin(self, connection: "psycopg.Connection[TupleRow]") -> None:
        # What the server's administrator set as a default is for people.
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        for name, value in _SETTINGS.items():
            _set(connection, name, value)
        for name, value in _IF_IT_CAN.items():
            try:
                with connection.transaction():
                    _set(connection, name, value)
            except psycopg.Error:
                continue

    def _take_turn(self, connection: "psycopg.Connection[TupleRow]", name: str) -> None:
        _set(connection, "lock_timeout", f"{int(self._turn * 1000)}")
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('health_pipelines'), hashtext(%s))", (name,)
        )
        _set(connection, "lock_timeout", f"{int(self._lock * 1000)}")

    def _locked(self, table: WantedTable) -> PublishError:
        """Says who has locked it, if that can still be seen."""
        holder = ""
        try:
            with self.address.connected() as connection:
                name = sql.Identifier(table.schema, table.name).as_string(connection)
                found = connection.execute(_HOLDER, (name,)).fetchone()
        except PostgresError:
            found = None
        if found is not None:
            pid, user, program, since = found
            holder = f" by the session {pid} of {user} ({program or 'unnamed'}) since {since}"
        return PublishError(
            f"{table.full_name} is as it was: it is locked{holder}, for longer than {self._lock:g} s; end "
            "that transaction, and the next publishing tries again."
        )


def _set(connection: "psycopg.Connection[TupleRow]", name: str, value: str) -> None:
    connection.execute("SELECT set_config(%s, %s, true)", (name, value))


def _verified(address: PostgresAddress) -> PostgresAddress:
    """With the server's certificate verified by the machine's authorities, unless the URL says otherwise."""
    parts = {
        "application_name": "health_pipelines",
        "sslmode": "verify-full",
        **address.parts,
    }
    if parts["sslmode"] in ("verify-ca", "verify-full"):
        # libpq's own default is a file in the home folder.
        parts.setdefault("sslrootcert", _authorities())
    return PostgresAddress(parts, address.setting)


def _authorities() -> str:
    return ssl.get_default_verify_paths().cafile or "system"
