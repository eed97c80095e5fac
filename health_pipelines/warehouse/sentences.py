"""What DuckDB and the file system say, as a sentence without a value.

Belongs here: which exception becomes which problem. Does not belong here: the problems (`problems.py`), and
what is done about one (`build.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import text_literal
from health_pipelines.lake.disk import NO_ROOM
from health_pipelines.lake.partitions import Table
from health_pipelines.lake.store_problems import UnusableStoreError
from health_pipelines.libraries import loaded_when_used
from health_pipelines.warehouse.landed_views import Shape
from health_pipelines.warehouse.models import Model
from health_pipelines.warehouse.problems import (
    NoRoomError,
    UnbuildableError,
    UnreachableLakeError,
    UnreadablePartitionError,
    UnusableError,
)

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

_NO_ROOM = ("no space left", "file too large", "disk quota", "out of memory", "failed to offload")


@contextmanager
def naming(
    work: Path, what: Model | Table, table: Table | None = None, shape: Shape | None = None
) -> Iterator[None]:
    """Turn what the database says into a sentence that names the partition or the model.

    `work`: the folder in which there was perhaps no room.
    """
    try:
        yield
    except duckdb.Error as error:
        # `from None`: DuckDB quotes values, and rows are patients.
        if _is_about_room(error):
            raise NoRoomError(work, "the database has no room") from None
        if table is not None and shape is not None:
            for file in shape.files:
                if why := _damage(file):
                    raise UnreadablePartitionError(table, file, why) from None
        name = what.full_name if isinstance(what, Model) else str(what)
        raise UnbuildableError(name, _kind(error)) from None


@contextmanager
def in_a_sentence(work: Path, file: Path) -> Iterator[None]:
    """Turn what file system and database say of `file` as a whole, made in `work`, into a sentence."""
    try:
        yield
    except duckdb.Error as error:
        if _is_about_room(error):
            raise NoRoomError(work, "the database has no room") from None
        raise UnbuildableError("warehouse.duckdb", _kind(error)) from None
    except UnusableStoreError as error:
        raise UnreachableLakeError(error) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise NoRoomError(work, error.strerror or "no room") from None
        raise UnusableError(Path(error.filename or file), error.strerror or "no access") from None


def _damage(file: Path) -> str | None:
    """What is wrong with a partition file; it is read whole to see."""
    if not file.exists():
        return "was deleted meanwhile"
    try:
        with duckdb.connect() as connection:
            source = f"read_parquet({text_literal(str(file))}, hive_partitioning = false)"
            connection.execute(f"SELECT hash(rows) FROM {source} AS rows").fetchall()
    except duckdb.Error:
        return "is not a whole Parquet file"
    return None


def _kind(error: duckdb.Error) -> str:
    """The kind of an error; its words too if they are about SQL, since then they quote no value."""
    about_sql = isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException)
    return str(error).splitlines()[0] if about_sql else type(error).__name__


def _is_about_room(error: duckdb.Error) -> bool:
    return any(words in str(error).lower() for words in _NO_ROOM)
