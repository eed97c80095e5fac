"""What DexCare was asked for, as the door for vendors has it.

Belongs here: from tickets to orders. Does not belong here: how tickets are kept (`ledger.py`), and what is
said of a missing day (`status/reasons.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dagster import DagsterInstance

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.ledger import GivenUp, Ledger, OpenTicket
from health_pipelines.dexcare.visits.report import Policy, Verdict, before_polling
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.vendor import Order, Orders


def report_orders(instance: DagsterInstance, wanted: Mapping[Table, Sequence[str]]) -> dict[Table, Orders]:
    """The open tickets of the days that are wanted, read from Dagster's event log alone."""
    return {
        report.table: Orders(
            report.request_key, _of_days(Ledger(instance, report.request_key), list(wanted[report.table]))
        )
        for report in VISIT_REPORTS
        if report.table in wanted
    }


def _of_days(ledger: Ledger, days: list[str]) -> dict[str, Order]:
    if not days:
        return {}
    tickets = ledger.open_tickets(days)
    given_up = ledger.given_up([day for day, one in tickets.items() if one.given_up])
    return {day: _order(one, given_up.get(day)) for day, one in tickets.items() if one.ticket.report_id}


def _order(one: OpenTicket, given_up: GivenUp | None) -> Order:
    ticket, failure = one.ticket, one.failure
    order = Order(ticket.report_id, ticket.requested_at, ticket.attempt)
    if given_up is not None:
        return replace(order, trouble=given_up.reason, over_at=given_up.at, given_up=True)
    if failure is None:
        return order
    # The time says only how long a landing waits for its next try, which is no end.
    verdict = before_polling(ticket, failure, failure.failed_at, Policy())
    return replace(
        order,
        trouble=failure.reason,
        failed_landings=failure.count,
        over_at=failure.failed_at if verdict is Verdict.NEEDS_A_PERSON else None,
    )
