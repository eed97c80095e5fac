"""What a visit report calls its columns, which DexCare does not publish.

Belongs here: that as a value. Does not belong here: the settings that say it (`variables.py`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class VisitColumns:
    """What a visit report calls its columns; None where no setting says so."""

    key: str | None = None
    time: str | None = None
    status: str | None = None
    wait_from: str | None = None
    wait_until: str | None = None
