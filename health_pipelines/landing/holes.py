"""Days that are missing between days that landed.

Belongs here: which days those are, and how they are put in a sentence. Pure. Does not belong here: what has
landed (`lake/partitions.py`), and what is done about a hole (`daily_schedule.py`, `missing_days.py`).

What was once begun has no holes: an outage, a day that was given up or a file that somebody removed leaves
one, and no look-back reaches it. Days before the first that landed are no holes: nobody asked for them.
"""

from collections.abc import Collection, Iterable
from datetime import date, timedelta

from health_pipelines.landing.calendar import ranges
from health_pipelines.settings import LeftOut

_MOST_RANGES = 5


def missing_days(
    landed: Iterable[str], *, before: date, table: str, left_out: Collection[LeftOut] = ()
) -> list[str]:
    """The days (YYYY-MM-DD, oldest first) between the first that landed and `before` that are not there."""
    there = set(landed)
    if not there:
        return []
    day, missing = date.fromisoformat(min(there)), []
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
