"""A number of a provider history lands with the digits that DexCare sent."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from health_pipelines.dexcare.histories.client import HistoryPage, HistorySearch, ProviderHistoriesClient
from health_pipelines.lake.csv_partition import Lineage
from health_pipelines.lake.json_partition import in_order, write_json_partition
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.drchrono.scripted_vendor import scripted_vendor

START, END = datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)
ROWS = b"""{"count": 2, "data": [
    {"id": 7.50, "fee": 1.10, "details": {"wait": [0.30000000000000000001, 12]}},
    {"id": 10, "fee": 100.00}
]}"""


def test_decimals_do_not_pass_through_floats(tmp_path: Path) -> None:
    with scripted_vendor() as vendor:
        vendor.will_answer(200, ROWS)

        async def ask() -> HistoryPage:
            async with ProviderHistoriesClient(vendor.url, Secret("key"), HttpPolicy()) as client:
                return await client.page(START, END, HistorySearch(), offset=0, limit=None)

        page = asyncio.run(ask())
    file = tmp_path / "partition"
    write_json_partition(in_order(page.rows, "id"), "id", file, Lineage(date(2026, 3, 9), "query", END))
    assert pl.read_parquet(file, hive_partitioning=False).select("id", "fee", "details").rows() == [
        ("10", "100.00", None),
        ("7.50", "1.10", '{"wait":[0.30000000000000000001,12]}'),
    ]
