"""The questions to the API of visit reports.

Belongs here: what is started, waited for and downloaded. Does not belong here: what follows from it
(`visit_findings.py`). A body is held in memory for as long as it is counted, and written nowhere.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo

from health_pipelines.dexcare.probe import visit_findings as found
from health_pipelines.dexcare.probe.report_facts import ReportFacts, facts_of
from health_pipelines.dexcare.probe.time_fields import Reading, searched
from health_pipelines.dexcare.visits.client import (
    DexCareClient,
    ReportGoneError,
    ReportStatus,
    ReportType,
)
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.http import AccessDeniedError, PermanentError, RefusedError, origin_of
from health_pipelines.landing.calendar import day_window
from health_pipelines.probe.allowance import Allowance
from health_pipelines.probe.finding import Finding
from health_pipelines.probe.questions import Probe, Question
from health_pipelines.probe.waits import Waits, pauses
from health_pipelines.settings.variables import DEXCARE_BASE_URL

DAYS = 3
_LOOKS = 10
_REPORTS = len(ReportType) + 2
# Starts, looks at each, downloads of each, and one of them once more.
_MOST_CALLS = _REPORTS + _REPORTS * _LOOKS + _REPORTS + 1


class _Visits:
    """What is known so far. All reports are of the same window, but one."""

    def __init__(
        self, client: DexCareClient, waits: Waits, zone: tzinfo, start: datetime, end: datetime
    ) -> None:
        self._client = client
        self._waits = waits
        self._zones = (UTC, zone)
        self._start, self._end = start, end
        self._started: dict[ReportType, tuple[str, datetime]] = {}
        # Of the first report with rows, or else of the last without.
        self._type = ReportType.VIRTUAL
        self._report_id = ""
        self._facts = ReportFacts()
        self._downloaded_at = start
        self._readings: list[Reading] = []

    def questions(self) -> Sequence[Question]:
        return (
            Question((found.TYPES,), self._types),
            Question((found.TAKES, found.NULLS, found.SEARCHED), self._first_report),
            Question((found.ORDER,), self._order),
            Question((found.END,), self._end_of_window),
            Question((found.LIFE,), self._life),
        )

    async def _types(self) -> list[Finding]:
        refused = []
        for type_ in ReportType:
            try:
                started = await self._client.start_report(type_, self._start, self._end)
            except RefusedError:
                refused.append(type_.value)
            except AccessDeniedError:
                # A key that is good for another type is good.
                if not self._started:
                    raise
                refused.append(type_.value)
            else:
                self._started[type_] = started.report_id, self._waits.now()
        return [found.types_found([type_.value for type_ in self._started], refused)]

    async def _first_report(self) -> list[Finding]:
        takes: Finding | None = None
        for type_, (report_id, started_at) in self._started.items():
            earliest, latest = await self._done(report_id, started_at)
            takes = takes or found.takes_found(earliest, latest, DAYS)
            self._type, self._report_id = type_, report_id
            self._facts = await self._download(report_id)
            self._downloaded_at = self._waits.now()
            if self._facts.rows:
                break
        if takes is None:
            raise PermanentError("No report could be started.")
        self._readings = searched(self._facts.times.times, self._start, self._end, self._zones)
        return [takes, found.nulls_found(self._facts), found.searched_found(self._readings)]

    async def _order(self) -> list[Finding]:
        self._refuse_nothing()
        return [found.order_found(self._facts, await self._report_until(self._end))]

    async def _end_of_window(self) -> list[Finding]:
        self._refuse_nothing()
        end = found.boundary(self._facts, self._readings, self._start)
        if end is None:
            raise PermanentError("No row has a time on a whole second, where a window could end.")
        return [found.end_found(self._facts, await self._report_until(end), self._readings, end)]

    async def _life(self) -> list[Finding]:
        if not self._report_id:
            raise PermanentError("No report was downloaded.")
        age = (self._waits.now() - self._downloaded_at).total_seconds()
        await self._waits.sleep(max(0.0, self._waits.result - age))
        try:
            await self._client.download_report(self._report_id, lambda: lambda _: None)
            is_there = True
        except ReportGoneError:
            is_there = False
        age = (self._waits.now() - self._downloaded_at).total_seconds()
        return [found.life_found(is_there=is_there, age_seconds=age)]

    async def _report_until(self, end: datetime) -> ReportFacts:
        started = await self._client.start_report(self._type, self._start, end)
        await self._done(started.report_id, self._waits.now())
        return await self._download(started.report_id)

    async def _done(self, report_id: str, started_at: datetime) -> tuple[float, float]:
        """Wait for it. Its age at the last look that found it not done, and at the one that found it done."""
        before, status = 0.0, None
        for pause in pauses(self._waits.report, _LOOKS):
            await self._waits.sleep(pause)
            status = await self._client.report_status(report_id)
            age = (self._waits.now() - started_at).total_seconds()
            if status is ReportStatus.SUCCEEDED:
                return before, age
            before = age
        raise PermanentError(f"A report was {status} after {before:.0f} s; not waited longer.")

    async def _download(self, report_id: str) -> ReportFacts:
        body = bytearray()

        def begin() -> Callable[[bytes], None]:
            body.clear()
            return body.extend

        await self._client.download_report(report_id, begin)
        return facts_of(bytes(body))

    def _refuse_nothing(self) -> None:
        if not self._facts.rows:
            raise PermanentError(f"No report had a row in the last {DAYS} days.")


@asynccontextmanager
async def _opened(allowance: Allowance, waits: Waits) -> AsyncIterator[Sequence[Question]]:
    resource = DexCareResource()
    zone = resource.timezone
    today = waits.now().astimezone(zone).date()
    start = day_window((today - timedelta(days=DAYS)).isoformat(), zone).start
    end = day_window((today - timedelta(days=1)).isoformat(), zone).end
    async with resource.client(allowance) as client:
        yield _Visits(client, waits, zone, start, end).questions()


VISITS_PROBE = Probe(
    "DexCare",
    "dexcare",
    _MOST_CALLS,
    f"{_REPORTS} reports of {DAYS} days",
    (found.TYPES, found.TAKES, found.NULLS, found.SEARCHED, found.ORDER, found.END, found.LIFE),
    not_set_up=lambda settings: None if settings.has_dexcare else f"{DEXCARE_BASE_URL.name} is not set.",
    host=lambda settings: origin_of(settings.dexcare_base_url),
    opened=_opened,
)
