"""The questions to the API of provider histories.

Belongs here: which pages are asked for. Does not belong here: what follows from them
(`history_findings.py`).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo

from health_pipelines.dexcare.histories.client import HistoryPage, HistorySearch, ProviderHistoriesClient
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.histories.sweep import PAGE_ROWS
from health_pipelines.dexcare.probe import history_findings as found
from health_pipelines.dexcare.probe.time_fields import TimeFields, searched
from health_pipelines.http import PermanentError, RefusedError, origin_of
from health_pipelines.landing.calendar import day_window
from health_pipelines.probe.allowance import Allowance
from health_pipelines.probe.finding import Finding
from health_pipelines.probe.questions import Probe, Question
from health_pipelines.probe.waits import Waits
from health_pipelines.settings.variables import DEXCARE_APR_BASE_URL, DEXCARE_BASE_URL

# A quarter of a small tenant is more than one page, and costs no more than a day.
DAYS = 90
# Of a page, where rows are spread evenly: so that the window before the end is one page, and has rows.
_PART_OF_A_PAGE = 0.25
# The largest limit, without one if that is refused, the default, the same again, the end of a window.
_MOST_CALLS = 5


class _Histories:
    """What is known so far, all of one window."""

    def __init__(self, client: ProviderHistoriesClient, zone: tzinfo, start: datetime, end: datetime) -> None:
        self._client = client
        self._zones = (UTC, zone)
        self._start, self._end = start, end
        self._limit: int | None = PAGE_ROWS
        self._page = HistoryPage(0, ())

    def questions(self) -> Sequence[Question]:
        return (
            Question((found.LARGEST,), self._largest),
            Question((found.DEFAULT,), self._default),
            Question((found.ORDER,), self._order),
            Question((found.END,), self._end_of_window),
        )

    async def _largest(self) -> list[Finding]:
        try:
            self._page = await self._ask(self._start, self._end, self._limit)
        except RefusedError as error:
            if "limit" not in str(error).lower():
                raise
            self._limit = None
            self._page = await self._ask(self._start, self._end, None)
        return [found.largest_found(self._page, refused=self._limit is None)]

    async def _default(self) -> list[Finding]:
        self._refuse_nothing()
        return [found.default_found(await self._ask(self._start, self._end, None))]

    async def _order(self) -> list[Finding]:
        self._refuse_nothing()
        again = await self._ask(self._start, self._end, self._limit)
        return [found.order_found(self._page, again, _times(self._page))]

    async def _end_of_window(self) -> list[Finding]:
        self._refuse_nothing()
        times = _times(self._page)
        readings = searched(times, self._start, self._end, self._zones)
        end = found.boundary(times, readings)
        if end is None:
            raise PermanentError("No field is a time within the window in every row.")
        rows_a_day = self._page.count / DAYS
        before = timedelta(days=len(self._page.rows) * _PART_OF_A_PAGE / rows_a_day)
        cut = await self._ask(end - before, end, self._limit)
        return [found.end_found(cut, _times(cut), readings, end)]

    async def _ask(self, start: datetime, end: datetime, limit: int | None) -> HistoryPage:
        return await self._client.page(start, end, HistorySearch(), offset=0, limit=limit)

    def _refuse_nothing(self) -> None:
        if not self._page.rows:
            raise PermanentError(f"There is no provider history in the last {DAYS} days.")


def _times(page: HistoryPage) -> Mapping[str, Sequence[datetime]]:
    fields = TimeFields()
    for row in page.rows:
        fields.take(row.items())
    return fields.times


@asynccontextmanager
async def _opened(allowance: Allowance, waits: Waits) -> AsyncIterator[Sequence[Question]]:
    resource = ProviderHistoriesResource()
    zone = resource.timezone
    today = waits.now().astimezone(zone).date()
    start = day_window((today - timedelta(days=DAYS)).isoformat(), zone).start
    end = day_window((today - timedelta(days=1)).isoformat(), zone).end
    async with resource.client(allowance) as client:
        yield _Histories(client, zone, start, end).questions()


HISTORIES_PROBE = Probe(
    "provider histories",
    "dexcare",
    _MOST_CALLS,
    f"pages of {DAYS} days",
    (found.LARGEST, found.DEFAULT, found.ORDER, found.END),
    not_set_up=lambda settings: (
        None
        if settings.has_provider_histories
        else f"Neither {DEXCARE_BASE_URL.name} nor {DEXCARE_APR_BASE_URL.name} is set."
    ),
    host=lambda settings: origin_of(settings.dexcare_apr_base_url),
    opened=_opened,
)
