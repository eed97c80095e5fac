"""How late days change: from landings to changes by age of the day, and the look-back that follows. Pure.

Belongs here: counting, and what is said of it. Does not belong here: reading landings (`late_landings.py`),
drawing (`warehouse/charts.py`), and what is asked for (`daily_schedule.py`).

A day is *watched* at an age if it was asked for at that age or later, and before: then all that changed is
known. What changed between two landings counts for the age of the second, which is the latest that it can
be. Nothing is known of ages that nobody asked for, and few days say little: so what is told ends at the first
age with too few days, and counts changes for each watched day, as old ages have fewer days than young ones.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from health_pipelines.lake.csv_partition import RowChanges

# So many of 1,000 late changes may come after the look-back that is recommended.
MOST_LATER = 10
FEWEST_DAYS, FEWEST_ROWS = 20, 50


@dataclass(frozen=True)
class Landing:
    """That a day landed: `on` which date of the same zone, with how many rows, and how they differ from those
    before. `columns`: empty where nothing was new.
    """

    day: date
    on: date
    rows: int
    changes: RowChanges
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class AtAge:
    """Of an age in days: how many days were watched, how many of them changed, and how many rows."""

    age: int
    watched: int
    changed: int
    rows: int


@dataclass(frozen=True)
class LateChanges:
    """Of one table. `ages`: every age at which a day was watched, the youngest first."""

    ages: Sequence[AtAge]

    @property
    def known(self) -> Sequence[AtAge]:
        """The ages that enough days were watched at, without a gap."""
        found: list[AtAge] = []
        for one in self.ages:
            if one.watched >= FEWEST_DAYS and (not found or one.age == found[-1].age + 1):
                found.append(one)
            elif found:
                break
        return found

    @property
    def rows(self) -> int:
        """All rows that changed at known ages."""
        return sum(one.rows for one in self.known)

    @property
    def lookback_days(self) -> int | None:
        """The smallest look-back after which few enough changes came; None if too little is known."""
        known = self.known
        if not known or 0 < self.rows < FEWEST_ROWS:
            return None
        youngest = known[0].age
        return next(
            age for age in range(youngest - 1, known[-1].age + 1) if self.later_than(age) <= MOST_LATER / 1000
        )

    def later_than(self, age: int) -> float:
        """Which part of the changes, from 0 to 1, came at a known age above this one."""
        rates = {one.age: one.rows / one.watched for one in self.known}
        every = sum(rates.values())
        return sum(rate for of, rate in rates.items() if of > age) / every if every else 0.0

    @property
    def says(self) -> str:
        """In words, without a full stop."""
        days, known = self.lookback_days, self.known
        if days is None:
            watched = max((one.watched for one in self.ages), default=0)
            rows = sum(one.rows for one in self.ages)
            return f"too few to say ({_counted(rows, 'changed row')}, {_counted(watched, 'day')} asked again)"
        oldest, watched = known[-1].age, known[0].watched
        rests = f"{_counted(self.rows, 'changed row')}, {watched} days asked again"
        beyond = f"of days older than {oldest} nothing is known"
        if days == oldest:
            return f"changes still come at an age of {oldest} days, and {beyond} ({rests})"
        later = round(1000 * self.later_than(days))
        return f"a look-back of {days} is enough: {later} of 1,000 changes came later; {beyond} ({rests})"


def late_changes(landings: Iterable[Landing]) -> LateChanges:
    """`landings`: in the order in which they happened. With the first of each day the others are compared.

    It begins anew with one that was not compared with the landing before it, as when a file was gone, or
    that has other columns, which changes every row.
    """
    before: dict[date, Landing] = {}
    watched, changed, rows = Counter[int](), Counter[int](), Counter[int]()
    seen: set[tuple[date, int]] = set()
    for one in landings:
        last = before.get(one.day)
        columns = one.columns or (last.columns if last else ())
        before[one.day] = Landing(one.day, one.on, one.rows, one.changes, columns)
        if last is None or not _follows(last, one):
            continue
        age, since = (one.on - one.day).days, (last.on - one.day).days
        for between in range(min(since + 1, age), age + 1):
            if (one.day, between) not in seen:
                seen.add((one.day, between))
                watched[between] += 1
        if count := _rows(one.changes):
            changed[age] += 1
            rows[age] += count
    return LateChanges([AtAge(age, watched[age], changed[age], rows[age]) for age in sorted(watched)])


def _follows(last: Landing, one: Landing) -> bool:
    is_compared = last.rows + one.changes.added - one.changes.removed == one.rows
    return is_compared and (not one.columns or not last.columns or set(one.columns) == set(last.columns))


def _rows(changes: RowChanges) -> int:
    # Without a key a changed row is one removed and one added.
    if changes.changed is None:
        return max(changes.added, changes.removed)
    return changes.added + changes.removed + changes.changed


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
