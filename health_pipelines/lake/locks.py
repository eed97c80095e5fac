"""Locks between processes that the operating system frees when a process dies, however it dies.

Belongs here: `flock` and nothing that is locked. A lock holds among the processes of one machine (and of
several that share a file system which supports it); correctness across machines rests on the atomic
replacement of whole files, a lock only saves double work.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedElsewhereError(Exception):
    """Somebody else holds the lock."""


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the exclusive lock of an existing file or folder.

    With `wait` it blocks until it is free; without, it raises `LockedElsewhereError` if it is not.
    """
    handle = take(path, wait=wait)
    try:
        yield
    finally:
        os.close(handle)


def take(path: Path, *, wait: bool) -> int:
    """Take the lock until the returned handle is closed, at the latest when this process ends."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise LockedElsewhereError(f"{path.name} is locked by another process") from None
        raise
    return handle
