"""Reading a whole window of provider histories, and the proof that it is whole.

Belongs here: which pages remain, and whether what came can be believed. Does not belong here: Dagster, and
how a page is asked for (`client.py`).

Each page is a search of its own at a moment of its own. A row that comes or goes between two of them moves
all later rows: one is read twice, or never, and every page looks perfect. So this is what is believed:

- One page with as many different rows as its count: one answer is one moment.
- Several pages whose counts are all equal to the number of different rows, if the reading before brought
  the same rows. Why twice: a row that went and another that came leave the count alone and can hide a
  third between them. But a row which both readings saw was there when the second began (an id that went
  does not come back), and at that moment the count was exactly the number of such rows: so they are all.

Neither needs to know the order of the rows, which is not documented.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from health_pipelines.dexcare.connection import UnexpectedAnswerError
from health_pipelines.dexcare.histories.client import HistoryPage
from health_pipelines.http import RefusedError, TransientError, VendorError
from health_pipelines.http.fan_out import for_each
from health_pipelines.lake.json_partition import JsonRow, value_text

# What is asked for; the server cuts it to its own largest page.
PAGE_ROWS = 1000
ATTEMPTS = 4

ReadPage = Callable[[int, int | None], Awaitable[HistoryPage]]
"""Reads the page at an offset; the second argument is the limit, None for the server's own."""


class IncompleteHistoriesError(TransientError):
    """What came cannot be proven to be all; the message says which two numbers do not agree."""


@dataclass(frozen=True)
class Histories:
    """Every row of a window, each once; how often the window was read, and in how many pages in all."""

    rows: list[JsonRow]
    readings: int
    pages: int


@dataclass(frozen=True)
class Span:
    """Rows by their place in the search: from `start` to before `end`."""

    start: int
    end: int


@dataclass
class Reading:
    """What one reading of the window has brought so far."""

    counts: list[int] = field(default_factory=list)
    """The count on each page, in the order of the answers."""
    rows: dict[str, JsonRow] = field(default_factory=dict)
    """By the text of the id. Of a row that came twice the later answer is kept."""

    def take(self, page: HistoryPage) -> None:
        self.counts.append(page.count)
        self.rows.update({value_text(row["id"]) or "": row for row in page.rows})

    @property
    def is_spoiled(self) -> bool:
        """Whether rows came or went meanwhile, so that reading on is pointless."""
        return self.counts[-1] != self.counts[0]


@dataclass(frozen=True)
class Doubt:
    """Why a reading is not believed. `moved`: something changed while it was read."""

    reason: str
    moved: bool = True


def spans_after(came: int, count: int) -> list[Span]:
    """What remains of `count` rows when the first page brought `came`, in pages of that size."""
    if not came:
        return []
    return [Span(start, min(start + came, count)) for start in range(came, count, came)]


def rest_of(span: Span, came: int) -> Span | None:
    """What remains of a span whose first `came` rows have come."""
    return Span(span.start + came, span.end) if span.start + came < span.end else None


def doubt_about(reading: Reading, before: Reading | None) -> Doubt | None:
    """Why a reading cannot be believed, given the one before; None if it is proven (see above)."""
    count, different = reading.counts[0], len(reading.rows)
    other = next((one for one in reading.counts if one != count), None)
    if other is not None:
        return Doubt(f"the count was {count} on one page and {other} on another")
    if different != count:
        return Doubt(f"{different} different rows came where the count is {count}")
    if len(reading.counts) == 1:
        return None
    if before is None:
        return Doubt(f"{count} rows were read once only, in {len(reading.counts)} pages", moved=False)
    gone, new = before.rows.keys() - reading.rows.keys(), reading.rows.keys() - before.rows.keys()
    if gone or new:
        return Doubt(f"of {count} rows {len(new)} were not there in the reading before")
    return None


async def read_window(
    read_page: ReadPage,
    *,
    at_once: int,
    attempts: int = ATTEMPTS,
    pause_seconds: float = 1.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Histories:
    """Read every page, `at_once` at a time, until the rows are proven to be all.

    The window is read up to `attempts` times; after a reading during which something moved there is a
    pause, which doubles. Raises `IncompleteHistoriesError` when that did not suffice, and whatever
    `read_page` raises; `UnexpectedAnswerError` for an empty page where its own count says there are rows.
    """
    before: Reading | None = None
    doubt: Doubt | None = None
    pages = 0
    for attempt in range(1, attempts + 1):
        if doubt is not None and doubt.moved:
            await sleep(pause_seconds)
            pause_seconds *= 2
        reading = await _read_once(read_page, at_once)
        pages += len(reading.counts)
        doubt = doubt_about(reading, before)
        if doubt is None:
            return Histories(list(reading.rows.values()), readings=attempt, pages=pages)
        before = reading
    assert doubt is not None, "at least one attempt"
    raise IncompleteHistoriesError(
        f"DexCare's provider histories did not settle in {attempts} readings: {doubt.reason}."
    )


async def _read_once(read_page: ReadPage, at_once: int) -> Reading:
    reading = Reading()
    errors: list[VendorError] = []

    async def read_span(planned: Span) -> None:
        span: Span | None = planned
        while span is not None and not reading.is_spoiled and not errors:
            try:
                page = await read_page(span.start, span.end - span.start)
                _refuse_early_end(page, span.start)
            except VendorError as error:
                errors.append(error)
                return
            reading.take(page)
            span = rest_of(span, len(page.rows))

    first = await _first_page(read_page)
    _refuse_early_end(first, 0)
    reading.take(first)
    await for_each(spans_after(len(first.rows), first.count), read_span, at_once=at_once)
    if errors:
        raise errors[0]
    return reading


async def _first_page(read_page: ReadPage) -> HistoryPage:
    try:
        return await read_page(0, PAGE_ROWS)
    except RefusedError as error:
        # Whether a limit beyond the server's largest is cut or refused is not documented.
        if "limit" not in str(error).lower():
            raise
        return await read_page(0, None)


def _refuse_early_end(page: HistoryPage, offset: int) -> None:
    if not page.rows and page.count > offset:
        raise UnexpectedAnswerError(
            f"DexCare answered no provider histories at offset {offset} although it counts {page.count}."
        )
