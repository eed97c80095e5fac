"""Which records are gone: the ids that the lake has, compared with those that the vendor lists. Pure.

Belongs here: what follows from two lists of ids, and what a comparison costs. Does not belong here: coming by
either (`step.py`), and where the result is kept (`gone_file.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.page_proof import is_sorted_by_change
from health_pipelines.drchrono.sweep.pages import pages_over
from health_pipelines.http import PermanentError

# A page is asked for and fetched.
_CALLS_OF_A_PAGE = 2
# More than so many at once, and more than this part of all, look like a token that may read less than before.
_MANY, _MANY_OF_ALL = 20, 0.1


class TooDearError(PermanentError):
    """A comparison would take more calls than it may. One sentence that names the setting."""


class TooManyGoneError(PermanentError):
    """So many records are gone that nothing is marked before somebody has looked. One sentence."""


@dataclass(frozen=True)
class Gone:
    """A record that a comparison has once missed. `id`: as the lake has it.

    `gone_since`: the comparison that missed it first (aware, UTC); None if it is listed again.
    `back_since`: the comparison that found it again; None while it is gone. `compared_at`: the comparison
    that said so last, and `report_id` its first list.
    """

    id: str
    gone_since: datetime | None
    back_since: datetime | None
    compared_at: datetime
    report_id: str


@dataclass(frozen=True)
class Comparison:
    """`records`: all that were ever missed, by id. The numbers: ids that were compared, that are gone now,
    and of which that is news.
    """

    records: Mapping[str, Gone]
    compared: int
    gone: int
    newly_gone: int
    came_back: int

    @property
    def says_more(self) -> bool:
        """Whether it says anything that the one before did not."""
        return bool(self.newly_gone or self.came_back)


def compare(
    before: Mapping[str, Gone],
    known: Mapping[str, datetime],
    listed: Collection[str],
    *,
    at: datetime,
    report_id: str,
) -> Comparison:
    """`before`: what comparisons have missed so far. `known`: the ids that the lake had before the vendor was
    asked, each with when its newest version was extracted (aware). `listed`: all ids that the vendor lists,
    proven to be all that were there from `at` on (aware, UTC).

    A record that the lake knows from before and nobody lists any more is gone. What the lake no longer knows
    stays as it was.
    """
    records = dict(before)
    newly_gone = came_back = 0
    for id_, extracted_at in known.items():
        last = before.get(id_)
        if id_ in listed:
            continue
        # If it was sent after it had been missed, it was back meanwhile.
        if last and last.gone_since and extracted_at <= last.gone_since:
            continue
        records[id_] = Gone(id_, at, None, at, report_id)
        newly_gone += 1
    for id_, last in before.items():
        if last.gone_since and id_ in listed:
            records[id_] = Gone(id_, None, at, at, report_id)
            came_back += 1
    gone = sum(one.gone_since is not None for one in records.values())
    return Comparison(records, len(known), gone, newly_gone, came_back)


def refuse_too_many(comparison: Comparison, record_type: RecordType) -> None:
    """Raise `TooManyGoneError` if as many are newly gone as nobody deletes in a month."""
    newly, compared = comparison.newly_gone, comparison.compared
    if newly > _MANY and newly > _MANY_OF_ALL * compared:
        raise TooManyGoneError(
            f"DrChrono no longer lists {newly} of the {compared} {record_type.name} that the lake has, as if "
            "the account might read less than before. Nothing was marked. If they are really gone, "
            "materialize it again with mark_many: true."
        )


def calls_for(record_type: RecordType, records: int) -> int:
    """The calls of a sweep of so many records, if nothing moves meanwhile. Raises `ListTooLongError`."""
    pages = len(pages_over(0, records, record_type.page_size))
    # The end of a list that changes reorder is read once more.
    again = 1 if is_sorted_by_change(record_type) and pages > 1 else 0
    return _CALLS_OF_A_PAGE * (pages + again)


def refuse_too_dear(record_type: RecordType, records: int, most_calls: int, who: str) -> int:
    """Returns the calls that it takes. Raises `TooDearError` if those are more, and `ListTooLongError`.

    `who`: has so many records, such as "the lake".
    """
    calls = calls_for(record_type, records)
    if calls > most_calls:
        raise TooDearError(
            f"To compare {record_type.name} takes about {calls} calls, as {who} has {records} of them, and "
            f"DRCHRONO_RECONCILE_MOST_CALLS is {most_calls}; raise it if that is worth the quota."
        )
    return calls
