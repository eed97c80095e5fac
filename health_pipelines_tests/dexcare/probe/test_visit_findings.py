"""What follows from the facts of reports."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from health_pipelines.dexcare.probe import visit_findings as found
from health_pipelines.dexcare.probe.report_facts import ReportFacts, facts_of
from health_pipelines.dexcare.probe.time_fields import Reading, searched

START, END = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)
CHICAGO = ZoneInfo("America/Chicago")


def report(*rows: str) -> ReportFacts:
    return facts_of("\n".join(["created,booked", *rows]).encode())


# Created at 01, 08 and 12 o'clock; booked for the day after, and in no window of the day.
AT_1, AT_8, AT_12 = (f"2026-03-10 {hour:02d}:00:00,2026-03-11 {hour:02d}:00:00" for hour in (1, 8, 12))
WHOLE = report(AT_1, AT_8, AT_12)
READINGS = [Reading("created", UTC)]
EIGHT = datetime(2026, 3, 10, 8, tzinfo=UTC)


def test_a_refused_type_differs_and_says_whom_to_ask() -> None:
    finding = found.types_found(["virtual", "retail"], ["provider_booking"])

    assert finding.holds is False
    assert finding.seen == "refused: provider_booking"
    assert found.types_found(["virtual"], []).holds


def test_a_report_must_not_be_late_when_it_takes_three_times_as_long() -> None:
    [need] = found.takes_found(100.0, 120.5, 3).needs

    assert (need.setting, need.at_least) == ("DEXCARE_REPORT_TIMEOUT_SECONDS", 362)


@pytest.mark.parametrize(
    ("body", "seen", "holds"),
    [
        ('"a","b"\n,"x"\n', "nothing between the commas", True),
        ('"a","b"\n,""\n', "nothing between the commas; an empty text is two quotes", True),
        ('"a","b"\n"","x"\n', "an empty text in quotes", False),
        ('"a","b","c","d"\n"\\N","\\N","\\N","NULL"\n', "the word \\N", False),
        # Values that people wrote, not a word for NULL.
        ('"a","b","c","d"\n"NA","NULL","x",""\n', "an empty text in quotes", False),
        ('"a","b","c","d"\n"NA","NA","NA",\n', "nothing between the commas", True),
        ('"a","b","c"\n"NA","NA",""\n', "an empty text in quotes", False),
        ('"a","b","c","d","e"\n"NA","NA","NA","NULL",""\n"x","x","x","x","NULL"\n', "an empty", False),
        ('"a"\n"x"\n', "No value is missing in any row.", None),
    ],
)
def test_null_is_recognised_by_how_it_is_written(body: str, seen: str, holds: bool | None) -> None:
    finding = found.nulls_found(facts_of(body.encode()))

    assert finding.seen.startswith(seen)
    assert finding.holds is holds


def test_rows_that_changed_or_are_there_twice_do_not_count_for_the_order() -> None:
    first = facts_of(b"a\n1\n2\n3\nold\n9\n9\n")
    same = facts_of(b"a\n9\n1\n2\nnew\n3\n9\n")
    other = facts_of(b"a\n9\n2\n1\nnew\n3\n9\n")

    assert found.order_found(first, same).seen == "the same twice, in 3 rows"
    assert found.order_found(first, other).seen == "another each time, in 3 rows"
    assert found.order_found(facts_of(b"a\n1\n"), facts_of(b"a\n1\n")).holds is None


def test_a_window_goes_by_a_column_whose_times_are_all_in_it() -> None:
    assert searched(WHOLE.times.times, START, END, (UTC,)) == READINGS


def test_times_without_a_zone_are_read_in_either() -> None:
    late = facts_of(b"at\n2026-03-10 00:30:00\n2026-03-10 18:30:00\n").times.times
    # From midnight in Chicago, which is 05:00 UTC in March.
    midnight = datetime(2026, 3, 10, 5, tzinfo=UTC)

    readings = searched(late, midnight, midnight.replace(day=11), (UTC, CHICAGO))

    assert readings == [Reading("at", CHICAGO)]
    assert found.searched_found(readings).seen == "at (read in America/Chicago)"


def test_the_window_ends_at_the_last_row_on_a_whole_second_that_has_another_before_it() -> None:
    broken = report(AT_1, AT_8, "2026-03-10 12:00:00.250,2026-03-11 12:00:00")

    assert found.boundary(WHOLE, READINGS, START) == datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert found.boundary(broken, READINGS, START) == EIGHT
    assert found.boundary(report(AT_8), READINGS, START) is None


def test_a_row_at_the_end_of_a_window_shows_whether_it_is_included() -> None:
    without, with_it = report(AT_1), report(AT_8, AT_1)

    assert found.end_found(WHOLE, without, READINGS, EIGHT).seen == "not included"
    included = found.end_found(WHOLE, with_it, READINGS, EIGHT)
    assert (included.seen, included.holds) == ("included", False)


def test_a_window_that_is_cut_by_another_time_shows_nothing() -> None:
    longer, shorter = report(AT_1, AT_12), report(AT_8)

    assert found.end_found(WHOLE, longer, READINGS, EIGHT).holds is None
    # A row before the end is gone: something changed meanwhile.
    assert found.end_found(WHOLE, shorter, READINGS, EIGHT).holds is None
    assert found.end_found(WHOLE, report(), READINGS, EIGHT).holds is None


def test_a_result_that_was_gone_says_how_often_to_look() -> None:
    gone = found.life_found(is_there=False, age_seconds=61.2)

    assert (gone.seen, gone.holds) == ("gone 61 s after it was there", False)
    assert gone.needs[0].at_most == 30
    assert found.life_found(is_there=True, age_seconds=61.2).seen == "at least 61 s; not waited longer"
