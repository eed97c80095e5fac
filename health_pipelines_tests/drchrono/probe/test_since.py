"""What `since` counts from, by which records of a longer list a shorter one has."""

from datetime import date
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.probe.findings import Page
from health_pipelines.drchrono.probe.since import since_found

DENVER = ZoneInfo("America/Denver")
DAY = date(2026, 3, 11)  # from 06:00 UTC on in Denver

Row = dict[str, str]


def row(id_: str, created: str, changed: str) -> Row:
    return {"id": id_, "created_at": f"2026-03-{created}:00", "updated_at": f"2026-03-{changed}:00"}


OLD = row("old", "10T09:00", "10T09:30")
# 17:00 of the day before in Denver is 23:00 UTC, 19:00 is past midnight there.
EVENING = row("evening", "10T19:00", "10T19:00")
CHANGED = row("changed", "10T10:00", "11T10:00")
NEW = row("new", "11T11:00", "11T11:00")
LONGER = [OLD, EVENING, CHANGED, NEW]


def page(*rows: Row, count: int | None = None) -> Page:
    return Page(1000, 1000, pages=1, count=len(rows) if count is None else count, rows=list(rows))


def seen(longer: list[Row], *shorter: Row, count: int | None = None) -> list[bool | None]:
    """Whether each of the two assumptions holds."""
    findings = since_found(page(*longer), page(*shorter, count=count), DAY, DENVER, "id")
    return [one.holds for one in findings]


def test_the_last_change_from_midnight_in_the_accounts_zone_is_as_assumed() -> None:
    assert seen(LONGER, CHANGED, NEW) == [True, True]


def test_a_record_of_the_evening_before_shows_that_the_day_begins_in_utc() -> None:
    assert seen(LONGER, EVENING, CHANGED, NEW) == [True, False]


def test_a_changed_record_that_is_missing_shows_that_creation_counts() -> None:
    assert seen(LONGER, NEW) == [False, True]
    [counts, _] = since_found(page(*LONGER), page(NEW), DAY, DENVER, "id")
    assert (counts.needs[0].setting, counts.needs[0].at_least) == ("DRCHRONO_LOOKBACK_DAYS", 30)


def test_what_the_records_do_not_show_is_not_seen() -> None:
    assert seen([OLD, EVENING, NEW], NEW) == [None, True]
    assert seen([OLD, CHANGED, NEW], CHANGED, NEW) == [True, None]
    assert seen([]) == [None, None]


def test_no_answer_is_right_about_records_that_are_missing_for_no_reason() -> None:
    assert seen(LONGER, OLD, NEW) == [False, None]


def test_a_record_that_changed_between_the_lists_does_not_count() -> None:
    before, after = row("late", "10T08:00", "10T08:00"), row("late", "10T08:00", "12T08:00")

    assert seen([*LONGER, before], CHANGED, NEW, after) == [True, True]


def test_only_what_a_page_that_is_not_all_reaches_is_compared() -> None:
    # The shorter list has three records and brings the oldest two: of the newest nobody knows.
    latest = row("latest", "11T12:00", "11T12:00")
    assert seen([*LONGER, latest], CHANGED, NEW, count=3) == [True, True]


def test_in_an_account_whose_zone_is_utc_the_day_begins_there() -> None:
    findings = since_found(page(*LONGER), page(CHANGED, NEW), DAY, ZoneInfo("UTC"), "id")

    assert [one.holds for one in findings] == [True, True]
