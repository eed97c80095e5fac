"""The time, for whatever is given no other: everything that depends on it takes it as an argument.

Belongs here: the default. Does not belong here: what is done with a time.
"""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Aware, in UTC."""
    return datetime.now(UTC)
