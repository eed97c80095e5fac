"""Which runs land what is ready: as few as possible. Pure.

Belongs here: turning ready days of several tables into runs over ranges. Does not belong here: finding out
what is ready, and Dagster's run requests (`sensor.py`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from health_pipelines.dexcare.ledger import OpenTicket
from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.partitions import ranges

# A run may span this many days in a row that have nothing to land. A run costs about 5 s of CPU to start, a
# day in its range a few milliseconds.
WIDEST_GAP_DAYS = 31


@dataclass(frozen=True)
class LandingRun:
    """One run: land what is ready from `first_day` to `last_day` for these reports.

    `many_days`: whether the range may hold days that are not meant. `digest` stands for exactly the reports
    (and their failed landings so far) that the run is for, so that the same run is not requested twice.
    """

    reports: tuple[VisitReport, ...]
    first_day: str
    last_day: str
    many_days: bool
    digest: str


def plan(ready: Mapping[VisitReport, Iterable[OpenTicket]]) -> list[LandingRun]:
    """The runs for everything that is ready.

    A day whose landing failed before gets a run of its own (with neighbours that failed too), which fails
    if it fails: in the UI that day is then red, and no other.
    """
    fresh = {report: [one for one in tickets if one.failure is None] for report, tickets in ready.items()}
    failed = {report: [one for one in tickets if one.failure] for report, tickets in ready.items()}
    return [*_shared_runs(fresh), *_own_runs(failed)]


def _shared_runs(ready: Mapping[VisitReport, list[OpenTicket]]) -> list[LandingRun]:
    """Ranges of different tables that overlap or nearly meet become one run over all of their days."""
    all_days = [one.ticket.day for tickets in ready.values() for one in tickets]
    runs = []
    for span in ranges(all_days, widest_gap=WIDEST_GAP_DAYS):
        within = {
            report: [one for one in tickets if span.start <= one.ticket.day <= span.end]
            for report, tickets in ready.items()
        }
        reports = tuple(report for report, tickets in within.items() if tickets)
        tickets = [one for some in within.values() for one in some]
        runs.append(LandingRun(reports, span.start, span.end, many_days=True, digest=_digest(tickets)))
    return runs


def _own_runs(ready: Mapping[VisitReport, list[OpenTicket]]) -> list[LandingRun]:
    runs = []
    for report, tickets in ready.items():
        for span in ranges((one.ticket.day for one in tickets), widest_gap=0):
            meant = [one for one in tickets if span.start <= one.ticket.day <= span.end]
            runs.append(LandingRun((report,), span.start, span.end, many_days=False, digest=_digest(meant)))
    return runs


def _digest(tickets: list[OpenTicket]) -> str:
    names = sorted(f"{one.ticket.report_id}:{one.failure.count if one.failure else 0}" for one in tickets)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
