"""Comparing the lake and the warehouse with the sandbox's truth."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.dexcare.visits.client import vendor_time
from health_pipelines.landing.calendar import day_window
from health_pipelines_tests.support.sandbox_process import SandboxProcess

Rows = Counter[tuple[str | None, ...]]


def days_from(first: str, count: int) -> list[str]:
    start = date.fromisoformat(first)
    return [(start + timedelta(days=offset)).isoformat() for offset in range(count)]


def rows_in_warehouse(data: Path, report: VisitReport, columns: list[str]) -> dict[str, Rows]:
    """The rows of each landed day, as a multiset of the vendor's columns."""
    names = ", ".join(f'"{column}"' for column in columns)
    with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(
            f"SELECT _partition_date, {names} FROM {report.table.source}.{report.table.name}"
        ).fetchall()
    by_day: dict[str, Rows] = {}
    for day, *row in found:
        by_day.setdefault(day.isoformat(), Counter())[tuple(row)] += 1
    return by_day


def true_rows(
    sandbox: SandboxProcess, report: VisitReport, day: str, zone: ZoneInfo
) -> tuple[list[str], Rows]:
    """The columns and rows that the vendor has for a day."""
    window = day_window(day, zone)
    rows = sandbox.truth(report.type.value, vendor_time(window.start), vendor_time(window.end))
    columns = list(rows[0]) if rows else []
    return columns, Counter(tuple(row[column] for column in columns) for row in rows)
