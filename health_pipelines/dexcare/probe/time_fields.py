"""Which fields of rows are times, and which of them a search may have gone by. Pure.

Belongs here: times that a row says, in whatever spelling. Does not belong here: what follows from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo


def as_time(value: object) -> datetime | None:
    """Aware or not, as it is spelled; None if it is no time. A date alone is none."""
    if not isinstance(value, str) or len(value) < len("2026-03-10T08:15"):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


@dataclass
class TimeFields:
    """The fields that were a time in every row so far, each with its times in the order of the rows."""

    times: dict[str, list[datetime]] = field(default_factory=dict)
    _rows: int = 0

    def take(self, row: Iterable[tuple[str, object]]) -> None:
        values = dict(row)
        if self._rows == 0:
            self.times = {name: [] for name in values}
        for name in list(self.times):
            moment = as_time(values.get(name))
            if moment is None:
                del self.times[name]
            else:
                self.times[name].append(moment)
        self._rows += 1


@dataclass(frozen=True)
class Reading:
    """A field, and the zone in which its times are read if they name none."""

    name: str
    zone: tzinfo

    def of(self, times: Mapping[str, Sequence[datetime]]) -> list[datetime]:
        """Its times as instants; empty if it has none."""
        found = times.get(self.name, ())
        return [one if one.tzinfo else one.replace(tzinfo=self.zone) for one in found]

    def __str__(self) -> str:
        return f"{self.name} (read in {'UTC' if self.zone is UTC else self.zone})"


def searched(
    times: Mapping[str, Sequence[datetime]], start: datetime, end: datetime, zones: Sequence[tzinfo]
) -> list[Reading]:
    """The fields, and how they are read, all of whose times are in a window that was searched."""
    readings = [Reading(name, zone) for name in times for zone in zones]
    return [one for one in readings if (all_ := one.of(times)) and start <= min(all_) <= max(all_) <= end]
