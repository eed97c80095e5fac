"""What is to be found out about visit reports, and what follows from what was seen. Pure.

Belongs here: the assumptions and the decisions. Does not belong here: the calls (`visits.py`).
"""

import math
from collections.abc import Sequence
from datetime import datetime

from health_pipelines.dexcare.probe.report_facts import ReportFacts
from health_pipelines.dexcare.probe.time_fields import Reading
from health_pipelines.dexcare.probe.window_end import end_found_by
from health_pipelines.probe.finding import Assumption, Finding, Need
from health_pipelines.settings.variables import (
    DEXCARE_POLL_SECONDS,
    DEXCARE_REPORT_TIMEOUT_SECONDS,
)

TYPES = Assumption(
    "report types", "virtual, retail and provider_booking; the text of a refusal names the first two only"
)
TAKES = Assumption("a report takes", "not stated; assumed: hours at most")
NULLS = Assumption("NULL in a report", "not stated; assumed: nothing between the commas, as Athena writes it")
SEARCHED = Assumption("the time a window searches", "not stated; nothing is assumed")
ORDER = Assumption("order of a report's rows", "not stated; nothing is assumed")
END = Assumption("the end of a report's window", "not stated; assumed: not included")
LIFE = Assumption("a result lives", "not stated; assumed: longer than it takes to see that it is ready")

# A report may take this many times as long on another day without being late.
_ROOM = 3
# So many columns with the same word are no accident.
_FEW_COLUMNS = 3


def types_found(taken: Sequence[str], refused: Sequence[str]) -> Finding:
    if not refused:
        return TYPES.seen(f"taken: {', '.join(taken)}")
    names = " and ".join(refused)
    return TYPES.seen(
        f"refused: {names}", holds=False, follows=f"ask DexCare for {names}; until then do not materialize it"
    )


def takes_found(earliest: float, latest: float, days: int) -> Finding:
    """Seconds from its start: the last look that found it not done, and the one that found it done."""
    said = f"{earliest:.1f} to {latest:.1f} s, for {days} days"
    least = max(1, math.ceil(latest * _ROOM))
    need = Need(DEXCARE_REPORT_TIMEOUT_SECONDS.name, f"a report took {latest:.0f} s", at_least=least)
    return TAKES.seen(said, follows=need.wish, needs=[need])


def nulls_found(facts: ReportFacts) -> Finding:
    if facts.nothing:
        beside = "; an empty text is two quotes" if facts.empty else ""
        return NULLS.seen(f"nothing between the commas{beside}")
    first, *others = sorted(facts.words.items(), key=lambda one: -len(one[1])) or [("", set[str]())]
    next_columns = len(others[0][1]) if others else 0
    if len(first[1]) >= _FEW_COLUMNS and len(first[1]) > 2 * next_columns:
        return NULLS.seen(
            f"the word {first[0]}",
            holds=False,
            follows=f"it lands as the text it is; queries have to treat {first[0]} as NULL",
        )
    if facts.empty:
        return NULLS.seen(
            "an empty text in quotes",
            holds=False,
            follows="NULL and an empty text cannot be told apart, here and in the lake",
        )
    return NULLS.not_seen("No value is missing in any row.")


def order_found(first: ReportFacts, second: ReportFacts) -> Finding:
    """Of two reports of the same window. Rows that changed in between, or are there twice, do not count."""
    both = _once(first) & _once(second)
    one, other = ([row for row in facts.prints if row in both] for facts in (first, second))
    if len(one) < 2:
        return ORDER.not_seen("There are fewer than two rows to compare.")
    if one == other:
        return ORDER.seen(f"the same twice, in {len(one)} rows")
    return ORDER.seen(f"another each time, in {len(one)} rows", follows="nothing: days are compared as sets")


def searched_found(readings: Sequence[Reading]) -> Finding:
    if not readings:
        return SEARCHED.not_seen("No column is a time within the window in every row.")
    return SEARCHED.seen(" or ".join(map(str, readings)))


def boundary(facts: ReportFacts, readings: Sequence[Reading], start: datetime) -> datetime | None:
    """The end of a window that shows whether ends are included: the instant of a row, on a whole second.

    As late as possible, with a row before it. None if no row is at one.
    """
    for reading in readings:
        instants = sorted(reading.of(facts.times.times))
        whole = [one for one in instants if one.microsecond == 0 and one > max(start, instants[0])]
        if whole:
            return whole[-1]
    return None


def end_found(whole: ReportFacts, cut: ReportFacts, readings: Sequence[Reading], end: datetime) -> Finding:
    """`cut`: of the window that ends at `end`, where `whole` goes on. `readings`: what may be searched."""
    verdicts = set()
    for reading in readings:
        expected = [one for one in reading.of(whole.times.times) if one < end]
        came = reading.of(cut.times.times)
        at_end = [one for one in reading.of(whole.times.times) if one == end]
        # Otherwise the window goes by another time than this one.
        if at_end and came and max(came) <= end and len([one for one in came if one < end]) == len(expected):
            verdicts.add(end in came)
    return end_found_by(
        verdicts,
        END,
        follows="a row at midnight lands in two days; `current` keeps one of each key, so set the "
        "columns DEXCARE_AVR_…_KEY",
    )


def life_found(*, is_there: bool, age_seconds: float) -> Finding:
    """`age_seconds`: since the result was downloaded first."""
    if is_there:
        return LIFE.seen(f"at least {age_seconds:.0f} s; not waited longer")
    most = max(1, math.floor(age_seconds / 2))
    need = Need(DEXCARE_POLL_SECONDS.name, f"a result was gone after {age_seconds:.0f} s", at_most=most)
    return LIFE.seen(
        f"gone {age_seconds:.0f} s after it was there", holds=False, follows=need.wish, needs=[need]
    )


def _once(facts: ReportFacts) -> set[int]:
    seen, twice = set[int](), set[int]()
    for row in facts.prints:
        (twice if row in seen else seen).add(row)
    return seen - twice
