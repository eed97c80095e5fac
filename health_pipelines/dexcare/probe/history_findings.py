"""What is to be found out about provider histories, and what follows from what was seen. Pure.

Belongs here: the assumptions and the decisions. Does not belong here: the calls (`histories.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from health_pipelines.dexcare.histories.client import HistoryPage
from health_pipelines.dexcare.histories.sweep import PAGE_ROWS
from health_pipelines.dexcare.probe.time_fields import Reading
from health_pipelines.dexcare.probe.window_end import end_found_by
from health_pipelines.lake.json_partition import value_text
from health_pipelines.probe.finding import Assumption, Finding

DOCUMENTED_DEFAULT = 50

LARGEST = Assumption(
    "largest limit of histories",
    "not stated; assumed: any limit is taken, and cut by the server where it is too large",
)
DEFAULT = Assumption("limit of histories without one", f"{DOCUMENTED_DEFAULT}, which DexCare can change")
ORDER = Assumption("order of histories", "not stated; nothing is assumed")
END = Assumption("the end of a histories' window", "not stated; assumed: not included")


def largest_found(page: HistoryPage, *, refused: bool) -> Finding:
    """`page`: the answer to a limit of `PAGE_ROWS`, or to none if that was `refused`."""
    came = len(page.rows)
    if refused:
        return LARGEST.seen(
            f"a limit of {PAGE_ROWS} is refused; without one {came} rows come",
            holds=False,
            follows="nothing: pages are asked for without a limit then",
        )
    if came < page.count:
        return LARGEST.seen(f"{came}: so many rows come where {PAGE_ROWS} are asked for")
    return LARGEST.not_seen(f"All {came} rows of the window came at once; the limit was not reached.")


def default_found(page: HistoryPage) -> Finding:
    came = len(page.rows)
    if came == page.count <= DOCUMENTED_DEFAULT:
        return DEFAULT.not_seen(f"All {came} rows of the window came at once; the limit was not reached.")
    return DEFAULT.seen(
        str(came), holds=came == DOCUMENTED_DEFAULT, follows="nothing: a limit is always sent"
    )


def order_found(first: HistoryPage, again: HistoryPage, times: Mapping[str, Sequence[datetime]]) -> Finding:
    """Of the same page, asked for twice. `times`: of the first, by field."""
    ids, others = ([value_text(row["id"]) for row in page.rows] for page in (first, again))
    if len(ids) < 2:
        return ORDER.not_seen("There are fewer than two rows.")
    if first.count != again.count:
        return ORDER.not_seen("Rows came or went between two answers.")
    twice = "the same twice" if ids == others else "another each time"
    sorts = [
        f"{name} {'rises' if moments == sorted(moments) else 'falls'}"
        for name, found in times.items()
        if (moments := list(found)) in (sorted(found), sorted(found, reverse=True)) and len(set(moments)) > 1
    ]
    said = f"{twice}, and {' and '.join(sorts) or 'no time in it explains it'}"
    return ORDER.seen(said, follows="nothing: days are read until two readings agree")


def boundary(times: Mapping[str, Sequence[datetime]], readings: Sequence[Reading]) -> datetime | None:
    """The end of a window that shows whether ends are included: a row's instant, on a whole millisecond."""
    for reading in readings:
        whole = [one for one in sorted(reading.of(times)) if one.microsecond % 1000 == 0]
        if whole:
            return whole[-1]
    return None


def end_found(
    cut: HistoryPage, times: Mapping[str, Sequence[datetime]], readings: Sequence[Reading], end: datetime
) -> Finding:
    """`cut`: of the window that ends at `end`, with its `times`. `readings`: what may be searched."""
    if len(cut.rows) < cut.count:
        return END.not_seen("More rows are before that end than come at once.")
    verdicts = set()
    for reading in readings:
        came = reading.of(times)
        if came and max(came) <= end:
            verdicts.add(end in came)
    return end_found_by(
        verdicts,
        END,
        follows="nothing: a row at midnight lands in two days, and `current` keeps one of each id",
    )
