"""What a report's status means for the day it was asked for. Pure: no I/O, the clock passed in.

Belongs here: the ticket (what we know of a report that was started), and every decision made from it.
Does not belong here: where tickets are kept (`ledger.py`) and how a status is obtained (`client.py`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from health_pipelines.dexcare.client import ReportStatus

# A landing that failed for a reason of the moment is tried again after these pauses, then left to a person.
# Long enough together (over an hour) to sit out a vendor's maintenance.
LANDING_PAUSES = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 5, 15, 60))


@dataclass(frozen=True)
class Ticket:
    """Report `report_id` was started for `day` at `requested_at` (aware, UTC).

    `asked_by`: the backfill or run (its first try) that asked, so that a retried run does not ask twice;
    `asked_at`: when it began to ask.
    `lost_starts`: reports that may have been started besides this one (see `StartedReport`).
    """

    day: str
    report_id: str
    requested_at: datetime
    asked_by: str
    asked_at: datetime
    lost_starts: int = 0


@dataclass(frozen=True)
class LandingFailure:
    """The report succeeded but landing it failed, now for the `count`th time. `final`: trying again is
    pointless, because the same answer would fail the same way."""

    count: int
    failed_at: datetime
    final: bool
    reason: str


class Verdict(Enum):
    """What to do about an open ticket. The value is the word that the sensor counts under."""

    WAIT_QUEUED = "queued"
    WAIT_RUNNING = "running"
    # FAILED may become QUEUED again by itself [vendor doc], so it is watched, not given up.
    WAIT_FAILED = "failed for now"
    WAIT_TO_RETRY = "waiting to be landed again"
    WAIT_SILENT = "not answered for"
    LAND = "ready"
    ASK_AGAIN = "was cancelled or is gone"
    NEEDS_A_PERSON = "could not be landed"

    @property
    def is_over(self) -> bool:
        """Nothing happens by itself any more: the day has to be asked for again."""
        return self in (Verdict.ASK_AGAIN, Verdict.NEEDS_A_PERSON)


_BY_STATUS = {
    ReportStatus.QUEUED: Verdict.WAIT_QUEUED,
    ReportStatus.RUNNING: Verdict.WAIT_RUNNING,
    ReportStatus.FAILED: Verdict.WAIT_FAILED,
    ReportStatus.CANCELLED: Verdict.ASK_AGAIN,
    ReportStatus.GONE: Verdict.ASK_AGAIN,
}


def before_polling(failure: LandingFailure | None, now: datetime) -> Verdict | None:
    """The verdict on a ticket when its status need not be asked; None if it must be."""
    if failure is None:
        return None
    if failure.final or failure.count > len(LANDING_PAUSES):
        return Verdict.NEEDS_A_PERSON
    if now < failure.failed_at + LANDING_PAUSES[failure.count - 1]:
        return Verdict.WAIT_TO_RETRY
    return None


def decide(status: ReportStatus, failure: LandingFailure | None, now: datetime) -> Verdict:
    """The verdict on an open ticket whose report has this status at `now`."""
    earlier = before_polling(failure, now)
    if earlier is not None:
        return earlier
    return _BY_STATUS.get(status, Verdict.LAND)


def may_be_asked_again(ticket: Ticket | None, verdict: Verdict | None, asked_by: str) -> bool:
    """Whether a new report should be started for a day.

    `ticket`: the day's newest; `verdict`: on it, or None when it is no longer open. Not while a report is
    in flight, and not by the retry of the run or backfill whose ticket is recorded: it was answered.
    """
    if ticket is None:
        return True
    if verdict is not None:
        return verdict.is_over
    return ticket.asked_by != asked_by
