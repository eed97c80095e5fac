"""How long something of a vendor's is waited for, and when it is looked at meanwhile.

Belongs here: pauses. Does not belong here: what is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from health_pipelines.settings.clock import utc_now

_LONGER = 1.6


@dataclass(frozen=True)
class Waits:
    """In seconds. `report`: for one report. `result`: until a result is asked for again, to see whether it
    is still there. `list`: for one bulk list. `now` gives an aware time.
    """

    report: float = 600.0
    result: float = 60.0
    list: float = 60.0
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def pauses(seconds: float, looks: int) -> list[float]:
    """So many pauses, each longer than the one before, that make so many seconds together."""
    first = seconds * (_LONGER - 1) / (_LONGER**looks - 1)
    return [first * _LONGER**number for number in range(looks)]
