"""Landing ready reports: the step of the landing assets.

Belongs here: which days of a range are landed, and the events that say what became of each. Does not
belong here: how one report becomes a partition (`landing.py`) and the assets' declarations (`assets.py`).
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import AssetExecutionContext

from health_pipelines.dexcare.checks import checked_report
from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.dexcare.visits.client import DexCareClient, ReportGoneError, ReportNotReadyError
from health_pipelines.dexcare.visits.landing import UnusableReportError, land_report
from health_pipelines.dexcare.visits.ledger import Ledger, OpenTicket
from health_pipelines.dexcare.visits.poll import Poll, Polled
from health_pipelines.dexcare.visits.report import LandingFailure, Verdict
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.http import VendorError, speaks_for_all_calls
from health_pipelines.http.fan_out import for_each
from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.partitions import Lake, PartitionBusyError
from health_pipelines.landing.step import RangeLanding, landing
from health_pipelines.landing.storage import Storage

# The sensor marks the runs that it starts for many days at once. In such a run a day that cannot be landed
# is left to a run of its own, so that the days which merely share its range are not shown as failed.
MANY_DAYS_TAG = "dexcare/many_days"


def land_reports(
    context: AssetExecutionContext, dexcare: DexCareResource, storage: Storage, report: VisitReport
) -> None:
    """Land every day of the run's range whose report is ready; never wait for one that is not.

    Raises `Failure` naming the days whose report is ready but could not be landed. Their partitions are as
    they were.
    """
    checked = checked_report(report)
    with landing(context, storage, checked, dexcare) as days:
        asyncio.run(_Landing(context, dexcare, storage.lake, report, checked.key, days).run())


@dataclass
class _Landing:
    context: AssetExecutionContext
    dexcare: DexCareResource
    lake: Lake
    report: VisitReport
    key: str | None
    range: RangeLanding

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.context.instance, self.report.request_key)
        self.shares_a_range = MANY_DAYS_TAG in self.context.run.tags
        self.failures: dict[str, LandingFailure] = {}
        self.landed_before: set[str] = set()
        self.failed = self.range.failed

    async def run(self) -> None:
        days = self.range.days
        async with self.dexcare.client() as client:
            at_once = self.dexcare.concurrency
            poll = Poll(self.dexcare.policy, datetime.now(UTC), at_once)
            polled = await poll.ask(client, self._tickets(days))
            self._say_what_waits(days, polled)
            ready = [one.open_ticket for one in polled if one.verdict is Verdict.LAND]

            async def land(one: OpenTicket) -> None:
                # A refused key or a wrong address speaks for the days that are left.
                if not any(map(_speaks_for_all_days, self.failed.values())):
                    await self._land_or_fail(client, one)

            await for_each(ready, land, at_once=at_once)

    def _tickets(self, days: list[str]) -> list[OpenTicket]:
        """What can be landed. A person who asks for a day that has landed means: again."""
        open_tickets = self.ledger.open_tickets(days)
        if self.shares_a_range:
            return list(open_tickets.values())
        newest = self.ledger.newest_tickets(days)
        # In a run of its own a day is not held back by the pause after an earlier failure.
        self.failures = {day: one.failure for day, one in open_tickets.items() if one.failure}
        self.landed_before = set(newest) - set(open_tickets)
        return [OpenTicket(ticket, failure=None) for ticket in newest.values() if ticket.report_id]

    def _say_what_waits(self, days: list[str], polled: list[Polled]) -> None:
        log = self.context.log
        ask = f"materialize {self.report.request_key.to_user_string()}"
        waiting: Counter[str] = Counter()
        for one in polled:
            day = one.open_ticket.ticket.day
            if one.verdict is Verdict.LAND:
                continue
            if one.verdict.is_over or day in self.landed_before:
                reason = f" ({one.reason})" if one.reason else ""
                log.warning(f"{day}: its report is {one.verdict.value}{reason}; {ask} to ask again.")
            else:
                waiting[one.verdict.value] += 1
        if waiting:
            states = ", ".join(f"{count} {state}" for state, count in waiting.items())
            log.info(f"{states}: the sensor dexcare_report_sensor will land these when they are ready.")
        never = sorted(set(days) - {one.open_ticket.ticket.day for one in polled})
        if never and not self.shares_a_range:
            log.warning(
                f"{len(never)} days have no report to land, {never[0]} the first: {ask} for them first."
            )

    async def _land_or_fail(self, client: DexCareClient, one: OpenTicket) -> None:
        try:
            with naming_the_disk():
                await self._land(client, one)
        except UnusableDiskError as error:
            # No word of it in the ledger: it is not the report's fault, and the sensor tries again.
            self.failed[one.ticket.day] = error

    async def _land(self, client: DexCareClient, one: OpenTicket) -> None:
        ticket = one.ticket
        now = datetime.now(UTC)
        try:
            landed, downloaded = await land_report(
                client, self.lake, self.report.table, ticket, now, key=self.key
            )
        except PartitionBusyError as error:
            # Not a failure of the landing: the other run lands it, or the next tick sees that it did not.
            self.context.log.info(f"{ticket.day}: {error}")
            return
        except (ReportNotReadyError, ReportGoneError) as error:
            self._record_no_result(one, error, now)
            return
        except (VendorError, UnusableReportError) as error:
            if speaks_for_all_calls(error):
                self.failed[ticket.day] = error
                return
            self._record_failure(one, error, now)
            return
        source = {"csv_bytes": downloaded.size_bytes, "report_id": ticket.report_id}
        # The report is of the day that was asked for, whatever the zone was set to since.
        changed = self.range.record(ticket.day, landed, source, zone=ticket.zone)
        settled = self.ledger.write_settled(ticket, settled_at=datetime.now(UTC), changed=changed)
        self.context.log_event(settled)
        await self.range.check(ticket.day, landed.rows_sent)

    def _record_no_result(self, one: OpenTicket, error: Exception, now: datetime) -> None:
        """SUCCEEDED without a result: the sensor starts another report, unless a person looks on."""
        failure = LandingFailure(count=1, failed_at=now, final=False, reason=str(error), gone=True)
        self.context.log_event(self.ledger.write_failure(one.ticket, failure))
        self.context.log.warning(f"{one.ticket.day}: {error} The sensor will ask for another report.")

    def _record_failure(self, one: OpenTicket, error: Exception, now: datetime) -> None:
        earlier = self.failures.get(one.ticket.day, one.failure)
        failure = LandingFailure(
            count=earlier.count + 1 if earlier else 1,
            failed_at=now,
            # The same body fails the same way; but it gets the run of its own that shows it.
            final=isinstance(error, UnusableReportError) and not self.shares_a_range,
            reason=str(error),
        )
        self.context.log_event(self.ledger.write_failure(one.ticket, failure))
        if self.shares_a_range:
            self.context.log.error(f"{one.ticket.day}: {error} It will be tried in a run of its own.")
        else:
            self.failed[one.ticket.day] = error


def _speaks_for_all_days(error: Exception) -> bool:
    return speaks_for_all_calls(error) or isinstance(error, UnusableDiskError)
