"""A run of the suite may go past midnight, while a module of tests says which day it is when it is loaded."""

import importlib
from datetime import UTC, datetime
from types import ModuleType


def renew(module: ModuleType) -> None:
    """Load the module again if its `TODAY` (in UTC) is over; its tests and fixtures see the new values."""
    today = datetime.now(UTC).date()
    if getattr(module, "TODAY", today) != today:
        importlib.reload(module)
