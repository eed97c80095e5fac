"""The lake: where a partition lives, how it is replaced, and what a reader may rely on.

Belongs here: every path below `lake/`, the lock that makes one writer per partition, and the atomic
replacement. Does not belong here: what is in a file. No other module knows what a path looks like, so
that the root can become an object store's address one day: a partition is one whole object, put at once.

A reader may rely on this: `lake/<source>/<table>/date=YYYY-MM-DD/<table>.parquet` is at every moment the
old partition or the new one, whole, also after a crash at any instruction.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from health_pipelines.locks import LockedElsewhereError, locked


class PartitionBusyError(Exception):
    """Another process is writing this partition at this moment."""


@dataclass(frozen=True)
class Table:
    """A table of the lake, named as its asset is: `<source>/<name>`."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"


class Lake:
    """The lake below `root` (a folder that is made when the first partition lands)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def partition_file(self, table: Table, day: str) -> Path:
        return self._partition_folder(table, day) / f"{table.name}.parquet"

    def partition_files(self, table: Table) -> list[Path]:
        """Every landed partition of the table, oldest day first."""
        return sorted((self.root / table.source / table.name).glob(f"date=*/{table.name}.parquet"))

    def pattern(self, table: Table) -> str:
        """A glob that matches `partition_files`, now and after any later landing."""
        return str(self.root / table.source / table.name / "date=*" / f"{table.name}.parquet")

    @contextmanager
    def writing(self, table: Table, day: str) -> Iterator["PartitionWriter"]:
        """Be the one writer of a partition; `PartitionBusyError` if somebody else is.

        What a crashed writer left behind is removed: the operating system frees a dead process's lock, and
        the next writer of the day finds only files that nobody owns.
        """
        folder = self._partition_folder(table, day)
        _make_durably(folder)
        try:
            # The folder itself is the lock: it needs no file of its own and is never removed.
            with locked(folder, wait=False):
                writer = PartitionWriter(self.partition_file(table, day))
                writer.discard()
                try:
                    yield writer
                finally:
                    writer.discard()
        except LockedElsewhereError:
            raise PartitionBusyError(f"{table} {day} is being written by another run.") from None

    def _partition_folder(self, table: Table, day: str) -> Path:
        return self.root / table.source / table.name / f"date={day}"


class PartitionWriter:
    """The right to replace one partition, and the two work files beside it (hidden from readers)."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.download = target.with_name(".download")
        self.candidate = target.with_name(".candidate")
        self._spill = target.with_name(".spill")

    @property
    def current(self) -> Path | None:
        """The partition as it stands, if it ever landed."""
        return self.target if self.target.exists() else None

    def replace(self) -> None:
        """Put the candidate in the partition's place: durable when this returns, never half done."""
        _sync(self.candidate)
        self.candidate.replace(self.target)
        _sync(self.target.parent)

    def discard(self) -> None:
        self.download.unlink(missing_ok=True)
        self.candidate.unlink(missing_ok=True)
        shutil.rmtree(self._spill, ignore_errors=True)


def _make_durably(folder: Path) -> None:
    if not folder.is_dir():
        _make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
