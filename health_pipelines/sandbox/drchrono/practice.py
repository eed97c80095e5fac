"""The whole synthetic practice: the eight collections, what was deleted, and changes while somebody looks.

No HTTP; time is passed in and only moves ahead. Nothing is drawn before it is asked for.
"""

from bisect import bisect_left, insort
from datetime import date
from typing import NamedTuple
from zoneinfo import ZoneInfo

from health_pipelines.sandbox.drchrono.calendar import Calendar
from health_pipelines.sandbox.drchrono.changes import Change
from health_pipelines.sandbox.drchrono.collection import Collection, Record, View
from health_pipelines.sandbox.drchrono.kinds import KINDS, ListName
from health_pipelines.sandbox.drchrono.people import TimeSpelling
from health_pipelines.sandbox.drchrono.rows import Teller
from health_pipelines.sandbox.seeding import stable_random

CHURN_INSERTS, CHURN_REMOVES = 0.25, 0.25
"""Shares of the random changes; the others are updates."""

CHURN_IN_SIGHT = 0.75
"""Share of the random changes that strike rows which the caller is looking at."""


class Deletion(NamedTuple):
    """A billing line item that is gone. In the order in which they are listed."""

    when: int
    number: int
    appointment: int


class Practice:
    """Everything the vendor knows about one practice."""

    def __init__(
        self,
        seed: int,
        volume: float,
        zone: ZoneInfo,
        history_start: date,
        *,
        spelling: TimeSpelling = "local",
        ids_are_text: bool = False,
        sorts_texts: bool = False,
    ) -> None:
        """`sorts_texts`: whether change times are sorted by their local text instead of their instant."""
        self.calendar = Calendar(seed, volume, zone)
        self.teller = Teller.of(self.calendar, zone, spelling=spelling, ids_are_text=ids_are_text)
        self._sorted_as = self.teller.times.on_the_wall if sorts_texts else int
        self._history_start = history_start
        self._collections: dict[ListName, Collection] = {}
        self._deletions: list[Deletion] = []
        self._chance = stable_random(seed, "drchrono churn")

    def collection(self, name: ListName, now: int) -> Collection:
        """The records of a type as they are now."""
        known = self._collections.get(name)
        if known is None:
            gone = self._keep_deletion if name == "line_items" else _forget
            known = self._collections[name] = Collection(
                KINDS[name], self.calendar, self._history_start, gone, self._sorted_as
            )
        known.advance(now)
        return known

    def deletions(self, now: int, begins: Deletion) -> list[Deletion]:
        """The line items that have gone, oldest first, from `begins` on."""
        self.collection("line_items", now)
        return self._deletions[bisect_left(self._deletions, begins) :]

    def apply(self, name: ListName, change: Change, now: int) -> list[str]:
        """Do what a test orders, all or nothing; returns the keys of the inserted records.

        ValueError names a key that no record of the type has.
        """
        name = change.list or name
        collection = self.collection(name, now)
        wanted = {*change.update, *change.archive, *change.remove, *change.vanish, *change.plant}
        found = self._find(name, collection, wanted)
        vanished = {self.teller.key(name, record): record.number for record in collection.vanished()}
        if unknown := {*(wanted - found.keys()), *(set(change.reappear) - vanished.keys())}:
            raise ValueError(f"no record of {name} has the key {min(unknown)!r}")
        if change.archive and name != "appointments":
            raise ValueError("only appointments are archived")
        # Each works on the record as the one before has left it.
        for key in change.update:
            collection.update(self._now(collection, found[key]), now, change.set)
        for key in change.archive:
            collection.archive(self._now(collection, found[key]), now)
        for key, fields in change.plant.items():
            collection.plant(self._now(collection, found[key]), fields)
        for key in change.remove:
            collection.remove(self._now(collection, found[key]), now)
        for key in change.vanish:
            collection.vanish(self._now(collection, found[key]))
        for key in change.reappear:
            collection.reappear(vanished[key])
        return [self.teller.key(name, collection.insert(now, change.set)) for _ in range(change.insert)]

    def churn(self, name: ListName, changes: int, in_sight: View, now: int) -> None:
        """So many random changes, most of them of rows in that view."""
        collection, chance = self.collection(name, now), self._chance
        for _ in range(changes):
            draw = chance.random()
            view = in_sight if len(in_sight) and chance.random() < CHURN_IN_SIGHT else collection.everything()
            if draw < CHURN_INSERTS or not len(view):
                collection.insert(now)
                continue
            record = collection.get(view.number_at(chance.randrange(len(view))))
            assert record is not None
            if draw >= CHURN_INSERTS + CHURN_REMOVES:
                collection.update(record, now)
            elif collection.kind.can_be_removed:
                collection.remove(record, now)
            elif name == "appointments" and not record.archived:
                collection.archive(record, now)
            else:
                collection.update(record, now)

    def _keep_deletion(self, record: Record, when: int) -> None:
        insort(self._deletions, Deletion(when, record.number, record.parent))

    def _now(self, collection: Collection, number: int) -> Record:
        record = collection.get(number)
        assert record is not None
        return record

    def _find(self, name: ListName, collection: Collection, keys: set[str]) -> dict[str, int]:
        """The numbers behind keys. Most keys begin with their record's number; those of notes do not."""
        found = {}
        for key in keys:
            head = key.partition("_")[0]
            record = collection.get(int(head)) if head.isdigit() else None
            if record is not None and self.teller.key(name, record) == key:
                found[key] = record.number
        if missing := keys - found.keys():
            for record in collection:
                key = self.teller.key(name, record)
                if key in missing:
                    found[key] = record.number
        return found


def _forget(_: Record, __: int) -> None:
    """Most types say nothing about what is gone."""
