"""What there is and what is missing: the answer of `health-pipelines status`. Pure.

Belongs here: its parts, whether all is well, and its JSON. Does not belong here: where it is read
(`reading.py`, `stories.py`), and what it looks like on a screen (`commands/status.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from health_pipelines.landing.late_changes import LateChanges
from health_pipelines.landing.vendor import CallsLeft
from health_pipelines.status.reasons import Reason


@dataclass(frozen=True)
class LastLanding:
    """The newest landing of a table, of whatever day. `changed`: whether it said anything new."""

    day: str
    at: datetime
    rows: int | None
    changed: bool


@dataclass(frozen=True)
class Rows:
    """Of the newest day. `usual`: what its weekday usually has; None if nobody can say."""

    day: str
    landed: int
    usual: float | None
    is_few: bool


@dataclass(frozen=True)
class TableStatus:
    """A table that lands. Days are YYYY-MM-DD, the oldest first.

    `is_set_up`: whether the settings name somebody to ask. `first_day`: the oldest that ever landed.
    `newest_day`: in the lake, where every day is whole. `complete_to`: up to this one no day is missing.
    `missing`: from the first to the newest expected day. `of_other_zones`: days of another zone, and which.
    `late`: how late its days change, as it was counted last; None if it never was.
    """

    table: str
    is_set_up: bool
    first_day: str | None = None
    newest_day: str | None = None
    complete_to: str | None = None
    missing: Mapping[str, Reason] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    of_other_zones: Mapping[str, str] = field(default_factory=dict)
    last_landing: LastLanding | None = None
    rows: Rows | None = None
    late: LateChanges | None = None

    @property
    def is_well(self) -> bool:
        return not self.missing and not self.of_other_zones


@dataclass(frozen=True)
class Currency:
    """Whether something that is made of what landed is current. `says`: in words, without a full stop.

    `is_wanted`: whether it is kept current by itself; what is not does not count.
    """

    is_current: bool
    says: str
    is_wanted: bool = True
    since: datetime | None = None
    due: Sequence[str] = ()

    @property
    def is_well(self) -> bool:
        return self.is_current or not self.is_wanted


@dataclass(frozen=True)
class Status:
    """At `now` (aware). `calls`: of each vendor with a quota; a sentence where it cannot be read."""

    now: datetime
    newest_expected_day: date | None
    tables: Sequence[TableStatus]
    warehouse: Currency
    publishing: Currency
    calls: Sequence[CallsLeft | str] = ()

    @property
    def is_well(self) -> bool:
        of_tables = all(table.is_well for table in self.tables)
        return of_tables and self.warehouse.is_well and self.publishing.is_well


@dataclass(frozen=True)
class Moment:
    """Something that happened to a day of a table. `says`: without a full stop."""

    at: datetime
    kind: str
    says: str


@dataclass(frozen=True)
class Story:
    """What happened to one day of one table, the oldest first. `stands`: how it is now, in words."""

    table: str
    day: str
    is_missing: bool
    stands: str
    moments: Sequence[Moment] = ()


def as_json(status: Status, zone: ZoneInfo) -> dict[str, Any]:
    """All of it. The keys are there whatever the values are."""
    return {
        "at": _time(status.now),
        "is_well": status.is_well,
        "newest_expected_day": status.newest_expected_day and status.newest_expected_day.isoformat(),
        "tables": [_table(one, zone) for one in status.tables],
        "warehouse": _currency(status.warehouse),
        "publishing": _currency(status.publishing),
        "calls_left": [_calls(one) for one in status.calls],
    }


def stories_as_json(stories: Sequence[Story], now: datetime) -> dict[str, Any]:
    """Of all tables."""
    return {
        "at": _time(now),
        "is_well": not any(story.is_missing for story in stories),
        "tables": [
            {
                "table": story.table,
                "day": story.day,
                "is_missing": story.is_missing,
                "stands": story.stands,
                "moments": [
                    {"at": _time(one.at), "kind": one.kind, "says": one.says} for one in story.moments
                ],
            }
            for story in stories
        ],
    }


def _table(one: TableStatus, zone: ZoneInfo) -> dict[str, Any]:
    last, rows = one.last_landing, one.rows
    return {
        "table": one.table,
        "is_set_up": one.is_set_up,
        "is_well": one.is_well,
        "first_day": one.first_day,
        "newest_day": one.newest_day,
        "complete_to": one.complete_to,
        "missing": [
            {
                "day": day,
                "kind": reason.kind.value,
                "was_there": reason.was_there,
                "since": _time(reason.since),
                "attempts": reason.attempts,
                "run_id": reason.run or None,
                "order_id": reason.order or None,
                "says": reason.says(zone),
            }
            for day, reason in one.missing.items()
        ],
        "left_out": list(one.left_out),
        "of_other_zones": dict(one.of_other_zones),
        "last_landing": last
        and {"day": last.day, "at": _time(last.at), "rows": last.rows, "changed": last.changed},
        "late_changes": one.late and _late(one.late),
        "rows": rows and {"day": rows.day, "landed": rows.landed, "usual": rows.usual, "is_few": rows.is_few},
    }


def _late(one: LateChanges) -> dict[str, Any]:
    return {
        "lookback_days": one.lookback_days,
        "known_up_to_age": one.known[-1].age if one.known else None,
        "says": one.says,
        "ages": [
            {"age": age.age, "watched": age.watched, "changed": age.changed, "rows": age.rows}
            for age in one.ages
        ],
    }


def _currency(one: Currency) -> dict[str, Any]:
    return {
        "is_current": one.is_current,
        "is_wanted": one.is_wanted,
        "since": _time(one.since),
        "due": list(one.due),
        "says": one.says,
    }


def _calls(one: CallsLeft | str) -> dict[str, Any]:
    if isinstance(one, str):
        return {"vendor": None, "left": None, "per_hour": None, "throttled_until": None, "problem": one}
    return {
        "vendor": one.vendor,
        "left": one.left,
        "per_hour": one.per_hour,
        "throttled_until": _time(one.throttled_until),
        "problem": None,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
