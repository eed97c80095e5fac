"""Being the one who writes in a folder of the lake, among the processes of a host and among hosts.

Belongs here: which locks that takes, and what a lake is called among hosts. Does not belong here: which
folders there are, and what is done in them (`partitions.py`, `replacing.py`).

The lock of a folder holds among the processes of one machine, hardly ever over a network's file system. So
where runs are carried out on many hosts a lock among hosts is held as well (`host_locks.py`). Its name begins
with an id that lies in the lake itself: two lakes never stand in each other's way, and two hosts mean the
same one wherever they have mounted it.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from health_pipelines.lake.disk import sync
from health_pipelines.lake.host_locks import HostLock, HostLocks
from health_pipelines.lake.locks import locked


class LockLostError(Exception):
    """The lock among hosts was lost, so that another host may write there by now."""


@dataclass(frozen=True)
class Right:
    """To write in a folder, while it is held."""

    hosts: HostLocks | None = None
    lock: HostLock | None = None

    @property
    def is_lost(self) -> bool:
        """Whether another host may have it by now; asks the server."""
        return self.hosts is not None and self.lock is not None and not self.hosts.is_held(self.lock)

    def insist(self) -> None:
        """Raises `LockLostError` if it is lost."""
        if self.is_lost:
            raise LockLostError("the lock among hosts is lost")


class FolderLocks:
    """Those of the lake in `root`; with `hosts`, among hosts as well.

    `known_as`: what a lake is called among hosts that is not in a folder, and so needs no note of it.
    """

    def __init__(self, root: Path, hosts: HostLocks | None, known_as: str | None = None) -> None:
        self._root = root
        self._hosts = hosts
        self._known_as = known_as

    @contextmanager
    def alone(self, folder: Path, *, wait: bool) -> Iterator[Right]:
        """Be the only one who has that existing folder of the lake.

        Without `wait` it raises `LockedElsewhereError` if somebody else has it; `PostgresError` if hosts
        cannot be told apart from each other, as the server does not answer.
        """
        with locked(folder, wait=wait):
            if self._hosts is None:
                yield Right()
                return
            name = f"lake {self._id} {folder.relative_to(self._root)}"
            with self._hosts.holding(name, wait=wait) as lock:
                yield Right(self._hosts, lock)

    @cached_property
    def _id(self) -> str:
        if self._known_as is not None:
            return self._known_as
        file = self._root / "_id"
        with suppress(FileNotFoundError):
            return file.read_text().strip()
        beside = self._root / f".id.{uuid.uuid4().hex}"
        beside.write_text(f"{uuid.uuid4().hex}\n")
        sync(beside)
        try:
            # The first of many hosts wins, whatever this one has seen of the folder: a link replaces nothing.
            with suppress(FileExistsError):
                os.link(beside, file)
                sync(self._root)
        finally:
            beside.unlink(missing_ok=True)
        return file.read_text().strip()
