"""Days that are missing between days that landed, and days that mean something else than their neighbours.

Belongs here: which days those are, and how they are put in a sentence. Does not belong here: what has
landed (`lake/partitions.py`), and what is done about a hole (`daily_schedule.py`, `missing_days.py`).

What was once begun has no holes: an outage, a day that was given up or a file that somebody removed leaves
one, and no look-back reaches it. Days before the first that landed are no holes: nobody asked for them. And
where the time zone was set to another one, the days of before and after do not meet: with two days of UTC and
then days of Chicago five hours are in no day. So days of another zone are asked for again, too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.calendar import day_window, ranges
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import LeftOut, Settings

_MOST_RANGES = 5


@dataclass(frozen=True)
class Holes:
    """`missing`: days that are not there. `of_other_zones`: days that landed as days of another zone than
    `zone`, and which that is. Days are YYYY-MM-DD, the oldest first.
    """

    zone: str
    missing: list[str] = field(default_factory=list)
    of_other_zones: Mapping[str, str] = field(default_factory=dict)

    @property
    def days(self) -> list[str]:
        """All that is to be asked for, the oldest first."""
        return sorted({*self.missing, *self.of_other_zones})

    @property
    def sentences(self) -> list[str]:
        """What is wrong, without a full stop; nothing if nothing is."""
        found = []
        if self.missing:
            found.append(f"{said(self.missing)} {'is' if len(self.missing) == 1 else 'are'} missing")
        if self.of_other_zones:
            zones = " and ".join(sorted(set(self.of_other_zones.values())))
            found.append(
                f"{said(list(self.of_other_zones))} landed as days of {zones} and not of {self.zone}, so "
                "that some hours are in no day or in two"
            )
        return found


def holes_in(
    lake: Lake, checked: CheckedTable, settings: Settings, *, before: date, once_there: Iterable[str] = ()
) -> Holes:
    """The holes of a table; a day that is not there counts as one if it is before `before`.

    `once_there`: days that Dagster knows to have landed. With them a lake that is not where it was, such as a
    disk that was not mounted, is no new beginning.
    """
    table, zone, left_out = checked.table, checked.zone(settings), settings.days_left_out
    # What was removed on purpose (`erase --before`) is not missing.
    first = lake.kept_from(table) or ""
    return Holes(
        zone.key,
        missing_days(
            lake.days(table),
            before=before,
            table=str(table),
            left_out=left_out,
            once_there=[day for day in once_there if day >= first],
        ),
        {
            day: of
            for day, of in lake.days_of_other_zones(table, zone.key).items()
            if _means_another_day(day, of, zone)
            and not any(one.covers(str(table), date.fromisoformat(day)) for one in left_out)
        },
    )


def missing_days(
    landed: Iterable[str],
    *,
    before: date,
    table: str,
    left_out: Collection[LeftOut] = (),
    once_there: Iterable[str] = (),
) -> list[str]:
    """The days (YYYY-MM-DD, oldest first) between the first that landed and `before` that are not there."""
    there = set(landed)
    first = min([*there, *once_there], default=None)
    if first is None:
        return []
    day, missing = date.fromisoformat(first), []
    while day < before:
        if day.isoformat() not in there and not any(one.covers(table, day) for one in left_out):
            missing.append(day.isoformat())
        day += timedelta(days=1)
    return missing


def said(days: Collection[str]) -> str:
    """`3 days: 2026-03-01, 2026-03-05 to 2026-03-06`, of many ranges the oldest."""
    found = ranges(days, widest_gap=0)
    texts = [one.start if one.start == one.end else f"{one.start} to {one.end}" for one in found]
    more = f" and {len(texts) - _MOST_RANGES} more ranges" if len(texts) > _MOST_RANGES else ""
    return f"{len(days)} day{'' if len(days) == 1 else 's'}: {', '.join(texts[:_MOST_RANGES])}{more}"


def _means_another_day(day: str, of: str, zone: ZoneInfo) -> bool:
    """US/Central is another name than America/Chicago, and has the same days."""
    try:
        return day_window(day, ZoneInfo(of)) != day_window(day, zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # one that this machine does not know
        return True
