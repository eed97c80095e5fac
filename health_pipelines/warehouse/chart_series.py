"""What the charts of the marts show: the numbers, and the fact that each chart's title says.

Belongs here: which days and ages are shown, and what is left out because too few people make it up. Does not
belong here: how it is drawn (`charts.py`), and what a mart is (`models`).

A chart leaves the lake for Dagster's event log. So a wait or a sum of money of fewer than `FEWEST` visits or
patients is not in it: it would nearly be one person's. Counts of all visits of a day are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

DAYS = 90
# What the US Centers for Medicare & Medicaid Services ask of tables that leave them.
FEWEST = 11
REPORT_TYPES = ("virtual", "retail", "provider_booking")
AGES = ("0-30", "31-60", "61-90", "91-120", ">120")

# Up to the newest day that landed: bookings for days to come would look like a fall.
_WINDOW = f"""
    SELECT max(_partition_date) - {DAYS - 1} AS first_day, max(_partition_date) AS last_day FROM marts.visits
"""


@dataclass(frozen=True)
class VisitsPerDay:
    """`days`: every day from the first one with visits to the newest that landed. `visits`: by report type,
    a count for each of them."""

    days: tuple[date, ...]
    visits: Mapping[str, tuple[int, ...]]

    @property
    def fact(self) -> str:
        every, last = sum(map(sum, self.visits.values())), sum(one[-1] for one in self.visits.values())
        days = "1 day" if len(self.days) == 1 else f"{len(self.days)} days"
        return f"{every:,} visits in {days}, {last:,} of them on {_day(self.days[-1])}"


@dataclass(frozen=True)
class Waits:
    """How long half and nine of ten of the visits of a report type waited at most, in minutes.

    For each of `days`, which are without gaps; None where fewer than `FEWEST` waits are known.
    """

    report_type: str
    days: tuple[date, ...]
    median: tuple[float | None, ...]
    p90: tuple[float | None, ...]

    @property
    def fact(self) -> str:
        last = max(place for place, value in enumerate(self.median) if value is not None)
        return (
            f"{spoken(self.report_type)}: half waited up to {_minutes(self.median[last])}, "
            f"nine of ten up to {_minutes(self.p90[last])} on {_day(self.days[last])}"
        )


@dataclass(frozen=True)
class Receivables:
    """What is owed, in dollars, by age in days; None where it is owed for fewer than `FEWEST` patients."""

    as_of: date
    ages: tuple[str, ...]
    insurer: tuple[float | None, ...]
    patient: tuple[float | None, ...]

    @property
    def fact(self) -> str:
        # Only of what is shown: the rest would follow from the sum.
        insurers, patients = sum(filter(None, self.insurer)), sum(filter(None, self.patient))
        return f"Insurers owe {_dollars(insurers)}, patients {_dollars(patients)} on {_day(self.as_of)}"


def visits_per_day(connection: duckdb.DuckDBPyConnection) -> VisitsPerDay | None:
    """None without visits whose day is known."""
    rows = _rows(
        connection,
        f"""
        SELECT day, report_type, sum(visits)::BIGINT, last_day
        FROM marts.daily_visits, ({_WINDOW}) WHERE day BETWEEN first_day AND last_day
        GROUP BY ALL ORDER BY ALL
        """,
    )
    if not rows:
        return None
    days = _days(rows[0][0], rows[0][-1])
    counts = {(day, report_type): count for day, report_type, count, _ in rows}
    types = [one for one in REPORT_TYPES if any(one == report_type for _, report_type in counts)]
    return VisitsPerDay(days, {one: tuple(counts.get((day, one), 0) for day in days) for one in types})


def waits(connection: duckdb.DuckDBPyConnection) -> tuple[Waits, ...]:
    """One for each report type of which waits can be shown, all over the same days."""
    rows = _rows(
        connection,
        f"""
        SELECT visit_day, report_type, quantile_cont(wait_seconds, [0.5, 0.9]) AS quantiles, last_day
        FROM marts.visits, ({_WINDOW}) WHERE visit_day BETWEEN first_day AND last_day AND wait_seconds >= 0
        GROUP BY ALL HAVING count(*) >= {FEWEST} ORDER BY ALL
        """,
    )
    found = {(day, report_type): quantiles for day, report_type, quantiles, _ in rows}
    days = _days(rows[0][0], rows[0][-1]) if rows else ()

    def minutes(report_type: str, quantile: int) -> tuple[float | None, ...]:
        of_days = (found.get((day, report_type)) for day in days)
        return tuple(None if both is None else both[quantile] / 60 for both in of_days)

    types = [one for one in REPORT_TYPES if any(one == report_type for _, report_type in found)]
    return tuple(Waits(one, days, minutes(one, 0), minutes(one, 1)) for one in types)


def receivables(connection: duckdb.DuckDBPyConnection) -> Receivables | None:
    """None if nothing is owed, or nothing that can be shown."""
    rows = _rows(
        connection,
        """
        SELECT age, any_value(as_of_day), sum(patients), sum(insurer_balance)::DOUBLE,
               sum(patient_balance)::DOUBLE
        FROM marts.aging_receivables GROUP BY age
        """,
    )
    if all(patients < FEWEST for _, _, patients, _, _ in rows):
        return None
    of_age = {age: (patients, insurer, patient) for age, _, patients, insurer, patient in rows}
    ages = (*AGES, *(["unknown"] if "unknown" in of_age else []))

    def shown(who: int) -> tuple[float | None, ...]:
        every = [of_age.get(age, (FEWEST, 0.0, 0.0)) for age in ages]
        return tuple(one[who] if one[0] >= FEWEST else None for one in every)

    return Receivables(rows[0][1], ages, shown(1), shown(2))


def spoken(report_type: str) -> str:
    return report_type.replace("_", " ")


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def _days(first: date, last: date) -> tuple[date, ...]:
    return tuple(first + timedelta(days=number) for number in range((last - first).days + 1))


def _day(day: date) -> str:
    return f"{day:%b} {day.day}, {day.year}"


def _dollars(value: float) -> str:
    return f"{'-' if value < 0 else ''}${abs(value):,.0f}"


def _minutes(value: float | None) -> str:
    assert value is not None
    return f"{value:.0f} min"
