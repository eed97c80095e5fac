"""Landing a report whose body is none, told apart by how it begins."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.landing import land_report
from health_pipelines.dexcare.visits.report import Ticket
from health_pipelines.http import TransientError
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.support.sandbox_process import SandboxProcess

DAY, REPORT = "2026-03-09", VISIT_REPORTS[0]
START, END = datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        "<!doctype html>\n<title>Zebulon, sign in</title>\n",
        '<html><meta content="a, b, c">Zebulon</html>',
        '{"status": "RUNNING"}',
        '{"message": "Zebulon", "code": 7}\n',
        '  ["busy", "Zebulon"]',
        "busy",
    ],
)
def test_a_page_or_a_message_in_a_reports_place_leaves_the_old_partition(
    vendor: SandboxProcess, tmp_path: Path, body: str
) -> None:
    lake, now = Lake(tmp_path), datetime(2026, 3, 11, tzinfo=UTC)

    async def land_twice() -> None:
        async with DexCareClient(vendor.url, Secret("SECRET_TOKEN"), HttpPolicy(attempts=1)) as client:
            started = await client.start_report(REPORT.type, START, END)
            ticket = Ticket(DAY, started.report_id, now, "test", now)
            await land_report(client, lake, REPORT.table, ticket, now)
            landed = lake.partition_file(REPORT.table, DAY).read_bytes()
            vendor.add_fault("data", {"kind": "body", "text": body})
            with pytest.raises(TransientError, match="does not begin with the names of columns") as raised:
                await land_report(client, lake, REPORT.table, ticket, now)
            assert "Zebulon" not in str(raised.value)
            assert lake.partition_file(REPORT.table, DAY).read_bytes() == landed

    asyncio.run(land_twice())
