"""The natural course of the practice: which records a day brings, and when they change. Pure and seeded.

A record belongs to the day, in the account's zone, on which it was created. Every type and day has its own
generator, so that a record is the same whatever else was asked for and wherever history begins. Times are
whole seconds since 1970 (UTC), as coarse as the vendor's own, so that many rows share one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from health_pipelines.sandbox.drchrono.kinds import KINDS, Kind, ListName
from health_pipelines.sandbox.seeding import stable_number, stable_random

IDS_PER_SECOND = 16
"""An id tells the second of its creation, so that ids grow with time although days are drawn one by one."""

FIRST_SECOND = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())

NEVER_CHANGED, CHANGED_SAME_DAY, CHANGED_ON_A_LATER_DAY = 0.65, 0.85, 0.96
"""Shares of records up to there; the others are changed by a nightly job that touches many in one second."""

CHANGED_TWICE = 0.04
DELETED = 0.01
LATEST_CHANGE_DAYS = 20
NIGHTLY_JOB_HOURS = 2
SLOT = 900
MASK = (1 << 64) - 1


class Plan(NamedTuple):
    """One record and its natural future."""

    number: int
    created: int
    changes: tuple[int, ...]
    deleted: int | None
    scheduled: int
    """When an appointment takes place; 0 for other types."""
    parent: int
    """The number of the appointment a record belongs to; 0 for appointments and patients."""


def mix(*numbers: int) -> int:
    """A 64-bit number that looks like chance, from others; cheap enough for every field of every row."""
    value = 0x9E3779B97F4A7C15
    for number in numbers:
        value = (value ^ number) * 0xBF58476D1CE4E5B9 & MASK
        value ^= value >> 29
    return value


@dataclass
class Calendar:
    """The days of one practice. What was drawn once is kept as far as others refer to it."""

    seed: int
    volume: float
    zone: ZoneInfo
    _numbers: dict[tuple[ListName, date], tuple[int, ...]] = field(default_factory=dict)

    def midnight(self, day: date) -> int:
        """When a day begins in the account's zone."""
        return int(datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp())

    def day(self, seconds: int) -> date:
        """The day of a moment in the account's zone."""
        return datetime.fromtimestamp(seconds, self.zone).date()

    def count(self, kind: Kind) -> int:
        """How many records of a type each day brings: at least one, if there are any."""
        return max(1, round(self.volume * kind.share)) if self.volume else 0

    def numbers(self, name: ListName, day: date) -> tuple[int, ...]:
        """The numbers of the records of a day, in the order of their creation."""
        known = self._numbers.get((name, day))
        if known is None:
            known = self._numbers[name, day] = tuple(plan.number for plan in self.plans(KINDS[name], day))
        return known

    def appointment_of(self, chance: int, day: date) -> int:
        """Some appointment made the day before, for a record that needs one."""
        numbers = self.numbers("appointments", day - timedelta(days=1))
        return numbers[chance % len(numbers)] if numbers else 0

    def patient_of(self, appointment: int) -> int:
        """The patient of an appointment, who came to the practice within the month before."""
        chance = mix(appointment, 1)
        made_on = self.day(FIRST_SECOND + appointment // IDS_PER_SECOND)
        numbers = self.numbers("patients", made_on - timedelta(days=chance % 30))
        return numbers[chance // 30 % len(numbers)] if numbers else 0

    def plans(self, kind: Kind, day: date) -> Iterator[Plan]:
        """The records that a day brings, in the order of their creation."""
        count = self.count(kind)
        rng = stable_random(self.seed, "drchrono", kind.name, day)
        midnight, next_midnight = self.midnight(day), self.midnight(day + timedelta(days=1))
        times = self._times(rng, -(-count // kind.together), midnight, next_midnight)
        # Appointments of the day before, because those of the same day may be yet to come.
        parents = (
            self.numbers("appointments", day - timedelta(days=1)) if kind.of_appointment and count else ()
        )
        number = 0
        for index in range(count):
            created = times[index // kind.together]
            number = max(number + 1, (created - FIRST_SECOND) * IDS_PER_SECOND)
            changes = self._changes(rng, created, midnight)
            deleted = kind.deleted_naturally and rng.random() < DELETED
            scheduled = 0
            if kind.name == "appointments":
                scheduled = (
                    midnight + 86400 * int(rng.random() * 22) + 8 * 3600 + SLOT * int(rng.random() * 38)
                )
            yield Plan(
                number,
                created,
                changes,
                (changes[-1] if changes else created) + 3600 * (1 + int(rng.random() * 100))
                if deleted
                else None,
                scheduled,
                parents[index * len(parents) // count] if parents else 0,
            )

    def _times(self, rng: Random, count: int, midnight: int, next_midnight: int) -> list[int]:
        """Most in office hours, but the first exactly at midnight and the last a second before the next."""
        length = next_midnight - midnight
        times = [
            midnight
            + (int(25200 + rng.random() * 43200) if rng.random() < 0.85 else int(rng.random() * length))
            for _ in range(count)
        ]
        times.sort()
        if times:
            times[0] = midnight
        if count > 1:
            times[-1] = next_midnight - 1
        return times

    def _changes(self, rng: Random, created: int, midnight: int) -> tuple[int, ...]:
        chance = rng.random()
        if chance < NEVER_CHANGED:
            return ()
        if chance < CHANGED_SAME_DAY:
            first = created + 1 + int(rng.random() * 21600)
        elif chance < CHANGED_ON_A_LATER_DAY:
            first = created + 1 + int(rng.random() * LATEST_CHANGE_DAYS * 86400)
        else:
            first = midnight + 86400 * (1 + int(rng.random() * 5)) + NIGHTLY_JOB_HOURS * 3600
        if rng.random() < CHANGED_TWICE:
            return (first, first + 1 + int(rng.random() * LATEST_CHANGE_DAYS * 86400))
        return (first,)


def base_number(seed: int, name: str) -> int:
    """What the fields of a type are drawn from, together with a record's number."""
    return stable_number(seed, "drchrono fields", name)
