"""Why a day is missing, from what is known of it to words. Pure.

Belongs here: the decision and its sentence. Does not belong here: where that is known from (`reading.py`),
and which days are missing (`landing/holes.py`).

What happens now comes before what happened: a run for the day, then what the vendor was asked for, then a
backfill that is to begin, then the last run that failed, then whether the day was there once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from health_pipelines.landing.vendor import Order


class Kind(StrEnum):
    """Stable names, for scripts."""

    RUN_UNDER_WAY = "run_under_way"
    IN_FLIGHT = "in_flight"
    BACKFILL_TO_BEGIN = "backfill_to_begin"
    GIVEN_UP = "given_up"
    NOT_TO_BE_LANDED = "not_to_be_landed"
    RUN_FAILED = "run_failed"
    GONE = "gone"
    NEVER_ASKED = "never_asked"


class State(StrEnum):
    """Of a run."""

    QUEUED = "queued"
    UNDER_WAY = "under way"
    FAILED = "failed"


@dataclass(frozen=True)
class Attempt:
    """The last run that was to bring a day, or to ask for it, and has not. `at`: when it was created (aware).

    `sentence`: why it failed.
    """

    run_id: str
    state: State
    at: datetime
    sentence: str = ""

    @property
    def failed(self) -> bool:
        return self.state is State.FAILED


@dataclass(frozen=True)
class Known:
    """What is known of a day that is not in the lake. `was_there`: whether Dagster knows that it landed.

    `backfill_at`: when a backfill was asked for (aware) that has begun no run for the day.
    """

    was_there: bool = False
    order: Order | None = None
    attempt: Attempt | None = None
    backfill_at: datetime | None = None


@dataclass(frozen=True)
class Reason:
    """`since`: since when it is so, if somebody knows. `detail`: words of a vendor, or of a run that failed.

    `run`, `order`: the id of the run or of what was ordered, if the reason is about one. `attempts`: orders
    for the same wish, or landings that failed.
    """

    kind: Kind
    was_there: bool = False
    since: datetime | None = None
    detail: str = ""
    attempts: int = 0
    run: str = ""
    order: str = ""

    def says(self, zone: ZoneInfo) -> str:
        """In words, without a full stop. Times are said in `zone`."""
        words = self._words(f" {clock(self.since, zone)}" if self.since else "")
        if not self.was_there:
            return words
        return f"landed once, and its partition is gone from the lake; {words}"

    def _words(self, at: str) -> str:
        again = f", for the {_ordinal(self.attempts)} time" if self.attempts > 1 else ""
        trouble = f"; the last try to land it failed: {self.detail}" if self.detail else ""
        tries = _times(self.attempts, "failed landing")
        return {
            Kind.RUN_UNDER_WAY: f"the run {self.run[:8]} for it is {self.detail} since{at}",
            Kind.IN_FLIGHT: f"asked for and in flight since{at}{again}{trouble}",
            Kind.BACKFILL_TO_BEGIN: f"asked for by a backfill of{at}, which has not begun",
            Kind.GIVEN_UP: f"given up{at} after {_times(self.attempts, 'attempt')}: {self.detail}",
            Kind.NOT_TO_BE_LANDED: f"came, and is left alone after {tries}, the last{at}: {self.detail}",
            Kind.RUN_FAILED: f"its last run, of{at}, failed: {self.detail}",
            Kind.GONE: "nobody has asked for it again",
            Kind.NEVER_ASKED: "never asked for",
        }[self.kind]


def why(known: Known) -> Reason:
    """Why a day is missing of which this is known."""
    return replace(_why(known), was_there=known.was_there)


def grouped(reasons: Mapping[str, Reason]) -> list[tuple[list[str], Reason]]:
    """The days that have the same reason, since the first time that one of them has it; oldest day first."""
    groups: dict[Reason, list[str]] = {}
    for day, reason in sorted(reasons.items()):
        groups.setdefault(replace(reason, since=None, order=""), []).append(day)
    return [(days, _oldest([reasons[day] for day in days])) for days in groups.values()]


def clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def _why(known: Known) -> Reason:
    order, attempt = known.order, known.attempt
    if attempt and not attempt.failed:
        return Reason(Kind.RUN_UNDER_WAY, since=attempt.at, detail=attempt.state.value, run=attempt.run_id)
    if order and order.over_at is None:
        # A run that failed as a whole, such as for a refused key, is told by its own sentence alone.
        trouble = attempt.sentence if attempt and attempt.at > order.asked_at else order.trouble
        return Reason(
            Kind.IN_FLIGHT, since=order.asked_at, detail=trouble, attempts=order.attempts, order=order.id
        )
    if known.backfill_at:
        return Reason(Kind.BACKFILL_TO_BEGIN, since=known.backfill_at)
    if order and order.over_at and not (attempt and attempt.at > order.over_at):
        kind, count = (
            (Kind.GIVEN_UP, order.attempts)
            if order.given_up
            else (Kind.NOT_TO_BE_LANDED, order.failed_landings)
        )
        return Reason(kind, since=order.over_at, detail=order.trouble, attempts=count, order=order.id)
    if attempt:
        return Reason(Kind.RUN_FAILED, since=attempt.at, detail=attempt.sentence, run=attempt.run_id)
    return Reason(Kind.GONE if known.was_there else Kind.NEVER_ASKED)


def _oldest(reasons: Sequence[Reason]) -> Reason:
    first = reasons[0]
    return replace(first, since=min((one.since for one in reasons if one.since), default=None))


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
