"""What `since` counts from: which time of a record, and where its day begins. Pure.

Two lists are compared, one since a day and one since the day before it: which records of the longer are in
the shorter? Each answer that is possible says which should be; those that are wrong about a record are out.

Belongs here: that comparison. Does not belong here: the calls (`lists.py`).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.probe.findings import CHANGED, CREATED, Page, instant
from health_pipelines.drchrono.sweep.order import Order, order_of_times
from health_pipelines.lake.json_partition import value_text
from health_pipelines.probe.finding import Assumption, Finding, Need
from health_pipelines.settings.variables import DRCHRONO_LOOKBACK_DAYS

COUNTS = Assumption("`since` counts", "records created or changed since; assumed: by their last change")
DAY = Assumption("the day of `since` begins", "not stated; assumed: in the account's zone")

# Changes of older records do not come then; this far back people still work on them.
_LOOK_BACK_DAYS = 30


@dataclass(frozen=True)
class _Answer:
    """A possible one."""

    field: str
    midnight: datetime

    def expects(self, record: dict[str, Any], zone: ZoneInfo) -> bool:
        moment = instant(record.get(self.field), zone)
        return moment is not None and moment >= self.midnight


def since_found(longer: Page, shorter: Page, day: date, zone: ZoneInfo, key: str) -> list[Finding]:
    """`shorter`: since `day`; `longer`: since an earlier one; both by change time. `zone`: the account's."""
    records = _comparable(longer, shorter, zone, key)
    if not records:
        why = "No record could be compared between two lists."
        return [COUNTS.not_seen(why), DAY.not_seen(why)]
    there = {value_text(row[key]) for row in shorter.rows}
    midnights = {"account": _midnight(day, zone), "UTC": _midnight(day, UTC)}
    right = {
        (field, where)
        for field in (CHANGED, CREATED)
        for where, midnight in midnights.items()
        if all(
            _Answer(field, midnight).expects(record, zone) == (value_text(record[key]) in there)
            for record in records
        )
    }
    return [
        _counts_found({one for one, _ in right}, len(records)),
        _day_found({one for _, one in right}, midnights),
    ]


def _counts_found(fields: set[str], records: int) -> Finding:
    if not fields:
        return COUNTS.seen(
            f"neither, or the account's zone is another: no answer is right about {records} records",
            holds=False,
            follows="check DRCHRONO_TIMEZONE, and ask DrChrono",
        )
    if fields == {CHANGED, CREATED}:
        return COUNTS.not_seen(f"None of {records} records was changed on a later day than it was made.")
    if fields == {CHANGED}:
        return COUNTS.seen(f"the last change, in {records} records")
    need = Need(
        DRCHRONO_LOOKBACK_DAYS.name,
        "changes of records that are older than the look-back are not sent",
        at_least=_LOOK_BACK_DAYS,
    )
    return COUNTS.seen(f"the creation, in {records} records", holds=False, follows=need.wish, needs=[need])


def _day_found(zones: set[str], midnights: dict[str, datetime]) -> Finding:
    if midnights["account"] == midnights["UTC"]:
        return DAY.seen("in UTC, which is the account's zone too")
    if zones == {"account"}:
        return DAY.seen("in the account's zone")
    if zones == {"UTC"}:
        return DAY.seen("in UTC", holds=False, follows="nothing: a sweep asks from the day before its first")
    if not zones:
        return DAY.not_seen("No answer is right about all records.")
    return DAY.not_seen("No record is between midnight in the account's zone and in UTC.")


def _comparable(longer: Page, shorter: Page, zone: ZoneInfo, key: str) -> list[dict[str, Any]]:
    """The records of the longer list of which it is sure whether the shorter has them."""
    newer = {value_text(row[key]): row.get(CHANGED) for row in shorter.rows}
    return [
        row
        for row in longer.rows
        if instant(row.get(CREATED), zone) is not None
        and _is_in_reach(row, shorter, zone)
        # Otherwise it has changed between the two.
        and newer.get(value_text(row[key]), row.get(CHANGED)) == row.get(CHANGED)
    ]


def _is_in_reach(row: dict[str, Any], page: Page, zone: ZoneInfo) -> bool:
    """Whether the page would have the record if the list had it."""
    at = instant(row.get(CHANGED), zone)
    if at is None or not page.rows:
        return False
    if page.is_all:
        return True
    last = instant(page.rows[-1].get(CHANGED), zone)
    order = order_of_times([one.get(CHANGED) for one in page.rows], zone)
    if last is None:
        return False
    return (order is Order.RISING and at < last) or (order is Order.FALLING and at > last)


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
