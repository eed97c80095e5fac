"""Landing a report: from the vendor's CSV to the day's partition in the lake, or not at all.

Belongs here: the order of download, proof, conversion, comparison and replacement for one day. Does not
belong here: Dagster, and whether a report should be landed (`report.py`).
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO

import polars as pl

from health_pipelines.csv_shape import CsvError, CsvShape, CsvSummary
from health_pipelines.dexcare.client import DexCareClient
from health_pipelines.dexcare.report import Ticket
from health_pipelines.http import Downloaded
from health_pipelines.lake import Lake, Table
from health_pipelines.partition_file import (
    Lineage,
    RowChanges,
    columns_of,
    content_hash_of,
    row_changes,
    row_count,
    write_partition,
)


@dataclass(frozen=True)
class Landed:
    """A day as it is in the lake now.

    `replaced`: whether the file was written. If not, the report said what the lake says already, in
    whatever order, and `content_hash` is that of the report which the file was written from.
    """

    replaced: bool
    rows: int
    columns: tuple[str, ...]
    changes: RowChanges
    content_hash: str
    csv_bytes: int
    file: Path


class UnusableReportError(Exception):
    """The report's body cannot be landed; the partition is as it was. One sentence, without values."""


async def land_report(
    client: DexCareClient, lake: Lake, table: Table, ticket: Ticket, extracted_at: datetime
) -> Landed:
    """Download the ticket's report and make it the partition of the ticket's day.

    `extracted_at`: aware, UTC. The partition is replaced only when the body's end, the shape of every
    record and the number of rows add up, and only when a row differs.

    Raises `PartitionBusyError`, `VendorError` (see `DexCareClient.download_report`) and
    `UnusableReportError`.
    """
    with lake.writing(table, ticket.day) as writer:
        body = _Body(writer.download)
        try:
            downloaded = await client.download_report(ticket.report_id, body.begin)
            summary = body.end(downloaded)
            content_hash = body.content_hash
            current = writer.current if _is_sound(writer.current) else None
            if current is not None and content_hash_of(current) == content_hash:
                return _landed(current, downloaded, RowChanges(0, 0), replaced=False)
            lineage = Lineage(date.fromisoformat(ticket.day), ticket.report_id, extracted_at)
            # In a thread, so that other days download meanwhile.
            await asyncio.to_thread(
                write_partition, writer.download, summary, writer.candidate, lineage, content_hash
            )
        except CsvError as error:
            raise UnusableReportError(
                f"report {ticket.report_id} for {ticket.day} is not usable: {error}."
            ) from None
        if current is None:
            changes = RowChanges(added=summary.records, removed=0)
        else:
            changes = await asyncio.to_thread(row_changes, current, writer.candidate)
            if not changes:
                return _landed(current, downloaded, changes, replaced=False)
        writer.replace()
        return _landed(writer.target, downloaded, changes, replaced=True)


class _Body:
    """Where a download goes: into a file, a hash and the proof of its shape, all in one pass."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._open: BinaryIO | None = None
        self._shape = CsvShape()
        self._hash = hashlib.sha256()

    @property
    def content_hash(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def begin(self) -> Callable[[bytes], None]:
        """A fresh start: whatever an earlier attempt left is gone."""
        self._close()
        self._shape = CsvShape()
        self._hash = hashlib.sha256()
        self._open = self._file.open("wb")
        return self._take

    def end(self, downloaded: Downloaded) -> CsvSummary:
        self._close()
        return self._shape.summary(end_is_proven=downloaded.end_is_proven)

    def _take(self, chunk: bytes) -> None:
        assert self._open is not None, "begin() comes first"
        self._open.write(chunk)
        self._hash.update(chunk)
        self._shape.feed(chunk)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _landed(file: Path, downloaded: Downloaded, changes: RowChanges, *, replaced: bool) -> Landed:
    return Landed(
        replaced=replaced,
        rows=row_count(file),
        columns=columns_of(file),
        changes=changes,
        content_hash=content_hash_of(file) or "",
        csv_bytes=downloaded.size_bytes,
        file=file,
    )


def _is_sound(file: Path | None) -> bool:
    """Whether there is a partition with a readable footer; one damaged by hand is replaced."""
    if file is None:
        return False
    try:
        content_hash_of(file)
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True
