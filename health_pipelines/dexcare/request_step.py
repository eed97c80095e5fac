"""Asking DexCare for reports: the step of the request assets.

Belongs here: which days of a range are asked for, and that each ticket is written the moment the vendor
answered. Does not belong here: the assets' declarations (`assets.py`), and landing (`land_step.py`).
"""

import asyncio
from datetime import UTC, datetime

from dagster import AssetExecutionContext, Failure

from health_pipelines.dexcare.ledger import Ledger
from health_pipelines.dexcare.poll import poll
from health_pipelines.dexcare.report import Ticket, may_be_asked_again
from health_pipelines.dexcare.resource import DexCareResource
from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.fan_out import for_each
from health_pipelines.http import VendorError, speaks_for_all_calls
from health_pipelines.partitions import day_window
from health_pipelines.settings import SettingError

BACKFILL_TAG = "dagster/backfill"


def request_reports(context: AssetExecutionContext, dexcare: DexCareResource, report: VisitReport) -> None:
    """Start a report for each day of the run's range that has none in flight.

    Raises `Failure` naming the days that could not be asked for and why; the others have their tickets.
    """
    try:
        refused = asyncio.run(_request_days(context, dexcare, report))
    except (VendorError, SettingError) as error:
        raise Failure(f"{report.request_key.to_user_string()}: {error}", allow_retries=False) from None
    if refused:
        raise Failure(_summary(report, refused, len(context.partition_keys)), allow_retries=False)


async def _request_days(
    context: AssetExecutionContext, dexcare: DexCareResource, report: VisitReport
) -> dict[str, VendorError]:
    asked_at = datetime.now(UTC)
    days = list(context.partition_keys)
    ledger = Ledger(context.instance, report.request_key)
    newest = ledger.newest_tickets(days)
    open_tickets = ledger.open_tickets(days)
    asked_by = context.run.tags.get(BACKFILL_TAG) or context.run.root_run_id or context.run.run_id
    refused: dict[str, VendorError] = {}

    async with dexcare.client() as client:
        polled = await poll(client, open_tickets.values(), datetime.now(UTC), at_once=dexcare.concurrency)
        verdicts = {one.open_ticket.ticket.day: one.verdict for one in polled}

        async def request(day: str) -> None:
            # Nothing is cancelled when the key is refused: a report whose answer nobody awaits is lost.
            # What has not been asked yet is not asked any more.
            if any(speaks_for_all_calls(error) for error in refused.values()):
                return
            window = day_window(day, dexcare.timezone)
            try:
                started = await client.start_report(report.type, window.start, window.end)
            except VendorError as error:
                refused[day] = error
                return
            ticket = Ticket(
                day, started.report_id, datetime.now(UTC), asked_by, asked_at, started.lost_starts
            )
            context.log_event(ledger.write_ticket(ticket, window, dexcare.host))
            if started.lost_starts:
                context.log.warning(
                    f"{day}: {started.lost_starts} attempts to start a report got no answer; DexCare may run "
                    "as many reports that nobody will collect."
                )

        wanted = [day for day in days if may_be_asked_again(newest.get(day), verdicts.get(day), asked_by)]
        for day in sorted(set(days) - set(wanted)):
            context.log.info(f"{day}: report {newest[day].report_id} was started already; not started twice.")
        await for_each(wanted, request, at_once=dexcare.concurrency)
    return refused


def _summary(report: VisitReport, refused: dict[str, VendorError], asked: int) -> str:
    first = min(refused)
    return (
        f"{report.request_key.to_user_string()}: {len(refused)} of {asked} days could not be asked for, "
        f"{first} the first: {refused[first]}"
    )
