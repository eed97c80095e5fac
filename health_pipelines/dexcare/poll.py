"""Asking DexCare where the reports of open tickets are.

Belongs here: one round of status calls. Does not belong here: what a status means (`report.py`) and what
follows from it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from health_pipelines.dexcare.client import DexCareClient
from health_pipelines.dexcare.ledger import OpenTicket
from health_pipelines.dexcare.report import Verdict, before_polling, decide
from health_pipelines.fan_out import for_each
from health_pipelines.http import TransientError, VendorError, speaks_for_all_calls


@dataclass(frozen=True)
class Polled:
    """The verdict on an open ticket, and the reason where the verdict does not say it."""

    open_ticket: OpenTicket
    verdict: Verdict
    reason: str = ""


async def poll(
    client: DexCareClient,
    tickets: Iterable[OpenTicket],
    now: datetime,
    *,
    at_once: int,
    within_seconds: float | None = None,
) -> list[Polled]:
    """The verdict on each ticket; the oldest tickets are asked about first.

    After `within_seconds` the rest counts as not answered for. Raises `AccessDeniedError` and
    `WrongAddressError` at the first such answer: every other call would get the same.
    """
    oldest_first = sorted(tickets, key=lambda one: one.ticket.requested_at)
    polled = [Polled(one, Verdict.WAIT_SILENT, "there was no time to ask") for one in oldest_first]

    async def ask(place: int) -> None:
        polled[place] = await _poll_one(client, oldest_first[place], now)

    try:
        async with asyncio.timeout(within_seconds):
            await for_each(range(len(polled)), ask, at_once=at_once)
    except TimeoutError:
        pass
    except ExceptionGroup as group:
        # Which of the simultaneous refusals is raised makes no difference: they say the same.
        raise group.exceptions[0] from None
    return polled


async def _poll_one(client: DexCareClient, one: OpenTicket, now: datetime) -> Polled:
    verdict = before_polling(one.failure, now)
    if verdict is not None:
        return Polled(one, verdict, one.failure.reason if one.failure else "")
    try:
        status = await client.report_status(one.ticket.report_id)
    except TransientError as error:
        return Polled(one, Verdict.WAIT_SILENT, str(error))
    except VendorError as error:
        if speaks_for_all_calls(error):
            raise
        return Polled(one, Verdict.NEEDS_A_PERSON, str(error))
    return Polled(one, decide(status, one.failure, now))
