"""All records of one type as they are now, kept in the orders that are asked for. No HTTP; time is passed in.

A change costs a few binary searches, so that a list of 300,000 rows can be paged while its rows change.
Records are values: a list that was prepared keeps the ones it found, whatever happens to them later.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from health_pipelines.sandbox.drchrono.calendar import (
    FIRST_SECOND,
    IDS_PER_SECOND,
    SLOT,
    Calendar,
    Plan,
    mix,
)
from health_pipelines.sandbox.drchrono.kinds import Kind, Order

MOST_VIEWS = 12
ARCHIVED_PER_MILLE = 40
RESCHEDULED_PER_MILLE = 150


class Record(NamedTuple):
    """One record in one of its states. Times are whole seconds since 1970 (UTC)."""

    number: int
    created: int
    changed: int
    version: int
    """How often it has changed."""
    scheduled: int
    parent: int
    archived: bool
    replaced: Mapping[str, object] | None
    """Fields that somebody set, documented or not; they win."""


Wanted = Callable[[Record], bool]
Gone = Callable[[Record, int], None]


class View:
    """The records that somebody wants, in one order."""

    def __init__(
        self, wanted: Wanted, order: Order, records: Iterable[Record], sorted_as: Callable[[int], int]
    ) -> None:
        """`sorted_as`: what the database sorts a change time by."""
        self._wanted = wanted
        self._order = order
        self._sorted_as = sorted_as
        self._rows = sorted((self._place(record), record.number) for record in records if wanted(record))

    def __len__(self) -> int:
        return len(self._rows)

    def replace(self, old: Record | None, new: Record | None) -> None:
        """Follow one change."""
        if old is not None and self._wanted(old):
            del self._rows[bisect_left(self._rows, (self._place(old), old.number))]
        if new is not None and self._wanted(new):
            insort(self._rows, (self._place(new), new.number))

    def slice(self, first: int, last: int, shuffle: Random | None) -> list[int]:
        """The numbers of the rows from `first` up to `last`; rows that are equal come in a shuffled order."""
        last = min(last, len(self._rows))
        if first >= last:
            return []
        if shuffle is None:
            return [number for _, number in self._rows[first:last]]
        begin = bisect_left(self._rows, (self._rows[first][0],))
        end = bisect_right(self._rows, (self._rows[last - 1][0] + 1,))
        rows, at = self._rows[begin:end], 0
        while at < len(rows):
            after = bisect_left(rows, (rows[at][0] + 1,), at)
            if after - at > 1:
                equal = rows[at:after]
                shuffle.shuffle(equal)
                rows[at:after] = equal
            at = after
        return [number for _, number in rows[first - begin : last - begin]]

    def number_at(self, place: int) -> int:
        """The number of one row."""
        return self._rows[place][1]

    def _place(self, record: Record) -> int:
        match self._order:
            case "id":
                return record.number
            case "updated_at":
                return self._sorted_as(record.changed)
            case "scheduled_time":
                return record.scheduled


def _everything(_: Record) -> bool:
    return True


def _the_instant(seconds: int) -> int:
    return seconds


class Collection:
    """The records of one type."""

    def __init__(
        self,
        kind: Kind,
        calendar: Calendar,
        history_start: date,
        gone: Gone,
        sorted_as: Callable[[int], int] = _the_instant,
    ) -> None:
        """`gone(record, when)` is told of every record that is removed."""
        self.kind = kind
        self._sorted_as = sorted_as
        self._calendar = calendar
        self._gone = gone
        self._next_day = history_start
        self._records: dict[int, Record] = {}
        self._removed: set[int] = set()
        self._vanished: dict[int, Record] = {}
        self._newest = 0
        self._plans: dict[int, Plan] = {}
        self._due: list[tuple[int, int, int]] = []
        """Heap of (when, number, which change): 0 is the creation, -1 the end."""
        self._views: OrderedDict[object, View] = OrderedDict()
        self._all = View(_everything, "id", (), sorted_as)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        """All of them, in the order of their numbers."""
        return iter([self._records[number] for number in self._all.slice(0, len(self._all), None)])

    def get(self, number: int) -> Record | None:
        """The record of that number, if there is one now."""
        return self._records.get(number)

    def records(self, numbers: Iterable[int]) -> list[Record]:
        """The records of these numbers."""
        return [self._records[number] for number in numbers]

    def view(self, key: object, order: Order, wanted: Wanted) -> View:
        """The view of that key, which stands for `wanted` and `order`; it is kept up to date from now on."""
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = View(wanted, order, self._records.values(), self._sorted_as)
            if len(self._views) > MOST_VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        return view

    def everything(self) -> View:
        """All records by number."""
        return self._all

    def advance(self, now: int) -> None:
        """Let everything happen that nature has planned up to `now`, in the order of time."""
        first_time = not self._records
        while self._calendar.midnight(self._next_day) <= now:
            for plan in self._calendar.plans(self.kind, self._next_day):
                self._begin(plan, now, quietly=first_time)
            self._next_day += timedelta(days=1)
        if first_time:
            self._views.clear()
            self._all = View(_everything, "id", self._records.values(), self._sorted_as)
        while self._due and self._due[0][0] <= now:
            when, number, change = heapq.heappop(self._due)
            plan = self._plans[number]
            record = self._records.get(number)
            if change == 0:
                self._put(None, self._created(plan))
            elif record is None:
                pass  # Somebody removed it before its time.
            elif change < 0:
                self.remove(record, when)
            else:
                self._put(record, changed(record, when))
            self._plan_next(plan, change + 1 if change >= 0 else None)

    def insert(self, now: int, fields: Mapping[str, object] | None = None) -> Record:
        """A new record, the newest there is."""
        chance = mix(now, len(self._records), self._newest)
        number = max(self._newest + 1, (now - FIRST_SECOND) * IDS_PER_SECOND + IDS_PER_SECOND // 2)
        while number in self._records or number in self._plans or number in self._removed:
            number += 1
        self._newest = number
        day = self._calendar.day(now)
        parent, scheduled = 0, 0
        if self.kind.key != "id":
            parent = number  # A note has its appointment to itself.
        elif self.kind.of_appointment:
            parent = self._calendar.appointment_of(chance, day)
        elif self.kind.name == "appointments":
            scheduled = self._calendar.midnight(day) + 86400 * (1 + chance % 14) + SLOT * (32 + chance % 30)
        record = Record(number, now, now, 0, scheduled, parent, False, dict(fields) if fields else None)
        self._put(None, record)
        return record

    def update(self, record: Record, now: int, fields: Mapping[str, object] | None = None) -> Record:
        """A change of a record: `updated_at` is now, and some fields say something else."""
        new = changed(record, now)
        if fields:
            new = new._replace(replaced={**(new.replaced or {}), **fields})
        self._put(record, new)
        return new

    def archive(self, record: Record, now: int) -> None:
        """What becomes of an appointment that is deleted."""
        self._put(record, changed(record, now)._replace(archived=True))

    def remove(self, record: Record, now: int) -> None:
        """The record is gone for good."""
        self._put(record, None)
        self._removed.add(record.number)
        self._gone(record, now)

    def vanish(self, record: Record) -> None:
        """The record is gone, and nobody is told."""
        self._put(record, None)
        self._removed.add(record.number)
        self._vanished[record.number] = record

    def vanished(self) -> Iterator[Record]:
        """What is gone like that, as it was."""
        return iter(self._vanished.values())

    def reappear(self, number: int) -> None:
        """What vanished is there again, unchanged."""
        self._put(None, self._vanished.pop(number))

    def plant(self, record: Record, fields: Mapping[str, object]) -> None:
        """Make a record say something without having changed."""
        self._put(record, record._replace(replaced={**(record.replaced or {}), **fields}))

    def _begin(self, plan: Plan, now: int, *, quietly: bool) -> None:
        """Take in a record with everything that has happened to it by `now`."""
        if plan.created > now:
            self._plans[plan.number] = plan
            heapq.heappush(self._due, (plan.created, plan.number, 0))
            return
        if plan.deleted is not None and plan.deleted <= now:
            self._removed.add(plan.number)
            self._gone(self._created(plan), plan.deleted)
            return
        record, done = self._created(plan), 0
        for when in plan.changes:
            if when > now:
                break
            record, done = changed(record, when), done + 1
        if quietly:
            self._records[record.number] = record
            self._newest = max(self._newest, record.number)
        else:
            self._put(None, record)
        if done < len(plan.changes) or plan.deleted is not None:
            self._plans[plan.number] = plan
            self._plan_next(plan, done + 1)

    def _plan_next(self, plan: Plan, change: int | None) -> None:
        """Put the next event of a plan on the heap; `change` counts from 1."""
        if change is not None and change <= len(plan.changes):
            heapq.heappush(self._due, (plan.changes[change - 1], plan.number, change))
        elif change is not None and plan.deleted is not None:
            heapq.heappush(self._due, (plan.deleted, plan.number, -1))
        else:
            del self._plans[plan.number]

    def _created(self, plan: Plan) -> Record:
        return Record(plan.number, plan.created, plan.created, 0, plan.scheduled, plan.parent, False, None)

    def _put(self, old: Record | None, new: Record | None) -> None:
        if new is not None:
            self._records[new.number] = new
            self._newest = max(self._newest, new.number)
        elif old is not None:
            del self._records[old.number]
        for view in (self._all, *self._views.values()):
            view.replace(old, new)


def changed(record: Record, when: int) -> Record:
    """The record after its next change, which archives some appointments and moves others."""
    archived, scheduled = record.archived, record.scheduled
    if scheduled:
        chance = mix(record.number, record.version + 1, 2)
        archived = archived or chance % 1000 < ARCHIVED_PER_MILLE
        if chance // 1000 % 1000 < RESCHEDULED_PER_MILLE:
            scheduled += 7 * 86400
    return record._replace(
        changed=max(when, record.changed), version=record.version + 1, archived=archived, scheduled=scheduled
    )
