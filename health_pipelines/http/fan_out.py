"""Work on many things at once, but not on too many: what asyncio itself lacks.

Belongs here: bounded concurrency. Does not belong here: what the work is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Await `work(item)` for every item, in order of the items, `at_once` of them at a time.

    An item is taken up only when a place is free, so that work which learns that the rest is pointless can
    say so in time. If one raises, the others are cancelled and the error passes on in an ExceptionGroup.
    """
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
