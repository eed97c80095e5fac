"""A calendar of days and tables: the state of each day, made from the same look as `health-pipelines status`.

Belongs here: which state a day has, and the calendar in Markdown. Does not belong here: why a day is missing
(`reasons.py`), and the picture (`calendar_image.py`). No record is read, only how many there are.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from health_pipelines.landing.checks import rows_in
from health_pipelines.landing.holes import said
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.status.reading import Reading
from health_pipelines.status.reasons import Kind, Reason, grouped
from health_pipelines.status.report import TableStatus

DAYS, MONTHS = 35, 12


class State(StrEnum):
    """Of a day of a table, in the words of the legend."""

    LANDED = "landed"
    EMPTY = "landed, no rows"
    OTHER_ZONE = "a day of another time zone"
    ON_ITS_WAY = "asked for, on its way"
    FAILED = "its last run failed"
    GIVEN_UP = "given up"
    MISSING = "missing"
    NOT_EXPECTED = "not expected"


# Told apart without colours, in the picture as in Markdown.
SIGNS: Mapping[State, str] = {
    State.LANDED: "#",
    State.EMPTY: "0",
    State.OTHER_ZONE: "Z",
    State.ON_ITS_WAY: ">",
    State.FAILED: "!",
    State.GIVEN_UP: "X",
    State.MISSING: "?",
    State.NOT_EXPECTED: ".",
}
_STATES: Mapping[Kind, State] = {
    Kind.RUN_UNDER_WAY: State.ON_ITS_WAY,
    Kind.IN_FLIGHT: State.ON_ITS_WAY,
    Kind.GIVEN_UP: State.GIVEN_UP,
    Kind.NOT_TO_BE_LANDED: State.GIVEN_UP,
    Kind.RUN_FAILED: State.FAILED,
    Kind.GONE: State.MISSING,
    Kind.NEVER_ASKED: State.MISSING,
}


@dataclass(frozen=True)
class Month:
    """Days of a table in a month: those in the lake, and those that are missing."""

    landed: int
    missing: int


@dataclass(frozen=True)
class Line:
    """A table. `states`: of each day of the calendar. `months`: of each month of it. `why`: a sentence for
    each group of missing days, without a full stop.
    """

    table: str
    newest_day: str | None
    states: Sequence[State]
    months: Sequence[Month]
    why: Sequence[str] = ()


@dataclass(frozen=True)
class Calendar:
    """`days`: YYYY-MM-DD, up to yesterday. `months`: YYYY-MM, up to that of yesterday. The oldest first."""

    days: Sequence[str]
    months: Sequence[str]
    lines: Sequence[Line]


def calendar_of(reading: Reading) -> Calendar:
    """Of every table that is set up or has landed. Raises `SettingError`."""
    status = {one.table: one for one in reading.status().tables}
    yesterday = reading.now.astimezone(reading.settings.timezone).date() - timedelta(days=1)
    days = [(yesterday - timedelta(days=back)).isoformat() for back in range(DAYS - 1, -1, -1)]
    tables = [one for one in reading.tables if one.table in reading.set_up or reading.days(one)]
    # What is under way for a day that nobody has to miss yet is worth a sign, too.
    others = {
        one: [
            day for day in days if day not in reading.days(one) and day not in status[str(one.table)].missing
        ]
        for one in tables
    }
    reasons = reading.reasons(others)
    return Calendar(
        days,
        _months_to(yesterday),
        [_line(reading, one, status[str(one.table)], days, reasons[one]) for one in tables],
    )


def state_of(
    day: str, status: TableStatus, there: Collection[str], empty: Collection[str], other: Reason | None
) -> State:
    """`there`: the days in the lake, `empty`: those without a row. `other`: why a day is not there that
    nobody misses.
    """
    if day in there:
        if day in status.of_other_zones:
            return State.OTHER_ZONE
        return State.EMPTY if day in empty else State.LANDED
    if reason := status.missing.get(day):
        return _STATES[reason.kind]
    state = _STATES[other.kind] if other else State.MISSING
    return State.NOT_EXPECTED if state is State.MISSING else state


def as_markdown(calendar: Calendar) -> str:
    """A line for each table with a sign for each day, and why days are missing."""
    legend = ", ".join(f"`{sign}` {state.value}" for state, sign in SIGNS.items())
    lines = [
        f"| Table | Newest day | {calendar.days[0]} to {calendar.days[-1]} |",
        "| --- | --- | --- |",
        *(
            f"| {one.table} | {one.newest_day or 'none'} | `{''.join(map(SIGNS.__getitem__, one.states))}` |"
            for one in calendar.lines
        ),
        "",
        f"{legend}.",
    ]
    why = [f"- {one.table}: {sentence}." for one in calendar.lines for sentence in one.why]
    return "\n".join([*lines, *(["", "**Missing**", "", *why] if why else [])])


def _line(
    reading: Reading,
    checked: CheckedTable,
    status: TableStatus,
    days: Sequence[str],
    others: Mapping[str, Reason],
) -> Line:
    zone, there = reading.settings.timezone, set(reading.days(checked))
    # By the footers of the files.
    empty = {
        day for day in days if day in there and rows_in(reading.lake.footer_file(checked.table, day)) == 0
    }
    return Line(
        status.table,
        status.newest_day,
        [state_of(day, status, there, empty, others.get(day)) for day in days],
        [
            Month(
                sum(day.startswith(month) for day in there),
                sum(day.startswith(month) for day in status.missing),
            )
            for month in _months_to(date.fromisoformat(days[-1]))
        ],
        [f"{said(of)}: {reason.says(zone)}" for of, reason in grouped(status.missing)],
    )


def _months_to(yesterday: date) -> list[str]:
    last = yesterday.year * 12 + yesterday.month - 1
    return [f"{month // 12}-{month % 12 + 1:02}" for month in range(last - MONTHS + 1, last + 1)]
