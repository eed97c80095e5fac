"""Which records are gone, and what finding out costs: pure."""

from datetime import UTC, datetime, timedelta

import pytest

from health_pipelines.drchrono.reconciliation.compared import (
    Comparison,
    Gone,
    TooDearError,
    TooManyGoneError,
    calls_for,
    compare,
    refuse_too_dear,
    refuse_too_many,
)
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.sweep.pages import ListTooLongError

APPOINTMENTS, PATIENTS = RECORD_TYPES[0], RECORD_TYPES[1]
NOW = datetime(2026, 5, 1, 20, 15, tzinfo=UTC)
LAST_MONTH = NOW - timedelta(days=30)
LANDED = NOW - timedelta(days=90)
WAS_GONE = Gone("7", LAST_MONTH, None, LAST_MONTH, "list of april")


def compared(
    known: dict[str, datetime], listed: set[str], before: dict[str, Gone] | None = None
) -> Comparison:
    return compare(before or {}, known, listed, at=NOW, report_id="list of may")


def test_what_the_lake_has_and_nobody_lists_is_gone_since_now() -> None:
    found = compared({"7": LANDED, "8": LANDED}, {"8", "9"})
    assert found == Comparison({"7": Gone("7", NOW, None, NOW, "list of may")}, 2, 1, 1, 0)
    assert found.says_more


def test_what_was_gone_stays_gone_since_it_was_missed_first() -> None:
    found = compared({"7": LANDED}, set(), {"7": WAS_GONE})
    assert found == Comparison({"7": WAS_GONE}, 1, 1, 0, 0)
    assert not found.says_more


def test_what_is_listed_again_is_back() -> None:
    found = compared({"7": LANDED}, {"7"}, {"7": WAS_GONE})
    back = Gone("7", None, NOW, NOW, "list of may")
    assert found == Comparison({"7": back}, 1, 0, 0, 1)
    # And may go once more.
    assert compared({"7": LANDED}, set(), {"7": back}).records["7"].gone_since == NOW


def test_what_was_sent_after_it_had_been_missed_was_back_and_is_newly_gone() -> None:
    sent_again = {"7": LAST_MONTH + timedelta(days=1)}
    assert compared(sent_again, set(), {"7": WAS_GONE}).records["7"].gone_since == NOW
    assert compared(sent_again, {"7"}, {"7": WAS_GONE}).records["7"].gone_since is None


def test_what_the_lake_does_not_know_is_nobodys_loss() -> None:
    assert compared({}, {"8"}) == Comparison({}, 0, 0, 0, 0)
    assert compared({}, set(), {"7": WAS_GONE}) == Comparison({"7": WAS_GONE}, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("gone", "of", "is_refused"), [(20, 20, False), (21, 210, False), (21, 209, True), (500, 600, True)]
)
def test_more_than_a_tenth_at_once_is_refused(gone: int, of: int, is_refused: bool) -> None:
    found = Comparison({}, of, gone, gone, 0)
    if not is_refused:
        refuse_too_many(found, PATIENTS)
        return
    with pytest.raises(TooManyGoneError, match=rf"no longer lists {gone} of the {of} patients.*mark_many"):
        refuse_too_many(found, PATIENTS)


def test_a_page_takes_two_calls_and_the_end_of_a_list_in_the_order_of_changes_two_more() -> None:
    assert (calls_for(PATIENTS, 0), calls_for(PATIENTS, 1000), calls_for(PATIENTS, 1001)) == (2, 2, 4)
    assert (calls_for(APPOINTMENTS, 1000), calls_for(APPOINTMENTS, 1001)) == (2, 6)


def test_what_is_too_dear_is_refused_with_the_price_and_the_setting() -> None:
    assert refuse_too_dear(PATIENTS, 1001, 4, "the lake") == 4
    with pytest.raises(
        TooDearError,
        match="compare patients takes about 4 calls, as the lake has 1001 of them, and "
        "DRCHRONO_RECONCILE_MOST_CALLS is 3;",
    ):
        refuse_too_dear(PATIENTS, 1001, 3, "the lake")
    with pytest.raises(ListTooLongError):
        refuse_too_dear(PATIENTS, 2_000_000, 10**9, "the lake")
