"""Days as instants, also where clocks jump, and days as ranges."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dagster import PartitionKeyRange
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.landing.calendar import Window, daily_partitions, day_window, ranges

FIRST = date(2026, 1, 1)
# Clocks change at midnight (or back to it) in these years in the first five; by half an hour in the last.
ZONES_AND_YEARS = [
    ("America/Asuncion", 2024),
    ("Africa/Cairo", 2025),
    ("Asia/Beirut", 2026),
    ("America/Havana", 2026),
    ("America/Santiago", 2026),
    ("America/New_York", 2026),
    ("America/Phoenix", 2026),
    ("Europe/London", 2026),
    ("Asia/Kolkata", 2026),
    ("UTC", 2026),
    ("Australia/Lord_Howe", 2026),
]


def days_of(year: int) -> list[date]:
    return [
        date(year, 1, 1) + timedelta(days) for days in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
    ]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Computed by hand from each zone's offsets before and after the change.
@pytest.mark.parametrize(
    ("zone", "day", "start", "end", "hours"),
    [
        ("America/New_York", "2026-03-07", "2026-03-07T05:00", "2026-03-08T05:00", 24),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", "2026-03-09T04:00", 23),
        ("America/New_York", "2026-03-09", "2026-03-09T04:00", "2026-03-10T04:00", 24),
        ("America/New_York", "2026-10-31", "2026-10-31T04:00", "2026-11-01T04:00", 24),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00", 25),
        ("America/New_York", "2026-11-02", "2026-11-02T05:00", "2026-11-03T05:00", 24),
        ("America/New_York", "2026-12-31", "2026-12-31T05:00", "2027-01-01T05:00", 24),
        ("UTC", "2024-02-29", "2024-02-29T00:00", "2024-03-01T00:00", 24),
        ("Asia/Kolkata", "2026-01-01", "2025-12-31T18:30", "2026-01-01T18:30", 24),
        # 00:00 at -04 does not exist: clocks show 01:00 at -03 in its place.
        ("America/Asuncion", "2024-10-06", "2024-10-06T04:00", "2024-10-07T03:00", 23),
        # 24:00 at -03 becomes 23:00 at -04.
        ("America/Asuncion", "2024-03-23", "2024-03-23T03:00", "2024-03-24T04:00", 25),
        # 00:00 at +02 becomes 01:00 at +03.
        ("Africa/Cairo", "2025-04-25", "2025-04-24T22:00", "2025-04-25T21:00", 23),
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00", "2026-03-29T21:00", 23),
        # 01:00 at -04 becomes 00:00 at -05, so that midnight comes twice: the day starts with the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00", 25),
    ],
)
def test_a_day_spans_the_instants_of_its_calendar_day(
    zone: str, day: str, start: str, end: str, hours: int
) -> None:
    window = day_window(day, ZoneInfo(zone))

    assert window == Window(instant(start), instant(end))
    assert window.end - window.start == timedelta(hours=hours)
    assert window.start.tzinfo is UTC
    assert window.end.tzinfo is UTC


@pytest.mark.parametrize(("zone_name", "year"), ZONES_AND_YEARS)
def test_neighbouring_windows_share_their_boundary_all_year(zone_name: str, year: int) -> None:
    zone = ZoneInfo(zone_name)
    windows = [day_window(day.isoformat(), zone) for day in days_of(year)]

    assert all(window.start < window.end for window in windows)
    assert [window.end for window in windows[:-1]] == [window.start for window in windows[1:]]


@pytest.mark.parametrize(("zone_name", "year"), ZONES_AND_YEARS)
def test_a_window_starts_with_the_first_instant_that_the_calendar_counts_to_its_day(
    zone_name: str, year: int
) -> None:
    zone = ZoneInfo(zone_name)
    for day in days_of(year):
        start = day_window(day.isoformat(), zone).start
        assert start.astimezone(zone).date() == day
        assert (start - timedelta(microseconds=1)).astimezone(zone).date() == day - timedelta(days=1)


@pytest.mark.parametrize(("zone_name", "year"), ZONES_AND_YEARS)
def test_dagster_has_every_day_once_and_means_the_same_instants(zone_name: str, year: int) -> None:
    zone = ZoneInfo(zone_name)
    days = daily_partitions(date(year, 1, 1), zone)
    keys = days.get_partition_keys(current_time=datetime(year + 1, 1, 1, 12, tzinfo=zone))

    assert keys == [day.isoformat() for day in days_of(year)]
    for key in keys:
        theirs = days.time_window_for_partition_key(key)
        assert Window(theirs.start.astimezone(UTC), theirs.end.astimezone(UTC)) == day_window(key, zone)


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-03-09T03:59", "2026-03-07"),  # 23:59 on the 8th in New York
        ("2026-03-09T04:00", "2026-03-08"),
        ("2026-11-02T04:59", "2026-10-31"),  # 23:59 on the 1st, an hour longer
        ("2026-11-02T05:00", "2026-11-01"),
    ],
)
def test_a_day_can_be_asked_for_as_soon_as_it_is_over_in_its_zone(now: str, last: str) -> None:
    days = daily_partitions(date(2026, 3, 1), ZoneInfo("America/New_York"))

    keys = days.get_partition_keys(current_time=instant(now))

    assert (keys[0], keys[-1]) == ("2026-03-01", last)


def test_no_days_make_no_range() -> None:
    assert ranges([], widest_gap=3) == []


@pytest.mark.parametrize(
    ("widest_gap", "expected"),
    [
        (0, [("02-27", "02-28"), ("03-01", "03-01"), ("03-03", "03-03"), ("03-07", "03-07")]),
        (1, [("02-27", "03-03"), ("03-07", "03-07")]),
        (2, [("02-27", "03-03"), ("03-07", "03-07")]),
        (3, [("02-27", "03-07")]),
    ],
)
def test_a_range_spans_gaps_up_to_the_widest_one(widest_gap: int, expected: list[tuple[str, str]]) -> None:
    # Between them: none, one (the 29th, it is a leap year), one and three days.
    days = ["2024-03-03", "2024-02-28", "2024-03-07", "2024-03-01", "2024-02-27", "2024-03-01"]

    assert ranges(days, widest_gap=widest_gap) == [
        PartitionKeyRange(f"2024-{start}", f"2024-{end}") for start, end in expected
    ]


@given(
    days=st.lists(st.dates(FIRST, FIRST + timedelta(days=60)), max_size=40),
    widest_gap=st.integers(0, 6),
)
def test_ranges_cover_all_days_are_as_few_as_can_be_and_span_no_gap_that_is_too_wide(
    days: list[date], widest_gap: int
) -> None:
    asked = set(days)

    found = ranges((day.isoformat() for day in days), widest_gap=widest_gap)

    spans = [(date.fromisoformat(one.start), date.fromisoformat(one.end)) for one in found]
    assert {edge for span in spans for edge in span} <= asked
    assert all(start <= end for start, end in spans)
    assert all(sum(start <= day <= end for start, end in spans) == 1 for day in asked)
    assert longest_gap_inside(spans, asked) <= widest_gap
    # Fewer would need a range over two neighbours, and between any two of them is a gap that is too wide.
    apart = [(right[0] - left[1]).days - 1 for left, right in pairwise(spans)]
    assert all(gap > widest_gap for gap in apart)


def longest_gap_inside(spans: list[tuple[date, date]], asked: set[date]) -> int:
    """The most days in a row that are in a range though nobody asked for them."""
    longest = current = 0
    for start, end in spans:
        for days in range((end - start).days + 1):
            current = 0 if start + timedelta(days) in asked else current + 1
            longest = max(longest, current)
    return longest
