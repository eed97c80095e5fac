"""The life of a bulk list: In progress, Complete or dead, and gone after an hour. No HTTP; time is passed in.

Each list looks at the records once, at a moment of its own, and keeps what it found. Lists look in the order
of their moments, whenever anybody comes to see, so that two pages of one table see what happened in between.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from health_pipelines.sandbox.drchrono.changes import Change
from health_pipelines.sandbox.drchrono.collection import Record, View
from health_pipelines.sandbox.drchrono.kinds import KINDS, ListName
from health_pipelines.sandbox.drchrono.practice import Practice
from health_pipelines.sandbox.drchrono.queries import Query, wanted_by
from health_pipelines.sandbox.drchrono.settings import DrChronoSettings
from health_pipelines.sandbox.seeding import stable_random

DeadWord = Literal["Failed", "Canceled", "Error"]


@dataclass(frozen=True)
class Death:
    """A list that comes to nothing: its status, and the HTTP status with which that is told."""

    word: DeadWord = "Failed"
    http: Literal[200, 500] = 200
    detail: str = "An error occurred while generating the list."


@dataclass(frozen=True)
class Found:
    """What a list found."""

    count: int
    rows: tuple[Record, ...]

    def pages(self, page_size: int) -> int:
        """How many pages there are; an empty one, if there is nothing."""
        return max(1, -(-self.count // page_size))


@dataclass
class BulkList:
    """One started list. All times in UTC."""

    uuid: str
    name: ListName
    query: Query
    attempt: int
    """1 for the first list of this page, 2 for the next that asks the same."""
    started_at: datetime
    looks_at: datetime
    finishes_at: datetime
    changes: list[Change] = field(default_factory=list)
    """What happens to the records just before it looks at them."""
    found: Found | None = None
    death: Death | None = None
    dies_at: datetime | None = None
    """When a death is told; None: as soon as the list would have been finished."""
    never_finishes: bool = False
    gone: bool = False
    polls: int = 0

    def is_dead(self, now: datetime) -> Death | None:
        """How it died, if it has by now."""
        return self.death if now >= (self.dies_at or self.finishes_at) else None

    def is_finished(self, now: datetime) -> bool:
        """Whether the rows can be had."""
        return not self.never_finishes and now >= self.finishes_at

    def is_gone(self, now: datetime, life_seconds: float) -> bool:
        """Whether the vendor still knows of it."""
        return self.gone or now >= self.started_at + timedelta(seconds=life_seconds)


class ListDesk:
    """All lists of the practice."""

    def __init__(self, practice: Practice, seed: int) -> None:
        self._practice = practice
        self._seed = seed
        self._lists: dict[str, BulkList] = {}
        self._attempts: Counter[object] = Counter()
        self._waiting: list[tuple[datetime, int, BulkList]] = []

    def __iter__(self) -> Iterator[BulkList]:
        return iter(self._lists.values())

    def get(self, uuid: str) -> BulkList | None:
        """The list of that uuid, if it was ever started here."""
        return self._lists.get(uuid)

    def next_attempt(self, name: ListName, query: Query) -> int:
        """Which attempt the next list of this page will be, counting from 1."""
        return self._attempts[name, query] + 1

    def start(
        self, uuid: str, name: ListName, query: Query, now: datetime, settings: DrChronoSettings
    ) -> BulkList:
        """Take in a list; how long it takes and when it looks is drawn from its uuid."""
        rng, span = stable_random(uuid), settings.drchrono_list_seconds
        takes = span.low + (span.high - span.low) * rng.random()
        share = {"start": 0.0, "end": 1.0, "random": rng.random()}[settings.drchrono_query_moment]
        one = BulkList(
            uuid=uuid,
            name=name,
            query=query,
            attempt=self.next_attempt(name, query),
            started_at=now,
            looks_at=now + timedelta(seconds=takes * share),
            finishes_at=now + timedelta(seconds=takes),
        )
        self._attempts[name, query] += 1
        self._lists[uuid] = one
        heapq.heappush(self._waiting, (one.looks_at, len(self._lists), one))
        return one

    def advance(self, now: datetime, settings: DrChronoSettings) -> None:
        """Let every list look whose moment has come."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, one = heapq.heappop(self._waiting)
            self._look(one, settings)

    def _look(self, one: BulkList, settings: DrChronoSettings) -> None:
        kind, query, moment = KINDS[one.name], one.query, int(one.looks_at.timestamp())
        collection = self._practice.collection(one.name, moment)
        try:
            for change in one.changes:
                self._practice.apply(one.name, change, moment)
        except ValueError as mistake:
            # A test's mistake, which must not look like an ordinary list.
            one.death = Death("Error", 500, f"sandbox: {mistake}")
        wanted = wanted_by(query, kind, self._practice.teller)
        view = collection.view(query.rows, query.order_by, wanted)
        if settings.drchrono_churn:
            self._practice.churn(one.name, settings.drchrono_churn, view, moment)
        shuffle = Random(f"{self._seed} {one.uuid}") if settings.drchrono_ties == "arbitrary" else None
        pages = Found(len(view), ()).pages(query.page_size)
        beyond = query.page > pages
        repeats = beyond and settings.drchrono_page_beyond_last == "repeated"
        first = ((pages if repeats else query.page) - 1) * query.page_size
        numbers = _ordered(view, first, first + query.page_size, shuffle, settings)
        one.found = Found(len(view), tuple(collection.records(numbers)))
        if beyond and settings.drchrono_page_beyond_last == "dead" and one.death is None:
            one.death = Death("Error", 500, "Invalid page.")

    def last_page(self, name: ListName, query: Query, now: datetime) -> int:
        """The number of the last page that a list would have now."""
        wanted = wanted_by(query, KINDS[name], self._practice.teller)
        view = self._practice.collection(name, int(now.timestamp())).view(query.rows, query.order_by, wanted)
        return Found(len(view), ()).pages(query.page_size)


def _ordered(
    view: View, first: int, last: int, shuffle: Random | None, settings: DrChronoSettings
) -> list[int]:
    """The numbers of the rows of a page, in the order in which this vendor sorts."""
    match settings.drchrono_list_order:
        case "asked":
            return view.slice(first, last, shuffle)
        case "falling":
            return view.slice(max(0, len(view) - last), max(0, len(view) - first), shuffle)[::-1]
        case "arbitrary":
            numbers = view.slice(0, len(view), None)
            Random("no order at all").shuffle(numbers)
            return numbers[first:last]
