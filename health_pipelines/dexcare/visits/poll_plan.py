"""When to ask for a report's status, and what is remembered of the answers. Pure.

Belongs here: the rhythm of polling and the hints it needs. Does not belong here: what a status means
(`report.py`). The hints live in the sensor's cursor and may be lost at any time: then every report is asked
about at once, and a FAILED one is watched for its grace anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from health_pipelines.dexcare.visits.client import ReportStatus
from health_pipelines.dexcare.visits.report import Seen, Ticket

# No report is left alone for longer than this, however long others took.
LONGEST_PAUSE = timedelta(minutes=5)
# The first question comes when this part of the usual time has passed, later ones after parts of it.
FIRST_PART, LATER_PART = 0.7, 0.1


@dataclass(frozen=True)
class Hint:
    """What polling knows of one report. `running_since`: when it was first seen RUNNING, if it was."""

    status: ReportStatus
    since: datetime
    polled_at: datetime
    polls: int
    running_since: datetime | None = None

    @property
    def seen(self) -> Seen:
        return Seen(self.status, self.since)


def remember(hint: Hint | None, status: ReportStatus, now: datetime) -> Hint:
    """The hint after the vendor answered `status` at `now`."""
    if hint is None:
        hint = Hint(status, since=now, polled_at=now, polls=0)
    if status is not hint.status:
        hint = replace(hint, status=status, since=now)
    if status is ReportStatus.RUNNING and hint.running_since is None:
        hint = replace(hint, running_since=now)
    return replace(hint, polled_at=now, polls=hint.polls + 1)


def is_due(
    ticket: Ticket, hint: Hint | None, usual: timedelta | None, shortest: timedelta, now: datetime
) -> bool:
    """Whether to ask now. `usual`: how long reports of this type take, if known; `shortest`: the tick."""
    if usual is None:
        return True
    if hint is None:
        return now - ticket.requested_at >= min(usual * FIRST_PART, LONGEST_PAUSE)
    return now - hint.polled_at >= min(max(usual * LATER_PART, shortest), LONGEST_PAUSE)


def usual_duration(seconds: Sequence[float]) -> timedelta | None:
    """How long a report takes at its quickest: the fastest fifth of recent ones.

    Not the median: one large backfill queues at the vendor, and tomorrow's single day does not.
    """
    if not seconds:
        return None
    return timedelta(seconds=sorted(seconds)[len(seconds) // 5])


def seconds_queued_and_running(ticket: Ticket, hint: Hint, now: datetime) -> tuple[float, float]:
    """As far as polling could see: a report that was never seen RUNNING counts as queued."""
    done_at = hint.since if hint.status is ReportStatus.SUCCEEDED else now
    running_from = hint.running_since or done_at
    queued = (running_from - ticket.requested_at).total_seconds()
    return max(0.0, queued), max(0.0, (done_at - running_from).total_seconds())


def read_hints(cursor: str | None) -> dict[str, Hint]:
    """By report id; nothing from a cursor that cannot be read, since nothing depends on it."""
    try:
        stored = json.loads(cursor or "{}")
        return {report_id: _read(values) for report_id, values in stored.items()}
    except (ValueError, TypeError, AttributeError, LookupError):
        return {}


def write_hints(hints: Mapping[str, Hint]) -> str:
    return json.dumps(
        {
            report_id: [
                hint.status.value,
                hint.since.timestamp(),
                hint.polled_at.timestamp(),
                hint.polls,
                hint.running_since.timestamp() if hint.running_since else None,
            ]
            for report_id, hint in hints.items()
        }
    )


def _read(values: Sequence[object]) -> Hint:
    status, since, polled_at, polls, running_since = values
    return Hint(
        ReportStatus(str(status)),
        _time(since),
        _time(polled_at),
        int(str(polls)),
        None if running_since is None else _time(running_since),
    )


def _time(timestamp: object) -> datetime:
    return datetime.fromtimestamp(float(str(timestamp)), UTC)
