"""What SQL makes of local times that clocks show twice, against zoneinfo, in zones of every kind."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import duckdb
import pytest

from health_pipelines.lake.local_time import as_told_apart, latest_of_local, utc_of_local, zone_variables

# A change by an hour, by half an hour, between full hours of UTC, at midnight; and a day without one.
NIGHTS = [
    ("America/Denver", "2025-11-02"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Adelaide", "2026-04-05"),
    ("America/St_Johns", "2025-11-02"),
    ("America/Havana", "2025-11-02"),
    ("Europe/London", "2025-10-26"),
    ("Asia/Kolkata", "2025-11-02"),
]


@pytest.mark.parametrize(("zone_name", "day"), NIGHTS)
def test_the_later_reading_is_zoneinfos(zone_name: str, day: str) -> None:
    zone = ZoneInfo(zone_name)
    for wall, _, latest in read(zone, day):
        assert latest == wall.replace(tzinfo=zone, fold=1).astimezone(UTC), wall


@pytest.mark.parametrize(("zone_name", "day"), NIGHTS)
def test_times_that_come_twice_sort_as_one_between_those_before_and_after(zone_name: str, day: str) -> None:
    zone = ZoneInfo(zone_name)
    keys = [(key, comes_twice(wall, zone)) for wall, key, _ in read(zone, day)]

    for (key, twice), (later, later_twice) in pairwise(keys):
        assert key == later if twice and later_twice else key < later


@pytest.mark.parametrize(
    "text", ["2025-11-02T01:10:00-06:00", "2025-11-02 01:10:00 -0600", "2025-11-02T07:10:00Z"]
)
def test_a_time_with_an_offset_has_no_later_reading(text: str) -> None:
    with duckdb.connect() as connection:
        for statement in zone_variables(ZoneInfo("America/Denver")):
            connection.execute(statement)
        instant = "TIMESTAMPTZ '2025-11-02 07:10:00+00'"
        latest = latest_of_local(instant, f"'{text}'", rules="")
        assert connection.execute(f"SELECT {latest} = {instant}").fetchall() == [(True,)]


def read(zone: ZoneInfo, day: str) -> list[tuple[datetime, datetime, datetime]]:
    """Of the times from midnight to six, ten minutes apart: each, what it sorts by, its later reading."""
    midnight = datetime.fromisoformat(day)
    walls = [midnight + timedelta(minutes=minutes) for minutes in range(0, 360, 10)]
    with duckdb.connect() as connection:
        for statement in zone_variables(zone):
            connection.execute(statement)
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(
            f"SELECT {as_told_apart('instant')}, {latest_of_local('instant', 'text', rules='')} "
            f"FROM (SELECT wall, {utc_of_local('wall')} AS instant, "
            # Midnight as a date alone, which ends as an offset might.
            "CASE WHEN wall = wall::DATE THEN wall::DATE::VARCHAR ELSE wall::VARCHAR END AS text "
            "FROM (SELECT unnest(?::TIMESTAMP[]) AS wall)) ORDER BY wall",
            [walls],
        ).fetchall()
    return [
        (wall, key.astimezone(UTC), latest.astimezone(UTC))
        for wall, (key, latest) in zip(walls, found, strict=True)
    ]


def comes_twice(wall: datetime, zone: ZoneInfo) -> bool:
    first, second = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return first != second
