"""So many calls and no more, whatever happens."""

import asyncio

import pytest

from health_pipelines.probe.allowance import PATIENCE_SECONDS, Allowance, StoppedError
from health_pipelines.probe.waits import pauses


class Shared:
    """A budget of all who call, which remembers what it was told."""

    def __init__(self) -> None:
        self.acquired = 0
        self.throttles: list[float | None] = []

    async def acquire(self) -> None:
        self.acquired += 1

    async def throttled(self, seconds: float | None) -> None:
        self.throttles.append(seconds)


def test_a_call_too_many_is_not_made_and_does_not_count_in_the_shared_quota() -> None:
    shared = Shared()
    allowance = Allowance(2).inside(shared)

    async def calls() -> None:
        await allowance.acquire()
        await allowance.acquire()
        with pytest.raises(StoppedError, match="All 2 calls that were planned are made"):
            await allowance.acquire()

    asyncio.run(calls())

    assert (allowance.used, shared.acquired) == (2, 2)


def test_a_short_throttle_is_waited_for_by_whoever_has_no_shared_quota() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    allowance = Allowance(2, sleep)
    asyncio.run(allowance.throttled(3.0))

    assert waited == [3.0]
    assert allowance.throttles == [3.0]


@pytest.mark.parametrize("seconds", [None, PATIENCE_SECONDS + 1])
def test_a_long_throttle_ends_all_and_the_shared_quota_knows_of_it(seconds: float | None) -> None:
    shared = Shared()
    allowance = Allowance(2).inside(shared)

    with pytest.raises(StoppedError, match="The vendor throttles the calls"):
        asyncio.run(allowance.throttled(seconds))

    assert shared.throttles == [seconds]
    assert allowance.throttles == [seconds]


def test_a_shared_quota_that_has_no_call_free_ends_all() -> None:
    class Busy(Shared):
        async def acquire(self) -> None:
            await asyncio.Event().wait()

    allowance = Allowance(2, patience_seconds=0.01).inside(Busy())

    with pytest.raises(StoppedError, match="no call free"):
        asyncio.run(allowance.acquire())

    assert allowance.used == 0


def test_pauses_grow_and_make_the_whole_time() -> None:
    found = pauses(600, 10)

    assert len(found) == 10
    assert sum(found) == pytest.approx(600)
    assert found == sorted(found)
    assert found[0] < 5
