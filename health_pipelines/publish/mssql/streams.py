"""Rows from DuckDB into a temporary table of SQL Server.

Belongs here: batches, and what a key may be. Does not belong here: which rows, and into which table.

mssql-python's `bulkcopy` is not used: it opens a connection of its own, so that it sees no temporary table of
this session (https://github.com/microsoft/mssql-python/issues/492), takes no part in its transaction, and
would have to fill a table that a killed publisher leaves behind. `executemany` sends arrays of values, with
the type of each said to it: it would ask the server for that of a column that is NULL throughout, and the
server cannot say it of a temporary table.
"""

from collections.abc import Iterator, Mapping, Sequence

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
    texts = [place for place, one in enumerate(columns) if one.type.kind is Kind.TEXT]
    fixed = sum(fixed_bytes(one.type) for one in columns)
    statement, sent = fill(into, columns), 0
    while some := found.fetchmany(_BATCH_ROWS):
        _check(table, columns, some)
        units = {place: [_units(row[place]) for row in some] for place in texts}
        sent += fixed * len(some) + 2 * sum(map(sum, units.values()))
        for batch, longest in _batches(some, units):
            sizes = [bound(one.type, _room(longest.get(place, 0))) for place, one in enumerate(columns)]
            session.many(statement, sizes, batch)
    return sent


def _check(table: WantedTable, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    key = [(place, one, fixed_bytes(one.type)) for place, one in enumerate(columns) if one.name in table.key]
    for row in rows:
        length = 0
        for place, column, fixed in key:
            length += fixed or 2 * _units(row[place])
            if not fixed and row[place].endswith(" "):
                raise PublishError(
                    f"{table.full_name} is as it was: a key of it ends in a blank ({column.name}), which SQL "
                    "Server cannot tell from one that does not: leave the table out of "
                    f"{PUBLISH_TABLES.name}."
                )
        if length > KEY_BYTES:
            raise PublishError(
                f"{table.full_name} is as it was: a key of it is longer than the {KEY_BYTES} bytes that SQL "
                f"Server allows: leave the table out of {PUBLISH_TABLES.name}."
            )


def _batches(
    rows: list[Row], units: Mapping[int, list[int]]
) -> Iterator[tuple[list[Row], Mapping[int, int]]]:
    """Rows that fit into an array together, with the longest text by its place; a long one is alone."""
    longest = {place: max(of_rows) for place, of_rows in units.items()}
    fits = max(longest.values(), default=0) <= LONGEST_IN_AN_ARRAY
    if len(rows) == 1 or (fits and sum(longest.values()) * len(rows) <= _BATCH_UNITS):
        yield rows, longest
        return
    half = len(rows) // 2
    for part in (slice(half), slice(half, None)):
        yield from _batches(rows[part], {place: of_rows[part] for place, of_rows in units.items()})


def _units(text: str | None) -> int:
    """Of UTF-16."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _room(units: int) -> int:
    return next((room for room in _ROOMS if units <= room), units)
