"""Putting the rows of a current table into a file that nobody reads yet: all, of some days, or of some keys.

Belongs here: the SQL that finds the newest versions among what landed. Does not belong here: which of these a
table needs (`table_builder.py`), and what a row is (`current.py`).

Of some keys: the records which the changed partitions have, or had, are taken out, looked up in all
partitions by their key alone, and made again from the partitions that have them. Of the whole history only
the key column is read, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.lake.partitions import Table, day_of
from health_pipelines.warehouse import changed_keys
from health_pipelines.warehouse.counts import Part, different
from health_pipelines.warehouse.current import Current
from health_pipelines.warehouse.landed_views import Shape, rows_sql

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Landed:
    """A table's files, and the days on which they differ from those that the file was made of.

    `newest`: when the newest of them landed that no build has seen, in seconds since 1970; None if there is
    none. `is_other_now`: whether there are other files than these by now.
    """

    shape: Shape
    changed_days: frozenset[str]
    newest: float | None
    is_other_now: Callable[[], bool]

    @property
    def anew(self) -> list[Path]:
        """The files of the changed days."""
        return [file for file in self.shape.files if day_of(file) in self.changed_days]

    @property
    def days(self) -> str:
        """SQL of the changed days, for `IN`."""
        return ", ".join(f"DATE {text_literal(day)}" for day in sorted(self.changed_days)) or "NULL"


def make_whole(connection: duckdb.DuckDBPyConnection, current: Current, landed: Landed) -> None:
    rows = _newest(current, landed.shape, rows_sql(landed.shape))
    connection.execute(f"CREATE OR REPLACE TABLE {current.model.sql_name} AS {rows}")


def make_days(connection: duckdb.DuckDBPyConnection, current: Current, landed: Landed) -> None:
    name = current.model.sql_name
    with _all_or_nothing(connection):
        connection.execute(f"DELETE FROM {name} WHERE _partition_date IN ({landed.days})")
        rows = _newest(current, landed.shape, rows_sql(landed.shape, landed.anew))
        connection.execute(f"INSERT INTO {name} {rows}")


def make_part(
    connection: duckdb.DuckDBPyConnection,
    current: Current,
    landed: Landed,
    *,
    version: str,
    deleted_by: Table | None,
) -> Part:
    """For a table with a key. `version`: the one that the table has then. `deleted_by`: a table of which a
    part was made before, and whose keys are made again here, too.
    """
    name = current.model.sql_name
    key, kept_key = f"{quoted(str(current.key))}::VARCHAR", f"{quoted(current.kept_key)}::VARCHAR"
    keys, added = quoted(f"changed {current.table}"), quoted(f"added {current.table}")
    others = f"UNION SELECT key FROM {quoted(f'changed {deleted_by}')}" if deleted_by else ""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {keys} AS
        SELECT {kept_key} AS key FROM {name} WHERE _partition_date IN ({landed.days})
        UNION SELECT {key} FROM ({rows_sql(landed.shape, landed.anew)}) {others}
        """
    )
    theirs = f"{key} IN (SELECT key FROM {keys})"
    # The one look at all that ever landed, so all that is asked of it is asked here.
    [(all_landed, without, found)] = connection.execute(
        f"""
        SELECT count(*), count(*) FILTER (coalesce({key}, '') = ''),
               list(DISTINCT {landed.shape.file}) FILTER ({theirs})
        FROM ({rows_sql(landed.shape)})
        """
    ).fetchall()
    files = [Path(file) for file in found or ()]
    rows = f"SELECT * FROM ({rows_sql(landed.shape, files)}) WHERE {theirs}"
    [(landed_keys,)] = connection.execute(f"SELECT {different(key)} FROM ({rows})").fetchall()
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {added} AS {_newest(current, landed.shape, rows)}")
    [(added_keys,)] = connection.execute(f"SELECT {different(kept_key)} FROM {added}").fetchall()
    with _all_or_nothing(connection):
        [(removed,)] = connection.execute(
            f"DELETE FROM {name} WHERE {kept_key} IN (SELECT key FROM {keys})"
        ).fetchall()
        connection.execute(f"INSERT INTO {name} FROM {added}")
        changed_keys.write_down(connection, current.model.full_name, version, f"SELECT key FROM {keys}")
    connection.execute(f"DROP TABLE {added}")
    return Part(all_landed, without, landed_keys, removed, added_keys)


@contextmanager
def _all_or_nothing(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A table that cannot be made anew stays as it was, and the others are made all the same."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _newest(current: Current, shape: Shape, rows: str) -> str:
    """The current records of `rows`, which are as `rows_sql` makes them of a table of that shape."""
    file, place = shape.file, shape.place
    if current.key is not None:
        key = f"{quoted(current.key)}::VARCHAR"
        # Deciding by narrow rows which ones are beaten is cheaper than sorting wide ones.
        rows = f"""
            WITH candidates AS (
                SELECT {key} AS key, _extracted_at, _partition_date, {file}, {place} FROM ({rows})
            ), beaten AS (
                SELECT {file}, {place} FROM candidates
                WHERE key IN (SELECT key FROM candidates GROUP BY key HAVING count(*) > 1)
                QUALIFY row_number() OVER (
                    PARTITION BY key ORDER BY _extracted_at DESC, _partition_date DESC, {place} DESC
                ) > 1
            )
            SELECT * FROM ({rows}) AS rows
            WHERE {key} <> '' AND NOT EXISTS (
                FROM beaten WHERE beaten.{file} = rows.{file} AND beaten.{place} = rows.{place})
            """
    for step in current.steps:
        rows = f"SELECT *, {step} FROM ({rows})"
    return f"SELECT {current.select} FROM ({rows}) AS landed"
