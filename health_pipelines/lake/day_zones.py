"""Which time zone's days the partitions of a table are. Pure.

Belongs here: that as a value, and as the text of its note. Does not belong here: where the note is
(`partitions.py`), and what follows from days of two zones (`landing/holes.py`).

A partition is a calendar day of one zone. Somebody may set another zone one day: then `2026-03-01` of before
and `2026-03-02` of after do not meet, and some hours are in neither or in both.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class DayZones:
    """Days are of `zone` (IANA name), but for those in `others` (YYYY-MM-DD to zone)."""

    zone: str
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return json.dumps({"zone": self.zone, "others": dict(sorted(self.others.items()))})

    @classmethod
    def of_text(cls, text: str) -> Self | None:
        """None for what is no such text."""
        try:
            match json.loads(text):
                case {"zone": str(zone), "others": dict(others)}:
                    return cls(zone, {str(day): str(other) for day, other in others.items()})
        except ValueError:
            pass
        return None

    def of(self, day: str) -> str:
        return self.others.get(day, self.zone)

    def landed(self, day: str, zone: str, there: Collection[str]) -> "DayZones":
        """What is true once `day` has landed as a day of `zone` beside the days that are `there`.

        The newest zone is the one that needs no list: with one zone for ever there is nothing to write.
        """
        others = {one: of for one in there if one != day and (of := self.of(one)) != zone}
        return DayZones(zone, others)
