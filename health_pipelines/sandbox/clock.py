"""The sandbox's only source of time, so that a test can make days pass.

Nothing else in the package may ask the operating system what time it is.
"""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """UTC time that runs at its normal pace and can be moved ahead, never back."""

    def __init__(self, starts_at: datetime | None = None) -> None:
        """`starts_at` is the first reading (with a zone); absent, the clock starts at the real time."""
        self._shift = timedelta(0) if starts_at is None else starts_at - datetime.now(UTC)

    def now(self) -> datetime:
        """The sandbox's time, in UTC."""
        return datetime.now(UTC) + self._shift

    def real_seconds(self) -> float:
        """Seconds of real time, from anywhere; for limits that callers run into by being fast."""
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        """Move ahead; a clock that went back would un-finish reports, which no vendor does."""
        if seconds < 0:
            raise ValueError("the clock only moves ahead")
        self._shift += timedelta(seconds=seconds)
