"""The lake in a bucket: the same tree as in a folder, with an object for each file.

Belongs here: which key is what, and what a reader gets for it. Does not belong here: the calls
(`object_store.py`), the copies that readers open (`copies.py`), and how a partition is replaced
(`bucket_writer.py`).

`root` is a folder of this machine all the same: in it are the copies, the work files of landings, and the
folders whose locks keep the writers of this machine apart. It may be removed when nothing is running.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from health_pipelines.lake.alone import FolderLocks, Right
from health_pipelines.lake.bucket_chain import BucketChain
from health_pipelines.lake.bucket_writer import BucketWriter
from health_pipelines.lake.chain import CHAIN
from health_pipelines.lake.copies import Copies
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.lake.object_store import Bucket, Kept
from health_pipelines.lake.partitions import Lake, PartitionBusyError, Table, make_durably
from health_pipelines.lake.replacing import MANIFEST, PartitionWriter
from health_pipelines.lake.store_problems import ChangedMeanwhileError, UnusableStoreError
from health_pipelines.settings.variables import HEALTH_LAKE_URL

T = TypeVar("T")

_FETCHED_AT_ONCE = 8
# How often something is looked at again that somebody else changed meanwhile.
_TRIES = 20
_DAY = re.compile(r"date=(\d{4}-\d\d-\d\d)")


class BucketLake(Lake):
    """The lake at `url`, which copies into `root`, `most_bytes` at most. Every method may raise
    `UnusableStoreError`.
    """

    has_copies = True
    _place_setting = HEALTH_LAKE_URL.name

    def __init__(self, url: str, root: Path, most_bytes: int, hosts: HostLocks | None = None) -> None:
        super().__init__(root, hosts)
        self.url = url
        self.bucket = Bucket(url)
        self.copies = Copies(root, self.bucket, most_bytes)
        self._locks = FolderLocks(root, hosts, known_as=url)

    def __str__(self) -> str:
        return self.url

    def tables(self) -> list[Table]:
        return sorted(
            (
                Table(source, name)
                for source in self.bucket.folders()
                if not source.startswith((".", "_"))
                for name in self.bucket.folders(f"{source}/")
                if not name.startswith((".", "_"))
            ),
            key=str,
        )

    def begun_days(self, table: Table) -> list[str]:
        """In the bucket, or with a folder of this machine."""
        return sorted({*super().begun_days(table), *(day for day, _, _ in self._of_days(table))})

    def known_days(self, table: Table) -> list[str]:
        names = (f"{table.name}.parquet", MANIFEST)
        return sorted({day for day, name, _ in self._of_days(table) if name in names})

    @staticmethod
    def partition_key(table: Table, day: str) -> str:
        return f"{_prefix(table)}date={day}/{table.name}.parquet"

    @staticmethod
    def manifest_key(table: Table, day: str) -> str:
        return f"{_prefix(table)}date={day}/{MANIFEST}"

    def kept(self, table: Table) -> dict[str, Kept]:
        """The objects of all landed partitions, by day, the oldest first: a call for some five hundred."""
        return {day: kept for day, name, kept in self._of_days(table) if name == f"{table.name}.parquet"}

    def partition_file(self, table: Table, day: str) -> Path:
        return self._copy(table, day, self.copies.whole)

    def footer_file(self, table: Table, day: str) -> Path:
        return self._copy(table, day, self.copies.footer)

    def partition_files(self, table: Table) -> list[Path]:
        return list(self._all_copies(table, self.copies.whole).values())

    def footer_files(self, table: Table) -> dict[str, Path]:
        return self._all_copies(table, self.copies.footer)

    def signatures(self, table: Table) -> dict[str, str]:
        return {day: _signature(kept) for day, kept in self.kept(table).items()}

    def sizes(self, table: Table) -> list[int]:
        return [kept.size for kept in self.kept(table).values()]

    def pattern(self, table: Table) -> str:
        return f"{self.url}/{_prefix(table)}date=*/{table.name}.parquet"

    def chain(self, table: Table) -> BucketChain:
        return BucketChain(self.bucket, f"{_prefix(table)}{CHAIN}")

    def manifest_text(self, table: Table, day: str) -> bytes | None:
        found = self.bucket.read(self.manifest_key(table, day))
        return None if found is None else found[0]

    def partition_hash(self, table: Table, day: str) -> str | None:
        def hashed() -> str | None:
            kept = self.bucket.head(self.partition_key(table, day))
            return None if kept is None else self.bucket.hash_of(kept)

        return self._until_it_holds(hashed, f"{table} {day}")

    def strange_files(self, table: Table) -> list[str]:
        def is_ours(parts: Sequence[str]) -> bool:
            name = parts[-1]
            is_data = len(parts) == 2 and _DAY.fullmatch(parts[0]) and name == f"{table.name}.parquet"
            return bool(is_data) or any(part.startswith((".", "_")) for part in parts)

        keys = [one.key for one in self.bucket.listed(_prefix(table))]
        return [
            f"{self.url}/{key}" for key in keys if not is_ours(key.removeprefix(_prefix(table)).split("/"))
        ]

    def forget_older_copies(self, tables: Iterable[Table], *, unused: bool = False) -> None:
        for table in tables:
            now = self.kept(table)
            for folder in self.table_folder(table).glob("date=*/"):
                kept = now.get(folder.name.removeprefix("date="))
                stays = [self.copies.path(folder, kept)] if kept else []
                self.copies.keep_only(folder, stays, unused=unused)

    @contextmanager
    def alone_in(self, table: Table) -> Iterator[Right]:
        make_durably(self.table_folder(table))
        with super().alone_in(table) as right:
            yield right

    @contextmanager
    def alone_with(self, table: Table, day: str) -> Iterator[Right]:
        make_durably(self.work_folder(table, day))
        with super().alone_with(table, day) as right:
            yield right

    @contextmanager
    def writing(self, table: Table, day: str) -> Iterator[PartitionWriter]:
        try:
            with super().writing(table, day) as writer:
                yield writer
        except ChangedMeanwhileError:
            raise PartitionBusyError(
                f"{table} {day} is being written by another run, on another machine, in "
                f"{HEALTH_LAKE_URL.name} ({self.url}); it is as that one leaves it."
            ) from None
        self.copies.tidy()

    def _writer(self, table: Table, day: str, right: Right) -> PartitionWriter:
        return BucketWriter(self, table, day, right)

    def _landed_days(self, table: Table) -> list[str]:
        return list(self.kept(table))

    def _copy(self, table: Table, day: str, copied: Callable[[Path, Kept], Path]) -> Path:
        folder = self.work_folder(table, day)

        def copy() -> Path:
            kept = self.bucket.head(self.partition_key(table, day))
            return folder / f"{table.name}.parquet" if kept is None else copied(folder, kept)

        return self._until_it_holds(copy, f"{table} {day}")

    def _all_copies(self, table: Table, copied: Callable[[Path, Kept], Path]) -> dict[str, Path]:
        def copies() -> dict[str, Path]:
            found = self.kept(table)
            folders = [self.work_folder(table, day) for day in found]
            with ThreadPoolExecutor(_FETCHED_AT_ONCE) as fetching:
                return dict(zip(found, fetching.map(copied, folders, found.values()), strict=True))

        return self._until_it_holds(copies, str(table))

    def _of_days(self, table: Table) -> Iterator[tuple[str, str, Kept]]:
        """Day, name and object of everything in the folders of days."""
        prefix = _prefix(table)
        for one in self.bucket.listed(prefix):
            folder, _, name = one.key.removeprefix(prefix).partition("/")
            if found := _DAY.fullmatch(folder):
                yield found[1], name, one

    def _note(self, table: Table, name: str) -> str | None:
        found = self.bucket.read(f"{_prefix(table)}{name}")
        return None if found is None else found[0].decode()

    def _change_note(self, table: Table, name: str, change: Callable[[str | None], str | None]) -> None:
        key = f"{_prefix(table)}{name}"

        def changed() -> None:
            found = self.bucket.read(key)
            text = change(None if found is None else found[0].decode())
            if text is not None:
                self.bucket.put(key, text.encode(), None if found is None else found[1])

        with self.alone_in(table):
            self._until_it_holds(changed, key)

    def _until_it_holds(self, act: Callable[[], T], what: str) -> T:
        """What `act` returns, done again if somebody else changed meanwhile what it is about."""
        for _ in range(_TRIES):
            with suppress(ChangedMeanwhileError):
                return act()
        raise UnusableStoreError(
            f"{what} in {HEALTH_LAKE_URL.name} ({self.url}) is changed by others all the time; try again."
        )


def _prefix(table: Table) -> str:
    return f"{table.source}/{table.name}/"


def _signature(kept: Kept) -> str:
    return f"{kept.tag}-{kept.size}-{int(kept.at.timestamp() * 1e9)}"
