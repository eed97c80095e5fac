"""Waiting for a condition, with a bound: the only way a test here waits."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Between two looks: soon for what takes milliseconds, seldom for what takes minutes and costs a query a look.
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.2


def wait_for(
    condition: Callable[[], T],
    what: str,
    *,
    within_seconds: float = 60,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> T:
    """Look until `condition()` gives something true and return it; fail saying what did not come."""
    deadline = time.monotonic() + within_seconds
    pause = FIRST_PAUSE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds:g} s: {what}")
        time.sleep(pause)
        pause = min(2 * pause, longest_pause_seconds)
    return found
