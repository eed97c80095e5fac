"""What a report's state means for a day: as the table in the docs, and for any sequence of states."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.dexcare.visits.client import ReportStatus
from health_pipelines.dexcare.visits.report import (
    LANDING_PAUSES,
    LandingFailure,
    Policy,
    Seen,
    Ticket,
    Verdict,
    before_polling,
    decide,
    may_be_asked_again,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TICKET = Ticket("2026-03-09", "report", NOW, asked_by="backfill-1", asked_at=NOW)
POLICY = Policy()
DOCS = (Path(__file__).parents[3] / "docs" / "reports.md").read_text()
MINUTE = timedelta(minutes=1)


def attempt(number: int, *, late: int = 0) -> Ticket:
    return Ticket("2026-03-09", "report", NOW, "backfill-1", NOW, attempt=number, late=late)


def outcome(ticket: Ticket, status: ReportStatus, failure: LandingFailure | None = None) -> str:
    """What happens to a report whose status stays, and after how long, in the words of the docs."""
    for minutes in range(24 * 60):
        # A second more: the docs say "after", the code compares exactly.
        now = NOW + minutes * MINUTE + timedelta(seconds=1)
        verdict = decide(ticket, Seen(status, NOW), failure, now, POLICY)
        if verdict is Verdict.LAND:
            return "land"
        if verdict.restarts or verdict is Verdict.GIVE_UP:
            words = "ask again" if verdict.restarts else "give up"
            return f"{words} {time_in_words(minutes)}"
    return "never ends"


def time_in_words(minutes: int) -> str:
    if minutes == 0:
        return "at once"
    return f"after {minutes // 60} h" if minutes % 60 == 0 else f"after {minutes} min"


def documented() -> dict[str, list[str]]:
    rows = re.findall(r"^\| (?!DexCare says|---)([^|]+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", DOCS, re.MULTILINE)
    return {name: [cell.strip() for cell in cells] for name, *cells in rows}


def test_the_table_in_the_docs_is_what_the_code_does() -> None:
    gone = LandingFailure(1, NOW, final=False, reason="because", gone=True)
    computed = {
        status: [outcome(attempt(number), ReportStatus[status]) for number in (1, 2, 3)]
        for status in ("QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")
    }
    computed["QUEUED or RUNNING, and an earlier report was late"] = [
        "",
        *(outcome(attempt(number, late=1), ReportStatus.RUNNING) for number in (2, 3)),
    ]
    without = [outcome(attempt(number), ReportStatus.GONE) for number in (1, 2, 3)]
    assert without == [outcome(attempt(number), ReportStatus.SUCCEEDED, gone) for number in (1, 2, 3)]
    computed["404, or SUCCEEDED without a result"] = without
    assert documented() == computed


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (ReportStatus.QUEUED, Verdict.WAIT_QUEUED),
        (ReportStatus.RUNNING, Verdict.WAIT_RUNNING),
        (ReportStatus.FAILED, Verdict.WAIT_FAILED),
        (ReportStatus.SUCCEEDED, Verdict.LAND),
    ],
)
def test_a_young_report_waits_until_it_succeeds(status: ReportStatus, verdict: Verdict) -> None:
    assert decide(TICKET, Seen(status, NOW), None, NOW, POLICY) is verdict


def test_a_report_that_is_late_is_marked_as_such_when_it_is_asked_again() -> None:
    later = NOW + POLICY.timeout + MINUTE
    assert decide(TICKET, Seen(ReportStatus.RUNNING, NOW), None, later, POLICY) is Verdict.RESTART_LATE
    assert decide(TICKET, Seen(ReportStatus.SUCCEEDED, NOW), None, later, POLICY) is Verdict.LAND


STEPS = st.lists(
    st.tuples(st.sampled_from(list(ReportStatus)), st.integers(min_value=1, max_value=400)),
    min_size=1,
    max_size=60,
)


@given(STEPS, st.integers(min_value=1, max_value=5))
def test_no_sequence_of_states_and_delays_waits_for_ever_lands_twice_or_drops_a_day(
    steps: list[tuple[ReportStatus, int]], max_attempts: int
) -> None:
    """The vendor goes through `steps` (status, minutes) over and over; the sensor looks every minute."""
    policy = Policy(max_attempts=max_attempts)
    now, ticket, seen = NOW, TICKET, Seen(steps[0][0], NOW)
    ends: list[Verdict] = []
    started = 1
    # Every attempt ends with its timeout at the latest, and no attempt is late twice.
    bound = NOW + (policy.timeout + 2 * MINUTE) * max_attempts
    schedule = (status for _ in iter(int, 1) for status, minutes in steps for _ in range(minutes))
    while not ends:
        assert now <= bound, "it waits for ever"
        status = next(schedule)
        if status is not seen.status:
            seen = Seen(status, now)
        verdict = decide(ticket, seen, None, now, policy)
        if verdict.restarts:
            started += 1
            assert started <= max_attempts
            ticket = Ticket(
                ticket.day,
                f"report-{started}",
                now,
                ticket.asked_by,
                ticket.asked_at,
                attempt=ticket.attempt + 1,
                late=ticket.late + (verdict is Verdict.RESTART_LATE),
            )
            seen = Seen(ReportStatus.QUEUED, now)
        elif verdict in (Verdict.LAND, Verdict.GIVE_UP):
            ends.append(verdict)
        now += MINUTE
    if ends == [Verdict.LAND]:
        assert seen.status is ReportStatus.SUCCEEDED
    else:
        assert started == max_attempts or ticket.late == 1


def failed(count: int, *, minutes_ago: float = 0, final: bool = False) -> LandingFailure:
    return LandingFailure(count, NOW - timedelta(minutes=minutes_ago), final, "because")


def before(failure: LandingFailure) -> Verdict | None:
    return before_polling(TICKET, failure, NOW, POLICY)


def test_a_failed_landing_is_tried_again_at_once_and_then_after_growing_pauses() -> None:
    assert before(failed(1)) is None
    assert before(failed(2, minutes_ago=0.9)) is Verdict.WAIT_TO_RETRY
    assert before(failed(2, minutes_ago=1)) is None
    assert before(failed(5, minutes_ago=59)) is Verdict.WAIT_TO_RETRY
    assert before(failed(5, minutes_ago=60)) is None


def test_a_landing_that_failed_too_often_or_for_good_is_left_to_a_person() -> None:
    assert before(failed(len(LANDING_PAUSES) + 1, minutes_ago=600)) is Verdict.NEEDS_A_PERSON
    assert before(failed(1, minutes_ago=600, final=True)) is Verdict.NEEDS_A_PERSON
    ready = Seen(ReportStatus.SUCCEEDED, NOW)
    assert decide(TICKET, ready, failed(1, final=True), NOW, POLICY) is Verdict.NEEDS_A_PERSON


@pytest.mark.parametrize(
    ("ticket", "verdict", "asked_by", "answer"),
    [
        (None, None, "run-2", True),
        (TICKET, Verdict.WAIT_QUEUED, "run-2", False),
        (TICKET, Verdict.WAIT_FAILED, "run-2", False),
        (TICKET, Verdict.WAIT_SILENT, "run-2", False),
        (TICKET, Verdict.LAND, "run-2", False),
        (TICKET, Verdict.WAIT_TO_RESTART, "run-2", True),
        (TICKET, Verdict.RESTART, "run-2", True),
        (TICKET, Verdict.RESTART_LATE, "run-2", True),
        (TICKET, Verdict.GIVE_UP, "run-2", True),
        (TICKET, Verdict.GIVEN_UP, "run-2", True),
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
