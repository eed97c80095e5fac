"""What follows from DrChrono's lists."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from health_pipelines.drchrono.probe import findings as found
from health_pipelines.drchrono.probe.findings import Page
from health_pipelines.probe.finding import Finding

DENVER = ZoneInfo("America/Denver")  # six hours behind UTC on these days
NOW = datetime(2026, 3, 12, 15, tzinfo=UTC)


def page(*changed: str, asked: int = 1000, size: int = 1000, count: int | None = None) -> Page:
    rows = [{"id": number, "updated_at": one} for number, one in enumerate(changed)]
    return Page(asked, size, pages=1, count=len(rows) if count is None else count, rows=rows)


def spelled(*changed: str) -> Finding:
    return found.spelling_found(page(*changed), DENVER, NOW)


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        (page("", size=1000), True),
        (page("", size=250), False),
        # It says 1000 and brings one of two.
        (page("", size=1000, count=2), False),
    ],
)
def test_the_page_size_is_what_came_and_not_what_was_said(answer: Page, holds: bool) -> None:
    assert found.size_found(answer).holds is holds


def test_a_smaller_page_says_what_it_costs() -> None:
    assert "4 times the calls" in found.size_found(page("", size=250)).follows


def test_an_order_is_seen_where_values_differ() -> None:
    def order(*changed: str) -> tuple[str, bool | None]:
        finding = found.time_order_found(page(*changed), DENVER)
        return finding.seen, finding.holds

    early, late, latest = (f"2026-03-10T{hour}:00:00" for hour in ("08", "09", "10"))
    assert order(early, late, latest) == ("rising, in 3 records", True)
    assert order(latest, late, early) == ("falling, in 3 records", False)
    assert order(late, latest, early) == ("in no order, in 3 records", False)
    assert order(late, late) == ("2 records show no order.", None)
    assert found.list_order_found(page("", "", ""), "id").seen == "rising, in 3 records"


def test_times_without_a_zone_hold_unless_they_are_in_the_future() -> None:
    # It is 09:00 in Denver.
    assert spelled("2026-03-12T08:59:00").holds is True
    ahead = spelled("2026-03-12T12:00:00")
    assert ahead.holds is False
    assert ahead.needs[0].other_than == "America/Denver"
    assert "3.0 hours" in ahead.needs[0].why


def test_times_with_an_offset_differ_and_refute_a_zone_that_has_another() -> None:
    assert spelled("2026-03-12T08:00:00-06:00").holds is False
    assert spelled("2026-03-12T08:00:00-06:00").needs == ()
    assert spelled("2026-03-12T08:00:00Z").needs == ()
    [need] = spelled("2026-03-12T08:00:00-05:00").needs
    assert (need.setting, need.other_than) == ("DRCHRONO_TIMEZONE", "America/Denver")


def test_without_a_time_there_is_nothing_to_say() -> None:
    assert spelled("", "soon").holds is None


def test_a_throttle_is_told_as_it_came_or_not_at_all() -> None:
    assert found.throttle_found(17, [], []).holds is None
    said = found.throttle_found(17, [1.0, 2.0], [("its text", "Retry-After"), ("its text",)])
    assert said.seen == "2 came in 17 calls; its text and Retry-After said to wait, for 2 s at most"
    assert found.throttle_found(17, [None], [()]).holds is False
