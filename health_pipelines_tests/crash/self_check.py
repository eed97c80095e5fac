"""Whether the harness would see what it looks for: a good system is damaged in each way, and it must say so.

Belongs here: damage, one kind a function, undone afterwards. Does not belong here: finding it (`truth.py`,
`leftovers.py`).
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb
import polars as pl
import psycopg

from health_pipelines.lake.partitions import Lake, Table
from health_pipelines_tests.crash.leftovers import leftovers
from health_pipelines_tests.crash.system import System
from health_pipelines_tests.crash.truth import lake_differences, published_differences, warehouse_differences
from health_pipelines_tests.crash.work import Asked

VISITS, HISTORIES = Table("dexcare", "avr_virtual"), Table("dexcare", "provider_histories")
RECORDS = Table("drchrono", "appointments")
Damage = Callable[[System], AbstractContextManager[None]]


def damages_not_seen(asked: Asked) -> list[str]:
    """Names of the kinds of damage of which nothing was said. The system must be at rest and good."""

    def lake() -> list[str]:
        return lake_differences(asked, newest=True)

    def published() -> list[str]:
        return published_differences(asked.system)

    def left() -> list[str]:
        return leftovers(asked.system)

    kinds: Mapping[str, tuple[Damage, Callable[[], list[str]]]] = {
        "a row of a visit is lost": (_rows(VISITS, lambda rows: rows[1:]), lake),
        "a row of a visit is there twice": (_rows(VISITS, lambda rows: pl.concat([rows, rows[:1]])), lake),
        "half of a day is there": (_rows(HISTORIES, lambda rows: rows[: len(rows) // 2]), lake),
        "a record is lost": (_rows(RECORDS, lambda rows: rows[1:]), lake),
        "a record is in two days": (_record_in_two_days, lake),
        "a record has another value": (_rows(RECORDS, _with_another_value), lake),
        "a day is missing": (_day_is_missing, lake),
        "a table of the warehouse has a row less": (
            _warehouse_row,
            lambda: warehouse_differences(asked.system),
        ),
        "a published cell is another": (_published_cell, published),
        "a download is left": (_file("lake/dexcare/avr_virtual/date=2026-01-01/.download"), left),
        "a page of a sweep is left": (_file("drchrono/sweeps/appointments/page-00001.json"), left),
        "a file that was being built is left": (_file(".warehouse/building.duckdb"), left),
        "a claim is left": (_file("runs/00000000.run"), left),
    }
    unseen = []
    for name, (damage, look) in kinds.items():
        with damage(asked.system):
            if not look():
                unseen.append(name)
    return unseen


def _rows(table: Table, damaged: Callable[[pl.DataFrame], pl.DataFrame]) -> Damage:
    """Of the first day that has rows."""

    @contextmanager
    def damage(system: System) -> Iterator[None]:
        files = Lake(system.data / "lake").partition_files(table)
        file = next(one for one in files if pl.scan_parquet(one, glob=False).collect().height > 1)
        with _put_back(file):
            damaged(pl.read_parquet(file, glob=False, hive_partitioning=False)).write_parquet(file)
            yield

    return damage


def _with_another_value(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(status=pl.lit("another"))


@contextmanager
def _record_in_two_days(system: System) -> Iterator[None]:
    first, second, *_ = Lake(system.data / "lake").partition_files(RECORDS)
    with _put_back(second):
        both = [pl.read_parquet(one, glob=False, hive_partitioning=False) for one in (first, second)]
        pl.concat(both).write_parquet(second)
        yield


@contextmanager
def _day_is_missing(system: System) -> Iterator[None]:
    file = Lake(system.data / "lake").partition_files(VISITS)[-1]
    with _put_back(file):
        file.unlink()
        yield


@contextmanager
def _warehouse_row(system: System) -> Iterator[None]:
    file = system.data / "warehouse.duckdb"
    with _put_back(file):
        with duckdb.connect(str(file)) as connection:
            connection.execute(
                "DELETE FROM current.avr_virtual WHERE rowid = (SELECT min(rowid) FROM current.avr_virtual)"
            )
        yield


@contextmanager
def _published_cell(system: System) -> Iterator[None]:
    url = system.settings.publish_url
    assert url is not None
    one_row = "WHERE visit_id = (SELECT min(visit_id) FROM health_current.avr_virtual)"
    change = f"UPDATE health_current.avr_virtual SET status = %s {one_row}".encode()
    with psycopg.connect(url.reveal(), autocommit=True) as connection:
        ask = f"SELECT status FROM health_current.avr_virtual {one_row}".encode()
        [(status,)] = connection.execute(ask).fetchall()
        connection.execute(change, ["another"])
        yield
        connection.execute(change, [status])


def _file(path: str) -> Damage:
    @contextmanager
    def damage(system: System) -> Iterator[None]:
        file = system.data / path
        folders = [one for one in file.parents if not one.exists()]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        yield
        file.unlink()
        for folder in folders:
            folder.rmdir()

    return damage


@contextmanager
def _put_back(file: Path) -> Iterator[None]:
    beside = file.parents[1] / f"{file.name}.before"
    shutil.copy2(file, beside)
    try:
        yield
    finally:
        beside.replace(file)
