"""Which tables are to be published. Pure.

Belongs here: the decision. Does not belong here: coming by what it is made of (`sensor.py`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from health_pipelines.publish.memory import Remembered

# What somebody changed in the target by hand is found by then.
COMPARE_AFTER = timedelta(hours=24)


def due(made_of: Mapping[str, str], known: Mapping[str, Remembered | None], now: datetime) -> list[str]:
    """The tables whose state is another one than that published last, and those that were compared long ago.

    `made_of`: what each table would be made of now (`source.made_of`). `known`: what was published last.
    """
    return [
        table
        for table, now_made_of in made_of.items()
        if (last := known[table]) is None or last.made_of != now_made_of or is_due_for_comparison(last, now)
    ]


def is_due_for_comparison(last: Remembered, now: datetime) -> bool:
    """Also if it was compared in the future: then some clock was wrong."""
    return not timedelta(0) <= now - last.compared_at < COMPARE_AFTER
