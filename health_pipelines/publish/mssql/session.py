"""A connection by DB-API, as the rest of this folder uses it.

Belongs here: cursors, and catching what a driver raises. Does not belong here: connecting (`target.py`), and
what errors mean (`errors.py`).

The driver is in autocommit, and transactions are statements. A statement without values is sent as it is, so
that a temporary table that it makes stays for the session; with values it is prepared, and one that is made
there would be gone after it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from health_pipelines.publish.mssql.errors import ServerError, server_error
from health_pipelines.publish.tables import PublishError

T = TypeVar("T")
Row = tuple[Any, ...]


class Cursor(Protocol):
    """What is used of a cursor of DB-API."""

    @property
    def description(self) -> Any: ...
    @property
    def rowcount(self) -> int: ...
    def execute(self, operation: str, *parameters: Any) -> Any: ...
    def executemany(self, operation: str, seq_of_parameters: Sequence[Row], /) -> Any: ...
    def setinputsizes(self, sizes: list[Any], /) -> Any: ...
    def fetchall(self) -> Sequence[Any]: ...
    def nextset(self) -> Any: ...
    def close(self) -> Any: ...


class Connection(Protocol):
    """What is used of a connection of DB-API, which is in autocommit."""

    def cursor(self) -> Any: ...
    def close(self) -> Any: ...


class Session:
    """Raises `ServerError` instead of what the driver raises. `connect`: makes the connection."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connection = _without_words(connect)
        self._cursor: Cursor = _without_words(self._connection.cursor)

    def do(self, statement: str, values: Sequence[Any] = ()) -> int:
        """How many rows it was about."""

        def run() -> int:
            self._execute(statement, values)
            return self._cursor.rowcount

        return _without_words(run)

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """The first rows that it gives; what comes before them are counts."""

        def run() -> list[Row]:
            self._execute(statement, values)
            while self._cursor.description is None:
                if not self._cursor.nextset():
                    return []
            return [tuple(row) for row in self._cursor.fetchall()]

        return _without_words(run)

    def many(self, statement: str, sizes: Sequence[tuple[int, int, int]], rows: Sequence[Row]) -> None:
        """One statement with each row's values, in one array. `sizes`: how each value is bound."""

        def run() -> None:
            self._cursor.setinputsizes(list(sizes))
            self._cursor.executemany(statement, rows)

        _without_words(run)

    def close(self) -> None:
        """Whatever was not committed is undone by the server, at the latest now."""
        with suppress(ServerError):
            _without_words(self._connection.close)

    def _execute(self, statement: str, values: Sequence[Any]) -> None:
        if values:
            self._cursor.execute(statement, tuple(values))
        else:
            self._cursor.execute(statement)


def _without_words(call: Callable[[], T]) -> T:
    # Every exception: some of the driver's are no errors of DB-API, and they may quote a value as well.
    try:
        return call()
    except PublishError:
        raise
    except Exception as error:
        problem = server_error(error)
    raise problem
