"""Removing from the lake what is there already: rows of erased patients, and days that are not kept.

Belongs here: which partitions, in which order, and that nothing is missed which lands meanwhile. Does not
belong here: rewriting one file (`partition_file.py`), and warehouse, journals and published tables
(`commands/erasing.py`).

All that this project ever does to a partition that has landed, but for replacing it by a newer answer, goes
through `_rewrite` and `_remove`.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from health_pipelines.lake.csv_partition import content_hash_of, report_ids_of, row_count
from health_pipelines.lake.manifests import Facts
from health_pipelines.lake.partitions import Lake, PartitionBusyError, Table, day_of
from health_pipelines.lake.replacing import PartitionWriter
from health_pipelines.privacy.erased import Erased
from health_pipelines.privacy.keyed_hash import hashed_value, keyed_hash
from health_pipelines.privacy.partition_file import (
    ROWS_ERASED,
    ErasedRows,
    Taken,
    erased_in,
    rows_erased,
    write_without,
)
from health_pipelines.privacy.patients import in_order, name_of, references, tables_that_refer_to
from health_pipelines.privacy.rules import Rules, rules_of
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now

_LOOK_AGAIN_SECONDS = 0.2
# A landing that holds a day longer than this is told of; the next try goes on.
WAIT_SECONDS = 600.0
# Why a partition is another than was landed, for its manifest.
ERASED, NOT_KEPT = "erased", "not kept"

Tell = Callable[[str], None]
Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Removed:
    """Rows that were taken out of a partition, or a whole one (`is_whole`)."""

    table: Table
    day: str
    rows: int
    is_whole: bool = False


@dataclass(frozen=True)
class Purge:
    """Takes rows and days out of `lake`. `why`: what the record says beside it, no id in it.

    `removed` is told of each partition as soon as it is done. `wait_seconds`: how long somebody else may hold
    a day. Raises `PartitionBusyError`, `UnreadableFileError` and `UnknownPatientColumnError`; what is done by
    then is done, and whoever does it again goes on.
    """

    lake: Lake
    settings: Settings
    why: Mapping[str, str]
    removed: Callable[[Removed], None] = lambda _: None
    wait_seconds: float = WAIT_SECONDS
    now: Callable[[], datetime] = utc_now

    def find(self, tables: Iterable[Table], names: Iterable[str]) -> dict[Table, dict[str, Taken]]:
        """By table and day what there is of these records, and of what refers to them. Changes nothing."""
        key, known = secrets.token_bytes(32), set(names)
        while True:
            before, found = set(known), dict[Table, dict[str, Taken]]()
            for table in tables:
                files = self.lake.partition_files(table)
                hashes = [keyed_hash(key, name) for name in known]
                erased = ErasedRows(references(self.settings, table), hashes, key)
                taken = erased_in(files, erased, self.lake.root)
                found[table] = {day_of(file): taken[file] for file in files if file in taken}
                rules = rules_of(self.settings, table)
                known |= {name for one in taken.values() for name in names_of(table, one.keys, rules)}
            if known == before:
                return found

    def rows(self, tables: Sequence[Table]) -> list[Removed]:
        """Take every row of those that are erased out of `tables` (of one source), whatever lands meanwhile.

        What refers to a row that is taken out is kept out, too, from before it is.
        """
        done: list[Removed] = []
        while True:
            known_before = len(self._known.hashes(tables[0].source)) if tables else 0
            for table in tables:
                done += self._rows_of(table)
            if not tables or len(self._known.hashes(tables[0].source)) == known_before:
                return done

    def _rows_of(self, table: Table) -> list[Removed]:
        hashes = self._known.hashes(table.source)
        erased = ErasedRows(references(self.settings, table), hashes, self._known.key)
        seen = {file: _signature(file) for file in self.lake.partition_files(table)}
        taken, done = erased_in(list(seen), erased, self.lake.root), []
        for day in self.lake.begun_days(table):
            file = self.lake.partition_file(table, day)
            # Every day: what a killed landing left goes, and one that is under way is waited for, since it
            # may have asked who is erased before we said it.
            with self._writing(table, day) as writer:
                if writer.current is None:
                    continue
                found = taken.get(file)
                if _signature(file) != seen.get(file):
                    found = erased_in([file], erased, self.lake.root).get(file)
                if found:
                    done.append(self._rewrite(writer, erased, found))
        return done

    @property
    def _known(self) -> Erased:
        return Erased.beside(self.lake.root)

    def days(self, tables: Iterable[Table], before: str, *, but_the_newest: Iterable[Table]) -> list[Removed]:
        """Take away every partition of a day before `before` (YYYY-MM-DD), and let none land again.

        `but_the_newest`: tables whose newest partition has all that is known, and so stays.
        """
        done, whole = [], set(but_the_newest)
        for table in tables:
            if table not in whole:
                self.lake.keep_from(table, before)
            stays = self.lake.days(table)[-1:] if table in whole else list[str]()
            for day in self.lake.begun_days(table):
                if day < before and day not in stays:
                    with self._writing(table, day) as writer:
                        if writer.current is not None:
                            done.append(self._remove(writer))
        return done

    @contextmanager
    def _writing(self, table: Table, day: str) -> Iterator[PartitionWriter]:
        """As `Lake.writing`, but waits for whoever is at it."""
        give_up_at = time.monotonic() + self.wait_seconds
        with ExitStack() as held:
            while True:
                try:
                    writer = held.enter_context(self.lake.writing(table, day))
                    break
                except PartitionBusyError:
                    if time.monotonic() >= give_up_at:
                        raise
                    time.sleep(_LOOK_AGAIN_SECONDS)
            yield writer

    def _rewrite(self, writer: PartitionWriter, erased: ErasedRows, found: Taken) -> Removed:
        """Put the partition without those rows in its place. The record first: it tells too much rather than
        too little if this dies in between."""
        rules = rules_of(self.settings, writer.table)
        names = names_of(writer.table, found.keys, rules)
        self._known.add(writer.table.source, map(self._known.hash_of, names))
        before = rows_erased(writer.target)
        metadata = {ROWS_ERASED: str(before + found.rows)}
        write_without(writer.target, writer.candidate, Rules(), erased, metadata=metadata)
        self._note(writer, found.rows)
        file = writer.candidate
        writer.replace(
            Facts(
                ERASED,
                rows=row_count(file),
                content_hash=content_hash_of(file),
                report_ids=report_ids_of(file),
            )
        )
        writer.forget_older_copies()
        done = Removed(writer.table, writer.day, found.rows)
        self.removed(done)
        return done

    def _remove(self, writer: PartitionWriter) -> Removed:
        rows = row_count(writer.target)
        self._note(writer, rows)
        writer.remove(NOT_KEPT)
        writer.forget_older_copies()
        done = Removed(writer.table, writer.day, rows, is_whole=True)
        self.removed(done)
        return done

    def _note(self, writer: PartitionWriter, rows: int) -> None:
        self._known.note_removal(writer.table, writer.day, rows, self.why, self.now())


def names_of(table: Table, keys: Iterable[str], rules: Rules) -> list[str]:
    """What is hashed of these records, to keep out what refers to them: as they came, and as they land."""
    named = [name_of(table.source, table.name, key) for key in keys]
    if rules.key:
        named += [name_of(table.source, table.name, hashed_value(rules.key, key)) for key in keys]
    return named


def purge_dependents(lake: Lake, table: Table, names: Iterable[str], settings: Settings) -> None:
    """These records are a patient's who is erased: keep out what refers to them, and take it out.

    It may have landed before anybody could know whose it is. Locks are taken in one direction alone, from a
    table to those that refer to it. Raises as `Purge` does.
    """
    known = Erased.beside(lake.root)
    new = known.add(table.source, map(known.hash_of, names))
    if not new:
        return
    why = {"reason": "refers to a record of somebody erased, which came again"}
    others = [one for one in tables_that_refer_to(table) if lake.days(one)]
    before = set(known.pending(table.source))
    Purge(lake, settings, why).rows(in_order(others))
    new += [one for one in known.pending(table.source) if one not in before]
    known.settle(table.source, new)


def _signature(file: Path) -> Signature | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
