"""DrChrono's quota: so many calls an hour, counted anew from every full hour, and so many a second.

Belongs here: when the next call may be made. Does not belong here: where calls are counted
(`quota_store.py`), the calls, and reading how long a throttled answer asks us to wait (`client.py`).

The vendor counts for an application, whoever calls. So all processes count together, and a call is counted
before it is made: a process that is killed in between wastes one call and exceeds nothing.
"""

import asyncio
import math
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from pyrate_limiter import AbstractBucket, Decision, FixedWindow, Rate, RateItem, SlidingWindowLog

from health_pipelines.drchrono.api.quota_store import FileStore, PostgresStore, QuotaStore
from health_pipelines.settings import Secret
from health_pipelines.settings.clock import utc_now

T = TypeVar("T")

HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HOUR_MS = HOUR // _MILLISECOND
# Any second, wherever it starts, and somewhat more: calls do not reach the vendor as evenly as they leave.
_SECOND_MS = 1_100
# A throttle this soon after the full hour, without a time, is more likely a vendor's clock that is behind
# ours than an hour's calls used up; it must not cost the whole hour.
CLOCKS_MAY_DIFFER = timedelta(minutes=1)
# A clock that is set, or a machine that slept, is noticed within this time.
LONGEST_SLEEP_SECONDS = 60.0
# More pauses than whole seconds in an hour; none is ever refused.
_PAUSES = Rate(10_000, _HOUR_MS)


@dataclass(frozen=True)
class Wait:
    """No call before `until`. `because` is what people are told; empty for a moment not worth a word."""

    until: datetime
    because: str = ""


@dataclass(frozen=True)
class _Buckets:
    seconds: AbstractBucket
    hours: AbstractBucket
    # One entry for a throttle, dated at the time before which nobody calls.
    pauses: AbstractBucket

    def all(self) -> tuple[AbstractBucket, ...]:
        return self.seconds, self.hours, self.pauses


def some_seconds() -> float:
    """So that processes and clocks that differ slightly do not all call on the stroke of the hour."""
    return random.uniform(0.5, 2.0)  # noqa: S311 - nobody gains by guessing it


class Quota:
    """One quota for all that share the store; an object of this class belongs to one event loop at a time.

    `now` gives the time with a zone, `sleep` waits for seconds, `say` is told in one sentence what is waited
    for, `spread` gives the seconds to wait longer than until a full hour or a pause's end. With a
    `MemoryStore` no other time is used than theirs.

    Every method raises `QuotaFileError` or `QuotaUnreachableError` if the store cannot be used.
    """

    def __init__(
        self,
        store: QuotaStore,
        *,
        per_hour: int,
        per_second: int,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        say: Callable[[str], None],
        spread: Callable[[], float] = some_seconds,
    ) -> None:
        self._store = store
        self._per_hour = per_hour
        self._per_second = per_second
        self._now = now
        self._sleep = sleep
        self._say = say
        self._spread = spread
        self._made: _Buckets | None = None
        self._cleared_at: datetime | None = None
        self._queue: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def acquire(self) -> None:
        """Return when it is a call's turn, which is then counted; in the order of asking, within a process.

        Waits as long as it takes and says until when, once for each wait that is longer than a second's turn.
        """
        async with self._turn():
            while wait := await self._alone(self._count_call):
                if wait.because:
                    self._say(wait.because)
                spread = self._spread() if wait.because else 0.0
                await self._sleep_until(wait.until + timedelta(seconds=spread))

    async def throttled(self, seconds: float | None) -> None:
        """The vendor answered 429: nobody calls for so many seconds, or None, until the next full hour.

        A pause that stands is never shortened, and none is longer than an hour: the vendor counts anew by
        then. Within the first minute of an hour None means until that minute is over (a clock may be behind).
        """
        while not await self._alone(lambda: self._pause(seconds)):
            await self._sleep(_a_moment())

    async def remaining(self) -> int:
        """The calls left in this hour, as far as we counted; 0 if the vendor throttles until its end."""
        return await self._alone(self._count_remaining)

    def close(self) -> None:
        """Let go of the store; what was counted stays."""
        self._store.close()

    def _turn(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._queue is None or self._queue[0] is not loop:
            self._queue = loop, asyncio.Lock()
        return self._queue[1]

    async def _alone(self, decide: Callable[[], T]) -> T:
        def work() -> T:
            with self._store.alone():
                return decide()

        return await self._store.run(work)

    async def _sleep_until(self, until: datetime) -> None:
        while (left := (until - self._now()).total_seconds()) > 0:
            await self._sleep(min(left, LONGEST_SLEEP_SECONDS))

    # What follows runs while nobody else decides, and reads the clock only then.

    def _count_call(self) -> Wait | None:
        buckets, at = self._buckets(), self._now()
        pause = _newest(buckets.pauses)
        if pause is not None and pause > at:
            return Wait(
                pause, f"DrChrono throttled the calls; waits for the quota until {clock_time(pause)}."
            )
        # The second comes first: its turn may be wasted, one of the hour's calls may not.
        decision = _put(buckets.seconds, at)
        if not decision.allowed:
            return Wait(_again_at(at, decision))
        decision = _put(buckets.hours, at)
        if not decision.allowed and decision.retry_after_ms is None:
            return Wait(_again_at(at, decision))
        if not decision.allowed:
            until = top_of_hour(at) + HOUR
            return Wait(
                until,
                f"All {self._per_hour} calls to DrChrono of this hour are used up; waits for the quota until "
                f"{clock_time(until)}.",
            )
        return None

    def _pause(self, seconds: float | None) -> bool:
        """Whether the pause stands; False if somebody who is not us was in the way."""
        buckets, at = self._buckets(), self._now()
        until = nobody_before(at, seconds)
        newest = _newest(buckets.pauses)
        return (newest is not None and newest >= until) or _put(buckets.pauses, until).allowed

    def _count_remaining(self) -> int:
        buckets, at = self._buckets(), self._now()
        hour = top_of_hour(at)
        pause = _newest(buckets.pauses)
        if pause is not None and pause >= hour + HOUR:
            return 0
        return max(0, self._per_hour - _count_since(buckets.hours, hour))

    def _buckets(self) -> _Buckets:
        if self._made is None:
            bucket = self._store.bucket
            self._made = _Buckets(
                seconds=bucket("second", Rate(self._per_second, _SECOND_MS), SlidingWindowLog()),
                hours=bucket("hour", Rate(self._per_hour, _HOUR_MS), FixedWindow()),
                pauses=bucket("pause", _PAUSES, SlidingWindowLog()),
            )
        hour = top_of_hour(self._now())
        if hour != self._cleared_at:
            # The past hour is kept: for a machine whose clock is behind it is not over yet.
            for each in self._made.all():
                each.leak(_milliseconds(hour - HOUR))
            self._cleared_at = hour
        return self._made


def shared_store(folder: Path, postgres_url: Secret | None, application: str) -> QuotaStore:
    """Where the calls of one application are counted (see `shared_quota`)."""
    name = "drchrono_" + sha256(application.encode()).hexdigest()[:16]
    return PostgresStore(postgres_url, name) if postgres_url else FileStore(folder / f"{name}.sqlite")


def shared_quota(
    folder: Path,
    postgres_url: Secret | None,
    application: str,
    *,
    per_hour: int,
    per_second: int,
    say: Callable[[str], None],
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Quota:
    """The quota of one DrChrono application: in that database if there is one, else in a file in `folder`.

    `application` tells applications apart, e.g. a client id; only a hash of it is stored. Without a database,
    processes share the quota if they share the folder. Nothing is opened before the first use.
    """
    store = shared_store(folder, postgres_url, application)
    return Quota(store, per_hour=per_hour, per_second=per_second, now=now, sleep=sleep, say=say)


def calls_left(store: QuotaStore, per_hour: int, now: datetime) -> tuple[int, datetime | None]:
    """The calls left in this hour as far as we counted, and until when the vendor throttles, if it does.

    Only looks: nothing is made, counted or waited for, and no lock is taken. Raises as `Quota`'s methods do.
    """
    hour = top_of_hour(now)
    try:
        calls = store.entries("hour", since=_milliseconds(hour))
        pauses = store.entries("pause", since=_milliseconds(now))
    finally:
        store.close()
    until = _EPOCH + max(pauses) * _MILLISECOND if pauses else None
    used_up = until is not None and until >= hour + HOUR
    return 0 if used_up else max(0, per_hour - len(calls)), until if until and until > now else None


def top_of_hour(at: datetime) -> datetime:
    """The full hour at or before, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def nobody_before(at: datetime, seconds: float | None) -> datetime:
    """When a throttle at that time ends, as `Quota.throttled` says; a whole second, in UTC."""
    hour = top_of_hour(at)
    if seconds is None or not math.isfinite(seconds):
        until = hour + (HOUR if at - hour >= CLOCKS_MAY_DIFFER else CLOCKS_MAY_DIFFER)
    else:
        until = at.astimezone(UTC) + timedelta(seconds=min(max(seconds, 0.0), HOUR.total_seconds()))
    whole = until.replace(microsecond=0)
    return whole if whole == until else whole + timedelta(seconds=1)


def clock_time(at: datetime) -> str:
    """`14:00 UTC`, with seconds if there are any."""
    return f"{at:%H:%M:%S} UTC" if at.second else f"{at:%H:%M} UTC"


def _put(bucket: AbstractBucket, at: datetime) -> Decision:
    decision = bucket.put_decision(RateItem("call", _milliseconds(at)))
    assert isinstance(decision, Decision)  # an awaitable for asynchronous buckets, which no store has
    return decision


def _again_at(at: datetime, refusal: Decision) -> datetime:
    if refusal.retry_after_ms is None:
        # Not full: the table was locked, e.g. by the server's own cleaning.
        return at + timedelta(seconds=_a_moment())
    return at + refusal.retry_after_ms * _MILLISECOND


def _a_moment() -> float:
    return random.uniform(0.01, 0.05)  # noqa: S311 - nobody gains by guessing it


def _newest(bucket: AbstractBucket) -> datetime | None:
    item = _peek(bucket, 0)
    return None if item is None else _EPOCH + item.timestamp * _MILLISECOND


def _count_since(bucket: AbstractBucket, start: datetime) -> int:
    """Entries from `start` on. The library gives them from the newest to the oldest."""
    start_ms = _milliseconds(start)

    def is_older(index: int) -> bool:
        item = _peek(bucket, index)
        return item is None or item.timestamp < start_ms

    number = bucket.count()
    assert isinstance(number, int)
    return bisect_left(range(number), True, key=is_older)


def _peek(bucket: AbstractBucket, index: int) -> RateItem | None:
    item = bucket.peek(index)
    assert item is None or isinstance(item, RateItem)
    return item


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MILLISECOND
