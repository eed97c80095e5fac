"""The lake: where a partition lives, how it is replaced, and what a reader may rely on.

Belongs here: every path below `lake/`, that a partition has one writer, and who may read what. Does not
belong here: which locks that takes (`alone.py`), how a partition and its manifest are replaced
(`replacing.py`), and what is in a file.
Outside of `lake/` nobody knows what a path looks like: the lake may also be in a bucket (`bucket_lake.py`),
where a partition is one whole object, put at once.

A reader may rely on this: `lake/<source>/<table>/date=YYYY-MM-DD/<table>.parquet` is at every moment the
old partition or the new one, whole, also after a crash at any instruction.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from health_pipelines.lake.alone import FolderLocks, LockLostError, Right
from health_pipelines.lake.chain import CHAIN, Chain, ChainReader
from health_pipelines.lake.day_zones import DayZones
from health_pipelines.lake.disk import replace_text, sync
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.lake.manifests import file_hash
from health_pipelines.lake.replacing import MANIFEST, PartitionWriter
from health_pipelines.settings.variables import DAGSTER_POSTGRES_URL

# Engines that read the folder as a table pass over names with an underscore.
_ORIGIN, _ZONES, _KEPT_FROM = "_origin", "_zones", "_kept_from"


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

    _place_setting = "HEALTH_DATA_DIR"
    # Whether whoever names the files of a table has to name each, since a pattern would match others too.
    has_copies = False

    def __init__(self, root: Path, hosts: HostLocks | None = None) -> None:
        self.root = root
        self._locks = FolderLocks(root, hosts)
        self._listed: dict[Table, list[str]] | None = None

    def __str__(self) -> str:
        """Where it is, for sentences."""
        return str(self.root)

    def for_one_look(self) -> Self:
        """The same, which lists each table once: most of what a look costs."""
        found = copy(self)
        found._listed = {}
        return found

    def refuse_other_origin(self, table: Table, origin: str) -> None:
        """Raise `OtherOriginError` if somebody else than `origin` filled the table before.

        A test tier and a production tier, or the sandbox and the vendor, must not meet in one table.
        """
        self._refuse(table, self._note(table, _ORIGIN), origin)

    def remember_origin(self, table: Table, origin: str) -> None:
        """Say who filled the table, once something has landed."""

        def said(text: str | None) -> str | None:
            self._refuse(table, text, origin)
            return f"{origin}\n" if text is None else None

        self._change_note(table, _ORIGIN, said)

    def remember_zone(self, table: Table, day: str, zone: str) -> None:
        """Say which zone's calendar day a partition is, once it has landed.

        Of days that landed before anything was said it is taken to be the same: nobody knows better.
        """
        known = self._zones(table)
        if known is not None and known.of(day) == zone:
            return

        def said(text: str | None) -> str:
            known = (DayZones.of_text(text) if text else None) or DayZones(zone)
            return known.landed(day, zone, self.days(table)).text

        self._change_note(table, _ZONES, said)

    def days_of_other_zones(self, table: Table, zone: str) -> dict[str, str]:
        """The landed days that are days of another zone than `zone`, and which; the oldest first."""
        known = self._zones(table)
        if known is None:
            return {}
        return {day: of for day in self.days(table) if (of := known.of(day)) != zone}

    def keep_from(self, table: Table, day: str) -> None:
        """Say that nothing is kept of days before `day`; one that was said before and is later stays."""
        self._change_note(table, _KEPT_FROM, lambda text: f"{day}\n" if day > (text or "").strip() else None)

    def kept_from(self, table: Table) -> str | None:
        """The first day that is kept (YYYY-MM-DD); None if all are."""
        return (self._note(table, _KEPT_FROM) or "").strip() or None

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

    def forget_older_copies(self, tables: Iterable[Table], *, unused: bool = False) -> None:
        """Where readers get copies: leave none on this machine but of what is in the lake now. `unused`: and
        but those that somebody used a while ago.
        """

    def begun_days(self, table: Table) -> list[str]:
        """Every day that ever had a writer, the oldest first: landed, under way, or given up."""
        folders = sorted(self.table_folder(table).glob("date=*/"))
        return [one.name.removeprefix("date=") for one in folders]

    def partition_file(self, table: Table, day: str) -> Path:
        """Of a day that may not have landed, so that the file may not be there."""
        return self.work_folder(table, day) / f"{table.name}.parquet"

    def footer_file(self, table: Table, day: str) -> Path:
        """As `partition_file`, for what a footer says: columns, counts and metadata, not rows."""
        return self.partition_file(table, day)

    def partition_files(self, table: Table) -> list[Path]:
        """Every landed partition of the table, oldest day first."""
        folder = self.table_folder(table)
        return [folder.joinpath(name, f"{table.name}.parquet") for name in self._partition_names(table)]

    def footer_files(self, table: Table) -> dict[str, Path]:
        """The same of every landed day."""
        return {day: self.footer_file(table, day) for day in self.days(table)}

    def signatures(self, table: Table) -> dict[str, str]:
        """By day: another text for every partition that was ever there, which ends with when it was written,
        in nanoseconds since 1970. Raises `FileNotFoundError` if one goes meanwhile.
        """
        return {day: signature(self.partition_file(table, day)) for day in self.days(table)}

    def sizes(self, table: Table) -> list[int]:
        """Of every partition, in bytes."""
        return [file.stat().st_size for file in self.partition_files(table)]

    def days(self, table: Table) -> list[str]:
        """Every landed day of the table (YYYY-MM-DD), the oldest first."""
        if self._listed is None:
            return self._landed_days(table)
        if table not in self._listed:
            self._listed[table] = self._landed_days(table)
        return list(self._listed[table])

    def _landed_days(self, table: Table) -> list[str]:
        return [name.removeprefix("date=") for name in self._partition_names(table)]

    def pattern(self, table: Table) -> str:
        """A glob that matches `partition_files`, now and after any later landing."""
        return str(self.table_folder(table) / "date=*" / f"{table.name}.parquet")

    def chain(self, table: Table) -> ChainReader:
        """What was ever put in place in the table."""
        return Chain(self.table_folder(table) / CHAIN)

    def manifest_text(self, table: Table, day: str) -> bytes | None:
        """The note beside a partition; there is none beside one that an older version landed."""
        try:
            return (self.work_folder(table, day) / MANIFEST).read_bytes()
        except FileNotFoundError:
            return None

    def partition_hash(self, table: Table, day: str) -> str | None:
        """Of the bytes that are in the lake; None where nothing has landed. Raises `OSError`."""
        try:
            return file_hash(self.partition_file(table, day))
        except FileNotFoundError:
            return None

    def known_days(self, table: Table) -> list[str]:
        """Days of which a partition or a manifest is there."""
        return [
            day
            for day in self.begun_days(table)
            if self.partition_file(table, day).exists() or (self.work_folder(table, day) / MANIFEST).exists()
        ]

    def strange_files(self, table: Table) -> list[str]:
        """What is no partition and no note, and would be read as rows by engines that read the folder."""
        folder, found = self.table_folder(table), list[Path]()
        for one in sorted(folder.iterdir()) if folder.is_dir() else []:
            if one.name.startswith((".", "_")):
                continue
            if not (one.is_dir() and one.name.startswith("date=")):
                found.append(one)
                continue
            found += [
                file
                for file in sorted(one.iterdir())
                if not file.name.startswith((".", "_")) and file.name != f"{table.name}.parquet"
            ]
        return list(map(str, found))

    def alone_in(self, table: Table) -> AbstractContextManager[Right]:
        """Be the one who changes the table's notes or its chain, for which others wait a moment."""
        return self._locks.alone(self.table_folder(table), wait=True)

    def alone_with(self, table: Table, day: str) -> AbstractContextManager[Right]:
        """Be the only one at a partition that is begun; raises `LockedElsewhereError` if somebody else is."""
        return self._locks.alone(self.work_folder(table, day), wait=False)

    @contextmanager
    def writing(self, table: Table, day: str) -> Iterator[PartitionWriter]:
        """Be the one writer of a partition; `PartitionBusyError` if somebody else is, or may be by now.

        What a crashed writer had begun to put in place is put there, and what else it left behind is removed:
        the operating system frees a dead process's lock, and the next writer of the day finds only files that
        nobody owns.
        """
        make_durably(self.work_folder(table, day))
        try:
            # The folder itself is the lock: it needs no file of its own and is never removed.
            with self.alone_with(table, day) as right:
                writer = self._writer(table, day, right)
                writer.settle()
                writer.discard()
                try:
                    yield writer
                finally:
                    # What lies there may be another host's work by now.
                    if not right.is_lost:
                        writer.end()
        except LockedElsewhereError:
            raise PartitionBusyError(f"{table} {day} is being written by another run.") from None
        except LockLostError:
            raise PartitionBusyError(
                f"{table} {day} stays as it was: the connection to the database of "
                f"{DAGSTER_POSTGRES_URL.name} broke while the day was written, so that another host may be "
                "writing it; land it again."
            ) from None

    def _writer(self, table: Table, day: str, right: Right) -> PartitionWriter:
        return PartitionWriter(self, table, day, right)

    def work_folder(self, table: Table, day: str) -> Path:
        """In which a partition is made, and in a folder is, too."""
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

    def _refuse(self, table: Table, note: str | None, origin: str) -> None:
        known = origin if note is None else note.strip()
        if known != origin:
            raise OtherOriginError(
                f"{table} in {self} was filled by {known} and is now to be filled by {origin}; "
                f"give each its own {self._place_setting}."
            )

    def _zones(self, table: Table) -> DayZones | None:
        """None where nothing was said yet, as in a lake of an older version."""
        text = self._note(table, _ZONES)
        return None if text is None else DayZones.of_text(text)

    def _note(self, table: Table, name: str) -> str | None:
        try:
            return (self.table_folder(table) / name).read_text()
        except FileNotFoundError:
            return None

    def _change_note(self, table: Table, name: str, change: Callable[[str | None], str | None]) -> None:
        """Make the note what `change` makes of it, alone; None leaves it as it is."""
        with self.alone_in(table):
            if (text := change(self._note(table, name))) is not None:
                replace_text(self.table_folder(table) / name, text)

    def table_folder(self, table: Table) -> Path:
        return self.root / table.source / table.name


def folders_in(folder: Path) -> list[Path]:
    """Those that engines which read a folder as a table do not pass over."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "_")))


def day_of(file: Path) -> str:
    """Of a partition's file."""
    return file.parent.name.removeprefix("date=")


def signature(file: Path) -> str:
    """Another one for every file that was ever there. Raises `FileNotFoundError`."""
    found = file.stat()
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def make_durably(folder: Path) -> None:
    """The folder and those above it, each on the disk when this returns."""
    if not folder.is_dir():
        make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
