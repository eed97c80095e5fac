"""Bounded concurrency: never too much, never idle, and what one failure does to the rest."""

import asyncio
from collections.abc import Iterator

import pytest

from health_pipelines.http.fan_out import for_each

AT_ONCE = 3


async def turns(number: int = 20) -> None:
    """Let every other task run until it waits."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_as_many_as_allowed_work_at_once_and_never_more() -> None:
    working: set[int] = set()
    seen: list[int] = []

    async def work(item: int) -> None:
        working.add(item)
        seen.append(len(working))
        await turns(item % 4)
        working.remove(item)

    asyncio.run(for_each(range(50), work, at_once=AT_ONCE))

    assert len(seen) == 50
    assert max(seen) == AT_ONCE
    assert not working


def test_items_are_begun_in_their_order_each_once() -> None:
    begun: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        await turns(item % 5)

    asyncio.run(for_each(range(30), work, at_once=AT_ONCE))

    assert begun == list(range(30))


def test_a_free_place_is_taken_while_others_are_still_at_work() -> None:
    async def story() -> None:
        slow_may_end = asyncio.Event()
        done: list[str] = []

        async def work(item: str) -> None:
            if item == "slow":
                await slow_may_end.wait()
            done.append(item)

        everything = asyncio.create_task(for_each(["slow", "a", "b", "c"], work, at_once=2))
        await turns()
        assert done == ["a", "b", "c"]
        assert not everything.done()
        slow_may_end.set()
        await everything
        assert done[-1] == "slow"

    asyncio.run(story())


def test_an_item_is_taken_up_only_when_a_place_is_free() -> None:
    async def story() -> None:
        may_end = [asyncio.Event() for _ in range(6)]
        taken: list[int] = []

        def items() -> Iterator[int]:
            for item in range(6):
                taken.append(item)
                yield item

        async def work(item: int) -> None:
            await may_end[item].wait()

        everything = asyncio.create_task(for_each(items(), work, at_once=AT_ONCE))
        await turns()
        assert taken == [0, 1, 2]
        may_end[1].set()
        await turns()
        assert taken == [0, 1, 2, 3]
        for event in may_end:
            event.set()
        await everything
        assert taken == [0, 1, 2, 3, 4, 5]

    asyncio.run(story())


def test_an_error_cancels_what_is_at_work_begins_nothing_more_and_passes_on() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 2:
            raise ValueError("the third one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(asyncio.wait_for(for_each(range(100), work, at_once=AT_ONCE), timeout=10))

    assert [str(error) for error in raised.value.exceptions] == ["the third one"]
    assert begun == [0, 1, 2]
    assert sorted(cancelled) == [0, 1]


def test_no_items_need_no_work() -> None:
    async def work(item: int) -> None:
        raise AssertionError(item)

    asyncio.run(for_each([], work, at_once=AT_ONCE))


def test_fewer_items_than_places_are_all_done() -> None:
    done: list[str] = []

    async def work(item: str) -> None:
        done.append(item)

    asyncio.run(for_each(["only"], work, at_once=AT_ONCE))

    assert done == ["only"]
