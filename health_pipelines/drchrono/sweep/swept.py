"""What a sweep has brought.

Belongs here: that as a value. Does not belong here: how it was read (`reading.py`, `deletions.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from health_pipelines.drchrono.sweep.journal import KeptPage


@dataclass(frozen=True)
class Swept:
    """Pages that hold every record at least once, in the order of their arrival.

    `records`: how many different ones. `counts`: the smallest and the largest count that a page gave.
    `lists`: how many lists were asked for since the sweep began or was resumed; `resumed_pages`: how many
    pages had been read before a restart.
    """

    pages: Sequence[KeptPage]
    records: int
    counts: tuple[int, int]
    lists: int
    resumed_pages: int
    begun_at: datetime
