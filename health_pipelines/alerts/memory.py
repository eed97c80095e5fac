"""What each channel has been told already.

Belongs here: how that is kept. Does not belong here: what follows from it (`sensor.py`).

It is kept in Dagster's own database, beside the event log that it counts in, and written as soon as a
message was taken. The sensor's cursor would not do: Dagster drops it when a tick fails and when a tick is
only tried out in the UI, and then everything would be told again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dagster import DagsterInstance


@dataclass(frozen=True)
class Told:
    """`read_to`: the place in the event log up to which failed runs were told. `at`: of the last message.

    `missing`: the days that were told as missing and have not landed since; asset to day.
    """

    read_to: int
    at: datetime | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


class Memory:
    """What one channel of one code location was told, in one Dagster instance."""

    def __init__(self, instance: DagsterInstance, place: str, channel: str) -> None:
        self._storage = instance.daemon_cursor_storage
        self._key = f"health_pipelines/alerts/{place}/{channel}"

    def read(self) -> Told | None:
        """None if nothing is remembered."""
        text = self._storage.get_cursor_values({self._key}).get(self._key)
        if not text:
            return None
        kept = json.loads(text)
        at = datetime.fromisoformat(kept["at"]) if kept["at"] else None
        return Told(kept["read_to"], at, kept["missing"])

    def write(self, told: Told) -> None:
        at = told.at.isoformat() if told.at else None
        text = json.dumps({"read_to": told.read_to, "at": at, "missing": dict(told.missing)})
        self._storage.set_cursor_values({self._key: text})

    def forget(self) -> None:
        """Let everything up to the next tick be history."""
        if self.read() is not None:
            self._storage.set_cursor_values({self._key: ""})
