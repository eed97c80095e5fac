"""The lake: where a partition lives, how it is replaced, and what a reader may rely on.

Belongs here: every path below `lake/`, that a partition has one writer, and who may read what. Does not
belong here: which locks that takes (`alone.py`), how a partition and its manifest are replaced
(`replacing.py`), and what is in a file.
Outside of `lake/` nobody knows what a path looks like, so that the root can become an object store's address
one day: a partition is one whole object, put at once.

A reader may rely on this: `lake/<source>/<table>/date=YYYY-MM-DD/<table>.parquet` is at every moment the
old partition or the new one, whole, also after a crash at any instruction.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from health_pipelines.lake.alone import FolderLocks, LockLostError, Right
from health_pipelines.lake.chain import Chain
from health_pipelines.lake.day_zones import DayZones
from health_pipelines.lake.disk import replace_text, sync
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.lake.replacing import MANIFEST, PartitionWriter
from health_pipelines.settings.variables import DAGSTER_POSTGRES_URL


class OtherOriginError(Exception):
    """The table was filled by another vendor or tier. One sentence that names both and the setting."""


class PartitionBusyError(Exception):
    """Another process is writing this partition at this moment, or may be."""


@dataclass(frozen=True)
class Table:
    """A table of the lake, named as its asset is: `<source>/<name>`."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"


class Lake:
    """The lake below `root` (a folder that is made when the first partition lands).

    `hosts`: where several hosts write it, the locks that they share; to read it takes none.
    """

    def __init__(self, root: Path, hosts: HostLocks | None = None) -> None:
        self.root = root
        self._locks = FolderLocks(root, hosts)

    def refuse_other_origin(self, table: Table, origin: str) -> None:
        """Raise `OtherOriginError` if somebody else than `origin` filled the table before.

        A test tier and a production tier, or the sandbox and the vendor, must not meet in one table.
        """
        note = self._origin_note(table)
        known = note.read_text().strip() if note.exists() else origin
        if known != origin:
            raise OtherOriginError(
                f"{table} in {self.root} was filled by {known} and is now to be filled by {origin}; "
                "give each its own HEALTH_DATA_DIR."
            )

    def remember_origin(self, table: Table, origin: str) -> None:
        """Say who filled the table, once something has landed."""
        note = self._origin_note(table)
        with self.alone_in(table):
            self.refuse_other_origin(table, origin)
            if not note.exists():
                replace_text(note, f"{origin}\n")

    def remember_zone(self, table: Table, day: str, zone: str) -> None:
        """Say which zone's calendar day a partition is, once it has landed.

        Of days that landed before anything was said it is taken to be the same: nobody knows better.
        """
        note = self._zones_note(table)
        known = self._zones(table)
        if known is not None and known.of(day) == zone:
            return
        with self.alone_in(table):
            known = self._zones(table) or DayZones(zone)
            replace_text(note, known.landed(day, zone, self.days(table)).text)

    def days_of_other_zones(self, table: Table, zone: str) -> dict[str, str]:
        """The landed days that are days of another zone than `zone`, and which; the oldest first."""
        known = self._zones(table)
        if known is None:
            return {}
        return {day: of for day in self.days(table) if (of := known.of(day)) != zone}

    def keep_from(self, table: Table, day: str) -> None:
        """Say that nothing is kept of days before `day`; one that was said before and is later stays."""
        note = self._kept_from_note(table)
        with self.alone_in(table):
            if day > (self.kept_from(table) or ""):
                replace_text(note, f"{day}\n")

    def kept_from(self, table: Table) -> str | None:
        """The first day that is kept (YYYY-MM-DD); None if all are."""
        try:
            return self._kept_from_note(table).read_text().strip() or None
        except FileNotFoundError:
            return None

    def tables(self) -> list[Table]:
        """Every table that has a folder, in use or not."""
        return sorted(
            (
                Table(source.name, folder.name)
                for source in folders_in(self.root)
                for folder in folders_in(source)
            ),
            key=str,
        )

    def begun_days(self, table: Table) -> list[str]:
        """Every day that ever had a writer, the oldest first: landed, under way, or given up."""
        folders = sorted(self.table_folder(table).glob("date=*/"))
        return [one.name.removeprefix("date=") for one in folders]

    def partition_file(self, table: Table, day: str) -> Path:
        return self._partition_folder(table, day) / f"{table.name}.parquet"

    def partition_files(self, table: Table) -> list[Path]:
        """Every landed partition of the table, oldest day first."""
        folder = self.table_folder(table)
        return [folder.joinpath(name, f"{table.name}.parquet") for name in self._partition_names(table)]

    def days(self, table: Table) -> list[str]:
        """Every landed day of the table (YYYY-MM-DD), the oldest first."""
        return [name.removeprefix("date=") for name in self._partition_names(table)]

    def pattern(self, table: Table) -> str:
        """A glob that matches `partition_files`, now and after any later landing."""
        return str(self.table_folder(table) / "date=*" / f"{table.name}.parquet")

    def chain(self, table: Table) -> Chain:
        """What was ever put in place in the table."""
        return Chain(self.table_folder(table) / "_chain")

    def manifest_file(self, table: Table, day: str) -> Path:
        """The note beside a partition; there is none beside one that an older version landed."""
        return self._partition_folder(table, day) / MANIFEST

    def alone_in(self, table: Table) -> AbstractContextManager[Right]:
        """Be the one who changes the table's notes or its chain, for which others wait a moment."""
        return self._locks.alone(self.table_folder(table), wait=True)

    def alone_with(self, table: Table, day: str) -> AbstractContextManager[Right]:
        """Be the only one at a partition that is begun; raises `LockedElsewhereError` if somebody else is."""
        return self._locks.alone(self._partition_folder(table, day), wait=False)

    @contextmanager
    def writing(self, table: Table, day: str) -> Iterator[PartitionWriter]:
        """Be the one writer of a partition; `PartitionBusyError` if somebody else is, or may be by now.

        What a crashed writer had begun to put in place is put there, and what else it left behind is removed:
        the operating system frees a dead process's lock, and the next writer of the day finds only files that
        nobody owns.
        """
        _make_durably(self._partition_folder(table, day))
        try:
            # The folder itself is the lock: it needs no file of its own and is never removed.
            with self.alone_with(table, day) as right:
                writer = PartitionWriter(self, table, day, right)
                writer.settle()
                writer.discard()
                try:
                    yield writer
                finally:
                    # What lies there may be another host's work by now.
                    if not right.is_lost:
                        # Also after a failure: what the chain says has landed must land.
                        writer.settle()
                        writer.discard()
        except LockedElsewhereError:
            raise PartitionBusyError(f"{table} {day} is being written by another run.") from None
        except LockLostError:
            raise PartitionBusyError(
                f"{table} {day} stays as it was: the connection to the database of "
                f"{DAGSTER_POSTGRES_URL.name} broke while the day was written, so that another host may be "
                "writing it; land it again."
            ) from None

    def _partition_folder(self, table: Table, day: str) -> Path:
        return self.table_folder(table) / f"date={day}"

    def _partition_names(self, table: Table) -> list[str]:
        """The folders in which a partition is, the oldest day first."""
        # Not with a glob, which takes three times as long for the thousands of days of a lake.
        folder, file = str(self.table_folder(table)), f"{table.name}.parquet"
        try:
            with os.scandir(folder) as found:
                names = [one.name for one in found if one.name.startswith("date=")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if os.path.exists(f"{folder}/{name}/{file}"))  # noqa: PTH110

    def _origin_note(self, table: Table) -> Path:
        # Engines that read the folder as a table pass over names with an underscore.
        return self.table_folder(table) / "_origin"

    def _zones_note(self, table: Table) -> Path:
        return self.table_folder(table) / "_zones"

    def _kept_from_note(self, table: Table) -> Path:
        return self.table_folder(table) / "_kept_from"

    def _zones(self, table: Table) -> DayZones | None:
        """None where nothing was said yet, as in a lake of an older version."""
        try:
            return DayZones.of_text(self._zones_note(table).read_text())
        except FileNotFoundError:
            return None

    def table_folder(self, table: Table) -> Path:
        return self.root / table.source / table.name


def folders_in(folder: Path) -> list[Path]:
    """Those that engines which read a folder as a table do not pass over."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "_")))


def _make_durably(folder: Path) -> None:
    if not folder.is_dir():
        _make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
