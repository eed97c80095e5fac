"""Landing a day of provider histories: from the vendor's pages to a partition in the lake, or not at all.

Belongs here: the order of reading, proof, conversion, comparison and replacement for one day. Does not
belong here: Dagster, and what the proof is (`sweep.py`).
"""

import asyncio
from dataclasses import dataclass
from datetime import date, datetime
from uuid import uuid4

from health_pipelines.dexcare.histories.client import (
    HistoryPage,
    HistorySearch,
    ProviderHistoriesClient,
)
from health_pipelines.dexcare.histories.sweep import Histories, read_window
from health_pipelines.lake.csv_partition import Lineage
from health_pipelines.lake.json_partition import JsonRowsError, content_hash, in_order, write_json_partition
from health_pipelines.lake.manifests import Facts
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.replacing import PartitionWriter
from health_pipelines.landing.calendar import Window
from health_pipelines.landing.landed_partition import Landed, as_it_stands, put_in_place
from health_pipelines.privacy.keeping_out import NotKeptError

KEY = "id"


class UnusableHistoriesError(Exception):
    """The day's rows cannot be landed; the partition is as it was. One sentence, without values."""


@dataclass(frozen=True)
class LandedHistories:
    """`query_id` stands for this pull in the lineage: the vendor gives a search no id of its own."""

    landed: Landed
    query_id: str
    read: Histories


async def land_histories(
    client: ProviderHistoriesClient,
    lake: Lake,
    table: Table,
    day: str,
    *,
    window: Window,
    search: HistorySearch,
    extracted_at: datetime,
    at_once: int,
    pause_seconds: float,
) -> LandedHistories:
    """Read the day's window and make its rows the partition of `day`.

    `extracted_at`: aware, UTC. The partition is replaced only when the rows are proven to be all, and only
    when a row differs.

    Raises `PartitionBusyError`, `VendorError` (see `read_window`) and `UnusableHistoriesError`.
    """

    async def read_page(offset: int, limit: int | None) -> HistoryPage:
        return await client.page(window.start, window.end, search, offset=offset, limit=limit)

    # Owned while it is read: otherwise a slow reader could put older rows over newer ones.
    with lake.writing(table, day) as writer:
        read = await read_window(read_page, at_once=at_once, pause_seconds=pause_seconds)
        query_id = str(uuid4())
        lineage = Lineage(date.fromisoformat(day), query_id, extracted_at)
        try:
            # In a thread, so that other days are read meanwhile.
            # The proof is that DexCare counts as many.
            facts = Facts(window=str(window), vendor_count=len(read.rows), vendor_counted="the window")
            landed = await asyncio.to_thread(_land, writer, read, lineage, facts)
        except (JsonRowsError, NotKeptError) as error:
            why = str(error).removesuffix(".")
            raise UnusableHistoriesError(f"provider histories for {day} are not usable: {why}.") from None
        return LandedHistories(landed, query_id, read)


def _land(writer: PartitionWriter, read: Histories, lineage: Lineage, facts: Facts) -> Landed:
    rows = in_order(read.rows, KEY)
    unchanged = as_it_stands(writer, content_hash(rows), rows_sent=len(rows), key=KEY, facts=facts)
    if unchanged is not None:
        return unchanged
    write_json_partition(rows, KEY, writer.candidate, lineage)
    return put_in_place(writer, rows_sent=len(rows), key=KEY, facts=facts)
