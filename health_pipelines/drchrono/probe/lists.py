"""The questions to DrChrono.

Belongs here: which lists are asked for. Does not belong here: what follows from them (`findings.py`,
`since.py`). Every call is counted in the quota that all runs share; nothing that came is written anywhere.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.api.client import DrChronoClient, ListDeadError, ListPage
from health_pipelines.drchrono.api.list_query import ListQuery
from health_pipelines.drchrono.probe import findings as found
from health_pipelines.drchrono.probe.findings import CHANGED, CREATED, Page
from health_pipelines.drchrono.probe.since import COUNTS, DAY, since_found
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES, RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.sweep.pages import LAST_PAGE
from health_pipelines.http import AccessDeniedError, NotFoundError, PermanentError, RefusedError, origin_of
from health_pipelines.landing.storage import Storage
from health_pipelines.probe.allowance import Allowance
from health_pipelines.probe.finding import Finding
from health_pipelines.probe.questions import Probe, Question
from health_pipelines.probe.waits import Waits, pauses
from health_pipelines.settings.variables import (
    DRCHRONO_ACCESS_TOKEN,
    DRCHRONO_CLIENT_ID,
)

_LOOKS = 6
_LISTS = 4
_RECORD_TYPES = (*RECORD_TYPES, LINE_ITEM_DELETIONS)
# A question to each type; lists with their looks; a renewal of the token, and the call it was refused.
_MOST_CALLS = len(_RECORD_TYPES) + _LISTS * (1 + _LOOKS) + 2
# Of days whose records are counted for order and size.
_MONTH = timedelta(days=30)
_DAY = timedelta(days=1)
_NONE_ASKED = "nothing: a sweep asks for the pages that there are"


class _Lists:
    """What is known so far. `readable`: the types that the account may read; all as long as nobody knows."""

    def __init__(self, client: DrChronoClient, allowance: Allowance, waits: Waits, zone: ZoneInfo) -> None:
        self._client = client
        self._allowance = allowance
        self._waits = waits
        self._zone = zone
        self._today = waits.now().astimezone(zone).date()
        self._readable: Sequence[RecordType] = _RECORD_TYPES
        self._longer: Page | None = None
        self._by_id: Page | None = None

    def questions(self) -> Sequence[Question]:
        return (
            Question((found.ACCESS,), self._access),
            Question((found.TAKES, found.TIME_ORDER, found.SPELLING), self._by_time),
            Question((COUNTS, DAY), self._since),
            Question((found.SIZE, found.LIST_ORDER), self._month),
            Question((found.BEYOND,), self._beyond_last),
            Question((found.THROTTLE,), self._throttle, asks_nothing=True),
        )

    async def _access(self) -> list[Finding]:
        refused: list[RecordType] = []
        error: AccessDeniedError | None = None
        for record_type in _RECORD_TYPES:
            try:
                await self._smallest(record_type)
            except AccessDeniedError as denied:
                if denied.status != 403:
                    raise
                error = denied
                refused.append(record_type)
        self._readable = [one for one in _RECORD_TYPES if one not in refused]
        if error is not None and not self._readable:
            raise error
        return [found.access_found([one.name for one in self._readable], [one.name for one in refused])]

    async def _smallest(self, record_type: RecordType) -> None:
        """Ask for what shows whether records may be read; nobody collects the list."""
        if record_type is LINE_ITEM_DELETIONS:
            async for _ in self._client.deletions(self._today):
                return
        else:
            await self._client.start(record_type, ListQuery(self._today, page_size=1))

    async def _by_time(self) -> list[Finding]:
        record_type = self._with_times()
        query = ListQuery(self._today - 2 * _DAY, order_by=CHANGED)
        self._longer, takes = await self._page(record_type, query)
        return [
            takes,
            found.time_order_found(self._longer, self._zone),
            found.spelling_found(self._longer, self._zone, self._waits.now()),
        ]

    async def _since(self) -> list[Finding]:
        if self._longer is None:
            raise PermanentError("The list to compare with did not come.")
        record_type, day = self._with_times(), self._today - _DAY
        shorter, _ = await self._page(record_type, ListQuery(day, order_by=CHANGED))
        return since_found(self._longer, shorter, day, self._zone, record_type.key)

    async def _month(self) -> list[Finding]:
        record_type = self._with_ids()
        self._by_id, _ = await self._page(record_type, ListQuery(self._today - _MONTH, order_by="id"))
        return [found.size_found(self._by_id), found.list_order_found(self._by_id, record_type.key)]

    async def _beyond_last(self) -> list[Finding]:
        if self._by_id is None:
            raise PermanentError("The list whose last page is meant did not come.")
        # Not the next: it may come to be meanwhile.
        number = self._by_id.pages + 2
        if number > LAST_PAGE:
            raise PermanentError(f"The list has {self._by_id.pages} pages.")
        record_type = self._with_ids()
        try:
            page, _ = await self._page(record_type, ListQuery(self._today - _MONTH, number, order_by="id"))
        except RefusedError as error:
            return [found.BEYOND.seen(f"refused with {error.status}")]
        except NotFoundError:
            return [found.BEYOND.seen("refused with 404")]
        except ListDeadError:
            return [found.BEYOND.seen("its list dies", holds=False, follows=_NONE_ASKED)]
        if not page.rows:
            return [found.BEYOND.seen("without records")]
        return [found.BEYOND.seen(f"{len(page.rows)} records come again", holds=False, follows=_NONE_ASKED)]

    async def _throttle(self) -> list[Finding]:
        allowance = self._allowance
        return [found.throttle_found(allowance.used, allowance.throttles, allowance.said_in)]

    async def _page(self, record_type: RecordType, query: ListQuery) -> tuple[Page, Finding]:
        """The page, and how long its list took."""
        uuid, started_at, before = await self._client.start(record_type, query), self._waits.now(), 0.0
        for pause in pauses(self._waits.list, _LOOKS):
            await self._waits.sleep(pause)
            page = await self._client.poll(record_type, uuid)
            age = (self._waits.now() - started_at).total_seconds()
            if page is not None:
                return _seen(page, record_type.page_size), found.takes_found(before, age, len(page.results))
            before = age
        raise PermanentError(f"A list was not done after {before:.0f} s; not waited longer.")

    def _with_times(self) -> RecordType:
        """A type whose records say when they were made and changed."""
        return self._first(lambda one: {CHANGED, CREATED} <= one.columns.keys())

    def _with_ids(self) -> RecordType:
        """Another, which can be sorted by id."""
        return self._first(lambda one: one.order_by == "id" and one.key == "id" and one.page_size == 1000)

    def _first(self, fits: Callable[[RecordType], bool]) -> RecordType:
        record_type = next((one for one in self._readable if fits(one)), None)
        if record_type is None:
            raise PermanentError("The account may read no record type that would show it.")
        return record_type


def _seen(page: ListPage, asked_size: int) -> Page:
    return Page(asked_size, page.page_size, page.pages, page.count, page.results)


@asynccontextmanager
async def _opened(allowance: Allowance, waits: Waits) -> AsyncIterator[Sequence[Question]]:
    resource = DrChronoResource()
    async with resource.client(
        Storage().drchrono, lambda _: None, within=allowance.inside, on_throttle=allowance.said_in.append
    ) as client:
        yield _Lists(client, allowance, waits, resource.timezone).questions()


DRCHRONO_PROBE = Probe(
    "DrChrono",
    "drchrono",
    _MOST_CALLS,
    f"{len(RECORD_TYPES) + _LISTS} lists, of up to 30 days",
    (
        found.ACCESS,
        found.TAKES,
        found.TIME_ORDER,
        found.SPELLING,
        COUNTS,
        DAY,
        found.SIZE,
        found.LIST_ORDER,
        found.BEYOND,
        found.THROTTLE,
    ),
    not_set_up=lambda settings: (
        None
        if settings.has_drchrono
        else f"Neither {DRCHRONO_ACCESS_TOKEN.name} nor {DRCHRONO_CLIENT_ID.name} is set."
    ),
    host=lambda settings: origin_of(settings.drchrono_base_url),
    opened=_opened,
)
