"""What the warehouse costs at 1, 10 and 100 million visits, and what other ways of keeping a model would.

    make benchmark-warehouse                       1 and 10 million
    make benchmark-warehouse MILLIONS="1 10 100"   needs 60 GB of disk and an hour or so

For each size: day files that DuckDB makes up (one visit in twenty is found again by the next day), a first
build, a refresh after the last ten days landed again with changes, and one after nothing changed. Then the
same answers from a view that finds the newest versions in each query, and from summaries in Parquet, one a
partition.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import VisitColumns
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.making import Making
from health_pipelines.warehouse.published import BuildReport

DAYS, LANDED_AGAIN = 730, 10
FIRST = date(2024, 1, 1)
TABLE = VISIT_REPORTS[0].table
NAMED = VisitColumns("visit_id", "scheduled_at", "state", "entered_at", "left_at")
QUERY = "SELECT visit_day, status, count(*) FROM {source} GROUP BY ALL"
ONE_DAY = "SELECT count(*), count(DISTINCT status) FROM {source} WHERE visit_day = DATE '2025-06-01'"


class Lot:
    """So many visits in a lake of their own."""

    def __init__(self, folder: Path, visits: int) -> None:
        self.folder, self.visits = folder, visits
        self.lake = Lake(folder / "lake")
        making = Making(ZoneInfo("America/Chicago"), {"virtual": NAMED})
        self.warehouse = Warehouse(folder, self.lake, [report.table for report in VISIT_REPORTS], making)

    def land(self, first: int, last: int, *, extracted: datetime, state: str) -> None:
        a_day = self.visits // DAYS
        with duckdb.connect() as connection:
            for number in range(first, last):
                day = FIRST + timedelta(days=number)
                file = self.lake.partition_file(TABLE, day.isoformat())
                file.parent.mkdir(parents=True, exist_ok=True)
                beside = file.with_name(".candidate")
                # From a twentieth before its own first visit on: those of the day before, found again.
                begin, end = max(0, number * a_day - a_day // 20), (number + 1) * a_day
                connection.execute(
                    f"""
                    COPY (
                        SELECT md5(i::VARCHAR) AS visit_id, moment::VARCHAR AS scheduled_at,
                               CASE WHEN i % 7 = 0 THEN 'cancelled' ELSE '{state}' END AS state,
                               moment::VARCHAR AS entered_at,
                               (moment + to_seconds(i * 7919 % 2400))::VARCHAR AS left_at,
                               (i * 31 % 100000)::VARCHAR AS patient_id, (i % 400)::VARCHAR AS provider_id,
                               'Region ' || i % 12 AS region_name,
                               DATE '{day}' AS _partition_date, 'report' AS _report_id,
                               TIMESTAMPTZ '{extracted.isoformat()}' AS _extracted_at
                        FROM (SELECT i, TIMESTAMP '{FIRST}' + to_days((i // {a_day})::INTEGER)
                                     + to_seconds(i * 7907 % 86400) AS moment
                              FROM range({begin}, {end}) AS numbers(i))
                    ) TO '{beside}' (FORMAT parquet, COMPRESSION zstd)
                    """
                )
                beside.replace(file)

    def ask(self, source: str, query: str = QUERY) -> float:
        with duckdb.connect(str(self.warehouse.file), read_only=True) as connection:
            return _seconds(lambda: connection.execute(query.format(source=source)).fetchall())


def _seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def measure(folder: Path, millions: int) -> None:
    lot = Lot(folder, millions * 1_000_000)
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    landing = _seconds(lambda: lot.land(0, DAYS, extracted=new_year, state="scheduled"))
    lake_bytes = sum(file.stat().st_size for file in lot.lake.partition_files(TABLE))
    print(f"\n{millions} million visits in {DAYS} days: {_mb(lake_bytes)} of Parquet ({landing:.0f} s)")

    first = _built(lot)
    lot.land(DAYS - LANDED_AGAIN, DAYS, extracted=datetime(2026, 1, 2, tzinfo=UTC), state="completed")
    refresh = _built(lot)
    idle = _built(lot)
    print(f"  {'warehouse.duckdb':38} {_mb(lot.warehouse.file.stat().st_size):>10}")
    for what, (report, seconds) in (("first build", first), ("refresh of ten days", refresh), ("idle", idle)):
        of_models = {model.name: model for model in report.models}
        current, daily = of_models["current.avr_virtual"], of_models["marts.daily_visits"]
        parts = (
            f"current.avr_virtual {current.seconds:.1f} s ({current.made}), "
            f"marts.daily_visits {daily.seconds:.1f} s ({daily.made})"
        )
        print(f"  {what:38} {seconds:8.2f} s" + (f"   {parts}" if report.published else ""))
    print(f"  {'query current.avr_virtual':38} {lot.ask('current.avr_virtual'):8.2f} s")
    print(f"  {'query one day of it':38} {lot.ask('current.avr_virtual', ONE_DAY):8.2f} s")
    print(f"  {'query marts.daily_visits':38} {_daily(lot):8.2f} s")
    _as_views(lot)
    _as_summaries(lot)


def _built(lot: Lot) -> tuple[BuildReport, float]:
    reports: list[BuildReport] = []
    seconds = _seconds(lambda: reports.append(lot.warehouse.build()))
    return reports[0], seconds


def _daily(lot: Lot) -> float:
    return lot.ask("marts.daily_visits", "SELECT day, sum(visits) FROM {source} GROUP BY ALL")


def _as_views(lot: Lot) -> None:
    """The newest versions found anew in every query, without a table."""
    newest = """(
        SELECT TRY_CAST(scheduled_at AS DATE) AS visit_day, state AS status FROM dexcare.avr_virtual
        QUALIFY row_number() OVER (
            PARTITION BY visit_id ORDER BY _extracted_at DESC, _partition_date DESC) = 1)"""
    print(f"  {'current as a view: query':38} {lot.ask(newest):8.2f} s")
    print(f"  {'current as a view: query one day of it':38} {lot.ask(newest, ONE_DAY):8.2f} s")


def _as_summaries(lot: Lot) -> None:
    """Beside each partition a file of what marts.daily_visits needs; the newest versions found in a query."""
    files = lot.lake.partition_files(TABLE)
    summaries = lot.folder / "summaries"
    summaries.mkdir()

    def summarize(some: list[Path]) -> None:
        with duckdb.connect() as connection:
            for file in some:
                connection.execute(
                    f"""
                    COPY (
                        SELECT hash(visit_id) AS visit, state AS status,
                               TRY_CAST(scheduled_at AS TIMESTAMP) AS scheduled_at,
                               epoch(left_at::TIMESTAMP - entered_at::TIMESTAMP) AS wait,
                               _partition_date, _extracted_at
                        FROM '{file}'
                    ) TO '{summaries / file.parent.name}.parquet' (FORMAT parquet, COMPRESSION zstd)
                    """
                )

    first = _seconds(lambda: summarize(files))
    again = _seconds(lambda: summarize(files[-LANDED_AGAIN:]))
    size = sum(file.stat().st_size for file in summaries.iterdir())
    source = f"""(
        SELECT scheduled_at::DATE AS visit_day, status, wait FROM '{summaries}/*.parquet'
        QUALIFY row_number() OVER (
            PARTITION BY visit ORDER BY _extracted_at DESC, _partition_date DESC) = 1)"""
    waits = "SELECT visit_day, status, count(*), quantile_cont(wait, [0.5, 0.9]) FROM {source} GROUP BY ALL"
    print(f"  {'summaries: made for all partitions':38} {first:8.2f} s   {_mb(size)}")
    print(f"  {'summaries: made for ten days':38} {again:8.2f} s")
    print(f"  {'daily_visits from summaries: query':38} {lot.ask(source, waits):8.2f} s")


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def main() -> None:
    for millions in [int(word) for word in sys.argv[1:]] or [1, 10]:
        folder = Path(tempfile.mkdtemp(prefix="warehouse-cost-"))
        try:
            free = shutil.disk_usage(folder).free
            if free < millions * 600_000_000:
                print(f"\n{millions} million visits: left out, since only {_mb(free)} of disk are free")
                continue
            measure(folder, millions)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
