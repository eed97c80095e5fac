"""Which runs follow from a round of polling: as few as possible. Pure.

Belongs here: turning verdicts on days into runs over ranges. Does not belong here: coming by the verdicts,
and Dagster's run requests (`sensor.py`).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import AssetKey

from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.dexcare.visits.poll import Polled
from health_pipelines.dexcare.visits.report import Verdict
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.calendar import ranges
from health_pipelines.landing.run_tags import GIVEN_UP, READY, RESTART

# A run may span this many days in a row that it has nothing to do for. A run costs about 5 s of CPU to start,
# a day in its range a few milliseconds.
WIDEST_GAP_DAYS = 31

Verdicts = Mapping[VisitReport, Sequence[Polled]]


@dataclass(frozen=True)
class PlannedRun:
    """One run of `assets` from `first_day` to `last_day`.

    `tables`, `reason`: what it is for, to filter runs by. `many_days`: the range may hold days that are not
    meant. `digest` stands for exactly the reports that the run is for, and what it does about them, so that
    the same run is not requested twice. `config` is the steps' configuration by asset.
    """

    assets: tuple[AssetKey, ...]
    tables: tuple[Table, ...]
    reason: str
    first_day: str
    last_day: str
    many_days: bool
    digest: str
    config: Mapping[AssetKey, Mapping[str, Any]] = field(default_factory=dict)


def plan(verdicts: Verdicts) -> list[PlannedRun]:
    """The runs for every verdict that asks for one.

    In the UI every day of a failed run's range is red. So a day whose landing failed before, or that is
    given up, gets a run of its own (with neighbours of the same fate), and a shared run never fails for it.
    """
    ready = _only(verdicts, lambda one: one.verdict is Verdict.LAND)
    return [
        *_shared_landings(_only(ready, lambda one: one.open_ticket.failure is None)),
        *_own_landings(_only(ready, lambda one: one.open_ticket.failure is not None)),
        *_restarts(_only(verdicts, lambda one: one.verdict.restarts)),
        *_give_ups(_only(verdicts, lambda one: one.verdict is Verdict.GIVE_UP)),
    ]


def _shared_landings(ready: Verdicts) -> list[PlannedRun]:
    """Ranges of different tables that overlap or nearly meet become one run over all of their days."""
    runs = []
    for span in ranges((_day(one) for some in ready.values() for one in some), widest_gap=WIDEST_GAP_DAYS):
        within = {
            report: [one for one in some if span.start <= _day(one) <= span.end]
            for report, some in ready.items()
        }
        assets = tuple(report.asset_key for report, some in within.items() if some)
        meant = [one for some in within.values() for one in some]
        tables = tuple(report.table for report, some in within.items() if some)
        digest = _digest("land", assets, meant)
        runs.append(PlannedRun(assets, tables, READY, span.start, span.end, True, digest))
    return runs


def _own_landings(ready: Verdicts) -> list[PlannedRun]:
    return [
        PlannedRun((key,), (report.table,), READY, first, last, False, _digest("land", (key,), meant))
        for report, first, last, meant in _spans(ready, widest_gap=0)
        for key in [report.asset_key]
    ]


def _restarts(verdicts: Verdicts) -> list[PlannedRun]:
    runs = []
    for report, first, last, meant in _spans(verdicts, widest_gap=WIDEST_GAP_DAYS):
        config = {
            "restart": {_day(one): one.open_ticket.ticket.report_id for one in meant},
            "late": [_day(one) for one in meant if one.verdict is Verdict.RESTART_LATE],
        }
        key = report.request_key
        digest = _digest("restart", (key,), meant)
        runs.append(PlannedRun((key,), (report.table,), RESTART, first, last, True, digest, {key: config}))
    return runs


def _give_ups(verdicts: Verdicts) -> list[PlannedRun]:
    runs = []
    for report, first, last, meant in _spans(verdicts, widest_gap=0):
        config = {"give_up": {_day(one): one.reason for one in meant}}
        key = report.request_key
        digest = _digest("give up", (key,), meant)
        runs.append(PlannedRun((key,), (report.table,), GIVEN_UP, first, last, False, digest, {key: config}))
    return runs


def _only(verdicts: Verdicts, wanted: Callable[[Polled], bool]) -> Verdicts:
    return {report: [one for one in some if wanted(one)] for report, some in verdicts.items()}


def _spans(verdicts: Verdicts, *, widest_gap: int) -> Iterable[tuple[VisitReport, str, str, list[Polled]]]:
    for report, some in verdicts.items():
        for span in ranges((_day(one) for one in some), widest_gap=widest_gap):
            meant = [one for one in some if span.start <= _day(one) <= span.end]
            yield report, span.start, span.end, meant


def _day(one: Polled) -> str:
    return one.open_ticket.ticket.day


def _digest(what: str, assets: tuple[AssetKey, ...], meant: Sequence[Polled]) -> str:
    # Runs are looked up by it among all of the instance: vendors of two places may give equal ids.
    keys = [key.to_user_string() for key in assets]
    tickets = [one.open_ticket for one in meant]
    names = sorted(f"{one.ticket.report_id}:{one.failure.count if one.failure else 0}" for one in tickets)
    return hashlib.sha256("\n".join([what, *keys, *names]).encode()).hexdigest()[:16]
