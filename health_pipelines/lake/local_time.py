"""SQL that reads the account's local times as `zoneinfo` does.

Belongs here: texts of times, and the way from local time to UTC and back as SQL expressions. Does not belong
here: which fields are times (each vendor says it).

zoneinfo is the only authority. DuckDB takes the second of two equal local times where we take the first, and
it may know other rules for a zone than the part of this project that draws the borders of days.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

_ISO_TIME = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"
_OFFSET = r" ?(Z|[+-]\d\d(:?\d\d)?)"
_FIRST, _END = datetime(1970, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001 - local or UTC, as asked
# The rules of a zone are kept for stretches of so many days, the longest of these with at most one change of
# the offset in each: every statement that reads a time copies the whole list while it is planned.
_STRETCHES = (120, 60, 30, 15, 8, 4, 2, 1)
_MICROSECOND = timedelta(microseconds=1)
# Clocks are not changed twice within it.
_HALF_A_DAY = "INTERVAL 12 HOURS"


def _braces(pattern: str) -> str:
    """A pattern inside of a format string."""
    return pattern.replace("{", "{{").replace("}", "}}")


_RANGE = f"BETWEEN TIMESTAMP '{_FIRST}' AND TIMESTAMP '{_END - timedelta(microseconds=1)}'"

# The usual form costs as little as it can: a pattern costs more than the reading itself. In 19 letters there
# is no room for anything but this form and spaces.
USUAL_TIME = "CASE WHEN strlen({value}) = 19 THEN try_strptime({value}, '%Y-%m-%dT%H:%M:%S') END"
# A text without an offset as TIMESTAMP, one with an offset as TIMESTAMPTZ; NULL for anything else.
# `usual`: what the expression above made of it.
LOCAL_TIME = (
    f"coalesce({{usual}}, CASE WHEN regexp_full_match({{value}}, '{_braces(_ISO_TIME)}') "
    "THEN TRY_CAST({value} AS TIMESTAMP) END)"
)
OFFSET_TIME = (
    f"CASE WHEN {{usual}} IS NULL AND regexp_full_match({{value}}, '{_braces(_ISO_TIME + _OFFSET)}') "
    "THEN TRY_CAST({value} AS TIMESTAMPTZ) END"
)


def zone_variables(zone: ZoneInfo, rules: str = "") -> list[str]:
    """SQL statements that tell a connection the rules of `zone`, which the expressions below rely on.

    `rules`: a name for them, where a connection needs those of a second zone.
    """
    return [
        statement
        for name, found in ((f"{rules}local", _local_rules(zone)), (f"{rules}utc", _utc_rules(zone)))
        for statement in (
            f"SET VARIABLE {name}_stretch = {found.stretch}::BIGINT",
            f"SET VARIABLE {name}_border = {found.borders}::BIGINT[]",
            f"SET VARIABLE {name}_before = {found.befores}::BIGINT[]",
            f"SET VARIABLE {name}_after = {found.afters}::BIGINT[]",
        )
    ]


def utc_of_local(local: str) -> str:
    """SQL: the TIMESTAMP `local` in the zone as TIMESTAMPTZ; NULL outside of the years 1970 to 2099.

    Of two instants with the same local time the first (`fold=0`); a local time that clocks jump over moves
    forward by the jump.
    """
    return (
        f"CASE WHEN {local} {_RANGE} THEN make_timestamptz(epoch_us({local}) - {_offset('local', local)}) END"
    )


def latest_of_local(instant: str, text: str, *, rules: str) -> str:
    """SQL: the latest instant that the local time `text` may be, which `utc_of_local` read as `instant`.

    In the hour that clocks show twice that is the second one; `instant` for every other time, and for a text
    with an offset. `rules`: whose zone, as `zone_variables` was told.
    """
    comes_again, again = _again(instant, rules)
    # The end of a date looks like an offset.
    is_local = f"NOT (strlen({text}) > 10 AND regexp_matches({text}, '{_OFFSET}$'))"
    return (
        f"CASE WHEN {comes_again} AND {is_local} THEN make_timestamptz(epoch_us({again})) ELSE {instant} END"
    )


def as_told_apart(instant: str) -> str:
    """SQL: the TIMESTAMPTZ `instant`, and one and the same for all in a time that clocks show twice.

    For sorting: within it nobody can say which of two local times was the later one.
    """
    comes_again, again = _again(instant, "")
    utc = f"make_timestamp(epoch_us({instant}))"
    # Clocks go back between the two; in a stretch there may be an earlier change.
    borders = f"[{_border_of('utc', utc)}, {_border_of('utc', again)}]"
    back = f"list_min(list_filter({borders}, lambda border: border > epoch_us({utc})))"
    return f"CASE WHEN {comes_again} THEN make_timestamptz({back} - 1) ELSE {instant} END"


def _again(instant: str, rules: str) -> tuple[str, str]:
    """SQL: whether the time on the wall at `instant` comes once more, and the TIMESTAMP (UTC) of that."""
    utc, name = f"make_timestamp(epoch_us({instant}))", f"{rules}utc"
    before, after = _offset(name, utc), _offset(name, f"({utc} + {_HALF_A_DAY})")
    again = f"({utc} + to_microseconds({before} - {after}))"
    is_the_same = f"epoch_us({again}) + {_offset(name, again)} = epoch_us({utc}) + {before}"
    return f"{utc} {_RANGE} AND {before} > {after} AND {is_the_same}", again


def in_range(instant: str) -> str:
    """SQL: the TIMESTAMPTZ `instant`; NULL outside of the years 1970 to 2099, as for local times.

    Beyond, not every reader has a time for it: Python's end with the year 9999 of its own zone.
    """
    return f"CASE WHEN make_timestamp(epoch_us({instant})) {_RANGE} THEN {instant} END"


def day_of_instant(instant: str) -> str:
    """SQL: the calendar day in the zone of the TIMESTAMPTZ `instant`; NULL outside of the years above."""
    utc = f"make_timestamp(epoch_us({instant}))"
    local = f"make_timestamp(epoch_us({instant}) + {_offset('utc', utc)})"
    return f"CASE WHEN {utc} {_RANGE} THEN {local}::DATE END"


def _offset(name: str, time: str) -> str:
    """SQL: microseconds east of UTC at a local or UTC time."""
    before, after = _of_stretch(name, "before", time), _of_stretch(name, "after", time)
    return f"CASE WHEN epoch_us({time}) < {_border_of(name, time)} THEN {before} ELSE {after} END"


def _border_of(name: str, time: str) -> str:
    """SQL: where the offset changes in the stretch of `time`, in microseconds since 1970."""
    return _of_stretch(name, "border", time)


def _of_stretch(name: str, part: str, time: str) -> str:
    bucket = f"epoch_us({time}) // getvariable('{name}_stretch') + 1"
    return f"list_extract(getvariable('{name}_{part}'), {bucket})"


@dataclass(frozen=True)
class _Rules:
    """All in microseconds. For each stretch since 1970: where in it the offset changes, before and after."""

    stretch: int
    borders: list[int]
    befores: list[int]
    afters: list[int]


@cache
def _local_rules(zone: ZoneInfo) -> _Rules:
    return _rules(zone.utcoffset)


@cache
def _utc_rules(zone: ZoneInfo) -> _Rules:
    return _rules(lambda utc: zone.utcoffset(zone.fromutc(utc.replace(tzinfo=zone))))


def _rules(offset_at: Callable[[datetime], timedelta | None]) -> _Rules:
    def microseconds(offset: timedelta | None) -> int:
        assert offset is not None
        return offset // _MICROSECOND

    # No zone changes its offset twice within a day. There are 48,000 days, so that each has to be cheap.
    days = _days()
    by_day = list(map(offset_at, days))
    changes = [day for day, (one, next_one) in enumerate(pairwise(by_day)) if one != next_one]
    length = next(length for length in _STRETCHES if len({day // length for day in changes}) == len(changes))
    border_in = {day // length: _border(offset_at, days[day], days[day + 1]) for day in changes}
    starts = range(0, (_END - _FIRST).days, length)
    return _Rules(
        stretch=timedelta(days=length) // _MICROSECOND,
        borders=[(border_in.get(day // length, _FIRST) - _FIRST) // _MICROSECOND for day in starts],
        befores=[microseconds(by_day[day]) for day in starts],
        afters=[microseconds(by_day[day + length]) for day in starts],
    )


@cache
def _days() -> list[datetime]:
    return [_FIRST + timedelta(days=day) for day in range((_END - _FIRST).days + max(_STRETCHES) + 1)]


def _border(offset: Callable[[datetime], timedelta | None], before: datetime, after: datetime) -> datetime:
    """The first second with the offset of `after`."""
    old = offset(before)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        before, after = (middle, after) if offset(middle) == old else (before, middle)
    return after
