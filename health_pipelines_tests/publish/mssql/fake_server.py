"""A SQL Server as DB-API shows it to a program: connections, transactions, locks and failures.

Belongs here: what a driver and a server do around statements. Does not belong here: what a statement does to
tables (`fake_tsql.py`).

Its tables are in DuckDB, so that a transaction is one. It refuses what mssql-python refuses to bind, and cuts
a text at U+0000 as mssql-python does.
"""

import datetime
import math
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

import duckdb

from health_pipelines.publish.mssql import statements
from health_pipelines.publish.mssql.address import MssqlAddress
from health_pipelines.publish.mssql.types import LONGEST_IN_AN_ARRAY
from health_pipelines_tests.publish.mssql.fake_tsql import CATALOG, Answer, Tsql, TsqlError, of_server

SECRET = "Ada Lovelace"
_TURN = re.compile(r"sp_getapplock @Resource = '([^']{1,255})', .* @LockTimeout = (\d+);")
# By ODBC's number of a type: what Python has to give.
_BINDABLE: dict[int, tuple[type, ...]] = {
    -9: (str,),
    -7: (bool,),
    5: (int,),
    4: (int,),
    -5: (int,),
    8: (float,),
    91: (datetime.date,),
    93: (datetime.datetime,),
}
_BITS = {5: 16, 4: 32, -5: 64}


def broken() -> TsqlError:
    return TsqlError("Communication link failure", f"[Microsoft]TCP Provider: Error 0x68 {SECRET}")


class FakeServer:
    """`said`: every statement, in order. `addresses`: of those who connected. `open`: who still is.
    `has_failed`: whether what `fail` asked for has happened."""

    def __init__(self) -> None:
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'; SET threads = 1")
        self._duckdb.execute(CATALOG)
        self.said: list[str] = []
        self.addresses: list[MssqlAddress] = []
        self.turns: dict[str, object] = {}
        self.batches: list[int] = []
        self.open: list[FakeConnection] = []
        self.has_failed = False
        self._failing: tuple[str, TsqlError] | None = None
        self._failure: tuple[int, Literal["before", "after"], TsqlError] | None = None

    def connect(self, address: MssqlAddress) -> "FakeConnection":
        self.addresses.append(address)
        self.open.append(FakeConnection(self, self._duckdb.cursor()))
        return self.open[-1]

    def fail(self, statement: int, when: Literal["before", "after"], error: TsqlError) -> None:
        """Let the connection die before or after the statement of that number; the next one is 0."""
        self._failure = len(self.said) + statement, when, error
        self.has_failed = False

    def fail_at(self, words: str, error: TsqlError) -> None:
        """Raise an error before the first statement with these words; the connection lives."""
        self._failing = words, error

    def heal(self) -> None:
        self._failure = None

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """As others see and change it, by DuckDB's SQL."""
        return self._duckdb.execute(sql, list(values)).fetchall()

    def due(self, when: Literal["before", "after"]) -> "tuple[TsqlError, bool] | None":
        if self._failing and self._failing[0] in self.said[-1]:
            (_, error), self._failing = self._failing, None
            return error, False
        if self._failure is None:
            return None
        number, at, error = self._failure
        if at != when or number != len(self.said) - 1:
            return None
        self.has_failed = True
        return error, True


class FakeConnection:
    """In autocommit: a transaction is begun and ended by statements."""

    def __init__(self, server: FakeServer, connection: duckdb.DuckDBPyConnection) -> None:
        self.server = server
        self.duckdb = connection
        self.duckdb.execute("SET TimeZone = 'UTC'")
        self.is_dead = False
        self.is_in_transaction = False

    def cursor(self) -> "FakeCursor":
        return FakeCursor(self)

    def close(self) -> None:
        if self.is_in_transaction and not self.is_dead:
            # ODBC does not disconnect in a transaction.
            raise TsqlError("Invalid transaction state", "[Microsoft]Invalid transaction state")
        self.undo()
        self.is_dead = True
        self.duckdb.close()
        self.server.open.remove(self)

    def undo(self) -> None:
        if self.is_in_transaction:
            self.duckdb.rollback()
        self.end()

    def end(self) -> None:
        self.is_in_transaction = False
        for name, holder in list(self.server.turns.items()):
            if holder is self:
                del self.server.turns[name]


class FakeCursor:
    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self._tsql = Tsql(connection.duckdb)
        self._sizes: list[tuple[int, int, int]] = []
        self._rows: list[tuple[Any, ...]] | None = None
        self._before = 0
        self.rowcount = -1

    @property
    def description(self) -> object:
        return None if self._rows is None or self._before else ["columns"]

    def execute(self, operation: str, *parameters: Any) -> None:
        values = parameters[0] if parameters else ()

        def run() -> Answer:
            return self._transactional(operation) or self._tsql.run(operation, values)

        answer = self._carried(operation, run)
        self._rows, self.rowcount, self._before = answer.rows, answer.count, answer.before

    def executemany(self, operation: str, seq_of_parameters: Sequence[Sequence[Any]], /) -> None:
        rows = [self._bound(row) for row in seq_of_parameters]
        self._connection.server.batches.append(len(rows))
        # A longer text is streamed, for which all rows would be sent one by one.
        assert len(rows) == 1 or max(size for _, size, _ in self._sizes) <= LONGEST_IN_AN_ARRAY

        def run() -> Answer:
            self._tsql.fill(operation, rows)
            return Answer(None, len(rows))

        self._carried(operation, run)
        self._sizes = []

    def setinputsizes(self, sizes: list[tuple[int, int, int]], /) -> None:
        self._sizes = sizes

    def fetchall(self) -> list[tuple[Any, ...]]:
        assert self._rows is not None
        assert not self._before
        return self._rows

    def nextset(self) -> bool:
        self._before -= 1
        return self._before >= 0

    def close(self) -> None:
        self._rows = None

    def _carried(self, operation: str, run: Any) -> Answer:
        connection, server = self._connection, self._connection.server
        if connection.is_dead:
            raise broken()
        server.said.append(operation)
        self._fail("before")
        try:
            answer = run()
        except TsqlError:
            # XACT_ABORT
            connection.undo()
            raise
        self._fail("after")
        assert isinstance(answer, Answer)
        return answer

    def _fail(self, when: Literal["before", "after"]) -> None:
        if due := self._connection.server.due(when):
            error, dies = due
            self._connection.undo()
            self._connection.is_dead = dies
            raise error

    def _transactional(self, operation: str) -> Answer | None:
        connection, turns = self._connection, self._connection.server.turns
        if operation == statements.BEGIN:
            connection.duckdb.begin()
            connection.is_in_transaction = True
        elif operation == statements.COMMIT:
            connection.duckdb.commit()
            connection.end()
        elif operation == statements.ROLLBACK:
            connection.undo()
        elif found := _TURN.search(operation):
            assert connection.is_in_transaction
            got = 0 if turns.setdefault(found[1], connection) is connection else -1
            return Answer([(got,)], before=2)
        elif not operation.startswith("SET "):
            return None
        return Answer(None)

    def _bound(self, row: Sequence[Any]) -> list[Any]:
        """As mssql-python binds it; a type that is not said it asks, which fails for a temporary table."""
        if len(self._sizes) != len(row):
            raise TsqlError("Syntax error", f"no type of {SECRET}")
        return [self._one(value, *size) for value, size in zip(row, self._sizes, strict=True)]

    def _one(self, value: Any, kind: int, size: int, digits: int) -> Any:
        if value is None:
            return None
        assert type(value) in _BINDABLE[kind], (type(value), kind)
        assert getattr(value, "tzinfo", None) is None
        if kind == -9:
            if len(value.encode("utf-16-le")) // 2 > size or size < 1:
                raise RuntimeError(f"Input string exceeds allowed column size {SECRET}")
            return value.partition("\0")[0]
        if kind in _BITS and not -(2 ** (_BITS[kind] - 1)) <= value < 2 ** (_BITS[kind] - 1):
            raise RuntimeError(f"value out of range {SECRET}")
        if kind == 8 and (not math.isfinite(value) or 0 < abs(value) < sys.float_info.min):
            raise of_server(f"The supplied value is not a valid instance of data type float. {SECRET}")
        return value
