"""What a caller asked for, read as strictly as the vendor documents it: dates, windows, report types.

Documented are the formats of the examples and the messages about `type`. Every other message is a guess in
the vendor's style. Nothing here knows about HTTP beyond the text of a refusal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, cast, get_args

ReportType = Literal["virtual", "retail", "provider_booking"]
REPORT_TYPES: tuple[ReportType, ...] = get_args(ReportType)

UNKNOWN_TYPE = "'type' must be one of [retail, virtual]"
"""The vendor's words. They name two types although three are documented."""

DEFAULT_WINDOW = timedelta(days=10)
"""What a report without dates covers, up to now (vendor doc)."""


FIRST_DAY = date(2020, 1, 1)
"""The synthetic health system opened then; there is nothing before."""


class Refused(ValueError):  # noqa: N818 - it is what the vendor did, not what went wrong here
    """DexCare would answer 400 with this message."""


@dataclass(frozen=True)
class Window:
    """A stretch of time, both ends in UTC. Whether the end belongs to it is for the searcher to know."""

    start: datetime
    end: datetime

    def holds(self, moment: datetime, *, end_inclusive: bool) -> bool:
        """Whether a moment in UTC lies inside."""
        return self.start <= moment < self.end or (end_inclusive and moment == self.end)

    def days(self, until: date, *, lead: int = 0) -> Iterator[date]:
        """The UTC dates it touches and `lead` days before; none after `until` or before the `FIRST_DAY`."""
        day = max(self.start.date() - timedelta(days=lead), FIRST_DAY)
        while day <= min(self.end.date(), until):
            yield day
            day += timedelta(days=1)

    @property
    def day(self) -> date:
        """The day this window is about: the UTC date twelve hours after its start.

        So a window from midnight to midnight has the same day in every zone from UTC-11 to UTC+12.
        """
        return (self.start + timedelta(hours=12)).date()


_PLAUSIBLE_YEARS = range(1900, 2101)


def read_instant(name: str, value: object) -> datetime:
    """An ISO 8601 time with its zone, as `2022-04-13T15:00:00+0000` or `...T15:00:00.000Z`, in UTC.

    A time without a zone is refused: the vendor might take it, but only the vendor would know what it meant.
    """
    try:
        instant = datetime.fromisoformat(cast(str, value))
    except (TypeError, ValueError):
        raise Refused(f"'{name}' must be a valid ISO date") from None
    if instant.year not in _PLAUSIBLE_YEARS:
        raise Refused(f"'{name}' is out of range")
    if instant.tzinfo is None:
        raise Refused(f"'{name}' must carry a time zone")
    return instant.astimezone(UTC)


def read_window(body: Mapping[str, object]) -> Window:
    """The window of a body that must have one."""
    for name in ("startDate", "endDate"):
        if body.get(name) is None:
            raise Refused(f"'{name}' is required")
    window = Window(read_instant("startDate", body["startDate"]), read_instant("endDate", body["endDate"]))
    if window.end < window.start:
        raise Refused("'endDate' must not be before 'startDate'")
    return window


def read_window_or_default(body: Mapping[str, object], now: datetime) -> Window:
    """Both dates or neither; neither means the past ten days (vendor doc)."""
    if body.get("startDate") is None and body.get("endDate") is None:
        return Window(now - DEFAULT_WINDOW, now)
    return read_window(body)


def read_type(body: Mapping[str, object]) -> ReportType:
    """One of the three documented types, spelled exactly so."""
    asked = body.get("type")
    if asked in (None, ""):
        raise Refused("'type' is required")
    for known in REPORT_TYPES:
        if asked == known:
            return known
    raise Refused(UNKNOWN_TYPE)
