"""Rows from DuckDB into PostgreSQL by COPY.

Belongs here: the pipe between the two. Does not belong here: which rows, and into which table.

DuckDB writes CSV with its own threads into a pipe, and what comes out of it goes to the server: no row is
made in Python, and none is on disk. NULL is `\\N` without quotes, and a text of these two characters has
quotes, so that NULL, an empty text and that text stay three things.
"""

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import psycopg
from psycopg import sql

from health_pipelines.publish.target import Rows

_NULL = r"\N"
_CHUNK_BYTES = 1 << 20


def copy_rows(cursor: "psycopg.Cursor[tuple[object, ...]]", into: sql.Composable, rows: Rows) -> int:
    """Copy rows into a table that has their columns in their order; returns how many bytes were sent."""
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, NULL {})").format(into, sql.Literal(_NULL))
    sent = 0
    with cursor.copy(statement) as copy, _written(rows) as pipe:
        while chunk := os.read(pipe, _CHUNK_BYTES):
            copy.write(chunk)
            sent += len(chunk)
    return sent


@contextmanager
def _written(rows: Rows) -> Iterator[int]:
    """The end of a pipe to read CSV from; what DuckDB raises is raised when the block ends."""
    reading, writing = os.pipe()
    if sys.platform == "linux":
        # Fewer turns between two processes that work at the same time.
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
    problems: list[Exception] = []

    def write() -> None:
        try:
            # The connection itself, since no other one sees its temporary tables.
            rows.connection.execute(
                f"COPY ({rows.sql}) TO '/dev/fd/{writing}' "
                f"(FORMAT csv, HEADER false, NULLSTR '{_NULL}', USE_TMP_FILE false)"
            )
        except duckdb.Error as error:
            problems.append(error)
        finally:
            os.close(writing)

    writer = threading.Thread(target=write, name="rows to publish", daemon=True)
    writer.start()
    try:
        yield reading
    finally:
        # Whoever still writes is told that nobody reads, and ends.
        os.close(reading)
        writer.join()
    if problems:
        raise problems[0]
