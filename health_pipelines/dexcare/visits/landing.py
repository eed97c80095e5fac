"""Landing a report: from the vendor's CSV to the day's partition in the lake, or not at all.

Belongs here: the order of download, proof, conversion, comparison and replacement for one day. Does not
belong here: Dagster, and whether a report should be landed (`report.py`).
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.report import Ticket
from health_pipelines.http import Downloaded, UnreadableAnswerError
from health_pipelines.lake.csv_partition import Lineage, write_partition
from health_pipelines.lake.csv_shape import CsvError, CsvShape, CsvSummary
from health_pipelines.lake.manifests import Facts
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.calendar import day_window
from health_pipelines.landing.landed_partition import Landed, as_it_stands, put_in_place
from health_pipelines.privacy.keeping_out import NotKeptError

# A visit has an id and a time at least.
_FEWEST_COLUMNS = 2
# How HTML, XML and JSON begin.
_PAGE_OR_MESSAGE = ("<", "{", "[")


class UnusableReportError(Exception):
    """The report's body cannot be landed; the partition is as it was. One sentence, without values."""


async def land_report(
    client: DexCareClient,
    lake: Lake,
    table: Table,
    ticket: Ticket,
    extracted_at: datetime,
    *,
    key: str | None = None,
) -> tuple[Landed, Downloaded]:
    """Download the ticket's report and make it the partition of the ticket's day.

    `extracted_at`: aware, UTC. `key`: the column that tells rows apart, if one is known. The partition is
    replaced only when the body's end, the shape of every record and the number of rows add up, and only when
    a row differs.

    Raises `PartitionBusyError`, `VendorError` (see `DexCareClient.download_report`) and
    `UnusableReportError`.
    """
    # DexCare states no count.
    facts = Facts(window=str(day_window(ticket.day, ZoneInfo(ticket.zone))) if ticket.zone else None)
    with lake.writing(table, ticket.day) as writer:
        body = _Body(writer.download)
        try:
            downloaded = await client.download_report(ticket.report_id, body.begin)
            summary = body.end(downloaded)
            _refuse_what_is_no_report(ticket, summary.header)
            unchanged = await asyncio.to_thread(
                as_it_stands, writer, body.content_hash, rows_sent=summary.records, key=key, facts=facts
            )
            if unchanged is not None:
                return unchanged, downloaded
            lineage = Lineage(date.fromisoformat(ticket.day), ticket.report_id, extracted_at)
            # In threads, so that other days download meanwhile.
            await asyncio.to_thread(
                write_partition, writer.download, summary, writer.candidate, lineage, body.content_hash
            )
            landed = await asyncio.to_thread(
                put_in_place, writer, rows_sent=summary.records, key=key, facts=facts
            )
            return landed, downloaded
        except (CsvError, NotKeptError) as error:
            if isinstance(error, CsvError):
                _refuse_what_is_no_report(ticket, body.header)
            raise UnusableReportError(
                f"report {ticket.report_id} for {ticket.day} is not usable: {str(error).removesuffix('.')}."
            ) from None


def _refuse_what_is_no_report(ticket: Ticket, header: Sequence[str]) -> None:
    """A page or a message that came with 200, as a proxy sends them, may be a CSV without a row. No header at
    all is for others to refuse.
    """
    if header and (len(header) < _FEWEST_COLUMNS or header[0].lstrip().startswith(_PAGE_OR_MESSAGE)):
        raise UnreadableAnswerError(
            f"DexCare answered 200 when asked for report {ticket.report_id} for {ticket.day}, with something "
            "that does not begin with the names of columns."
        ) from None


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

    @property
    def header(self) -> Sequence[str]:
        """The names of the columns as they came; none while they are not complete."""
        return self._shape.header

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
