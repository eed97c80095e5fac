"""Why a day is missing, in words: what is known of it decides, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from health_pipelines.landing.vendor import Order
from health_pipelines.status.reasons import Attempt, Kind, Known, Reason, State, grouped, why

CHICAGO = ZoneInfo("America/Chicago")
NOON = datetime(2026, 3, 10, 17, tzinfo=UTC)
BEFORE, AFTER = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
ORDER = Order("report-1", NOON)
GIVEN_UP = Order("report-1", BEFORE, 3, "DexCare says CANCELLED", over_at=NOON, given_up=True)
BROKEN = Order("report-1", BEFORE, 1, "record 17 has 39 fields", failed_landings=2, over_at=NOON)
FAILED = Attempt("0123456789", State.FAILED, NOON, "DexCare answered 403")
QUEUED, UNDER_WAY = (replace(FAILED, state=state, sentence="") for state in (State.QUEUED, State.UNDER_WAY))


@pytest.mark.parametrize(
    ("known", "kind", "says"),
    [
        (Known(), Kind.NEVER_ASKED, "never asked for"),
        (
            Known(was_there=True),
            Kind.GONE,
            "landed once, and its partition is gone from the lake; nobody has asked for it again",
        ),
        (Known(order=ORDER), Kind.IN_FLIGHT, "asked for and in flight since 2026-03-10 12:00"),
        (
            Known(order=replace(ORDER, attempts=2)),
            Kind.IN_FLIGHT,
            "asked for and in flight since 2026-03-10 12:00, for the second time",
        ),
        (
            Known(order=replace(ORDER, trouble="the body ended early", failed_landings=1)),
            Kind.IN_FLIGHT,
            "asked for and in flight since 2026-03-10 12:00; the last try to land it failed: the body ended "
            "early",
        ),
        (
            Known(backfill_at=NOON),
            Kind.BACKFILL_TO_BEGIN,
            "asked for by a backfill of 2026-03-10 12:00, which has not begun",
        ),
        (
            Known(order=GIVEN_UP),
            Kind.GIVEN_UP,
            "given up 2026-03-10 12:00 after 3 attempts: DexCare says CANCELLED",
        ),
        (
            Known(order=BROKEN),
            Kind.NOT_TO_BE_LANDED,
            "came, and is left alone after 2 failed landings, the last 2026-03-10 12:00: record 17 has 39 "
            "fields",
        ),
        (
            Known(attempt=FAILED),
            Kind.RUN_FAILED,
            "its last run, of 2026-03-10 12:00, failed: DexCare answered 403",
        ),
        (
            Known(attempt=QUEUED),
            Kind.RUN_UNDER_WAY,
            "the run 01234567 for it is queued since 2026-03-10 12:00",
        ),
        (
            Known(attempt=UNDER_WAY),
            Kind.RUN_UNDER_WAY,
            "the run 01234567 for it is under way since 2026-03-10 12:00",
        ),
    ],
)
def test_each_reason_has_words_of_its_own(known: Known, kind: Kind, says: str) -> None:
    reason = why(known)

    assert (reason.kind, reason.says(CHICAGO)) == (kind, says)


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        # A run that is on its way comes before everything that was.
        (Known(was_there=True, order=GIVEN_UP, attempt=UNDER_WAY), Kind.RUN_UNDER_WAY),
        (Known(order=ORDER, attempt=QUEUED), Kind.RUN_UNDER_WAY),
        # What is in flight still comes, whatever failed.
        (Known(order=ORDER, attempt=replace(FAILED, at=AFTER)), Kind.IN_FLIGHT),
        # The run in which a report was given up failed, too, and says less.
        (Known(order=GIVEN_UP, attempt=replace(FAILED, at=BEFORE)), Kind.GIVEN_UP),
        # Somebody asked again, in vain.
        (Known(order=GIVEN_UP, attempt=replace(FAILED, at=AFTER)), Kind.RUN_FAILED),
        (Known(was_there=True, attempt=FAILED), Kind.RUN_FAILED),
        (Known(backfill_at=NOON, order=GIVEN_UP, attempt=FAILED), Kind.BACKFILL_TO_BEGIN),
        (Known(backfill_at=NOON, order=ORDER), Kind.IN_FLIGHT),
        (Known(backfill_at=NOON, attempt=QUEUED), Kind.RUN_UNDER_WAY),
    ],
)
def test_what_happens_comes_before_what_happened(known: Known, kind: Kind) -> None:
    assert why(known).kind is kind


def test_only_a_failure_after_a_day_was_asked_for_is_told_of_what_is_in_flight() -> None:
    earlier, later = (why(Known(order=ORDER, attempt=replace(FAILED, at=at))) for at in (BEFORE, AFTER))

    assert earlier.detail == ""
    assert later.detail == "DexCare answered 403"


def test_days_with_one_reason_are_said_at_once_since_the_first_of_them() -> None:
    reasons = {
        "2026-03-03": why(Known(order=Order("c", AFTER))),
        "2026-03-02": why(Known(order=Order("b", NOON))),
        "2026-03-01": why(Known()),
        "2026-03-04": why(Known(order=replace(GIVEN_UP, id="d"))),
    }

    found = [(days, reason.kind, reason.since) for days, reason in grouped(reasons)]

    assert found == [
        (["2026-03-01"], Kind.NEVER_ASKED, None),
        (["2026-03-02", "2026-03-03"], Kind.IN_FLIGHT, NOON),
        (["2026-03-04"], Kind.GIVEN_UP, NOON),
    ]


def test_kinds_are_names_that_scripts_rely_on() -> None:
    assert [kind.value for kind in Kind] == [
        "run_under_way",
        "in_flight",
        "backfill_to_begin",
        "given_up",
        "not_to_be_landed",
        "run_failed",
        "gone",
        "never_asked",
    ]
    assert Reason(Kind.GONE).was_there is False
