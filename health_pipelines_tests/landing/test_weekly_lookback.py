"""Once a week the daily schedule looks back further, and makes up for a night that it missed."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRunStatus,
    RunRequest,
    build_schedule_context,
    instance_for_test,
)
from dagster._core.storage.tags import RUN_KEY_TAG
from dagster._core.test_utils import create_run_for_test

from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.dexcare.tables import TABLES, VISIT_REPORTS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.run_tags import DAILY, MISSING, REASON_TAG
from health_pipelines.landing.weekly_lookback import WEEKLY
from health_pipelines.settings import Settings
from health_pipelines_tests.support.landed import days_from

CHICAGO = ZoneInfo("America/Chicago")
ZONE = {"HEALTH_TIMEZONE": CHICAGO.key, "HEALTH_START_DATE": "2026-01-01"}
SUNDAY, MONDAY, SATURDAY = date(2026, 3, 22), date(2026, 3, 23), date(2026, 3, 28)
RETAIL = VISIT_REPORTS[1]
# All that had landed by the night to Sunday, and Sunday's report asks up to Saturday.
LANDED = days_from("2026-01-01", 80)

Asked = tuple[str, str, str]


@pytest.fixture(autouse=True)
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://dexcare.example.com")
    lake = Lake(tmp_path / "lake")
    land(lake, RETAIL.table, *LANDED)
    return lake


@pytest.fixture(scope="module")
def empty() -> Iterator[DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


@pytest.fixture
def instance(empty: DagsterInstance) -> DagsterInstance:
    """To make one takes longer than to wipe one."""
    empty.wipe()
    return empty


def land(lake: Lake, table: Table, *days: str) -> None:
    for day in days:
        file = lake.partition_file(table, day)
        file.parent.mkdir(parents=True)
        file.touch()


def night(instance: DagsterInstance, on: date, **settings: str) -> list[RunRequest]:
    """What is asked for in the night to that day, by settings of the definitions."""
    at = datetime(on.year, on.month, on.day, 2, 15, tzinfo=CHICAGO)
    daily = dexcare_daily(Settings({**ZONE, **settings}))
    return list(
        daily.evaluate_tick(build_schedule_context(instance, scheduled_execution_time=at)).run_requests or []
    )


def asked(requests: list[RunRequest], key: AssetKey = RETAIL.request_key) -> list[Asked]:
    return [
        (
            one.tags["dagster/asset_partition_range_start"],
            one.tags["dagster/asset_partition_range_end"],
            one.tags[REASON_TAG],
        )
        for one in requests
        if one.asset_selection == [key]
    ]


def launch(
    instance: DagsterInstance,
    requests: list[RunRequest],
    status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
    prefix: str | None = None,
) -> None:
    """As the daemon does it: with the key of the request as a tag."""
    for one in requests:
        assert one.run_key is not None
        keys = [key.with_prefix(prefix) if prefix else key for key in one.asset_selection or []]
        create_run_for_test(
            instance,
            tags={**one.tags, RUN_KEY_TAG: one.run_key},
            asset_selection=frozenset(keys),
            status=status,
        )


def test_the_night_to_sunday_asks_for_35_days_in_one_run(instance: DagsterInstance) -> None:
    requests = night(instance, SUNDAY)
    assert asked(requests) == [("2026-02-15", "2026-03-21", WEEKLY)]
    # What has not landed has nothing to look back to.
    assert asked(requests, VISIT_REPORTS[0].request_key) == [("2026-03-12", "2026-03-21", DAILY)]
    assert len({one.run_key for one in requests}) == len(requests) == len(TABLES)


def test_the_other_nights_of_the_week_look_back_ten_days(instance: DagsterInstance) -> None:
    launch(instance, night(instance, SUNDAY))
    for nights in range(1, 7):
        last = SUNDAY + timedelta(days=nights - 1)
        assert asked(night(instance, SUNDAY + timedelta(days=nights))) == [
            (f"{last - timedelta(days=9)}", f"{last}", DAILY)
        ]
    assert asked(night(instance, SUNDAY + timedelta(days=7))) == [("2026-02-22", "2026-03-28", WEEKLY)]


@pytest.mark.parametrize("on", [MONDAY, SATURDAY])
def test_a_night_without_a_daemon_is_made_up_for_by_the_next_one(instance: DagsterInstance, on: date) -> None:
    launch(instance, night(instance, SUNDAY - timedelta(days=7)))
    yesterday = on - timedelta(days=1)
    assert asked(night(instance, on)) == [(f"{on - timedelta(days=35)}", f"{yesterday}", WEEKLY)]


def test_a_run_that_failed_is_made_up_for_but_not_every_night(instance: DagsterInstance) -> None:
    for nights in range(3):
        requests = night(instance, SUNDAY + timedelta(days=nights))
        assert asked(requests)[0][-1] == WEEKLY
        launch(instance, requests, DagsterRunStatus.FAILURE if nights else DagsterRunStatus.CANCELED)
    assert asked(night(instance, SUNDAY + timedelta(days=3)))[0][-1] == DAILY


def test_a_tick_that_is_evaluated_twice_asks_with_the_same_key(instance: DagsterInstance) -> None:
    first = night(instance, SUNDAY)
    launch(instance, first, DagsterRunStatus.STARTED)
    assert [one.run_key for one in night(instance, SUNDAY)] == [one.run_key for one in first]


def test_another_place_of_the_instance_has_a_week_of_its_own(instance: DagsterInstance) -> None:
    launch(instance, night(instance, SUNDAY), prefix="uat")
    assert asked(night(instance, MONDAY))[0][-1] == WEEKLY


def test_days_before_the_first_that_landed_are_not_asked_for(instance: DagsterInstance, lake: Lake) -> None:
    land(lake, VISIT_REPORTS[0].table, *days_from("2026-03-01", 20))
    land(lake, VISIT_REPORTS[2].table, *days_from("2026-03-15", 6))
    requests = night(instance, SUNDAY)
    assert asked(requests, VISIT_REPORTS[0].request_key) == [("2026-03-01", "2026-03-21", WEEKLY)]
    assert asked(requests, VISIT_REPORTS[2].request_key) == [("2026-03-12", "2026-03-21", DAILY)]
    late = night(instance, SUNDAY, HEALTH_START_DATE="2026-03-05")
    assert asked(late) == [("2026-03-05", "2026-03-21", WEEKLY)]


def test_days_that_are_left_out_are_not_asked_for(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DAYS_LEFT_OUT", "2026-02-20, 2026-03-20")
    requests = night(instance, SUNDAY)
    # The nightly look-back goes by no gap.
    assert asked(requests) == [
        ("2026-02-15", "2026-02-19", WEEKLY),
        ("2026-02-21", "2026-03-21", WEEKLY),
    ]
    keys = [one.run_key for one in requests if one.asset_selection == [RETAIL.request_key]]
    assert keys == ["avr_retail_report:2026-03-21:2026-02-15", "avr_retail_report:2026-03-21"]


def test_missing_days_within_the_wide_look_back_are_in_its_run(instance: DagsterInstance, lake: Lake) -> None:
    for day in ("2026-02-10", "2026-02-20"):
        lake.partition_file(RETAIL.table, day).unlink()
    assert asked(night(instance, SUNDAY)) == [
        ("2026-02-10", "2026-02-10", MISSING),
        ("2026-02-15", "2026-03-21", WEEKLY),
    ]


@pytest.mark.parametrize("days", ["0", "10", "3"])
def test_no_night_differs_if_it_is_off_or_no_wider(instance: DagsterInstance, days: str) -> None:
    requests = night(instance, SUNDAY, DEXCARE_WEEKLY_LOOKBACK_DAYS=days)
    assert asked(requests) == [("2026-03-12", "2026-03-21", DAILY)]
