"""What runs are about, told by tags that the list of runs is filtered by."""

from datetime import UTC, datetime, timedelta

import pytest
from dagster import RunRequest, SensorResult, build_schedule_context, instance_for_test

from health_pipelines.definitions import build_definitions
from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.landing.run_tags import DAYS_TAG, REASON_TAG, asked_for, days_of
from health_pipelines.settings import Settings
from health_pipelines_tests.dexcare.project import PROVIDER_BOOKING, RETAIL, VIRTUAL, Project
from health_pipelines_tests.support.sandbox_process import SandboxProcess

DAY = "2026-03-10"
CANCELLED = {"kind": "status", "status": "CANCELLED"}


def about(tags: dict[str, str]) -> tuple[str, str, set[str]]:
    """Reason, days, and the tags of sources and tables."""
    of_tables = {tag for tag in tags if tag.startswith(("source/", "table/"))}
    assert {tags[tag] for tag in of_tables} <= {"true"}
    return tags[REASON_TAG], tags[DAYS_TAG], of_tables


def requested(project: Project, **options: timedelta) -> list[RunRequest]:
    result = project.tick(**options)
    return list(result.run_requests or []) if isinstance(result, SensorResult) else []


def tags_of(project: Project, run_id: str) -> dict[str, str]:
    run = project.instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)


def test_days_are_said_in_words() -> None:
    assert asked_for([VIRTUAL.table], DAY, DAY, "daily")[DAYS_TAG] == DAY
    assert asked_for([VIRTUAL.table], DAY, "2026-03-12", "daily")[DAYS_TAG] == "2026-03-10 to 2026-03-12"
    assert days_of({"dagster/partition": DAY}) == DAY
    assert days_of({}) == ""


def test_a_run_of_the_daily_schedule_is_daily(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://dexcare.example.com")
    night = datetime(2026, 3, 20, 2, 15, tzinfo=UTC)
    with instance_for_test() as nothing_known:
        context = build_schedule_context(nothing_known, scheduled_execution_time=night)
        ticked = dexcare_daily(Settings({})).evaluate_tick(context)
    assert about(dict((ticked.run_requests or [])[0].tags)) == (
        "daily",
        "2026-03-10 to 2026-03-19",
        {"source/dexcare", "table/avr_virtual"},
    )


def test_a_run_that_lands_several_tables_is_found_by_each_of_them(project: Project) -> None:
    keys = [report.request_key for report in (VIRTUAL, RETAIL, PROVIDER_BOOKING)]
    asking = project.materialize(keys, "2026-03-09", DAY)
    tables = {"table/avr_virtual", "table/avr_retail", "table/avr_provider_booking"}
    # A person started it, and its steps said what it is for.
    assert about(tags_of(project, asking.run_id)) == (
        "by hand",
        "2026-03-09 to 2026-03-10",
        {"source/dexcare", *tables},
    )
    [request] = requested(project)
    assert about(dict(request.tags)) == (
        "report is ready",
        "2026-03-09 to 2026-03-10",
        {"source/dexcare", *tables},
    )


def test_a_run_of_a_backfill_says_so_and_a_step_changes_no_reason(project: Project) -> None:
    of_backfill = project.materialize([VIRTUAL.request_key], DAY, tags={"dagster/backfill": "abcdefgh"})
    assert tags_of(project, of_backfill.run_id)[REASON_TAG] == "backfill"
    of_another = project.materialize([RETAIL.request_key], DAY, tags={"dagster/schedule_name": "mine"})
    assert tags_of(project, of_another.run_id)[REASON_TAG] == "schedule"
    of_schedule = project.materialize([RETAIL.request_key], DAY, tags={REASON_TAG: "daily"})
    assert tags_of(project, of_schedule.run_id)[REASON_TAG] == "daily"


def test_asking_again_is_a_restart_and_then_the_day_is_given_up(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("status", CANCELLED, type="virtual")
    project.materialize([VIRTUAL.request_key], DAY)
    [first] = requested(project)
    assert about(dict(first.tags)) == ("restart", DAY, {"source/dexcare", "table/avr_virtual"})
    runs = [run for _ in range(12) for run in project.tick_and_run(after=timedelta(minutes=10))]
    reasons = [tags_of(project, run.run_id)[REASON_TAG] for run in runs]
    assert reasons == ["restart", "restart", "given up"]


def test_no_run_of_a_schedule_or_a_sensor_is_jobless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLISH_URL", "postgresql://db.example.com/d")
    repository = build_definitions(Settings.of_this_process()).get_repository_def()
    named = {one.name: {one.job_name} for one in repository.schedule_defs}
    named |= {one.name: {target.job_name for target in one.targets} for one in repository.sensor_defs}
    assert {name: jobs for name, jobs in named.items() if jobs} == {
        "dexcare_daily": {"dexcare_daily_run"},
        "drchrono_daily": {"drchrono_daily_run"},
        "dexcare_report_sensor": {"dexcare_reports_run"},
        "warehouse_sensor": {"warehouse_run"},
        "publish_sensor": {"publish_run"},
        "housekeeping": {"lost_retry_run"},
        "late_changes_weekly": {"late_changes_run"},
        "drchrono_reconciliation": {"drchrono_reconciliation_run"},
    }
