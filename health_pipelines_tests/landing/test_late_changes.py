"""How late days change: counted by the age of the day, with nothing said of ages that nobody asked for."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    DagsterInstance,
    TableColumn,
    TableSchema,
)

from health_pipelines.dexcare.checks import checked_histories, checked_report
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.drchrono.checks import checked_records
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.lake.csv_partition import RowChanges
from health_pipelines.landing.landed_partition import Landed, landed_event
from health_pipelines.landing.late_changes import FEWEST_DAYS, AtAge, Landing, LateChanges, late_changes
from health_pipelines.landing.late_landings import counts, late_changes_of
from health_pipelines.settings import Settings

DAY = date(2026, 3, 1)
NOTHING = RowChanges(0, 0, 0)


def landed(age: int, rows: int = 10, changes: RowChanges = NOTHING, *, day: date = DAY) -> Landing:
    return Landing(day, day + timedelta(days=age), rows, changes)


def ages(*landings: Landing) -> list[tuple[int, int, int, int]]:
    return [(one.age, one.watched, one.changed, one.rows) for one in late_changes(landings).ages]


def test_the_first_landing_of_a_day_is_what_others_are_compared_with() -> None:
    assert ages(landed(1, changes=RowChanges(10, 0))) == []
    assert ages(landed(1), landed(2, changes=RowChanges(0, 0, 3))) == [(2, 1, 1, 3)]


def test_a_day_is_watched_at_the_ages_between_two_landings_and_changed_at_the_later() -> None:
    # Asked for in the first nights, then by two weekly look-backs.
    assert ages(landed(1), landed(2), landed(9, 12, RowChanges(2, 0, 1)), landed(16, 12)) == [
        (2, 1, 0, 0),
        *((age, 1, 0, 0) for age in range(3, 9)),
        (9, 1, 1, 3),
        *((age, 1, 0, 0) for age in range(10, 17)),
    ]


def test_a_day_that_is_asked_for_twice_at_one_age_is_watched_once() -> None:
    again = RowChanges(0, 0, 1)
    assert ages(landed(1), landed(2, changes=again), landed(2, changes=again)) == [(2, 1, 2, 2)]


def test_without_a_key_a_changed_row_counts_once() -> None:
    assert ages(landed(1), landed(2, 11, RowChanges(added=4, removed=3))) == [(2, 1, 1, 4)]


def test_a_landing_that_was_not_compared_with_the_one_before_begins_anew() -> None:
    # The file was gone: all ten rows are told as added, where ten were before.
    assert ages(landed(1), landed(5, 10, RowChanges(10, 0)), landed(6)) == [(6, 1, 0, 0)]


def test_a_new_column_is_no_late_change() -> None:
    old, new = ("id", "status"), ("id", "status", "city")
    first = Landing(DAY, DAY + timedelta(days=1), 10, NOTHING, old)
    unchanged = landed(2)  # what is told of no news has no columns
    other = Landing(DAY, DAY + timedelta(days=3), 10, RowChanges(0, 0, 10), new)
    same = Landing(DAY, DAY + timedelta(days=4), 10, RowChanges(0, 0, 2), new[::-1])
    assert ages(first, unchanged, other, same) == [(2, 1, 0, 0), (4, 1, 1, 2)]


def of_rates(*rows: int, watched: int = FEWEST_DAYS) -> LateChanges:
    """Every day watched from age 2 on, with so many changed rows at each age."""
    return LateChanges([AtAge(age, watched, min(watched, count), count) for age, count in enumerate(rows, 2)])


def test_the_look_back_is_the_smallest_after_which_ten_of_a_thousand_changes_came_at_most() -> None:
    enough = of_rates(900, 90, 10, 0)
    assert enough.lookback_days == 3
    assert enough.says == (
        "a look-back of 3 is enough: 10 of 1,000 changes came later; of days older than 5 nothing is known "
        "(1,000 changed rows, 20 days asked again)"
    )
    assert of_rates(900, 89, 11, 0).lookback_days == 4


def test_old_ages_with_fewer_days_count_for_each_day() -> None:
    # A row a day at age 3 is a tenth of all that changes, though only 20 of 1,000 days were watched then.
    few = LateChanges([AtAge(2, 1000, 900, 9000), AtAge(3, 20, 20, 20), AtAge(4, 20, 0, 0)])
    assert few.later_than(2) == pytest.approx(0.1)
    assert few.lookback_days == 3


def test_changes_at_the_oldest_age_say_that_nobody_knows_where_they_end() -> None:
    late = of_rates(50, 0, 50)
    assert late.lookback_days == 4
    assert late.says.startswith("changes still come at an age of 4 days, and of days older than 4 nothing")


def test_no_change_at_all_needs_no_look_back() -> None:
    assert of_rates(0, 0, 0).lookback_days == 1


@pytest.mark.parametrize(
    "few",
    [
        LateChanges([]),
        of_rates(900, 90, watched=FEWEST_DAYS - 1),
        of_rates(40, 9),
    ],
)
def test_too_few_days_or_rows_say_nothing(few: LateChanges) -> None:
    assert few.lookback_days is None
    assert few.says.startswith("too few to say (")


def test_what_is_known_ends_before_the_first_age_with_too_few_days() -> None:
    ended = LateChanges([AtAge(2, 30, 9, 90), AtAge(3, 30, 9, 9), AtAge(4, 19, 9, 900), AtAge(5, 30, 9, 900)])
    assert [one.age for one in ended.known] == [2, 3]
    gap = LateChanges([AtAge(1, 2, 2, 99), AtAge(2, 30, 9, 90), AtAge(4, 30, 9, 900)])
    assert [one.age for one in gap.known] == [2]


VISITS = checked_report(VISIT_REPORTS[0])


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def tell(instance: DagsterInstance, day: date, changes: RowChanges, folder: Path) -> None:
    """As a landing step tells it; without a change as an observation."""
    file = folder / "landed.parquet"
    file.touch()
    told = Landed(bool(changes), 10, 10, {"id": "VARCHAR"}, changes, f"hash of {changes}", file)
    event = landed_event(VISITS.asset, VISITS.table, day.isoformat(), told, {}, changed=bool(changes))
    instance.report_runless_asset_event(event)


def test_landings_are_read_from_events(instance: DagsterInstance, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    days = [now.date() - timedelta(days=age) for age in (2, 3)]
    for day in days:
        tell(instance, day, RowChanges(10, 0), tmp_path)
    tell(instance, days[0], RowChanges(0, 0, 4), tmp_path)
    tell(instance, days[1], NOTHING, tmp_path)
    # Nothing of ours: by hand, and for another reason than a landing.
    instance.report_runless_asset_event(AssetMaterialization(VISITS.asset, partition=days[0].isoformat()))
    instance.report_runless_asset_event(
        AssetObservation(VISITS.asset, partition=days[0].isoformat(), metadata={"narrowed_rows": 3})
    )
    found = late_changes_of(instance, VISITS, Settings({}), now)
    assert list(found.ages) == [AtAge(2, 1, 1, 4), AtAge(3, 1, 0, 0)]


def test_the_age_of_a_day_is_by_the_calendar_of_its_zone(instance: DagsterInstance, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    day = now.date() - timedelta(days=3)
    for changes in (RowChanges(10, 0), RowChanges(0, 0, 1)):
        tell(instance, day, changes, tmp_path)
    zone = "Etc/GMT+12" if now.hour < 12 else "Etc/GMT-14"  # where it is yesterday, or tomorrow
    found = late_changes_of(instance, VISITS, Settings({"HEALTH_TIMEZONE": zone}), now)
    assert [one.age for one in found.ages] == [2 if now.hour < 12 else 4]


def test_landings_of_long_ago_are_not_read(instance: DagsterInstance, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for changes in (RowChanges(10, 0), RowChanges(0, 0, 1)):
        tell(instance, now.date() - timedelta(days=3), changes, tmp_path)
    found = late_changes_of(instance, VISITS, Settings({}), now + timedelta(days=366))
    assert found == LateChanges([])


def test_tables_whose_rows_move_with_their_changes_have_no_late_days() -> None:
    assert not any(counts(checked_records(record_type)) for record_type in RECORD_TYPES)
    assert counts(checked_histories())
    assert counts(VISITS)


def test_a_schema_is_read_from_events_too(instance: DagsterInstance, tmp_path: Path) -> None:
    day = datetime.now(UTC).date() - timedelta(days=2)
    tell(instance, day, RowChanges(10, 0), tmp_path)
    schema = TableSchema([TableColumn("id", "VARCHAR"), TableColumn("city", "VARCHAR")])
    facts = {"dagster/partition_row_count": 10, "changed": True, "rows_changed": 10}
    key: AssetKey = VISITS.asset
    instance.report_runless_asset_event(
        AssetMaterialization(
            key, partition=day.isoformat(), metadata={**facts, "dagster/column_schema": schema}
        )
    )
    assert late_changes_of(instance, VISITS, Settings({}), datetime.now(UTC)) == LateChanges([])
