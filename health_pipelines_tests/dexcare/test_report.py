"""What a status means for a day: the decisions, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from health_pipelines.dexcare.client import ReportStatus
from health_pipelines.dexcare.report import (
    LANDING_PAUSES,
    LandingFailure,
    Ticket,
    Verdict,
    before_polling,
    decide,
    may_be_asked_again,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TICKET = Ticket("2026-03-09", "report", NOW, asked_by="backfill-1", asked_at=NOW)


def failed(count: int, *, minutes_ago: float = 0, final: bool = False) -> LandingFailure:
    return LandingFailure(count, NOW - timedelta(minutes=minutes_ago), final, "because")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (ReportStatus.QUEUED, Verdict.WAIT_QUEUED),
        (ReportStatus.RUNNING, Verdict.WAIT_RUNNING),
        (ReportStatus.FAILED, Verdict.WAIT_FAILED),
        (ReportStatus.SUCCEEDED, Verdict.LAND),
        (ReportStatus.CANCELLED, Verdict.ASK_AGAIN),
        (ReportStatus.GONE, Verdict.ASK_AGAIN),
    ],
)
def test_a_status_decides_for_a_report_that_never_failed_to_land(
    status: ReportStatus, verdict: Verdict
) -> None:
    assert decide(status, None, NOW) is verdict


def test_a_failed_landing_is_tried_again_at_once_and_then_after_growing_pauses() -> None:
    assert before_polling(failed(1), NOW) is None
    assert before_polling(failed(2, minutes_ago=0.9), NOW) is Verdict.WAIT_TO_RETRY
    assert before_polling(failed(2, minutes_ago=1), NOW) is None
    assert before_polling(failed(5, minutes_ago=59), NOW) is Verdict.WAIT_TO_RETRY
    assert before_polling(failed(5, minutes_ago=60), NOW) is None


def test_a_landing_that_failed_too_often_or_for_good_is_left_to_a_person() -> None:
    assert before_polling(failed(len(LANDING_PAUSES) + 1, minutes_ago=600), NOW) is Verdict.NEEDS_A_PERSON
    assert before_polling(failed(1, minutes_ago=600, final=True), NOW) is Verdict.NEEDS_A_PERSON
    assert decide(ReportStatus.SUCCEEDED, failed(1, final=True), NOW) is Verdict.NEEDS_A_PERSON


@pytest.mark.parametrize(
    ("ticket", "verdict", "asked_by", "answer"),
    [
        (None, None, "run-2", True),
        (TICKET, Verdict.WAIT_QUEUED, "run-2", False),
        (TICKET, Verdict.WAIT_FAILED, "run-2", False),
        (TICKET, Verdict.WAIT_SILENT, "run-2", False),
        (TICKET, Verdict.LAND, "run-2", False),
        (TICKET, Verdict.ASK_AGAIN, "run-2", True),
        (TICKET, Verdict.NEEDS_A_PERSON, "run-2", True),
        # Landed: a new wish is a new report, the retry of the old wish is not.
        (TICKET, None, "run-2", True),
        (TICKET, None, "backfill-1", False),
    ],
)
def test_a_day_is_asked_again_unless_it_is_in_flight_or_this_wish_was_granted(
    ticket: Ticket | None, verdict: Verdict | None, asked_by: str, answer: bool
) -> None:
    assert may_be_asked_again(ticket, verdict, asked_by) is answer
