"""The rows of a day as one Parquet file.

Belongs here: writing that file from staged rows, and the rows of the day's old version that stay. Does not
belong here: staging (`staging.py`), in which order which days land (`range_landing.py`), and where partition
files live (`lake/partitions.py`). No error and no log says a value.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.drchrono.landing.columns import (
    vendor_columns,
)
from health_pipelines.drchrono.landing.page_reading import date_literal
from health_pipelines.drchrono.landing.staging import Staged, on_days, winners_of
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, parquet_rows, quoted, text_literal
from health_pipelines.privacy.partition_file import MINIMISED

if TYPE_CHECKING:
    import duckdb

_GROUP_CELLS, _SHORTEST_GROUP = 1 << 20, 2048


def write_day(
    staged: Staged,
    days: Collection[date | None] | None,
    partition_day: date,
    target: Path,
    *,
    report_id: str,
    keep: Standing | None = None,
) -> Kept:
    """Write the partition `partition_day`: the rows that changed on one of `days` (None: all rows).

    `keep` is the partition as it stands. Its rows stay as they are, with their lineage, until their records
    are somewhere else: otherwise they would be nowhere. Returns how many did.

    The footer has `report_id` and `content_hash`, which depends on what the rows say, not on their order or
    lineage. No row at all is a file with all columns. Several threads may write days of one `staged`.
    """
    columns = vendor_columns(staged.record_type)
    key = quoted(staged.record_type.key)
    files = staged.files if days is None else _files_of(staged, days)
    present = set(staged.rows_by_day if days is None else staged.rows_by_day.keys() & days)
    count, digest = (
        sum(staged.rows_by_day[day] for day in present),
        sum(staged.digests[day] for day in present),
    )
    # Mostly they are: the vendor sorts by id, and sorting whole rows would cost more than all the rest.
    in_order = staged.all_in_order or (len(present) <= 1 and present <= staged.days_in_order)
    rules = staged.minimising.fingerprint
    said = f", {MINIMISED}: {text_literal(rules)}" if rules else ""
    with staged.database.cursor() as database:
        fresh = winners_of(staged.record_type, files, staged.losers, staged.without)
        rows = f"""
            SELECT {", ".join(map(quoted, columns))}, {date_literal(partition_day)} AS _partition_date,
                   _report_id, TIMESTAMPTZ '{staged.extracted_at.isoformat()}' AS _extracted_at,
                   _hash::HUGEINT AS _hash
            FROM {fresh} WHERE {on_days(days)}
            """
        kept = Kept(0, 0)
        if keep is not None:
            kept, kept_digest = _keep(database, staged, keep, days=days, own=partition_day)
            rows += "UNION ALL BY NAME SELECT * EXCLUDE (_is_sent, _moved_back) FROM kept"
            count, digest = count + kept.rows, digest + kept_digest
            in_order = in_order and not kept.rows
        order = "" if in_order else f"ORDER BY strlen({key}), {key}, _hash"
        group = max(_SHORTEST_GROUP, _GROUP_CELLS // len(columns))
        database.execute(
            f"""
            COPY (SELECT * EXCLUDE (_hash) FROM ({rows}) {order}) TO {text_literal(str(target))} (
                FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group},
                KV_METADATA {{content_hash: {text_literal(f"rows:{count}:{digest:x}")},
                              report_id: {text_literal(report_id)}{said}}})
            """
        )
    return kept


@dataclass(frozen=True)
class Standing:
    """A day's partition as it is, and where its records may be by now.

    `elsewhere`: days that have landed in this run with all that changed on them. `others`: partitions of
    other days, to look whether they have the record that changed on their day. `undated_in`: the day of
    records without a time that can be read.
    """

    file: Path
    elsewhere: Collection[date]
    others: Collection[Path]
    undated_in: date


@dataclass(frozen=True)
class Kept:
    """Rows of the old partition that stayed. `on_the_move`: their records changed on a day that does not have
    them yet. `not_sent`: the sweep did not bring their records. `moved_back`: those on the move to an earlier
    day of the range, which lands after this one.
    """

    on_the_move: int
    not_sent: int
    moved_back: int = 0

    @property
    def rows(self) -> int:
        return self.on_the_move + self.not_sent


def _keep(
    database: duckdb.DuckDBPyConnection,
    staged: Staged,
    standing: Standing,
    *,
    days: Collection[date | None] | None,
    own: date,
) -> tuple[Kept, int]:
    """Make the table `kept`: rows of an old partition that stay, whatever columns it has.

    Returns how many they are and what they hash to.
    """
    key, columns = quoted(staged.record_type.key), vendor_columns(staged.record_type)
    source = parquet_rows([standing.file])
    have = [name for name, *_ in database.execute(f"DESCRIBE FROM {source}").fetchall()]
    vendor = [
        f"{quoted(name) if name in have else 'NULL'}::{kind} AS {quoted(name)}"
        for name, kind in columns.items()
    ]
    others = [quoted(name) for name in have if name not in columns and name not in LINEAGE_COLUMNS]
    names = ", ".join(map(quoted, columns))
    # A column that is gone counts where it says something: such a row is not equal to one without it.
    more = "".join(f" + coalesce(hash({name}), 0)::HUGEINT" for name in others)
    winners = winners_of(staged.record_type, staged.files, staged.losers, staged.without)
    landed, first = on_days({*(days or ()), own, *standing.elsewhere}), date_literal(standing.undated_in)
    there = (
        f"SELECT {key} AS key, _partition_date AS day FROM {parquet_rows(list(standing.others))}"
        if standing.others
        else "SELECT NULL::VARCHAR AS key, NULL::DATE AS day LIMIT 0"
    )
    database.execute(
        f"""
        CREATE TEMP TABLE kept AS
        WITH sent AS (
            SELECT {key} AS key, coalesce(_day, {first}) AS day, {landed} AS has_landed
            FROM {winners}
        ), gone AS (
            SELECT key FROM sent WHERE has_landed
            UNION ALL
            SELECT sent.key FROM sent JOIN ({there}) AS there ON there.key = sent.key AND there.day = sent.day
        )
        SELECT *, (hash({names})::HUGEINT{more}) AS _hash, {key} IN (SELECT key FROM sent) AS _is_sent,
               {key} IN (SELECT key FROM sent WHERE day >= {first} AND day < {date_literal(own)})
                   AS _moved_back
        FROM (SELECT {", ".join([*vendor, *others, *map(quoted, LINEAGE_COLUMNS)])} FROM {source}
              WHERE {key} NOT IN (SELECT key FROM gone))
        """
    )
    [(moving, not_sent, moved_back, digest)] = database.execute(
        """
        SELECT count(*) FILTER (_is_sent), count(*) FILTER (NOT _is_sent), count(*) FILTER (_moved_back),
               coalesce(sum(_hash), 0) FROM kept
        """
    ).fetchall()
    return Kept(moving, not_sent, moved_back), int(digest)


def _files_of(staged: Staged, days: Collection[date | None]) -> tuple[Path, ...]:
    found = {file for day in days for file in staged.files_by_day.get(day, ())}
    return tuple(file for file in staged.files if file in found)
