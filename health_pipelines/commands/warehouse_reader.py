"""The warehouse as a person at a terminal reads it: one read-only connection, to the file as it is now.

Belongs here: opening the file again when a build has replaced it, running statements so that Ctrl-C stops
them, and DuckDB's errors as sentences. Does not belong here: how answers look (`query.py`).
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.commands.problem import ProblemError
from health_pipelines.lake.csv_partition import quoted, text_literal

T = TypeVar("T")

SCHEMAS = ("dexcare", "drchrono", "current", "marts")
_LOOK_EVERY_SECONDS = 0.1


class WarehouseReader:
    """`zone`: in which times are shown. Every method raises `ProblemError` with one sentence.

    Nothing here waits for a build, and none waits for this: a file that is open stays as it is when another
    one takes its name.
    """

    def __init__(self, file: Path, zone: ZoneInfo) -> None:
        self.file = file
        self._zone = zone
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opened: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Open the file, if it is not open as it is now. Returns whether it took the place of another."""
        now = self._signature()
        if now == self._opened:
            return False
        if self._connection is not None:
            # DuckDB would give the old file to a second connection.
            self._connection.close()
        replaced, self._opened = self._opened is not None, None
        self._connection = self._open()
        self._opened = now
        return replaced

    def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The result of `work` with the connection; whatever interrupts this thread stops its statement."""
        self.refresh()
        connection = self._connection
        assert connection is not None
        with ThreadPoolExecutor(1) as pool:
            # A signal while the thread starts would leave one that nobody knows of.
            pool.submit(int).result()
            try:
                return pool.submit(work, connection).result()
            except duckdb.Error as error:
                raise ProblemError(without_values(error)) from None
            except BaseException:
                # DuckDB does not notice a signal by itself. What is queued behind the work ends after it.
                ended = pool.submit(int)
                while not ended.done():
                    # Again and again: the next statement may be about to begin.
                    connection.interrupt()
                    wait([ended], _LOOK_EVERY_SECONDS)
                raise

    def answer(
        self, sql: str, show: Callable[[duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation], None]
    ) -> None:
        """Run every statement, and `show` what each one answers."""

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            for statement in connection.extract_statements(sql):
                answer = connection.sql(statement)
                if statement.expected_result_type != [duckdb.ExpectedResultType.NOTHING]:
                    show(connection, answer)

        self.run(work)

    def tables(self) -> list[list[str]]:
        """Of each table its name, rows, newest partition and newest extraction (empty where it has none)."""
        return self.run(_tables)

    def _signature(self) -> tuple[int, int]:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            raise ProblemError(
                f"There is no warehouse at {self.file} yet: it comes with the first day that lands "
                "(`make demo`, or materialize one in `make dev`), or with `health-pipelines build`."
            ) from None
        return found.st_ino, found.st_mtime_ns

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            connection = duckdb.connect(str(self.file), read_only=True)
            connection.execute(f"SET TimeZone = {text_literal(self._zone.key)}")
        except duckdb.Error as error:
            holder = re.search(r"Conflicting lock is held.*?\(PID (\d+)\)", str(error))
            if holder:
                raise ProblemError(
                    f"{self.file} is open for writing in process {holder[1]}, and until it is closed there "
                    "nobody can read it; open it read-only instead."
                ) from None
            raise ProblemError(
                f"{self.file} cannot be opened ({sentence(error)}); delete it, and `health-pipelines build` "
                "makes it again from the lake."
            ) from None
        return connection


def sentence(error: duckdb.Error) -> str:
    """What DuckDB says, and what it thinks was meant, without the drawing of where in the line."""
    return " ".join(re.split(r"\n+LINE \d+:", str(error))[0].split())


def without_values(error: duckdb.Error) -> str:
    """The same, but only of a statement that cannot be read in full: all else may quote a value of a row.

    Who asks may see rows; who reads the error is perhaps the mail of a nightly job.
    """
    said = sentence(error)
    if isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
        return said
    return re.sub(r"\b\d[\d.,:-]*", "…", re.sub(r"([\"']).*\1", r"\1…\1", said))


def _tables(connection: duckdb.DuckDBPyConnection) -> list[list[str]]:
    found = connection.execute(
        "SELECT schema_name, table_name, bool_or(column_name = '_extracted_at') FROM duckdb_columns() "
        "WHERE NOT internal GROUP BY ALL"
    ).fetchall()
    lines = []
    for schema, table, has_lineage in sorted(
        (one for one in found if one[0] in SCHEMAS), key=lambda one: (SCHEMAS.index(one[0]), one[1])
    ):
        newest = (
            "max(_partition_date)::VARCHAR, date_trunc('second', max(_extracted_at))::VARCHAR"
            if has_lineage
            else "NULL, NULL"
        )
        [cells] = connection.execute(
            f"SELECT count(*)::VARCHAR, {newest} FROM {quoted(schema)}.{quoted(table)}"
        ).fetchall()
        lines.append([f"{schema}.{table}", *(cell or "" for cell in cells)])
    return lines
