"""Lake, warehouse and published tables of a system at rest, held against what the vendors have.

Belongs here: comparing. Each function returns sentences that say what differs; none is good. Does not belong
here: what was left behind (`leftovers.py`).
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
import psycopg

from health_pipelines.dexcare.columns.guesses import visit_columns
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.drchrono.records import RecordType
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.vendors.known import lake_tables
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.making import Making
from health_pipelines.warehouse.storage import warehouse_of
from health_pipelines_tests.crash.system import System
from health_pipelines_tests.crash.work import SWEPT, Asked
from health_pipelines_tests.dexcare.histories.test_provider_histories import as_rows, events_of
from health_pipelines_tests.drchrono.project import LINEAGE, Row, parsed_row

Cells = Counter[tuple[Any, ...]]
_SHOWN = 5


def lake_differences(asked: Asked, *, newest: bool) -> list[str]:
    """`newest`: whether every day has to be there, as the vendors have it now; otherwise each day that is
    there has to be as they had it at some moment.
    """
    return [
        *_visit_differences(asked, newest=newest),
        *_history_differences(asked, complete=newest),
        *(line for record_type in SWEPT for line in _record_differences(asked, record_type, complete=newest)),
    ]


def _visit_differences(asked: Asked, *, newest: bool) -> Iterator[str]:
    lake = Lake(asked.system.data / "lake")
    for report in VISIT_REPORTS:
        there = lake.days(report.table)
        if newest:
            yield from _days_that_differ(report.table, there, asked.visit_days)
        for day in there:
            states = asked.visits.get((report, day), [])
            columns = states[0][0] if states else []
            rows = _rows(lake.partition_file(report.table, day), columns)
            if rows not in [state for _, state in (states[-1:] if newest else states)]:
                yield _rows_that_differ(report.table, day, rows, states[-1][1] if states else Counter())


def _history_differences(asked: Asked, *, complete: bool) -> Iterator[str]:
    lake = Lake(asked.system.data / "lake")
    there = lake.days(PROVIDER_HISTORIES)
    if complete:
        yield from _days_that_differ(PROVIDER_HISTORIES, there, asked.visit_days)
    for day in there:
        window = {"startDate": f"{day}T00:00:00Z", "endDate": f"{_next(day)}T00:00:00Z"}
        events = events_of(asked.system.dexcare, day, **window)
        rows = _rows(lake.partition_file(PROVIDER_HISTORIES, day), list(events[0]))
        if rows != (truth := Counter(as_rows(events))):
            yield _rows_that_differ(PROVIDER_HISTORIES, day, rows, truth)


def _record_differences(asked: Asked, record_type: RecordType, *, complete: bool) -> Iterator[str]:
    """Records that did not change, cell by cell. Those that did are as they were, if they were there: their
    new day is today, which is not over.
    """
    lake, table, name = Lake(asked.system.data / "lake"), record_type.table, record_type.name
    there = lake.days(table)
    if complete:
        yield from _days_that_differ(table, there, asked.record_days)
    days: dict[str, list[str]] = {}
    rows: dict[str, Row] = {}
    for day in there:
        for row in pl.read_parquet(lake.partition_file(table, day), glob=False).to_dicts():
            key = str(row[record_type.key])
            days.setdefault(key, []).append(day)
            rows[key] = {
                name: value for name, value in parsed_row(record_type, row).items() if name not in LINEAGE
            }
    if doubled := [f"{key} in {' and '.join(its)}" for key, its in days.items() if len(its) > 1]:
        yield f"{table}: {len(doubled)} records are there twice: {_some(doubled)}"
    before, changed = asked.before[name], asked.changed[name]
    expected = {key for key, row in before.items() if _day_of(record_type, row) in set(asked.record_days)}
    if complete and (lost := (expected - changed | asked.was_there[name]) - rows.keys()):
        yield f"{table}: {len(lost)} records are lost: {_some(lost)}"
    if strange := rows.keys() - expected:
        yield f"{table}: {len(strange)} records are there that should not be: {_some(strange)}"
    if other := [key for key, row in rows.items() if key in before and row != before[key]]:
        yield f"{table}: {len(other)} records are not as they were sent: {_some(other)}"


def warehouse_differences(system: System) -> list[str]:
    """The warehouse's tables, held against those that a build makes that has only the lake."""
    settings = system.settings
    # First: a file that somebody wrote into is made anew by the next build.
    here = _tables(warehouse_of(settings).file)
    making = Making(settings.timezone, visit_columns(settings), settings.drchrono_timezone)
    with tempfile.TemporaryDirectory(prefix="whole-") as name:
        whole = Warehouse(Path(name), Lake(system.data / "lake"), lake_tables(settings), making)
        whole.build()
        there = _tables(whole.file)
    return [
        f"warehouse: {table} is not as a build of the whole lake makes it"
        for table in sorted(here.keys() | there.keys())
        if here.get(table) != there.get(table)
    ]


def published_differences(system: System) -> list[str]:
    """The published tables, held against the warehouse's, cell by cell."""
    settings = system.settings
    publication, url = publication_of(settings), settings.publish_url
    assert publication is not None
    assert url is not None
    here = _tables(warehouse_of(settings).file)
    lines = []
    with psycopg.connect(url.reveal(), autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for model in published_models(settings):
            name = f"{publication.schemas[model.schema]}.{model.name}"
            columns = ", ".join(f'"{column}"' for column in here[model.full_name].columns)
            rows = connection.execute(f"SELECT {columns} FROM {name}".encode()).fetchall()
            if Counter(map(_shown, rows)) != here[model.full_name].rows:
                lines.append(f"published: {name} has {len(rows)} rows that are not all the warehouse's")
    return lines


class _Table(NamedTuple):
    """A table of the warehouse; its rows as text."""

    columns: list[str]
    rows: Counter[str]


def _tables(file: Path) -> dict[str, _Table]:
    """All of `current` and `marts`."""
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        names = connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables "
            "WHERE table_schema IN ('current', 'marts')"
        ).fetchall()
        tables = {}
        for (name,) in names:
            described = connection.execute(f"DESCRIBE {name}").fetchall()
            # What PostgreSQL has no type for, it keeps as text.
            cells = [
                f'"{column}"::VARCHAR' if kind == "HUGEINT" or kind.endswith("[]") else f'"{column}"'
                for column, kind, *_ in described
            ]
            rows = connection.execute(f"SELECT {', '.join(cells)} FROM {name}").fetchall()
            tables[name] = _Table([column for column, *_ in described], Counter(map(_shown, rows)))
        return tables


def _shown(row: tuple[Any, ...]) -> str:
    """As text, since NaN equals nothing; times in one zone object."""
    return repr([cell.astimezone(UTC) if isinstance(cell, datetime) else cell for cell in row])


def _rows(file: Path, columns: list[str]) -> Cells:
    """A partition's rows as a multiset of those columns; nothing of a partition with others."""
    frame = pl.read_parquet(file, glob=False, hive_partitioning=False).drop(LINEAGE_COLUMNS)
    return Counter(frame.select(columns).rows()) if set(frame.columns) == set(columns) else Counter()


def _days_that_differ(table: Table, there: list[str], expected: list[str]) -> Iterator[str]:
    if missing := set(expected) - set(there):
        yield f"{table}: {len(missing)} days are missing: {_some(missing)}"
    if strange := set(there) - set(expected):
        yield f"{table}: {len(strange)} days are there that should not be: {_some(strange)}"


def _rows_that_differ(table: Table, day: str, rows: Cells, truth: Cells) -> str:
    return (
        f"{table} {day}: {rows.total()} rows, at the vendor {truth.total()}; {(truth - rows).total()} of "
        f"them are not there, {(rows - truth).total()} are others"
    )


def _day_of(record_type: RecordType, row: Row) -> str:
    return str(row[f"{record_type.changed}_text"])[:10]


def _next(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def _some(names: Any) -> str:
    shown = sorted(names)
    return ", ".join(shown[:_SHOWN]) + (" …" if len(shown) > _SHOWN else "")
