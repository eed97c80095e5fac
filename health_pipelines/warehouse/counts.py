"""How many rows and different keys a current table has, and how many have landed.

Belongs here: the counting, of all and of a part. Does not belong here: what follows from it (`checks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import quoted
from health_pipelines.warehouse.current import Current

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Counts:
    """Rows and different keys: of a current table, and of all that landed.

    `keys` and `landed_keys`: None without a key column; neither NULL nor an empty text is a key.
    """

    rows: int
    deleted: int
    keys: int | None
    landed: int
    landed_keys: int | None
    landed_without_key: int


def count(connection: duckdb.DuckDBPyConnection, current: Current, landed: str) -> Counts:
    """`landed`: SQL of all landed rows. Of both only the key column is read, but all of it."""
    name = current.model.sql_name
    deleted = "count(*) FILTER (is_deleted)"
    if current.key is None:
        [(rows, gone)] = connection.execute(f"SELECT count(*), {deleted} FROM {name}").fetchall()
        [(all_landed,)] = connection.execute(f"SELECT count(*) FROM ({landed})").fetchall()
        return Counts(rows, gone, None, all_landed, None, 0)
    [(rows, gone, keys)] = connection.execute(
        f"SELECT count(*), {deleted}, {different(quoted(current.kept_key))} FROM {name}"
    ).fetchall()
    [(all_landed, without, landed_keys)] = connection.execute(
        f"SELECT count(*), count(*) FILTER (coalesce({quoted(current.key)}::VARCHAR, '') = ''), "
        f"{different(quoted(current.key))} FROM ({landed})"
    ).fetchall()
    return Counts(rows, gone, keys, all_landed, landed_keys, without)


@dataclass(frozen=True)
class Part:
    """What became of a current table of which a part was made anew. Keys are neither NULL nor an empty text.

    `landed`, `landed_without_key`: of all rows that landed. `landed_keys`: those of the part that landed.
    `removed`: rows that the table had of the part. `added_keys`: of the rows that it has of it now.
    """

    landed: int
    landed_without_key: int
    landed_keys: int
    removed: int
    added_keys: int


def count_with_part(
    connection: duckdb.DuckDBPyConnection, current: Current, before: Counts, part: Part
) -> Counts:
    """`before`: as `once_each` gave it. What was not made anew is as it was counted then; no key is read.

    The table's rows are counted anew all the same, so that one which is lost or there twice shows.
    """
    name = current.model.sql_name
    [(rows, gone)] = connection.execute(
        f"SELECT count(*), count(*) FILTER (is_deleted) FROM {name}"
    ).fetchall()
    untouched = before.rows - part.removed
    return Counts(
        rows,
        gone,
        # Where a row is lost, so is its key.
        min(rows, untouched + part.added_keys),
        part.landed,
        untouched + part.landed_keys,
        part.landed_without_key,
    )


def different(key: str) -> str:
    """SQL of how many keys there are. `key`: SQL of the name of a column."""
    # By 64-bit hashes, which take a third of the memory of keys that are UUIDs.
    text = f"{key}::VARCHAR"
    return f"count(DISTINCT CASE WHEN {text} <> '' THEN hash({text}) END)"
