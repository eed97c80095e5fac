"""Copies of partitions that are in a bucket, in files of this machine: what engines and readers open.

Belongs here: where a copy is, when it is fetched, and when it goes. Does not belong here: which objects there
are (`bucket_lake.py`).

A copy is named by the version of its object, so that it is never an old one; it is fetched beside and
renamed, so that it is never half of one. The longest unused go when there are more bytes than are allowed,
but not what somebody used within the last hours, whatever that takes: a reader may be at it.
"""

import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from health_pipelines.lake.object_store import Bucket, Kept

_IN_USE_SECONDS = 3 * 3600
_TIDY_EVERY_SECONDS = 600
_FOOTER, _BESIDE, _TIDIED = ".footer", ".fetching", ".tidied"
# Of most partitions' footers, and a word of four bytes for its length, and four for its mark.
_FOOTER_BYTES, _END_BYTES = 1 << 16, 8


class Copies:
    """Those of `bucket` below `root`, `most_bytes` at most."""

    def __init__(self, root: Path, bucket: Bucket, most_bytes: int) -> None:
        self._root = root
        self._bucket = bucket
        self._most_bytes = most_bytes

    def whole(self, folder: Path, kept: Kept) -> Path:
        """The object in a file of `folder`. Raises `ChangedMeanwhileError`, and what `Bucket` does."""
        copy = self.path(folder, kept)
        if not _use(copy):
            beside = self._beside(folder)
            try:
                self._bucket.fetch(kept, beside)
                beside.replace(copy)
            finally:
                beside.unlink(missing_ok=True)
        return copy

    def footer(self, folder: Path, kept: Kept) -> Path:
        """A file as long as the object that has its footer and no rows, unless the whole one is here."""
        if _use(copy := self.path(folder, kept)):
            return copy
        footer = copy.with_name(f".{copy.name}{_FOOTER}")
        if not _use(footer):
            end = self._bucket.tail(kept, _FOOTER_BYTES)
            length = int.from_bytes(end[-_END_BYTES:-4], "little") + _END_BYTES
            if len(end) < length <= kept.size:
                end = self._bucket.tail(kept, length)
            beside = self._beside(folder)
            try:
                with beside.open("wb") as file:
                    # A hole in the file, which takes no room.
                    file.seek(kept.size - len(end))
                    file.write(end)
                beside.replace(footer)
            finally:
                beside.unlink(missing_ok=True)
        return footer

    def put(self, folder: Path, kept: Kept, file: Path) -> Path:
        """Let `file`, which is what was put there, be the copy."""
        copy = self.path(folder, kept)
        file.replace(copy)
        return copy

    @staticmethod
    def path(folder: Path, kept: Kept) -> Path:
        """Below the name of its day, as everywhere, and sorted by it."""
        name = kept.key.rpartition("/")[2].removesuffix(".parquet")
        return folder / f"{name}~{kept.tag}.parquet"

    @staticmethod
    def keep_only(folder: Path, copies: Iterable[Path], *, unused: bool = False) -> None:
        """Remove every other version of the day of `folder`, or those of them that nobody used of late."""
        before = time.time() - _IN_USE_SECONDS
        for one in {*folder.glob("*~*.parquet"), *folder.glob(f".*{_FOOTER}")} - set(copies):
            with suppress(FileNotFoundError):
                if not unused or one.stat().st_atime < before:
                    one.unlink()

    def tidy(self) -> None:
        """Remove the longest unused, if there are too many, and what killed processes were fetching.

        Looks at most once in ten minutes, among all processes.
        """
        mark = self._root / _TIDIED
        with suppress(FileNotFoundError):
            if mark.stat().st_mtime > time.time() - _TIDY_EVERY_SECONDS:
                return
        mark.touch()
        now, total, unused = time.time(), 0, list[tuple[float, int, Path]]()
        for pattern in ("*~*.parquet", f".*{_FOOTER}", f"{_BESIDE}.*"):
            for file in self._root.glob(f"*/*/date=*/{pattern}"):
                with suppress(FileNotFoundError):
                    found = file.stat()
                    size = found.st_blocks * 512
                    total += size
                    if found.st_atime < now - _IN_USE_SECONDS:
                        # What was being fetched is of no use to anybody.
                        unused.append((0.0 if file.name.startswith(_BESIDE) else found.st_atime, size, file))
        for used_at, size, file in sorted(unused):
            if used_at and total <= self._most_bytes:
                break
            file.unlink(missing_ok=True)
            total -= size

    def _beside(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{_BESIDE}.{os.getpid()}.{uuid.uuid4().hex}"


def _use(file: Path) -> bool:
    """Whether it is there; that it was used is noted at the file."""
    try:
        # What was written when stays: readers tell versions apart by it.
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True
