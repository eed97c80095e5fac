"""What was once begun has no holes: which days are missing, how that is said, when they are asked for."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    RunRequest,
    ScheduleDefinition,
    build_schedule_context,
    instance_for_test,
)

from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.drchrono.schedule import drchrono_daily
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.holes import missing_days, said
from health_pipelines.landing.missing_days import missing_evaluations
from health_pipelines.landing.run_tags import REASON_TAG
from health_pipelines.settings import LeftOut, Settings
from health_pipelines.vendors.known import landing_tables
from health_pipelines_tests.support.landed import days_from

CHICAGO = ZoneInfo("America/Chicago")
NIGHT = datetime(2026, 6, 20, 3, 15, tzinfo=CHICAGO)
APPOINTMENTS, RETAIL = Table("drchrono", "appointments"), Table("dexcare", "avr_retail")
ZONE = {
    "HEALTH_TIMEZONE": CHICAGO.key,
    "HEALTH_START_DATE": "2026-01-01",
    "DEXCARE_WEEKLY_LOOKBACK_DAYS": "0",
}


@pytest.mark.parametrize(
    ("landed", "left_out", "missing"),
    [
        ([], [], []),
        (["2026-03-01"], [], ["2026-03-02", "2026-03-03", "2026-03-04"]),
        (["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"], [], []),
        (["2026-03-03", "2026-03-04", "2026-03-05"], [], []),  # nobody asked for what is before
        (["2026-03-04", "2026-03-01"], [], ["2026-03-02", "2026-03-03"]),
        (["2026-03-01"], [LeftOut(date(2026, 3, 2), date(2026, 3, 3))], ["2026-03-04"]),
        (["2026-03-01"], [LeftOut(date(2026, 3, 2), date(2026, 3, 4), "dexcare/avr_retail")], []),
        (
            ["2026-03-03"],
            [LeftOut(date(2026, 3, 2), date(2026, 3, 4), "dexcare/avr_virtual")],
            ["2026-03-04"],
        ),
    ],
)
def test_a_hole_is_a_day_after_the_first_that_landed(
    landed: Sequence[str], left_out: Collection[LeftOut], missing: list[str]
) -> None:
    found = missing_days(landed, before=date(2026, 3, 5), table=str(RETAIL), left_out=left_out)

    assert found == missing


def test_holes_are_said_in_ranges() -> None:
    assert said(["2026-03-01"]) == "1 day: 2026-03-01"
    assert said(["2026-03-01", "2026-03-05", "2026-03-06"]) == "3 days: 2026-03-01, 2026-03-05 to 2026-03-06"
    assert said(days_from("2026-03-01", 20)[::2]).endswith(" and 5 more ranges")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://dexcare.example.com")
    monkeypatch.setenv("DRCHRONO_ACCESS_TOKEN", "token")
    return Lake(tmp_path / "lake")


def land(lake: Lake, table: Table, *days: str) -> None:
    for day in days:
        file = lake.partition_file(table, day)
        file.parent.mkdir(parents=True)
        file.touch()


def asked(daily: ScheduleDefinition, asset: str) -> list[tuple[str, str, str]]:
    """First and last day and reason of each run that is asked for that night."""
    with instance_for_test() as nothing_known:
        return asked_where(nothing_known, daily, asset)


def asked_where(
    instance: DagsterInstance, daily: ScheduleDefinition, asset: str
) -> list[tuple[str, str, str]]:
    ticked = daily.evaluate_tick(build_schedule_context(instance, scheduled_execution_time=NIGHT))
    requests: list[RunRequest] = list(ticked.run_requests or [])
    assert len({request.run_key for request in requests}) == len(requests)
    return [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
            request.tags[REASON_TAG],
        )
        for request in requests
        if [key.to_user_string() for key in request.asset_selection or []] == [asset]
    ]


LOOKBACK = ("2026-06-17", "2026-06-19", "daily")


@pytest.mark.parametrize(
    ("stop", "first", "last"),
    [(5, "2026-06-12", "2026-06-16"), (15, "2026-06-02", "2026-06-16"), (100, "2026-03-09", "2026-04-08")],
)
def test_after_a_stop_a_sweep_begins_with_the_oldest_day_that_is_missing(
    lake: Lake, stop: int, first: str, last: str
) -> None:
    # The last day of the stop is the last one before the look-back of three days.
    land(lake, APPOINTMENTS, *days_from("2026-02-01", 135 - stop + 1))

    assert asked(drchrono_daily(Settings(ZONE)), "drchrono/appointments") == [
        (first, last, "missing days"),
        LOOKBACK,
    ]


def test_days_that_are_missing_here_and_there_are_one_sweep_and_a_report_each(lake: Lake) -> None:
    for table in (APPOINTMENTS, RETAIL):
        land(lake, table, *(day for day in days_from("2026-05-01", 50) if day[-2:] not in ("05", "06", "15")))

    assert asked(drchrono_daily(Settings(ZONE)), "drchrono/appointments")[0] == (
        "2026-05-05",
        "2026-06-15",
        "missing days",
    )
    assert asked(dexcare_daily(Settings(ZONE)), "dexcare/avr_retail_report") == [
        ("2026-05-05", "2026-05-06", "missing days"),
        ("2026-05-15", "2026-05-15", "missing days"),
        ("2026-06-05", "2026-06-06", "missing days"),
        ("2026-06-10", "2026-06-19", "daily"),
    ]


def test_a_night_asks_for_as_many_days_as_the_setting_says(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_CATCH_UP_DAYS", "2")
    land(lake, APPOINTMENTS, "2026-05-01")

    assert asked(drchrono_daily(Settings(ZONE)), "drchrono/appointments") == [
        ("2026-05-02", "2026-05-03", "missing days"),
        LOOKBACK,
    ]


def test_a_table_that_never_landed_and_days_that_are_left_out_are_not_asked_for(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DAYS_LEFT_OUT", "drchrono/appointments:2026-06-02..2026-06-16")
    assert asked(drchrono_daily(Settings(ZONE)), "drchrono/appointments") == [LOOKBACK]
    land(lake, APPOINTMENTS, "2026-06-01")

    assert asked(drchrono_daily(Settings(ZONE)), "drchrono/appointments") == [LOOKBACK]


def test_no_day_before_the_first_that_can_be_asked_for_is(lake: Lake) -> None:
    land(lake, APPOINTMENTS, "2026-05-01")
    later = Settings({**ZONE, "HEALTH_START_DATE": "2026-06-10"})

    assert asked(drchrono_daily(later), "drchrono/appointments")[0][0] == "2026-06-10"


def evaluation(lake: Lake, **settings: str) -> AssetCheckEvaluation:
    tables = [checked for checked in landing_tables(Settings({})) if checked.table == RETAIL]
    now = datetime(2026, 6, 20, 15, tzinfo=UTC)
    with instance_for_test() as nothing_known:
        [found] = missing_evaluations(nothing_known, lake, tables, Settings({**ZONE, **settings}), now)
    return found


def test_a_lake_that_is_not_where_it_was_is_no_new_beginning(lake: Lake) -> None:
    """A disk that was not mounted: what Dagster knows to have landed is missing, from its first day on."""
    key = AssetKey(["drchrono", "appointments"])
    with instance_for_test() as instance:
        for day in days_from("2026-06-01", 16):
            instance.report_runless_asset_event(AssetMaterialization(key, partition=day))
        land(lake, APPOINTMENTS, "2026-06-15", "2026-06-16")
        # At three in the night the newest day that is expected is the 18th, which is for another check.
        tables = [checked for checked in landing_tables(Settings({})) if checked.table == APPOINTMENTS]
        [red] = missing_evaluations(instance, lake, tables, Settings(ZONE), NIGHT)

        assert not red.passed
        assert (red.description or "").startswith(
            "15 days: 2026-06-01 to 2026-06-14, 2026-06-17 are missing."
        )
        assert asked_where(instance, drchrono_daily(Settings(ZONE)), "drchrono/appointments") == [
            ("2026-06-01", "2026-06-14", "missing days"),
            LOOKBACK,
        ]


def test_the_check_names_the_holes_and_leaves_the_newest_day_to_another(lake: Lake) -> None:
    assert evaluation(lake).passed
    land(
        lake,
        RETAIL,
        "2026-06-10",
        "2026-06-13",
        "2026-06-14",
        "2026-06-15",
        "2026-06-16",
        "2026-06-17",
        "2026-06-18",
    )

    red = evaluation(lake)

    assert not red.passed
    assert (red.description or "").startswith("2 days: 2026-06-11 to 2026-06-12 are missing.")
    assert evaluation(lake, HEALTH_DAYS_LEFT_OUT="2026-06-11..2026-06-12").passed
    land(lake, RETAIL, "2026-06-11", "2026-06-12")
    assert evaluation(lake).passed
