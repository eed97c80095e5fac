"""Asking DexCare for reports: the step of the request assets.

Belongs here: which days of a range are asked for, and that each ticket is written the moment the vendor
answered. Does not belong here: the assets' declarations (`assets.py`), and landing (`land_step.py`).
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dagster import AssetExecutionContext, Config, Failure
from pydantic import Field

from health_pipelines.dexcare.checks import report_arrives
from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.dexcare.visits.poll import Poll
from health_pipelines.dexcare.visits.report import Ticket, may_be_asked_again
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.http import VendorError, speaks_for_all_calls
from health_pipelines.http.fan_out import for_each
from health_pipelines.landing.calendar import day_window
from health_pipelines.landing.day_failures import days_failed, step_failed
from health_pipelines.settings import SettingError

BACKFILL_TAG = "dagster/backfill"


class RequestConfig(Config):
    """What the sensor asks of a request run. A person leaves it empty: then each day is asked for anew."""

    restart: dict[str, str] = Field({}, description="Day to the report id that another report replaces.")
    late: list[str] = Field([], description="The days of `restart` whose report was too old.")
    give_up: dict[str, str] = Field({}, description="Day to the reason why no other report is started.")


def request_reports(
    context: AssetExecutionContext, config: RequestConfig, dexcare: DexCareResource, report: VisitReport
) -> None:
    """Start a report for each day of the run's range that has none in flight, or do what `config` says.

    Raises `Failure` naming the days that could not be asked for, or are given up, and why; the others have
    their tickets.
    """
    request = _Request(context, dexcare, report)
    try:
        if config.give_up:
            raise request.give_up(config.give_up)
        if config.restart:
            asyncio.run(request.restart(config.restart, set(config.late)))
        else:
            asyncio.run(request.ask())
    except (VendorError, SettingError) as error:
        raise step_failed(report.request_key, error) from None
    finally:
        context.log_event(report_arrives(context.instance, report))
    if request.refused:
        asked = len(context.partition_keys)
        raise days_failed(report.request_key, request.refused, asked, "could not be asked for")


@dataclass
class _Request:
    context: AssetExecutionContext
    dexcare: DexCareResource
    report: VisitReport

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.context.instance, self.report.request_key)
        self.refused: dict[str, VendorError] = {}

    async def ask(self) -> None:
        """A wish for the days of the range: each gets a report, unless one is in flight."""
        asked_at = datetime.now(UTC)
        days = list(self.context.partition_keys)
        newest = self.ledger.newest_tickets(days)
        open_tickets = list(self.ledger.open_tickets(days).values())
        run = self.context.run
        asked_by = run.tags.get(BACKFILL_TAG) or run.root_run_id or run.run_id
        async with self.dexcare.client() as client:
            poll = Poll(self.dexcare.policy, asked_at, self.dexcare.concurrency)
            verdicts = {
                one.open_ticket.ticket.day: one.verdict for one in await poll.ask(client, open_tickets)
            }
            wishes, standing = [], []
            for day in days:
                ticket = newest.get(day)
                if may_be_asked_again(ticket, verdicts.get(day), asked_by):
                    wishes.append(Ticket(day, "", asked_at, asked_by, asked_at))
                elif ticket is not None:
                    self.context.log.info(
                        f"{day}: report {ticket.report_id} was started already; not started twice."
                    )
                    standing.append(day)
            await self._start_all(client, wishes)
        # Dagster calls a backfill failed if one of its days has no materialization by its own runs.
        for event in self.ledger.tickets_again(standing):
            self.context.log_event(event)

    async def restart(self, replaced: dict[str, str], late: set[str]) -> None:
        """Another report for the same wish, for each day whose newest report is still the one named."""
        newest = self.ledger.newest_tickets(sorted(replaced))
        wishes = [
            replace(ticket, attempt=ticket.attempt + 1, late=ticket.late + (day in late))
            for day, ticket in newest.items()
            if ticket.report_id == replaced[day]
        ]
        async with self.dexcare.client() as client:
            await self._start_all(client, wishes)

    def give_up(self, reasons: dict[str, str]) -> Failure:
        """Record that nothing more is tried, and return the failure that shows it."""
        tickets = self.ledger.newest_tickets(sorted(reasons))
        for day, ticket in tickets.items():
            self.context.log_event(self.ledger.write_given_up(ticket, reasons[day]))
        first = min(tickets)
        return Failure(
            f"{self.report.request_key.to_user_string()}: {len(tickets)} days were given up, {first} the "
            f"first after {tickets[first].attempt} attempts: {reasons[first]}. Materialize the day again to "
            "start afresh.",
            allow_retries=False,
        )

    async def _start_all(self, client: DexCareClient, wishes: list[Ticket]) -> None:
        async def start(wish: Ticket) -> None:
            # Nothing is cancelled when the key is refused: a report whose answer nobody awaits is lost.
            # What has not been asked yet is not asked any more.
            if not any(speaks_for_all_calls(error) for error in self.refused.values()):
                await self._start(client, wish)

        await for_each(wishes, start, at_once=self.dexcare.concurrency)

    async def _start(self, client: DexCareClient, wish: Ticket) -> None:
        window = day_window(wish.day, self.dexcare.timezone)
        try:
            started = await client.start_report(self.report.type, window.start, window.end)
        except VendorError as error:
            self.refused[wish.day] = error
            return
        ticket = replace(
            wish,
            report_id=started.report_id,
            requested_at=datetime.now(UTC),
            lost_starts=started.lost_starts,
            zone=self.dexcare.timezone.key,
        )
        self.context.log_event(self.ledger.write_ticket(ticket, window, self.dexcare.host))
        if started.lost_starts:
            self.context.log.warning(
                f"{wish.day}: {started.lost_starts} attempts to start a report got no answer; DexCare may "
                "run as many reports that nobody will collect."
            )
