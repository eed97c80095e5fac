"""All records of a sweep, one row per key, ready to be written day by day.

Belongs here: which row of a key counts, which day it belongs to, what drifted, and where staged rows are.
Does not belong here: how pages are read (`page_reading.py`), and a day's file (`day_files.py`). No error and
no log says a value.

Pages become staging files first, because one sweep fills many days. A row's place is known from its small
columns alone, so that no step holds more than a piece of a day in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.landing.columns import (
    text_column,
    vendor_columns,
)
from health_pipelines.drchrono.landing.minimising import NOTHING, Minimising
from health_pipelines.drchrono.landing.page_reading import (
    STAGING_GROUP_ROWS,
    THREADS,
    PageFile,
    date_literal,
    fields_without_values,
    latest_day_variables,
    pieces_of,
    stage_piece,
)
from health_pipelines.drchrono.records import RecordType
from health_pipelines.lake.csv_partition import parquet_rows, quoted, text_literal
from health_pipelines.lake.local_time import as_told_apart, zone_variables
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

_STAGING_MEMORY = "1GB"  # pages themselves are outside of it
_WRITING_MEMORY = "200MB"


@dataclass(frozen=True)
class Staged:
    """The rows of some pages, one per key, ready to be written as days. Files in the work folder of `stage`.

    `rows_by_day`: by the day of the last change in the account's zone; None is the day of rows without a time
    that can be read. `drift`: undocumented fields and fields with values that do not fit, with the number of
    rows; names only. An empty text where a number or a date should be is no drift.
    """

    record_type: RecordType
    extracted_at: datetime
    rows_by_day: Mapping[date | None, int]
    drift: Mapping[str, int]
    files: tuple[Path, ...]
    files_by_day: Mapping[date | None, tuple[Path, ...]]
    without: Mapping[str, str]  # columns that no row has a value for, which are not in the files
    losers: Path | None  # rows that another row with the same key has beaten
    digests: Mapping[date | None, int]  # of each day's rows
    days_in_order: frozenset[date | None]  # whose rows are in the order of their keys as they are staged
    all_in_order: bool
    minimising: Minimising
    # One for all days: to open one and to read the footers costs as much as to write a short day.
    database: duckdb.DuckDBPyConnection = field(repr=False, compare=False)


def stage(
    record_type: RecordType,
    pages: Sequence[PageFile],
    zone: ZoneInfo,
    work: Path,
    *,
    extracted_at: datetime,
    minimising: Minimising = NOTHING,
) -> Staged:
    """Read every page once and keep, of each key, the row that changed last (then the one of the later page).

    `minimising`: what is left out of the rows before anything is looked at.
    `zone` is the account's; `extracted_at` is aware; `work` is an empty folder on the lake's disk and must
    stay until the days are written. Pages are complete answers, checked to be JSON with a list of objects.
    """
    pieces = pieces_of(record_type, sorted(pages, key=lambda page: page.order))
    without = fields_without_values(record_type, pieces)
    files = [work / f"staged-{number:05}.parquet" for number in range(len(pieces))]
    with ExitStack() as unless_staged:
        database = _opened(work / "spill")
        unless_staged.callback(database.close)
        with ThreadPoolExecutor(THREADS) as threads:
            rules = [*zone_variables(zone), *latest_day_variables(extracted_at.astimezone(zone).date())]
            stage_one = partial(stage_piece, database, record_type, rules=rules, without=without)
            list(threads.map(stage_one, pieces, files))
        for file in files:
            minimising.of_staged(file, record_type, without)
        database.execute(f"SET memory_limit = '{_WRITING_MEMORY}'")
        database.execute(f"SET threads = {THREADS}")
        for statement in zone_variables(zone):
            database.execute(statement)
        _note_places(database, record_type, files)
        losers = _losers(database, work / "losers.parquet")
        winners = winners_of(record_type, files, losers, without)
        drift = _drift(database, record_type, winners)
        totals = _totals(database)
        if _days_are_scattered(database):
            files, losers = [_clustered(database, record_type, winners, work / "clustered.parquet")], None
            without = {}
            days_in_order, all_in_order = set(totals), False
        else:
            days_in_order, all_in_order = _days_in_order(database)
        by_day = _files_by_day(database, files)
        database.execute("DROP TABLE places")
        unless_staged.pop_all()
    return Staged(
        record_type,
        extracted_at,
        rows_by_day={day: rows for day, (rows, _) in totals.items()},
        drift=drift,
        files=tuple(files),
        files_by_day=by_day,
        without=without,
        losers=losers,
        digests={day: digest for day, (_, digest) in totals.items()},
        days_in_order=frozenset(days_in_order),
        all_in_order=all_in_order,
        minimising=minimising,
        database=database,
    )


def _note_places(database: duckdb.DuckDBPyConnection, record_type: RecordType, files: Sequence[Path]) -> None:
    """Make the table `places`: of every row what tells where it belongs, in the order of the files."""
    key = quoted(record_type.key)
    rows = parquet_rows(files) if files else _no_rows(record_type)
    database.execute(
        f"CREATE TEMP TABLE places AS SELECT {key} AS key, _changed, _row, _day, _hash FROM {rows}"
    )


def _totals(database: duckdb.DuckDBPyConnection) -> dict[date | None, tuple[int, int]]:
    """Of each day the number of rows and what they hash to."""
    found = database.execute(
        "SELECT _day, count(*), sum(_hash::HUGEINT) FROM places GROUP BY _day"
    ).fetchall()
    return {day: (rows, int(digest)) for day, rows, digest in found}


def _days_in_order(database: duckdb.DuckDBPyConnection) -> tuple[set[date | None], bool]:
    """The days whose rows come in the order of their keys, and whether all rows do."""
    ordered = """
        SELECT {day}, count(*) FILTER (later < earlier) = 0
        FROM (SELECT _day, (strlen(key), key) AS later, lag(later) OVER ({by} ORDER BY rowid) AS earlier
              FROM places)
        GROUP BY ALL
        """
    whole = database.execute(ordered.format(day="NULL", by="")).fetchall()
    if all(is_sorted for _, is_sorted in whole):
        return {day for (day,) in database.execute("SELECT DISTINCT _day FROM places").fetchall()}, True
    by_day = database.execute(ordered.format(day="_day", by="PARTITION BY _day")).fetchall()
    return {day for day, is_sorted in by_day if is_sorted}, False


def _files_by_day(
    database: duckdb.DuckDBPyConnection, files: Sequence[Path]
) -> dict[date | None, tuple[Path, ...]]:
    """Where the rows of a day are: reading the footers of all files for each day would take longer."""
    if not files:
        return {}
    found = database.execute(
        f"SELECT _day, list(DISTINCT filename ORDER BY filename) FROM {parquet_rows(files)} GROUP BY _day"
    ).fetchall()
    return {day: tuple(map(Path, names)) for day, names in found}


def _losers(database: duckdb.DuckDBPyConnection, target: Path) -> Path | None:
    """Take the rows to leave out from `places`; a file of their `_row`, or None if there is none."""
    [(found,)] = database.execute(
        f"""
        CREATE TEMP TABLE losers AS
        SELECT _row FROM places WHERE key IN (SELECT key FROM places GROUP BY key HAVING count(*) > 1)
        QUALIFY row_number() OVER (
            PARTITION BY key ORDER BY {as_told_apart("_changed")} DESC NULLS LAST, _row DESC) > 1
        """
    ).fetchall()
    if not found:
        return None
    database.execute("DELETE FROM places WHERE _row IN (FROM losers)")
    database.execute(f"COPY losers TO {text_literal(str(target))} (FORMAT parquet)")
    return target


def winners_of(
    record_type: RecordType, files: Sequence[Path], losers: Path | None, without: Mapping[str, str]
) -> str:
    if not files:
        return _no_rows(record_type)
    absent = "".join(f", NULL::{kind} AS {quoted(name)}" for name, kind in without.items())
    beaten = f"WHERE _row NOT IN (SELECT _row FROM {parquet_rows([losers])})" if losers else ""
    return f"(SELECT *{absent} FROM {parquet_rows(files)} {beaten})"


def _drift(database: duckdb.DuckDBPyConnection, record_type: RecordType, winners: str) -> dict[str, int]:
    drift: Counter[str] = Counter()
    documented = ", ".join(map(text_literal, record_type.columns))
    drift.update(
        dict(
            database.execute(
                f"""
                SELECT member.key, count(DISTINCT _row)
                FROM (SELECT _extra, _row FROM {winners} WHERE json_valid(_extra)) AS rows,
                     json_each(rows._extra) AS member
                WHERE NOT (member.key IN ({documented}) AND member.value::VARCHAR = '""')
                GROUP BY member.key
                """
            ).fetchall()
        )
    )
    # Half a surrogate pair is JSON for Python and none for DuckDB.
    for (extra,) in database.execute(f"SELECT _extra FROM {winners} WHERE NOT json_valid(_extra)").fetchall():
        drift.update(name.encode(errors="backslashreplace").decode() for name in json.loads(extra))
    times = [field for field, kind in record_type.columns.items() if kind == "time"]
    if times:
        unread = ", ".join(
            f"count(*) FILTER ({quoted(field)} IS NULL AND {quoted(text_column(field))} <> '')"
            for field in times
        )
        [counts] = database.execute(f"SELECT {unread} FROM {winners}").fetchall()
        drift.update(dict(zip(times, counts, strict=True)))
    return {name: rows for name, rows in sorted(drift.items()) if rows}


def _days_are_scattered(database: duckdb.DuckDBPyConnection) -> bool:
    """Whether writing all days one by one would read the staging files more than a few times."""
    [(read, rows)] = database.execute(
        f"""
        SELECT count(DISTINCT (_day, rowid // {STAGING_GROUP_ROWS})) * {STAGING_GROUP_ROWS}, count(*)
        FROM places
        """
    ).fetchall()
    return bool(read > 4 * (rows + STAGING_GROUP_ROWS))


def _clustered(
    database: duckdb.DuckDBPyConnection, record_type: RecordType, winners: str, target: Path
) -> Path:
    """The same rows, days one after the other and each in the order of its keys."""
    key = quoted(record_type.key)
    database.execute(
        f"""
        COPY (SELECT * REPLACE (row_number() OVER () AS _row)
              FROM (FROM {winners} ORDER BY _day, strlen({key}), {key}))
        TO {text_literal(str(target))}
        (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {STAGING_GROUP_ROWS})
        """
    )
    return target


def _no_rows(record_type: RecordType) -> str:
    types = vendor_columns(record_type) | {
        "_report_id": "VARCHAR", "_row": "BIGINT", "_hash": "UBIGINT", "_day": "DATE",
        "_changed": "TIMESTAMPTZ",
    }  # fmt: skip
    return f"(SELECT {', '.join(f'NULL::{kind} AS {quoted(name)}' for name, kind in types.items())} LIMIT 0)"


def on_days(days: Collection[date | None] | None) -> str:
    if days is None:
        return "true"
    known = [date_literal(day) for day in days if day is not None]
    conditions = [f"_day IN ({', '.join(known)})"] if known else []
    conditions += ["_day IS NULL"] if None in days else []
    return f"({' OR '.join(conditions)})" if conditions else "false"


def _opened(spill: Path) -> duckdb.DuckDBPyConnection:
    """A database for pieces, each of which has a thread of its own, so that its rows stay in order."""
    spill.mkdir(exist_ok=True)
    database = duckdb.connect(
        config={"memory_limit": _STAGING_MEMORY, "threads": 1, "temp_directory": str(spill)}
    )
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database
