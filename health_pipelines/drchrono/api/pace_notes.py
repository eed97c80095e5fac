"""Where what was learned of the pace is noted: in a file for one machine, in PostgreSQL for many hosts.

Belongs here: reading the notes and adding to them. Does not belong here: what is learned (`pace.py`).

They are only a hint. Notes that are missing, damaged or out of reach mean to learn again, which costs some
calls and stops nothing. Of two processes that learned about the same lists the later to add wins; of other
lists each keeps what the other learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from health_pipelines.lake.disk import replace_text
from health_pipelines.lake.locks import locked
from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError, has_table

if TYPE_CHECKING:
    import psycopg

TABLE = "health_pipelines_drchrono_pace"


class PaceNotes(Protocol):
    """Seconds to wait, by kind of list."""

    def read(self) -> dict[str, float]:
        """Whatever is noted; it may be no number that anybody would have learned."""

    def add(self, learned: Mapping[str, float]) -> None:
        """Note these; of all else others may know more."""


class PaceFile:
    """Shared by the processes that name the same file; its folder is made if it is missing."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, float]:
        try:
            found = json.loads(self._file.read_text())
            return {str(kind): float(seconds) for kind, seconds in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def add(self, learned: Mapping[str, float]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._file.parent, wait=True):
            replace_text(self._file, json.dumps({**self.read(), **learned}, indent=1, sort_keys=True))


class PaceTable:
    """Shared by the hosts of one `place` of an installation. `before`: what this host noted until then."""

    def __init__(self, url: Secret, place: str, before: PaceNotes) -> None:
        self._url = url
        self._place = place
        self._before = before

    def read(self) -> dict[str, float]:
        with suppress(PostgresError), PostgresAddress.of(self._url).connected() as connection:
            return {**self._before.read(), **self._noted(connection)}
        return self._before.read()

    def add(self, learned: Mapping[str, float]) -> None:
        note = (
            f"INSERT INTO {TABLE} (place, kind, seconds) VALUES (%s, %s, %s) "
            "ON CONFLICT (place, kind) DO UPDATE SET seconds = excluded.seconds"
        )
        with suppress(PostgresError), PostgresAddress.of(self._url).connected() as connection:
            _make(connection)
            # In one order, so that no two processes wait for each other.
            for kind, seconds in sorted(learned.items()):
                connection.execute(note, (self._place, kind, seconds))

    def _noted(self, connection: psycopg.Connection[Any]) -> dict[str, float]:
        if not has_table(connection, TABLE):
            return {}
        query = f"SELECT kind, seconds FROM {TABLE} WHERE place = %s"
        return {str(kind): float(seconds) for kind, seconds in connection.execute(query, (self._place,))}


def _make(connection: psycopg.Connection[Any]) -> None:
    if not has_table(connection, TABLE):
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} "
            "(place text, kind text, seconds double precision NOT NULL, PRIMARY KEY (place, kind))"
        )
