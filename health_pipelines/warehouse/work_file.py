"""A database file that is being made.

Belongs here: opening it, its format, and that nothing of it stays. Does not belong here: what is in it, and
putting it in place (`build.py`, `published.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.libraries import loaded_when_used
from health_pipelines.warehouse.published import wal

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

# The oldest format that holds all of this, so that every shell, driver and BI tool since DuckDB 1.0 opens it.
STORAGE_VERSION = "v1.0.0"


@contextmanager
def opened(building: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "storage_compatibility_version": STORAGE_VERSION
    }
    with duckdb.connect(str(building), config=config) as connection:
        yield connection


def storage_version(connection: duckdb.DuckDBPyConnection) -> str:
    """`STORAGE_VERSION`, or what the file was made with before."""
    [(version,)] = connection.execute(
        "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall()
    # It says from which release on: v1.0.0+.
    return str(version).removesuffix("+")


def can_be_read(file: Path) -> bool:
    """A file that cannot is made anew: all of it comes from the lake."""
    try:
        with duckdb.connect(str(file), read_only=True):
            return True
    except duckdb.Error:
        return False


@contextmanager
def gone_afterwards(building: Path) -> Iterator[None]:
    """No work file before, so that a crash leaves nothing behind for long, and none after."""
    remove(building)
    try:
        yield
    finally:
        remove(building)


def remove(building: Path) -> None:
    for leftover in (building, wal(building)):
        leftover.unlink(missing_ok=True)
