"""The visit reports as tutorials write them: one Dagster run for each partition, which waits for its report.

Only for `backfill_year.py`, to be compared with. It calls this project's client and landing, so that the two
differ in how the work is cut into runs and in nothing else. The rest is as Dagster has it: a run for each day
and in it a process for each step.
"""

import asyncio
from datetime import UTC, datetime

from dagster import AssetExecutionContext, AssetsDefinition, Definitions, asset

from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport
from health_pipelines.dexcare.visits.client import ReportStatus
from health_pipelines.dexcare.visits.landing import land_report
from health_pipelines.dexcare.visits.report import Ticket
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.landing.calendar import daily_partitions, day_window
from health_pipelines.settings import Settings
from health_pipelines.warehouse.storage import WarehouseStorage

settings = Settings.of_this_process()
days = daily_partitions(settings.start_date, settings.timezone)


def visits_of(report: VisitReport) -> AssetsDefinition:
    @asset(key=report.asset_key, partitions_def=days)
    def visits(context: AssetExecutionContext) -> None:
        asyncio.run(_start_wait_and_land(report, context.partition_key, context.run_id))

    return visits


async def _start_wait_and_land(report: VisitReport, day: str, run_id: str) -> None:
    dexcare = DexCareResource()
    window = day_window(day, dexcare.timezone)
    async with dexcare.client() as client:
        now = datetime.now(UTC)
        started = await client.start_report(report.type, window.start, window.end)
        while await client.report_status(started.report_id) is not ReportStatus.SUCCEEDED:  # noqa: ASYNC110
            await asyncio.sleep(1)
        ticket = Ticket(day, started.report_id, now, asked_by=run_id, asked_at=now)
        await land_report(client, WarehouseStorage().lake, report.table, ticket, datetime.now(UTC))


defs = Definitions(assets=[visits_of(report) for report in VISIT_REPORTS])
