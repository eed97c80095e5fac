"""The life of a report: QUEUED, RUNNING, SUCCEEDED, and its result gone some day. Pure: time is passed in.

Modelled on Athena's queue, whose vocabulary the vendor uses (guess): a limited number runs at once, the
others wait in the order in which they became ready. FAILED and CANCELLED never happen by themselves; they
are faults.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from health_pipelines.sandbox.seeding import stable_random
from health_pipelines.sandbox.settings import Settings, Span
from health_pipelines.sandbox.visits import VisitSearch


@dataclass
class Report:
    """One started report. All times in UTC."""

    id: str
    search: VisitSearch
    attempt: int
    """1 for the first report of this type and window, 2 for the next."""
    started_at: datetime
    asked: dict[str, object]
    """The body of the call that started it."""
    ready_at: datetime
    """Until then it is QUEUED even if nothing else runs."""
    run_time: timedelta
    runs_from: datetime | None = None
    downloads: int = 0

    @property
    def finishes_at(self) -> datetime | None:
        """When it succeeds; None while nobody can know, because it still waits for others."""
        return None if self.runs_from is None else self.runs_from + self.run_time

    def status(self, now: datetime) -> str:
        """The vendor's word. Right only after `ReportQueue.advance(now)`."""
        if self.runs_from is None:
            return "QUEUED"
        return "RUNNING" if now < self.runs_from + self.run_time else "SUCCEEDED"

    def has_expired(self, now: datetime, life_seconds: float) -> bool:
        """Whether the result is gone, `life_seconds` after the report succeeded."""
        return self.finishes_at is not None and now >= self.finishes_at + timedelta(seconds=life_seconds)


class ReportQueue:
    """All reports of the sandbox. Looking one up is O(1); one costs O(log n) once, as it starts and ends."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}
        self._attempts: Counter[object] = Counter()
        self._waiting: list[tuple[datetime, int, Report]] = []
        self._running: list[tuple[datetime, int]] = []
        self._simulated_until: datetime | None = None

    def __iter__(self) -> Iterator[Report]:
        return iter(self._reports.values())

    def next_attempt(self, search: VisitSearch) -> int:
        """Which attempt the next report of this type and window will be, counting from 1."""
        return self._attempts[search.type, search.window] + 1

    def start(
        self, report_id: str, search: VisitSearch, asked: dict[str, object], now: datetime, settings: Settings
    ) -> Report:
        """Take in a report; how long it queues and runs is drawn from its id."""
        self.advance(now, settings.max_running)
        rng = stable_random(report_id)
        report = Report(
            id=report_id,
            search=search,
            attempt=self.next_attempt(search),
            started_at=now,
            asked=asked,
            ready_at=now + _drawn(settings.queue_seconds, rng.random()),
            run_time=_drawn(settings.run_seconds, rng.random()),
        )
        self._attempts[search.type, search.window] += 1
        self._reports[report_id] = report
        heapq.heappush(self._waiting, (report.ready_at, len(self._reports), report))
        self.advance(now, settings.max_running)
        return report

    def get(self, report_id: str) -> Report | None:
        """The report of that id, if it was ever started here."""
        return self._reports.get(report_id)

    def advance(self, now: datetime, max_running: int) -> None:
        """Let everything happen that is due by `now`, in the order of time, each at its own moment."""
        while True:
            starts = self._next_start(max_running)
            ends = self._running[0][0] if self._running else None
            if starts is not None and starts <= now and (ends is None or starts < ends):
                _, number, report = heapq.heappop(self._waiting)
                report.runs_from = starts
                heapq.heappush(self._running, (starts + report.run_time, number))
                self._simulated_until = starts
            elif ends is not None and ends <= now:
                heapq.heappop(self._running)
                self._simulated_until = ends
            else:
                break
        self._simulated_until = now

    def _next_start(self, max_running: int) -> datetime | None:
        if not self._waiting or len(self._running) >= max_running:
            return None
        ready_at = self._waiting[0][0]
        return max(ready_at, self._simulated_until) if self._simulated_until else ready_at


def _drawn(span: Span, chance: float) -> timedelta:
    return timedelta(seconds=span.low + (span.high - span.low) * chance)
