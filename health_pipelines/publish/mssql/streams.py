"""Rows from DuckDB into a temporary table of SQL Server.

Belongs here: batches, and what a key may be. Does not belong here: which rows, and into which table.

mssql-python's `bulkcopy` is not used: it opens a connection of its own, so that it sees no temporary table of
this session (https://github.com/microsoft/mssql-python/issues/492), takes no part in its transaction, and
would have to fill a table that a killed publisher leaves behind. `executemany` sends arrays of values, with
the type of each said to it: it would ask the server for that of a column that is NULL throughout, and the
server cannot say it of a temporary table.
"""

from collections.abc import Sequence

from health_pipelines.lake.csv_partition import quoted
from health_pipelines.publish.mssql.session import Row, Session
from health_pipelines.publish.mssql.statements import fill
from health_pipelines.publish.mssql.types import (
    KEY_BYTES,
    LONGEST_IN_AN_ARRAY,
    bound,
    carried,
    fixed_bytes,
)
from health_pipelines.publish.tables import Column, PublishError, WantedTable
from health_pipelines.publish.target import Rows
from health_pipelines.publish.types import Kind
from health_pipelines.settings.variables import PUBLISH_TABLES

_BATCH_ROWS = 1000
# Of the texts of a batch, in the driver, where all of a column have the room of the longest.
_BATCH_UNITS = 8_000_000
# Rooms for texts: a few, so that the server plans few statements.
_ROOMS = (32, 128, 512, 2000, LONGEST_IN_AN_ARRAY)


def copy_rows(session: Session, into: str, table: WantedTable, columns: Sequence[Column], rows: Rows) -> int:
    """Copy rows with these columns into a table; returns how many bytes of values were sent.

    Raises `PublishError` of a key that would not stay apart from others, or not fit.
    """
    names = ", ".join(f"{carried(one.type, quoted(one.name))} AS {quoted(one.name)}" for one in columns)
    found = rows.connection.execute(f"SELECT {names} FROM ({rows.sql})")
    statement, batch, sent = fill(into, columns), _Batch(session, table, columns), 0
    while some := found.fetchmany(_BATCH_ROWS):
        for row in some:
            sent += batch.add(statement, row)
    batch.send(statement)
    return sent


class _Batch:
    """Rows that are sent together: those that fit into an array, or one that does not."""

    def __init__(self, session: Session, table: WantedTable, columns: Sequence[Column]) -> None:
        self._session = session
        self._table = table
        self._columns = columns
        self._texts = [place for place, one in enumerate(columns) if one.type.kind is Kind.TEXT]
        self._key = [place for place, one in enumerate(columns) if one.name in table.key]
        self._fixed = [fixed_bytes(one.type) for one in columns]
        self._begin()

    def _begin(self) -> None:
        self._rows: list[Row] = []
        self._longest = [0] * len(self._columns)

    def add(self, statement: str, row: Row) -> int:
        """How many bytes the row has."""
        units = [0] * len(row)
        for place in self._texts:
            if (text := row[place]) is not None:
                units[place] = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
        self._check(row, units)
        longest = list(map(max, self._longest, units))
        is_long = max(units) > LONGEST_IN_AN_ARRAY
        if is_long or len(self._rows) == _BATCH_ROWS or sum(longest) * len(self._rows) > _BATCH_UNITS:
            self.send(statement)
            longest = units
        self._rows.append(row)
        self._longest = longest
        if is_long:
            self.send(statement)
        return 2 * sum(units) + sum(self._fixed)

    def send(self, statement: str) -> None:
        if self._rows:
            sizes = [
                bound(one.type, _room(most)) for one, most in zip(self._columns, self._longest, strict=True)
            ]
            self._session.many(statement, sizes, self._rows)
        self._begin()

    def _check(self, row: Row, units: Sequence[int]) -> None:
        for place in self._key:
            if units[place] and row[place].endswith(" "):
                raise PublishError(
                    f"{self._table.full_name} is as it was: a key of it ends in a blank "
                    f"({self._columns[place].name}), which SQL Server cannot tell from one that does not: "
                    f"leave the table out of {PUBLISH_TABLES.name}."
                )
        if sum(2 * units[place] or self._fixed[place] for place in self._key) > KEY_BYTES:
            raise PublishError(
                f"{self._table.full_name} is as it was: a key of it is longer than the {KEY_BYTES} bytes "
                f"that SQL Server allows: leave the table out of {PUBLISH_TABLES.name}."
            )


def _room(units: int) -> int:
    return next((room for room in _ROOMS if units <= room), units)
