"""What follows from pages of provider histories."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from health_pipelines.dexcare.histories.client import HistoryPage
from health_pipelines.dexcare.probe import history_findings as found
from health_pipelines.dexcare.probe.time_fields import Reading

READINGS = [Reading("at", UTC)]
EIGHT = datetime(2026, 3, 10, 8, tzinfo=UTC)
SEVEN, NINE = EIGHT.replace(hour=7), EIGHT.replace(hour=9)


def page(*ids: int, count: int | None = None) -> HistoryPage:
    return HistoryPage(len(ids) if count is None else count, [{"id": one} for one in ids])


def times(*moments: datetime) -> Mapping[str, Sequence[datetime]]:
    return {"at": moments}


@pytest.mark.parametrize(
    ("answer", "refused", "holds"),
    [(page(1, 2, count=9), False, True), (page(1, 2, count=9), True, False), (page(1, 2), False, None)],
)
def test_the_largest_limit_shows_only_where_more_rows_are(
    answer: HistoryPage, refused: bool, holds: bool | None
) -> None:
    assert found.largest_found(answer, refused=refused).holds is holds


def test_the_default_limit_is_fifty_or_differs() -> None:
    assert found.default_found(page(*range(50), count=900)).holds is True
    assert found.default_found(page(*range(20), count=900)).holds is False
    assert found.default_found(page(*range(60))).holds is False
    assert found.default_found(page(*range(50))).holds is None


def test_the_order_is_named_by_the_times_that_explain_it() -> None:
    rows = page(1, 2, 3)

    assert found.order_found(rows, rows, times(SEVEN, EIGHT, NINE)).seen == "the same twice, and at rises"
    assert found.order_found(rows, rows, times(NINE, EIGHT, SEVEN)).seen == "the same twice, and at falls"
    assert "no time in it explains it" in found.order_found(rows, rows, times(EIGHT, NINE, SEVEN)).seen
    assert "another each time" in found.order_found(rows, page(2, 1, 3), times(SEVEN, EIGHT, NINE)).seen
    assert found.order_found(rows, page(1, 2, 3, 4), times(SEVEN, EIGHT, NINE)).holds is None


def test_a_row_at_the_end_of_a_window_shows_whether_it_is_included() -> None:
    assert found.end_found(page(1, 2), times(SEVEN, EIGHT), READINGS, EIGHT).seen == "included"
    assert found.end_found(page(1), times(SEVEN), READINGS, EIGHT).seen == "not included"


def test_nothing_shows_in_an_empty_window_a_cut_page_or_one_that_goes_on() -> None:
    assert found.end_found(page(), {}, READINGS, EIGHT).holds is None
    assert found.end_found(page(1, count=2), times(SEVEN), READINGS, EIGHT).holds is None
    assert found.end_found(page(1, 2), times(SEVEN, NINE), READINGS, EIGHT).holds is None
