"""A sweep: every record of one type that changed since a day, read page by page and proven to be all.

Belongs here: asking for the pages that are wanted, polling them when they should be done, and what is
believed at the end. Does not belong here: what a page proves (`page_proof.py`), which pages prove a
list to be whole (`pages.py`), Dagster, what becomes of the records (`drchrono/landing/staging.py`), and the
quota, which the client waits for by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.api.client import (
    DrChronoClient,
    ListDeadError,
    ListPage,
    UnexpectedAnswerError,
)
from health_pipelines.drchrono.api.list_query import ListQuery
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.journal import LIST_LIFE, Journal, Question
from health_pipelines.drchrono.sweep.page_proof import ProvenPage, is_sorted_by_change, proven_page
from health_pipelines.drchrono.sweep.page_shape import shape_of
from health_pipelines.drchrono.sweep.pages import (
    OVERLAP,
    ListTooLongError,
    Page,
    different_records,
    is_whole,
    next_pages,
    pages_over,
    pieces,
)
from health_pipelines.drchrono.sweep.swept import Swept
from health_pipelines.http import (
    AccessDeniedError,
    PermanentError,
    TransientError,
    UnreadableAnswerError,
    VendorError,
)
from health_pipelines.http.fan_out import for_each
from health_pipelines.http.json_text import read_json

# How often the pages that are missing are asked for before the list counts as one that does not settle.
ROUNDS = 6
# How often one page is asked for before what became of its lists counts as a failure.
LISTS_PER_PAGE = 4
# How often a sweep that cannot be believed begins anew.
ATTEMPTS = 2
# A list that is still being prepared at this age will not come any more.
_LONGEST_LIFE = LIST_LIFE + timedelta(minutes=5)
# Local times and clocks being what they are, a change from so long before the sweep may be one during it:
# five minutes between the vendor's clock and ours, and the hour that is there twice when clocks are set back.
_CLOCKS_MAY_DIFFER = timedelta(hours=1, minutes=5)


class IncompleteSweepError(TransientError):
    """What came cannot be proven to be all. The message says which numbers do not agree."""


class Sweep:
    """One sweep of `record_type`, for `question`, with its notes in `journal`."""

    def __init__(
        self,
        client: DrChronoClient,
        record_type: RecordType,
        question: Question,
        journal: Journal,
        pace: Pace,
        *,
        zone: ZoneInfo,
        at_once: int,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told_count: Callable[[int], None] = lambda _: None,  # may raise a `VendorError` to stop
    ) -> None:
        self._client = client
        self._record_type = record_type
        self._question = question
        self._journal = journal
        self._pace = pace
        self._zone = zone
        self._at_once = at_once
        self._now = now
        self._sleep = sleep
        self._told_count = told_count
        self._largest = record_type.page_size
        self._lists = 0
        self._running_since = now()
        self._read: list[ProvenPage] = []
        self._changes_move_records = is_sorted_by_change(record_type)
        # Records with equal change times have no order among each other.
        self._places_needed = 2 if self._changes_move_records else 1

    async def run(self) -> Swept:
        """Read until the pages are proven to hold every record that was there all the time.

        Raises `IncompleteSweepError` when they do not, `ListTooLongError`, and what the client raises. After
        the latter the journal holds what was read, for another try within the hour.
        """
        resumed = self._resume()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                if await self._read_until_whole():
                    break
                doubt = self._doubt()
                self._begin_anew()
                if attempt == ATTEMPTS:
                    raise IncompleteSweepError(doubt)
        except ListTooLongError:
            # It follows from what the pages say, a wrong count perhaps: another try has to read them anew.
            self._begin_anew()
            raise
        finally:
            self._pace.save()
        counts = [one.proof.count for one in self._read]
        return Swept(
            pages=list(self._journal.pages),
            records=self._different(),
            counts=(min(counts), max(counts)),
            lists=self._lists,
            resumed_pages=resumed,
            begun_at=self._journal.begun_at,
        )

    def _resume(self) -> int:
        """Take in what was read before a restart. Returns the number of pages."""
        try:
            for number, kept in enumerate(self._journal.pages):
                body = kept.path.read_bytes()
                parsed = read_json(body)
                pagination = parsed["pagination"]
                page = Page(pagination["page"], pagination["page_size"])
                self._take(page, pagination["count"], parsed["results"])
                self._journal.pages[number] = replace(kept, shape=shape_of(parsed["results"]))
        # The machine went down with it, or an earlier version of this program believed more.
        except (OSError, ValueError, LookupError, TypeError, RecursionError, UnexpectedAnswerError):
            self._begin_anew()
        return len(self._read)

    def _begin_anew(self) -> None:
        self._read.clear()
        self._journal.begin(self._question, self._now())

    async def _read_until_whole(self) -> bool:
        for _ in range(ROUNDS):
            wanted = next_pages(
                [one.proof for one in self._read], places_needed=self._places_needed, largest=self._largest
            )
            if not wanted or self._stood_still_and_adds_up():
                break
            await self._read_all(wanted)
        if self._stood_still_and_adds_up():
            return True
        # What stood still has to add up, however well its pages meet. (More than its count is no doubt: where
        # no change times are sent, one record may have gone and another come.)
        lacks_some = self._stood_still() and self._different() < self._read[0].proof.count
        is_proven = not lacks_some and is_whole(
            [one.proof for one in self._read], places_needed=self._places_needed
        )
        if is_proven and self._changes_move_records and len(self._read) > 1:
            return await self._read_what_moved()
        return is_proven

    async def _read_what_moved(self) -> bool:
        """Read the new end of a list that is sorted by change time: whatever changed meanwhile went there.

        Its untouched records are proven; one that changed between two pages may have left a page before it
        was read and entered another afterwards. So the end is read once more, from before the sweep began and
        in the order of time, so that what changes even now is still ahead. Returns whether that worked out.
        """
        began, rises = self._began(), next((one.rises for one in self._read if one.rises is not None), True)
        back, overlap = self._largest // 2, OVERLAP
        for _ in range(ROUNDS):
            count = self._read[-1].proof.count
            pages = (
                pages_over(count - back, count, self._largest, overlap)
                if rises
                else pages_over(0, back, self._largest, overlap)[::-1]
            )
            came = [one for page in pages if (one := await self._read_page(page))]
            if not came:
                continue
            oldest = came[0].oldest
            if back < count and (oldest is None or oldest >= began):
                back *= 4
                continue
            proofs = [one.proof for one in came]
            arrived = proofs[-1].reached_the_end if rises else proofs[-1].is_first
            if arrived and len(pieces(proofs, places_needed=self._places_needed)) == 1:
                return True
            # More than expected changed between two of them.
            overlap *= 5
        return False

    async def _read_all(self, wanted: Sequence[Page]) -> None:
        errors: list[VendorError | OSError] = []

        async def read(page: Page) -> None:
            if errors:
                return
            try:
                await self._read_page(page)
            except (VendorError, OSError) as error:  # of several at once the first says it
                errors.append(error)

        await for_each(wanted, read, at_once=self._at_once)
        if errors:
            raise errors[0]

    async def _read_page(self, page: Page) -> ProvenPage | None:
        """The page, or None if the list has become too short for it."""
        for lists in range(1, LISTS_PER_PAGE + 1):
            try:
                return self._accept(page, await self._list(page))
            except (PermanentError, UnreadableAnswerError) as error:
                # What was refused once would be refused again: another try has to ask for another list.
                if not isinstance(error, AccessDeniedError):
                    self._journal.note_dead(page, self._now())
                raise
            except ListDeadError:
                if lists == LISTS_PER_PAGE:
                    raise
                # Of a page that does not exist the list may die, too.
                if lists == LISTS_PER_PAGE // 2 and page.number > 1:
                    first = await self._read_page(Page(1, self._largest))
                    if first is not None and first.proof.count <= page.start:
                        return None
        raise AssertionError("at least one list")

    async def _list(self, page: Page) -> ListPage:
        """Have the vendor prepare the page, wait as long as that should take, and fetch it."""
        opened = self._journal.open_lists.get(page)
        if opened is None:
            query = ListQuery(
                since=self._question.since,
                page=page.number,
                page_size=page.size,
                verbose=self._question.verbose,
            )
            uuid = await self._client.start(self._record_type, query)
            self._lists += 1
            self._journal.note_posted(page, uuid, self._now())
            opened = self._journal.open_lists[page]
        try:
            return await self._fetch(page, opened.uuid, opened.posted_at)
        except ListDeadError:
            self._journal.note_dead(page, self._now())
            raise
        except TransientError:
            # A server's trouble is no refusal, but the list may be what troubles it: two runs are enough.
            if opened.posted_at < self._running_since:
                self._journal.note_dead(page, self._now())
            raise

    async def _fetch(self, page: Page, uuid: str, posted_at: datetime) -> ListPage:
        name, earliest_age = self._record_type.name, 0.0
        while True:
            age = await self._wait_until_due(page, posted_at, earliest_age)
            answer = await self._client.poll(self._record_type, uuid)
            is_first = not earliest_age
            if answer is not None:
                if is_first:
                    self._pace.was_done(name, page.size)
                else:
                    self._pace.was_late(name, page.size, age)
                return answer
            if self._now() - posted_at > _LONGEST_LIFE:
                raise ListDeadError(f"DrChrono has prepared a list of {name} for more than an hour.")
            earliest_age = self._pace.was_pending(name, page.size, age, first=is_first)

    async def _wait_until_due(self, page: Page, posted_at: datetime, earliest_age: float) -> float:
        """Returns the list's age in seconds. What other lists teach meanwhile counts for this one, too."""
        slept = 0.0
        while True:
            age = max((self._now() - posted_at).total_seconds(), slept)  # the clock may be set back
            due = earliest_age or self._pace.wait_seconds(self._record_type.name, page.size)
            if age >= due:
                return age
            await self._sleep(due - age)
            slept += due - age

    def _accept(self, asked: Page, answer: ListPage) -> ProvenPage:
        page = Page(answer.page, answer.page_size)
        said = f"DrChrono's list of {self._record_type.name}"
        if page.number != asked.number or not 0 < page.size <= asked.size:
            raise UnexpectedAnswerError(
                f"{said} is page {page.number} of {page.size} records where page {asked.number} of "
                f"{asked.size} was asked for."
            )
        if page.size < asked.size:
            # Less than asked for: the page is another one than was planned, and known as such.
            self._largest = min(self._largest, page.size)
        read = self._take(page, answer.count, answer.results)
        if len(answer.results) != read.proof.expected_records:
            self._read.remove(read)
            raise UnexpectedAnswerError(
                f"{said} has {len(answer.results)} records on page {page.number} of {page.size} where its "
                f"count of {answer.count} means {read.proof.expected_records}."
            )
        shape = shape_of(answer.results)
        self._journal.keep(asked, answer.uuid, answer.body, self._now(), shape)
        return read

    def _take(self, page: Page, count: int, results: Sequence[dict[str, Any]]) -> ProvenPage:
        self._told_count(count)
        read = proven_page(self._record_type, page, count, results, self._zone)
        self._read.append(read)
        return read

    def _stood_still(self) -> bool:
        """Whether nothing changed while the pages were read, as far as can be seen."""
        if len({one.proof.count for one in self._read}) != 1:
            return False
        if self._record_type.changed is None:
            return True
        began = self._began()
        return all(one.newest is None or one.newest < began for one in self._read)

    def _began(self) -> datetime:
        """Nothing that changed during the sweep has an earlier change time, in the account's local time."""
        began = self._journal.begun_at - _CLOCKS_MAY_DIFFER
        return began.astimezone(self._zone).replace(tzinfo=None)

    def _stood_still_and_adds_up(self) -> bool:
        """A second proof, for a list whose pages cannot meet because thousands changed in one second.

        Every record that came had changed before the sweep began, and whatever enters the list changes at
        that moment: so all of them were in the list when the first page was read. As many as its count: all.
        """
        if not self._read or not self._stood_still():
            return False
        return self._different() == self._read[0].proof.count

    def _different(self) -> int:
        return different_records(one.keys for one in self._read)

    def _doubt(self) -> str:
        counts = [one.proof.count for one in self._read]
        return (
            f"DrChrono's list of {self._record_type.name} did not settle: {self._different()} different "
            f"records came in {len(counts)} pages, whose counts are from {min(counts)} to {max(counts)}. "
            "The partitions are as they were; materialize them again when fewer records change."
        )
