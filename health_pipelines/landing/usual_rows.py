"""How many rows a day usually has. Pure.

Belongs here: what a day is compared with, and when that says something. Does not belong here: how the
difference is told (`verdicts.py`), and where the numbers are read (`checks.py`).

A day is compared with itself before the landing and with the same day of the week in the weeks before: a
clinic that is closed on Sundays has none then, and a Tuesday with a tenth of a Tuesday's visits is odd.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Self

from health_pipelines.settings import Settings

_WEEKS = 8
# With fewer there is no usual number: the first weeks of a table say nothing, and neither does one holiday.
_FEWEST_WEEKS = 4


@dataclass(frozen=True)
class Odd:
    """What counts as odd: fewer rows than the part `below` of a number that is `of` at least."""

    below: float
    of: int

    @classmethod
    def by(cls, settings: Settings) -> Self:
        return cls(settings.unusual_rows_below, settings.unusual_rows_from)

    def is_few(self, rows: int, compared_with: float) -> bool:
        return compared_with >= self.of and rows < self.below * compared_with


def weeks_before(day: str) -> list[str]:
    """The days (YYYY-MM-DD) that `day` is compared with: the same weekday, the newest first."""
    own = date.fromisoformat(day)
    return [(own - timedelta(weeks=week)).isoformat() for week in range(1, _WEEKS + 1)]


def usual(rows_of_weeks: Sequence[int]) -> float | None:
    """The median of the weeks before; None if they are too few."""
    return median(rows_of_weeks) if len(rows_of_weeks) >= _FEWEST_WEEKS else None
