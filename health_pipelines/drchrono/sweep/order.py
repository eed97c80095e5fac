"""Whether the records of a page come in the order that was asked for. Pure.

Belongs here: the readings of a time or an id, and what order they make. Does not belong here: what is proven
by an order (`pages.py`), and what follows from a page without one (`reading.py`).

A vendor's database sorts instants and numbers; what is sent are texts, and not every text says which instant
it is: on the night clocks go back 01:10 comes twice, so that 01:50 may well be followed by 01:10. And another
database may sort the texts after all. So an order is believed if *some* reading of the values makes it one.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from health_pipelines.lake.json_partition import value_text

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC or local, as what is counted from it
_MICROSECOND = timedelta(microseconds=1)
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
# A text of more digits is no number to Python.
_LONGEST_NUMBER = 1000

# What a value may mean: each of these, as something that can be compared. Empty: nothing.
_Meanings = Sequence[Any]
_Reading = Callable[[Any], _Meanings]


class Order(Enum):
    """How values are sorted. UNKNOWN: they are all the same, or it could be either."""

    RISING = "rising"
    FALLING = "falling"
    NONE = "in no order"
    UNKNOWN = "unknown"


def order_of_times(values: Sequence[Any], zone: ZoneInfo) -> Order:
    """The order of change times as the vendor sends them; those without an offset are local times in `zone`.

    What is no time counts for nothing: nobody knows where a database puts it.
    """
    present = [value for value in values if value is not None]
    as_times = [some for value in present if (some := instants(value, zone))]
    return _first_order([as_times, _all_read(present, _texts)])


def order_of_keys(values: Sequence[Any]) -> Order:
    """The order of ids: as numbers, as texts by their bytes, or as a database with a language sorts them."""
    present = [value for value in values if value is not None]
    readings = (_numbers, _texts, _texts_without_case, _letters_and_digits)
    return _first_order([_all_read(present, read) for read in readings])


def local_time(value: Any, zone: ZoneInfo) -> datetime | None:
    """The time on the wall in `zone`, without an offset; None if it is no time. Raises nothing."""
    moment = _moment(value)
    if moment is None or moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:  # within a day of the first or the last year there is
        return moment.replace(tzinfo=None)


def place_of(time: Any, zone: ZoneInfo) -> str:
    """One text for one time, however it is spelled: records with equal times have no order among each other.

    The hour that comes twice in `zone` is one, so that what may be equal is.
    """
    moment = local_time(time, zone)
    return value_text(time) or "" if moment is None else moment.isoformat()


def instants(value: Any, zone: ZoneInfo) -> list[int]:
    """The instants that a time may be, in microseconds since 1970, UTC: two in the hour that comes twice."""
    moment = _moment(value)
    if moment is None:
        return []
    if moment.tzinfo is not None:
        offsets = {moment.utcoffset()}
    else:
        offsets = {moment.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    wall = (moment.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    return sorted(wall - offset // _MICROSECOND for offset in offsets if offset is not None)


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _texts(value: Any) -> _Meanings:
    return [value_text(value) or ""]


def _texts_without_case(value: Any) -> _Meanings:
    return [(value_text(value) or "").casefold()]


def _letters_and_digits(value: Any) -> _Meanings:
    """As most languages sort: neither signs nor accents count at first, so that `8-1` is behind `80`."""
    letters = unicodedata.normalize("NFKD", (value_text(value) or "").casefold())
    return ["".join(one for one in letters if one.isalnum())]


def _numbers(value: Any) -> _Meanings:
    text = value_text(value) or ""
    return [int(text)] if _WHOLE_NUMBER.fullmatch(text) and len(text) < _LONGEST_NUMBER else []


def _all_read(values: Sequence[Any], read: _Reading) -> list[_Meanings]:
    """What all of them mean; nothing at all if one has no meaning in this reading."""
    found = [read(value) for value in values]
    return found if all(found) else []


def _first_order(readings: Sequence[Sequence[_Meanings]]) -> Order:
    """By the first reading that makes one."""
    found = [_order(meanings) for meanings in readings if meanings]
    return next((one for one in found if one is not Order.NONE), Order.NONE if found else Order.UNKNOWN)


def _order(meanings: Sequence[_Meanings]) -> Order:
    rises, falls = _can_rise(meanings), _can_rise(meanings[::-1])
    if rises and falls:
        return Order.UNKNOWN
    return Order.RISING if rises else Order.FALLING if falls else Order.NONE


def _can_rise(meanings: Sequence[_Meanings]) -> bool:
    """Whether some choice of meanings never goes down: the smallest that is possible is always the best."""
    reached = min(meanings[0], default=None)
    for some in meanings[1:]:
        possible = [one for one in some if one >= reached]
        if not possible:
            return False
        reached = min(possible)
    return True
