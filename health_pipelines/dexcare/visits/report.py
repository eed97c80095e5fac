"""What a report's state means for the day it was asked for. Pure: no I/O, the clock passed in.

Belongs here: the ticket (what we know of a report that was started), and every decision made from it. Does
not belong here: where tickets are kept (`ledger.py`), how a status is obtained (`client.py`), and when to ask
for it (`poll_plan.py`). The table of decisions in docs/reports.md is tested against this module.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from health_pipelines.dexcare.visits.client import ReportStatus

# A landing that failed for a reason of the moment is tried again after these pauses, then left to a person.
# Long enough together (over an hour) to sit out a vendor's maintenance.
LANDING_PAUSES = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 5, 15, 60))


@dataclass(frozen=True)
class Policy:
    """How patient we are with a report.

    `failed_grace`: how long FAILED is watched, since the vendor may queue it again; it doubles with each
    attempt. `timeout`: the age at which a report that is not done is late. `max_attempts`: reports started
    for one wish, the first included.
    """

    failed_grace: timedelta = timedelta(minutes=10)
    timeout: timedelta = timedelta(hours=6)
    max_attempts: int = 3


@dataclass(frozen=True)
class Ticket:
    """Report `report_id` was started for `day` at `requested_at` (aware, UTC).

    `asked_by`: the backfill or run (its first try) that asked, so that a retried run does not ask twice;
    `asked_at`: when it began to ask. `attempt`: counts the reports for the same wish, from 1; `late`: how
    many before this one were given up for their age. `lost_starts`: reports that may have been started
    besides this one (see `StartedReport`). `zone`: whose calendar day was asked for (IANA name); None in
    tickets of older versions.
    """

    day: str
    report_id: str
    requested_at: datetime
    asked_by: str
    asked_at: datetime
    attempt: int = 1
    late: int = 0
    lost_starts: int = 0
    zone: str | None = None


@dataclass(frozen=True)
class Seen:
    """The status that the vendor gave last, and since when it has been giving that one."""

    status: ReportStatus
    since: datetime


@dataclass(frozen=True)
class LandingFailure:
    """The report succeeded but landing it failed, now for the `count`th time.

    `final`: trying again is pointless, because the same answer would fail the same way. `gone`: the vendor
    said SUCCEEDED but has no result to download.
    """

    count: int
    failed_at: datetime
    final: bool
    reason: str
    gone: bool = False


class Verdict(Enum):
    """What to do about an open ticket. The value is the word that the sensor counts under."""

    WAIT_STARTED = "started"
    WAIT_QUEUED = "queued"
    WAIT_RUNNING = "running"
    WAIT_FAILED = "failed for now"
    WAIT_TO_RESTART = "waiting to be asked again"
    WAIT_TO_RETRY = "waiting to be landed again"
    WAIT_SILENT = "not answered for"
    LAND = "ready"
    RESTART = "to be asked again"
    RESTART_LATE = "late and to be asked again"
    GIVE_UP = "to be given up"
    GIVEN_UP = "given up"
    NEEDS_A_PERSON = "not to be landed"

    @property
    def restarts(self) -> bool:
        return self in (Verdict.RESTART, Verdict.RESTART_LATE)

    @property
    def is_over(self) -> bool:
        """Nothing happens by itself any more: the day has to be asked for again."""
        return self in (Verdict.GIVEN_UP, Verdict.NEEDS_A_PERSON)


_WAITING = {
    ReportStatus.QUEUED: Verdict.WAIT_QUEUED,
    ReportStatus.RUNNING: Verdict.WAIT_RUNNING,
    ReportStatus.FAILED: Verdict.WAIT_FAILED,
    ReportStatus.CANCELLED: Verdict.WAIT_TO_RESTART,
    ReportStatus.GONE: Verdict.WAIT_TO_RESTART,
}


def before_polling(
    ticket: Ticket, failure: LandingFailure | None, now: datetime, policy: Policy
) -> Verdict | None:
    """The verdict on an open ticket when its status need not be asked; None if it must be."""
    if failure is None:
        return None
    if failure.gone:
        return _without_result(ticket, Seen(ReportStatus.GONE, failure.failed_at), now, policy)
    if failure.final or failure.count > len(LANDING_PAUSES):
        return Verdict.NEEDS_A_PERSON
    if now < failure.failed_at + LANDING_PAUSES[failure.count - 1]:
        return Verdict.WAIT_TO_RETRY
    return None


def decide(
    ticket: Ticket, seen: Seen, failure: LandingFailure | None, now: datetime, policy: Policy
) -> Verdict:
    """The verdict on an open ticket whose report is `seen` so at `now`: wait, land, restart or give up."""
    earlier = before_polling(ticket, failure, now, policy)
    if earlier is not None:
        return earlier
    if seen.status is ReportStatus.SUCCEEDED:
        return Verdict.LAND
    if now - ticket.requested_at > policy.timeout:
        # Once: a second report that takes as long would most likely be followed by a third.
        may_restart = ticket.late == 0 and ticket.attempt < policy.max_attempts
        return Verdict.RESTART_LATE if may_restart else Verdict.GIVE_UP
    if seen.status in (ReportStatus.QUEUED, ReportStatus.RUNNING):
        return _WAITING[seen.status]
    return _without_result(ticket, seen, now, policy)


def patience(ticket: Ticket, status: ReportStatus, policy: Policy) -> timedelta:
    """How long a report may be FAILED, CANCELLED or gone before another is started.

    FAILED may become QUEUED again by itself [vendor doc]; the others cannot, so that only the pause between
    attempts is waited for. Both grow with the attempt.
    """
    growth: int = 2 ** (ticket.attempt - 1)
    if status is ReportStatus.FAILED:
        return policy.failed_grace * growth
    return policy.failed_grace * (growth - 1)


def _without_result(ticket: Ticket, seen: Seen, now: datetime, policy: Policy) -> Verdict:
    if now - seen.since < patience(ticket, seen.status, policy):
        return _WAITING[seen.status]
    return Verdict.RESTART if ticket.attempt < policy.max_attempts else Verdict.GIVE_UP


def may_be_asked_again(ticket: Ticket | None, verdict: Verdict | None, asked_by: str) -> bool:
    """Whether a person's or a schedule's wish for a day starts a new report.

    `ticket`: the day's newest; `verdict`: on it, or None when it is no longer open. Not while a report is
    in flight, and not by the retry of the run or backfill whose ticket is recorded: it was answered.
    """
    if ticket is None:
        return True
    if verdict is not None:
        return verdict.is_over or verdict.restarts or verdict in (Verdict.GIVE_UP, Verdict.WAIT_TO_RESTART)
    return ticket.asked_by != asked_by
