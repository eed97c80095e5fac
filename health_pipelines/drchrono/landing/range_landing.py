"""Landing a sweep: from its pages to the partitions of a range, each whole or not at all.

Belongs here: which rows belong to which day of the range, in which order days land, and the order of writing,
comparison and replacement for one day. Does not belong here: Dagster, the proof that the pages are all
(`drchrono/sweep/reading.py`), and how pages become files (`page_reading.py`, `staging.py`, `day_files.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.landing.day_files import Kept, Standing, write_day
from health_pipelines.drchrono.landing.minimising import NOTHING, Minimising
from health_pipelines.drchrono.landing.page_reading import PageFile
from health_pipelines.drchrono.landing.staging import Staged, stage
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.journal import KeptPage
from health_pipelines.lake.csv_partition import content_hash_of, row_count
from health_pipelines.lake.disk import naming_the_disk
from health_pipelines.lake.manifests import NOTHING_KNOWN, Facts
from health_pipelines.lake.partitions import Lake
from health_pipelines.lake.replacing import PartitionWriter
from health_pipelines.landing.landed_partition import Landed, as_it_stands, put_in_place, sound
from health_pipelines.libraries import loaded_when_used
from health_pipelines.privacy.keeping_out import refuse_day_before_the_first

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    pl = loaded_when_used("polars")
    duckdb = loaded_when_used("duckdb")

_AHEAD = 2  # days, written at the same time


class UnusablePagesError(Exception):
    """The pages of a sweep could not become a partition. One sentence without values."""


class UncoveredDayError(Exception):
    """The day that was to hold the records of this one did not land."""


@dataclass(frozen=True)
class LandedDay:
    """A day as it is in the lake now.

    `kept`: rows of the day's old version that stay, because their records are nowhere else yet.
    """

    landed: Landed
    kept: Kept


class SweptRange:
    """The records of a sweep, ready to land in the days of `days` (YYYY-MM-DD, all of the range).

    A record belongs to the day of its last change, in the account's zone; one without a change time that can
    be read, and every record of a type that has none, to the first day.

    A record mostly moves to a later day, so the newest day lands first. It leaves its old day only when its
    new one has it: a reader may see it twice for a moment, but never not at all. That holds for one that
    moves to an earlier day, too, as when a clock or a zone was corrected. If its new day is before the sweep,
    then the sweep does not bring it, and neither does it bring one that the vendor deleted: nobody can tell
    which, and both stay. To write a day's
    file takes longer than to put it in place, so that the files of the next days are written meanwhile, in
    `work` (a folder on the lake's disk). Used as a context manager; no file is being written after it.
    """

    def __init__(
        self, lake: Lake, record_type: RecordType, staged: Staged, days: Sequence[str], work: Path
    ) -> None:
        self._lake = lake
        self._record_type = record_type
        self._staged = staged
        self.first_day, self._last_day = min(days), max(days)
        # The newest first; but what covers the others before them.
        self.days = sorted(days, reverse=self.has_change_days)
        self._landed: set[date] = set()
        self._work = work
        self._writers = ThreadPoolExecutor(_AHEAD)
        self._begun: dict[str, Future[Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writers.shutdown(cancel_futures=True)

    @property
    def has_change_days(self) -> bool:
        """Whether records have days of their own. If not, all land in the first day."""
        return self._record_type.changed is not None

    @property
    def rows_after_the_range(self) -> int:
        """Records that changed after the range; they land with their own days."""
        last = date.fromisoformat(self._last_day)
        return sum(rows for day, rows in self._staged.rows_by_day.items() if day is not None and day > last)

    def land(self, day: str, report_id: str, facts: Facts = NOTHING_KNOWN) -> LandedDay:
        """Make the day's records its partition, unless they say what it says already.

        Of a type without change times the first day holds everything, and covers the others: those have what
        they had, or a partition without rows. To be called in the order of `days`. `facts`: for the manifest.

        Raises `PartitionBusyError`, `NotKeptError`, `UncoveredDayError`, `UnusableDiskError` and
        `UnusablePagesError`; the partition is as it was then.
        """
        covers = date.fromisoformat(self.first_day)
        if not self.has_change_days and day != self.first_day and covers not in self._landed:
            raise UncoveredDayError(
                f"What belongs here lands in {self.first_day}, which could not be landed."
            )
        with _telling_of_files(), self._lake.writing(self._record_type.table, day) as writer:
            refuse_day_before_the_first(writer)
            self._begin_from(day, report_id)
            landed = self._covered(day, writer, facts) or self._write(day, report_id, writer, facts)
        self._landed.add(date.fromisoformat(day))
        return landed

    def _covered(self, day: str, writer: PartitionWriter, facts: Facts) -> LandedDay | None:
        current = sound(writer.current)
        if self.has_change_days or day == self.first_day or current is None:
            return None
        rows, content_hash = row_count(current), content_hash_of(current) or ""
        stands = as_it_stands(
            writer, content_hash, rows_sent=rows, key=self._record_type.key, facts=facts, is_minimised=True
        )
        return None if stands is None else LandedDay(stands, Kept(0, 0))

    def _write(self, day: str, report_id: str, writer: PartitionWriter, facts: Facts) -> LandedDay:
        staged, own = self._staged, date.fromisoformat(day)
        standing, begun, kept = self._standing(own, writer), self._begun.pop(day, None), Kept(0, 0)
        if begun and standing is None:
            shutil.move(begun.result(), writer.candidate)
        else:
            kept = write_day(
                staged,
                self._change_days(day),
                own,
                writer.candidate,
                report_id=report_id,
                keep=standing,
            )
        # All rows that the file should have, so that its own count can be held against them.
        fresh = sum(rows for changed, rows in staged.rows_by_day.items() if changed in self._change_days(day))
        content_hash = content_hash_of(writer.candidate) or ""
        rows_sent, key = kept.rows + fresh, self._record_type.key
        landed = as_it_stands(
            writer, content_hash, rows_sent=rows_sent, key=key, facts=facts, is_minimised=True
        ) or put_in_place(writer, rows_sent=rows_sent, key=key, facts=facts, is_minimised=True)
        return LandedDay(landed, kept)

    def _change_days(self, day: str) -> set[date | None]:
        own = date.fromisoformat(day)
        return {own, None} if day == self.first_day else {own}

    def _begin_from(self, day: str, report_id: str) -> None:
        """Let the day and the next ones be written, where there is no partition with rows that may stay."""
        place = self.days.index(day)
        for one in self.days[place : place + 1 + _AHEAD]:
            if one in self._begun or self._lake.partition_file(self._record_type.table, one).exists():
                continue
            target = self._work / f"day-{one}.parquet"
            self._begun[one] = self._writers.submit(self._write_beside, one, target, report_id)

    def _write_beside(self, day: str, target: Path, report_id: str) -> Path:
        own = date.fromisoformat(day)
        write_day(self._staged, self._change_days(day), own, target, report_id=report_id)
        return target

    def _standing(self, own: date, writer: PartitionWriter) -> Standing | None:
        """The day's partition, and where its records may be; None if nothing stands that can be read."""
        current, first = sound(writer.current), date.fromisoformat(self.first_day)
        if current is None:
            return None
        changed = {first if day is None else day for day in self._staged.rows_by_day}
        others = [
            file
            for day in sorted(changed - self._landed - {own})
            if (file := sound(self._lake.partition_file(self._record_type.table, day.isoformat())))
        ]
        current = self._staged.minimising.of_standing(current, self._work / f"standing-{own}.parquet")
        return Standing(current, frozenset(self._landed), others, undated_in=first)


def stage_sweep(
    record_type: RecordType,
    pages: Sequence[KeptPage],
    zone: ZoneInfo,
    work: Path,
    extracted_at: datetime,
    *,
    minimising: Minimising = NOTHING,
) -> Staged:
    """Read the pages of a sweep once, one row per record. `work`: an empty folder on the lake's disk.

    Raises `NotKeptError`, `UnusableDiskError` and `UnusablePagesError`.
    """
    files = [PageFile(page.path, page.uuid, page.order, page.shape) for page in pages]
    with _telling_of_files():
        return stage(record_type, files, zone, work, extracted_at=extracted_at, minimising=minimising)


@contextmanager
def _telling_of_files() -> Iterator[None]:
    try:
        with naming_the_disk():
            yield
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        # Their words may hold values.
        raise UnusablePagesError(
            f"The pages could not become a partition ({type(error).__name__}); "
            "the next run asks the vendor anew."
        ) from None
