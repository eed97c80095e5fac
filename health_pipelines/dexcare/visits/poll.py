"""Asking DexCare where the reports of open tickets are.

Belongs here: one round of status calls. Does not belong here: what a status means (`report.py`), when it is
asked for (`poll_plan.py`) and what follows from it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.ledger import OpenTicket
from health_pipelines.dexcare.visits.poll_plan import Hint, remember
from health_pipelines.dexcare.visits.report import Policy, Verdict, before_polling, decide
from health_pipelines.http import TransientError, VendorError, speaks_for_all_calls
from health_pipelines.http.fan_out import for_each


@dataclass(frozen=True)
class Polled:
    """The verdict on an open ticket, and the reason where the verdict does not say it.

    `hint`: what is known of the report now, if the vendor ever answered.
    """

    open_ticket: OpenTicket
    verdict: Verdict
    reason: str = ""
    hint: Hint | None = None


@dataclass(frozen=True)
class Poll:
    """What a round of polling needs to know: the policy, the time, and the hints from earlier rounds.

    `at_once`: calls at the same time. `within_seconds`: after which the rest has to wait for another round.
    """

    policy: Policy
    now: datetime
    at_once: int
    within_seconds: float | None = None
    hints: Mapping[str, Hint] = field(default_factory=dict)

    async def ask(self, client: DexCareClient, tickets: Sequence[OpenTicket]) -> list[Polled]:
        """The verdict on each ticket, in the given order; the first are asked about first.

        Raises `AccessDeniedError` and `WrongAddressError` at the first such answer: every other call would
        get the same.
        """
        polled = [self.without_asking(one) for one in tickets]

        async def ask(place: int) -> None:
            polled[place] = await self._ask_one(client, tickets[place])

        try:
            async with asyncio.timeout(self.within_seconds):
                await for_each(range(len(polled)), ask, at_once=self.at_once)
        except TimeoutError:
            pass
        except ExceptionGroup as group:
            # Which of the simultaneous refusals is raised makes no difference: they say the same.
            raise group.exceptions[0] from None
        return polled

    def without_asking(self, one: OpenTicket) -> Polled:
        """The verdict from what is known already."""
        hint = self.hints.get(one.ticket.report_id)
        known = self._known(one)
        if known is not None:
            return Polled(one, known, one.failure.reason if one.failure else "", hint)
        if hint is None:
            return Polled(one, Verdict.WAIT_STARTED)
        return self._decided(one, hint)

    async def _ask_one(self, client: DexCareClient, one: OpenTicket) -> Polled:
        known = self._known(one)
        if known is not None:
            return self.without_asking(one)
        hint = self.hints.get(one.ticket.report_id)
        try:
            status = await client.report_status(one.ticket.report_id)
        except TransientError as error:
            return Polled(one, Verdict.WAIT_SILENT, str(error), hint)
        except VendorError as error:
            if speaks_for_all_calls(error):
                raise
            return Polled(one, Verdict.NEEDS_A_PERSON, str(error), hint)
        return self._decided(one, remember(hint, status, self.now))

    def _known(self, one: OpenTicket) -> Verdict | None:
        if one.given_up:
            return Verdict.GIVEN_UP
        return before_polling(one.ticket, one.failure, self.now, self.policy)

    def _decided(self, one: OpenTicket, hint: Hint) -> Polled:
        verdict = decide(one.ticket, hint.seen, one.failure, self.now, self.policy)
        reason = f"DexCare says {hint.status.value} since {hint.since:%Y-%m-%d %H:%M:%S} UTC"
        return Polled(one, verdict, reason, hint)
