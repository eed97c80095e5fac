"""Who is erased, as keyed hashes, and the record of it.

Belongs here: the two files, reading and writing them. Does not belong here: which rows those are
(`patients.py`), and taking them out (`purge.py`, `partition_file.py`).

`erased.jsonl` has a line for each patient, and for each record of theirs, that is kept out: a hash, made
with the key beside it, that leads back to no id. It is written before anything is removed, so that nothing
comes back whenever it all ends. `record.jsonl` says when, why, and how many rows of which days were removed.
Both only grow, and are on the disk when they are told of.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from health_pipelines.lake.locks import locked
from health_pipelines.lake.partitions import Table
from health_pipelines.privacy.keyed_hash import keyed_hash, own_key, private_folder


class Erased:
    """`folder`: `privacy` beside the lake; made when there is something to write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._list = folder / "erased.jsonl"
        self._record = folder / "record.jsonl"

    @classmethod
    def beside(cls, lake: Path) -> "Erased":
        """Of the lake in that folder."""
        return cls(lake.parent / "privacy")

    def hashes(self, source: str) -> list[str]:
        """Of one source; as of now, so ask when you write."""
        return list(dict.fromkeys(one["hash"] for one in _lines(self._list) if one.get("source") == source))

    @property
    def sources(self) -> list[str]:
        return sorted({one["source"] for one in _lines(self._list) if "source" in one})

    @property
    def key(self) -> bytes:
        """Raises `LostKeyError`."""
        return own_key(self.folder)

    def hash_of(self, name: str) -> str:
        return keyed_hash(self.key, name)

    def add(self, source: str, hashes: Iterable[str]) -> list[str]:
        """Keep these out from now on; returns those that are new. They are pending until they are settled."""
        known = set(self.hashes(source))
        new = [one for one in dict.fromkeys(hashes) if one not in known]
        self._write(self._list, [{"source": source, "hash": one, "is_pending": True} for one in new])
        return new

    def settle(self, source: str, hashes: Iterable[str]) -> None:
        """Say that nothing of these is anywhere in the lake any more."""
        waiting = set(self.pending(source))
        done = [one for one in dict.fromkeys(hashes) if one in waiting]
        self._write(self._list, [{"source": source, "hash": one, "is_pending": False} for one in done])

    def pending(self, source: str) -> list[str]:
        """Those of which something may still be in the lake: their removal was not carried out to its end."""
        newest = {one["hash"]: one for one in _lines(self._list) if one.get("source") == source}
        return [hash_ for hash_, one in newest.items() if one.get("is_pending")]

    def note(self, what: Mapping[str, Any], at: datetime) -> None:
        """Add to the record. No id and no value belongs into it. `at`: aware, UTC."""
        self._write(self._record, [{"at": at.isoformat(timespec="seconds"), **what}])

    def note_removal(self, table: Table, day: str, rows: int, why: Mapping[str, Any], at: datetime) -> None:
        self.note({"table": str(table), "day": day, "rows": rows, **why}, at)

    def record(self) -> list[dict[str, Any]]:
        """Everything that was noted, the oldest first."""
        return list(_lines(self._record))

    def _write(self, file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        if not lines:
            return
        _ = self.key  # before the first line
        private_folder(self.folder)
        with locked(self.folder, wait=True):
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "rb+") as there:
                # A line that a crash cut off must not take the next one with it.
                size = there.seek(0, os.SEEK_END)
                if size and _last_byte(there.fileno(), size) != b"\n":
                    there.write(b"\n")
                there.write("".join(json.dumps(line) + "\n" for line in lines).encode())
                there.flush()
                os.fsync(there.fileno())


def _last_byte(handle: int, size: int) -> bytes:
    return os.pread(handle, 1, size - 1)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Those that are whole."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
