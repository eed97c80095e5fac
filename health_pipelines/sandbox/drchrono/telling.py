"""What a row is told from. The types' own fields are in the neighbouring `…_rows.py`."""

from typing import NamedTuple

from health_pipelines.sandbox.drchrono.calendar import Calendar, mix
from health_pipelines.sandbox.drchrono.collection import Record
from health_pipelines.sandbox.drchrono.people import DOCTORS, OFFICES, Dice, Times

Row = dict[str, object]

VIRTUAL_EVERY = 50
"""One appointment in so many is an instance of a series that has no number of its own."""


class Subject(NamedTuple):
    """A record and everything that its fields are drawn from."""

    record: Record
    verbose: bool
    times: Times
    calendar: Calendar
    identity: int
    """Seed of the fields that stay."""
    state: int
    """Seed of the fields that another version may have changed."""

    def lasting(self) -> Dice:
        """Dice for the fields that stay."""
        return Dice(self.identity)

    def passing(self) -> Dice:
        """Dice for the fields that change with every version."""
        return Dice(self.state)


def doctor_of(appointment: int) -> int:
    """The doctor of an appointment."""
    return DOCTORS[mix(appointment, 4) % len(DOCTORS)]


def office_of(appointment: int) -> int:
    """The office of an appointment."""
    return OFFICES[mix(appointment, 5) % len(OFFICES)]


def is_virtual(appointment: int) -> bool:
    """Whether it is an instance of a series, whose id is no number."""
    return mix(appointment, 6) % VIRTUAL_EVERY == 0
