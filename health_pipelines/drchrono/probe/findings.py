"""What is to be found out about DrChrono's lists, and what follows from what was seen. Pure.

Belongs here: the assumptions and the decisions. Does not belong here: the calls (`lists.py`), and what
`since` counts from (`since.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.sweep.order import Order, instants, order_of_keys, order_of_times
from health_pipelines.probe.finding import Assumption, Finding, Need
from health_pipelines.settings.variables import DRCHRONO_TIMEZONE, HEALTH_TIMEZONE

CHANGED, CREATED = "updated_at", "created_at"

ACCESS = Assumption("record types that may be read", "those of the application's scopes; assumed: all nine")
TAKES = Assumption("a list takes", "not stated; nothing is assumed, the pace is learned")
SIZE = Assumption("page size", "up to 1000")
TIME_ORDER = Assumption("order by updated_at", "sorted by it; which way is not stated; assumed: rising")
LIST_ORDER = Assumption("order by id", "sorted by it; which way is not stated; assumed: rising")
SPELLING = Assumption("times", "ISO 8601 without a zone, those of the account's")
BEYOND = Assumption("a page behind the last", "not stated; assumed: without records, or refused")
THROTTLE = Assumption(
    "a 429", "after 500 calls in an hour, or more than 10 in a second; how it says until when is not stated"
)

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
# Clocks differ; more is another zone.
_FUTURE = timedelta(minutes=10)


@dataclass(frozen=True)
class Page:
    """A page of records as DrChrono says it is. `asked_size`: what was asked for."""

    asked_size: int
    size: int
    pages: int
    count: int
    rows: Sequence[dict[str, Any]] = field(repr=False)

    @property
    def is_all(self) -> bool:
        return len(self.rows) == self.count


def access_found(readable: Sequence[str], refused: Sequence[str]) -> Finding:
    if not refused:
        return ACCESS.seen(f"all {len(readable)}")
    return ACCESS.seen(
        f"refused with 403: {', '.join(refused)}",
        holds=False,
        follows="let the account's owner permit them, or switch off what asks for them",
    )


def takes_found(earliest: float, latest: float, records: int) -> Finding:
    return TAKES.seen(f"{earliest:.1f} to {latest:.1f} s, with {records} records")


def size_found(page: Page) -> Finding:
    came = len(page.rows)
    # What it says, unless it brings fewer where there are more.
    size = came if came < min(page.size, page.count) else page.size
    if size >= page.asked_size:
        return SIZE.seen(f"{size}" if came == size else f"{size}, as it says; {came} records were there")
    times = math.ceil(page.asked_size / max(size, 1))
    return SIZE.seen(
        f"{size} where {page.asked_size} were asked for",
        holds=False,
        follows=f"nothing: a smaller page is taken as what it is; a sweep costs {times} times the calls",
    )


def time_order_found(page: Page, zone: ZoneInfo) -> Finding:
    return _order_found(TIME_ORDER, order_of_times([row.get(CHANGED) for row in page.rows], zone), page)


def list_order_found(page: Page, key: str) -> Finding:
    return _order_found(LIST_ORDER, order_of_keys([row.get(key) for row in page.rows]), page)


def _order_found(assumption: Assumption, order: Order, page: Page) -> Finding:
    if order is Order.UNKNOWN:
        return assumption.not_seen(f"{len(page.rows)} records show no order.")
    said = f"{order.value}, in {len(page.rows)} records"
    if order is Order.NONE:
        return assumption.seen(
            said, holds=False, follows="sweeps will fail: without an order pages prove nothing; ask DrChrono"
        )
    return assumption.seen(said, holds=order is Order.RISING, follows="nothing: either way is taken")


def spelling_found(page: Page, zone: ZoneInfo, now: datetime) -> Finding:
    """`zone`: the account's as it is set. `now`: aware."""
    moments = [one for row in page.rows for name in (CHANGED, CREATED) if (one := _moment(row.get(name)))]
    if not moments:
        return SPELLING.not_seen("No record has a time.")
    offsets = {one.utcoffset() for one in moments if one.tzinfo}
    if not offsets:
        newest = max(one.replace(tzinfo=zone) for one in moments)
        if newest > now + _FUTURE:
            hours = (newest - now).total_seconds() / 3600
            why = f"DrChrono sent a change that would be {hours:.1f} hours in the future there"
            need = _other_zone(zone, why)
            return SPELLING.seen(
                f"without a zone, and up to {hours:.1f} hours ahead of now in {zone.key}",
                holds=False,
                follows=need.wish,
                needs=[need],
            )
        return SPELLING.seen(f"without a zone, and none is later than now in {zone.key}")
    if offsets == {timedelta()}:
        return SPELLING.seen("in UTC, and they say so", holds=False, follows="nothing: it is read as it says")
    wrong = [one for one in moments if one.tzinfo and one.utcoffset() != one.astimezone(zone).utcoffset()]
    if wrong:
        why = f"DrChrono's times have the offset {wrong[0]:%z}, which is not that zone's"
        need = _other_zone(zone, why)
        return SPELLING.seen(
            f"with an offset, such as {wrong[0]:%z}", holds=False, follows=need.wish, needs=[need]
        )
    return SPELLING.seen(
        f"with an offset, as {zone.key} has it", holds=False, follows="nothing: it is read as it says"
    )


def _other_zone(zone: ZoneInfo, why: str) -> Need:
    return Need(DRCHRONO_TIMEZONE.name, why, other_than=zone.key, instead=HEALTH_TIMEZONE.name)


def throttle_found(calls: int, seconds: Sequence[float | None], places: Sequence[Sequence[str]]) -> Finding:
    """Of each 429 that came: the seconds it said, and where."""
    if not seconds:
        return THROTTLE.not_seen(f"None came in {calls} calls, and none was provoked.")
    came = f"{len(seconds)} came in {calls} calls"
    where = list(dict.fromkeys(place for one in places for place in one))
    if not where:
        return THROTTLE.seen(
            f"{came}, without a word until when",
            holds=False,
            follows="nothing: calls wait until the next full hour",
        )
    longest = max(one for one in seconds if one is not None)
    return THROTTLE.seen(f"{came}; {' and '.join(where)} said to wait, for {longest:g} s at most")


def instant(value: Any, zone: ZoneInfo) -> datetime | None:
    """In UTC; the first of two in the hour that comes twice. None if it is no time."""
    found = instants(value, zone)
    return _EPOCH + found[0] * _MICROSECOND if found else None


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
