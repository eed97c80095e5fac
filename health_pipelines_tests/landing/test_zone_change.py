"""The first thing a newcomer does: some days land with the default zone, then the right one is set.

The days of before and after do not meet. Nobody may find out by counting visits.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
from dagster import AssetCheckEvaluation, DagsterInstance, build_schedule_context, instance_for_test

from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.dexcare.visits.client import vendor_time
from health_pipelines.drchrono.schedule import drchrono_daily
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.calendar import day_window
from health_pipelines.landing.missing_days import missing_evaluations
from health_pipelines.settings import Settings
from health_pipelines.vendors.known import landing_tables
from health_pipelines_tests.dexcare.project import RETAIL, VIRTUAL, Project
from health_pipelines_tests.drchrono.project import BY_NAME, drchrono_settings
from health_pipelines_tests.drchrono.project import Project as DrChronoProject
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox

CHICAGO = ZoneInfo("America/Chicago")
# Some weeks later, so that the look-back of ten days does not reach them.
NIGHT = datetime(2026, 4, 20, 3, 15, tzinfo=UTC)
UTC_DAYS, CHICAGO_DAYS = ["2026-03-09", "2026-03-10"], ["2026-03-11", "2026-03-12"]
CHECKS = BY_NAME["eligibility_checks"]


def settings_of(zone: str) -> Settings:
    # The days after those that land here are not the subject.
    left_out = "2026-03-13..2026-04-30"
    return Settings(
        {"HEALTH_TIMEZONE": zone, "HEALTH_START_DATE": "2026-01-01", "HEALTH_DAYS_LEFT_OUT": left_out}
    )


def lands(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, zone: str, first: str, last: str
) -> None:
    monkeypatch.setenv("HEALTH_TIMEZONE", zone)
    project = Project(instance)
    for assets in ([VIRTUAL.request_key], [VIRTUAL.asset_key]):
        assert project.materialize(assets, first, last).success


def visits(data: Path) -> Counter[str]:
    """How often each visit is in the lake."""
    with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as connection:
        return Counter(
            key for (key,) in connection.execute("SELECT visit_id FROM dexcare.avr_virtual").fetchall()
        )


def true_visits(sandbox: SandboxProcess, zone: ZoneInfo) -> set[str]:
    start, end = day_window(UTC_DAYS[0], zone).start, day_window(CHICAGO_DAYS[-1], zone).end
    return {str(row["visit_id"]) for row in sandbox.truth("virtual", vendor_time(start), vendor_time(end))}


def check(
    instance: DagsterInstance, data: Path, zone: str, asset: str = "dexcare/avr_virtual"
) -> AssetCheckEvaluation:
    tables = [one for one in landing_tables(Settings({})) if one.asset.to_user_string() == asset]
    [found] = missing_evaluations(instance, Lake(data / "lake"), tables, settings_of(zone), NIGHT)
    return found


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


def nightly(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, asset: str) -> list[tuple[str, str]]:
    """The ranges behind the look-back that the daily schedules ask for."""
    monkeypatch.setenv("HEALTH_DAYS_LEFT_OUT", "2026-03-13..2026-04-30")
    schedules = (dexcare_daily(settings_of(CHICAGO.key)), drchrono_daily(settings_of(CHICAGO.key)))
    requests = [
        request
        for daily in schedules
        for request in daily.evaluate_tick(
            build_schedule_context(instance, scheduled_execution_time=NIGHT)
        ).run_requests
        or []
    ]
    return [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
        if request.tags["health_pipelines/reason"] == "missing days"
        and [key.to_user_string() for key in request.asset_selection or []] == [asset]
    ]


def test_visits_between_the_days_of_two_zones_are_missed_said_asked_for_and_found(
    instance: DagsterInstance, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lands(instance, monkeypatch, "UTC", *UTC_DAYS)
    assert "landed as days of" not in str(check(instance, data, "UTC").description)
    lands(instance, monkeypatch, CHICAGO.key, *CHICAGO_DAYS)
    truth = true_visits(vendor, CHICAGO)
    assert truth - visits(data).keys(), "no visit in the hours between the two midnights"

    red = check(instance, data, CHICAGO.key)
    assert not red.passed
    assert "2 days: 2026-03-09 to 2026-03-10 landed as days of UTC and not of America/Chicago" in str(
        red.description
    )
    asked = nightly(instance, monkeypatch, "dexcare/avr_virtual_report")
    assert asked == [(UTC_DAYS[0], UTC_DAYS[-1])]
    lands(instance, monkeypatch, CHICAGO.key, *asked[0])

    assert visits(data) == Counter(truth)
    assert check(instance, data, CHICAGO.key).passed
    assert nightly(instance, monkeypatch, "dexcare/avr_virtual_report") == []


def test_a_day_without_a_difference_is_a_day_of_the_new_zone_once_it_landed_again(
    instance: DagsterInstance, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same rows, whatever the hours are: nothing is written, and yet nobody may ask for ever.
    vendor.add_fault("data", {"kind": "body", "text": "visit_id,status\n1,done\n"})
    lands(instance, monkeypatch, "UTC", UTC_DAYS[0], UTC_DAYS[0])
    assert not check(instance, data, CHICAGO.key).passed

    lands(instance, monkeypatch, CHICAGO.key, UTC_DAYS[0], UTC_DAYS[0])

    assert len(Project(instance).landed(VIRTUAL.asset_key)) == 1
    assert lake_of(data).days_of_other_zones(VIRTUAL.table, CHICAGO.key) == {}


def test_a_report_that_was_asked_for_before_the_change_is_a_day_of_the_zone_before(
    instance: DagsterInstance, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_TIMEZONE", "UTC")
    assert Project(instance).materialize([RETAIL.request_key], UTC_DAYS[0]).success
    monkeypatch.setenv("HEALTH_TIMEZONE", CHICAGO.key)
    assert Project(instance).materialize([RETAIL.asset_key], UTC_DAYS[0]).success

    assert lake_of(data).days_of_other_zones(RETAIL.table, CHICAGO.key) == {UTC_DAYS[0]: "UTC"}


def test_another_name_of_the_same_zone_is_no_other_zone(
    instance: DagsterInstance, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lands(instance, monkeypatch, "US/Central", UTC_DAYS[0], UTC_DAYS[0])

    assert "landed as days of" not in str(check(instance, data, CHICAGO.key).description)


def test_whoever_wants_days_to_stay_as_they_landed_can_say_so(
    instance: DagsterInstance, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lands(instance, monkeypatch, "UTC", *UTC_DAYS)
    left_out = Settings({"HEALTH_TIMEZONE": CHICAGO.key, "HEALTH_DAYS_LEFT_OUT": "2026-03-01..2026-04-30"})
    tables = [one for one in landing_tables(Settings({})) if one.table == VIRTUAL.table]

    [found] = missing_evaluations(instance, Lake(data / "lake"), tables, left_out, NIGHT)

    assert found.passed


@pytest.mark.slow
def test_records_of_a_practice_whose_zone_was_wrong_are_found_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance
) -> None:
    """DrChrono's times say their offset here, so that their days depend on the zone."""
    data = tmp_path / "data"
    with running_sandbox(
        now="2026-03-20T12:00:00+00:00",
        drchrono_volume=60,
        drchrono_history_start="2026-03-01",
        **NO_WAITING,
        drchrono_zone=CHICAGO.key,
        drchrono_times="offset",
    ) as sandbox:
        for name, value in drchrono_settings(sandbox, data, DRCHRONO_TIMEZONE="UTC").items():
            monkeypatch.setenv(name, value)
        project = DrChronoProject(instance, data)
        assert project.materialize(CHECKS, *UTC_DAYS).success
        monkeypatch.setenv("DRCHRONO_TIMEZONE", CHICAGO.key)
        assert project.materialize(CHECKS, *CHICAGO_DAYS).success
        assert not check(instance, data, CHICAGO.key, "drchrono/eligibility_checks").passed
        asked = nightly(instance, monkeypatch, "drchrono/eligibility_checks")
        assert asked == [(UTC_DAYS[0], UTC_DAYS[-1])]

        assert project.materialize(CHECKS, *asked[0]).success

        truth = {
            str(record["id"])
            for record in sandbox.drchrono_records(CHECKS.name, since="2026-03-01")
            if UTC_DAYS[0] <= record["updated_at"][:10] <= CHICAGO_DAYS[-1]
        }
        found = Counter(key for day in (*UTC_DAYS, *CHICAGO_DAYS) for key in project.rows(CHECKS, day))
        assert {key for key, times in found.items() if times > 1} == set()
        assert truth <= found.keys()
        assert check(instance, data, CHICAGO.key, "drchrono/eligibility_checks").passed


def lake_of(data: Path) -> Lake:
    return Lake(data / "lake")
