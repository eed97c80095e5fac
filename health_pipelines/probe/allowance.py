"""So many calls and no more: whoever probes asks within a number that was said before.

Belongs here: the count, its end, and what is remembered of a throttle. Does not belong here: what is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from health_pipelines.http import CallBudget, PermanentError

# Longer is a reason to end, not to wait.
PATIENCE_SECONDS = 30.0


class StoppedError(PermanentError):
    """No further call is made. One sentence that says why."""


@dataclass
class Allowance:
    """A `CallBudget` of `most` calls, repeated ones included. `within`: the budget of all who call, if any.

    Methods raise `StoppedError` instead of a call too many or a long wait.
    """

    most: int
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    used: int = 0
    within: CallBudget | None = None
    patience_seconds: float = PATIENCE_SECONDS
    throttles: list[float | None] = field(default_factory=list)
    """Of each 429 the seconds to wait that it said, None if it said none ..."""
    said_in: list[Sequence[str]] = field(default_factory=list)
    """... and where it said them (`http.answers.where_throttle_says`)."""

    def inside(self, budget: CallBudget) -> "Allowance":
        """This, from now on within another budget."""
        self.within = budget
        return self

    async def acquire(self) -> None:
        if self.used >= self.most:
            raise StoppedError(f"All {self.most} calls that were planned are made.")
        if self.within is not None:
            try:
                async with asyncio.timeout(self.patience_seconds):
                    await self.within.acquire()
            except TimeoutError:
                raise StoppedError("The quota that all runs share has no call free for now.") from None
        self.used += 1

    async def throttled(self, seconds: float | None) -> None:
        self.throttles.append(seconds)
        if self.within is not None:
            await self.within.throttled(seconds)
        if seconds is None or seconds > self.patience_seconds:
            how_long = "and does not say for how long" if seconds is None else f"for {seconds:g} s"
            raise StoppedError(f"The vendor throttles the calls {how_long}.")
        if self.within is None:
            await self.sleep(seconds)
