"""The daily calendar: which days there are, which instants a day spans, how days make ranges.

Belongs here: anything that turns a partition key into time or groups partition keys. Does not belong
here: what is fetched for a day, and the way a vendor writes a time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from dagster import DailyPartitionsDefinition, PartitionKeyRange


@dataclass(frozen=True)
class Window:
    """From `start` (inclusive) to `end` (the start of the next day), both aware and in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start.isoformat()} to {self.end.isoformat()}"


def daily_partitions(start: date, zone: ZoneInfo) -> DailyPartitionsDefinition:
    """One partition per calendar day in `zone`, from `start` to yesterday (today is not over)."""
    return DailyPartitionsDefinition(start_date=start.isoformat(), timezone=zone.key)


def day_window(day: str, zone: ZoneInfo) -> Window:
    """The instants of the calendar day `day` (YYYY-MM-DD) in `zone`: 23, 24 or 25 hours long.

    Neighbouring windows share their boundary, so that no instant is outside all of them. Whether the
    vendor counts a visit on the boundary to one day, the other or both is not documented; twice is
    harmless (`current.*` keeps one row per key), never is not.
    """
    first = date.fromisoformat(day)
    return Window(_midnight(first, zone), _midnight(first + timedelta(days=1), zone))


def ranges(days: Iterable[str], *, widest_gap: int) -> list[PartitionKeyRange]:
    """The fewest ranges that cover `days`, where a range may span up to `widest_gap` other days in a row.

    A run costs seconds to start; a day in its range that has nothing to land costs a row in the event log.
    """
    found: list[PartitionKeyRange] = []
    for day in sorted(set(days)):
        if found and (date.fromisoformat(day) - date.fromisoformat(found[-1].end)).days <= widest_gap + 1:
            found[-1] = PartitionKeyRange(found[-1].start, day)
        else:
            found.append(PartitionKeyRange(day, day))
    return found


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # Where clocks jump over midnight this is the instant of the jump: zoneinfo reads a time that does not
    # exist with the offset from before.
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
