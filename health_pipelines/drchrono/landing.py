"""Landing a sweep: from its pages to the partitions of a range, each whole or not at all.

Belongs here: which rows belong to which day of the range, and the order of writing, comparison and
replacement for one day. Does not belong here: Dagster, the proof that the pages are all (`sweep.py`), and how
pages become files (`day_files.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.day_files import PageFile, Staged, stage, write_day
from health_pipelines.drchrono.journal import KeptPage
from health_pipelines.drchrono.records import RecordType
from health_pipelines.lake import Lake, PartitionWriter
from health_pipelines.landed import Landed, as_it_stands, put_in_place
from health_pipelines.partition_file import content_hash_of, row_count, rows_extracted_before


@dataclass(frozen=True)
class LandedDay:
    """A day as it is in the lake now.

    `kept_rows`: rows of the day's old version whose records have changed after the range; they stay until
    the day of that change lands.
    """

    landed: Landed
    kept_rows: int


class SweptRange:
    """The records of a sweep, ready to land in the days of `days` (YYYY-MM-DD, all of the range).

    A record belongs to the day of its last change, in the account's zone; one without a change time that can
    be read, and every record of a type that has none, to the first day.
    """

    def __init__(self, lake: Lake, record_type: RecordType, staged: Staged, days: Sequence[str]) -> None:
        self._lake = lake
        self._record_type = record_type
        self._staged = staged
        self.first_day, self._last_day = min(days), max(days)

    @property
    def has_change_days(self) -> bool:
        """Whether records have days of their own. If not, all land in the first day."""
        return self._record_type.changed is not None

    @property
    def rows_after_the_range(self) -> int:
        """Records that changed after the range; they land with their own days."""
        last = date.fromisoformat(self._last_day)
        return sum(rows for day, rows in self._staged.rows_by_day.items() if day is not None and day > last)

    def land(self, day: str, report_id: str) -> LandedDay:
        """Make the day's records its partition, unless they say what it says already.

        Of a type without change times the first day holds everything, and covers the others: those have what
        they had, or a partition without rows. Raises `PartitionBusyError`.
        """
        with self._lake.writing(self._record_type.table, day) as writer:
            if not self.has_change_days and day != self.first_day and writer.current is not None:
                rows = row_count(writer.current)
                stands = as_it_stands(writer, content_hash_of(writer.current) or "", rows_sent=rows)
                if stands is not None:
                    return LandedDay(stands, kept_rows=0)
            return self._write(day, report_id, writer)

    def _write(self, day: str, report_id: str, writer: PartitionWriter) -> LandedDay:
        staged, own = self._staged, date.fromisoformat(day)
        change_days: set[date | None] = {own, None} if day == self.first_day else {own}
        write_day(
            staged,
            change_days,
            own,
            writer.candidate,
            report_id=report_id,
            keep=writer.current if self.has_change_days else None,
            keep_changed_after=date.fromisoformat(self._last_day),
        )
        kept = rows_extracted_before(writer.candidate, staged.extracted_at)
        # All rows that the file should have, so that its own count can be held against them.
        due = kept + sum(rows for changed, rows in staged.rows_by_day.items() if changed in change_days)
        content_hash = content_hash_of(writer.candidate) or ""
        landed = as_it_stands(writer, content_hash, rows_sent=due) or put_in_place(
            writer, rows_sent=due, key=self._record_type.key
        )
        return LandedDay(landed, kept)


def stage_sweep(
    record_type: RecordType, pages: Sequence[KeptPage], zone: ZoneInfo, work: Path, extracted_at: datetime
) -> Staged:
    """Read the pages of a sweep once, one row per record. `work`: an empty folder on the lake's disk."""
    files = [PageFile(page.path, page.uuid, page.order) for page in pages]
    return stage(record_type, files, zone, work, extracted_at=extracted_at)
