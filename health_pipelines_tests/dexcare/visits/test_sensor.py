"""The sensor: what a tick asks, says and starts, on a real instance."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetCheckKey, AssetSelection, SensorResult, SkipReason

from health_pipelines.http import AccessDeniedError
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.dexcare.project import (
    PROVIDER_BOOKING,
    RETAIL,
    TICK,
    VIRTUAL,
    Project,
    failure_of,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess

DAY = "2026-03-10"


def skipped(result: SensorResult | SkipReason) -> str:
    reason = result.skip_reason if isinstance(result, SensorResult) else result
    assert isinstance(reason, SkipReason), result
    return reason.skip_message or ""


def ranges_of(result: SensorResult | SkipReason) -> list[tuple[set[str], str, str]]:
    assert isinstance(result, SensorResult), result
    return [
        (
            {key.path[-1] for key in request.asset_selection or []},
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in result.run_requests or []
    ]


def test_an_hour_with_nothing_in_flight_makes_no_call_to_the_vendor(
    project: Project, vendor: SandboxProcess
) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    project.tick_and_run()
    vendor.forget_calls()
    for _ in range(240):  # every 15 s
        assert skipped(project.tick()) == "No report is in flight."
    assert vendor.calls()["total"] == 0


def test_a_skip_counts_the_states_of_what_is_in_flight(project: Project, vendor: SandboxProcess) -> None:
    vendor.change_settings(queue_seconds="600")
    project.materialize([VIRTUAL.request_key], "2026-03-01", "2026-03-03")
    vendor.change_settings(queue_seconds="0", run_seconds="600")
    project.materialize([RETAIL.request_key], "2026-03-01", "2026-03-02")
    vendor.change_settings(run_seconds="0")
    project.materialize([PROVIDER_BOOKING.request_key], "2026-03-01")
    project.tick_and_run()
    assert skipped(project.tick()) == "3 queued, 2 running, 1 landed"


def test_everything_that_is_ready_lands_in_one_run(project: Project) -> None:
    keys = [report.request_key for report in (VIRTUAL, RETAIL, PROVIDER_BOOKING)]
    project.materialize(keys, "2026-03-01", "2026-03-04")
    assert ranges_of(project.tick()) == [
        ({"avr_virtual", "avr_retail", "avr_provider_booking"}, "2026-03-01", "2026-03-04")
    ]
    [run] = project.tick_and_run()
    assert run.success
    for report in (VIRTUAL, RETAIL, PROVIDER_BOOKING):
        assert sorted(project.landed(report.asset_key)) == days_from("2026-03-01", 4)
    assert skipped(project.tick()) == "No report is in flight."


def test_days_that_wait_inside_a_range_are_left_for_a_later_run(
    project: Project, vendor: SandboxProcess
) -> None:
    project.materialize([VIRTUAL.request_key], "2026-03-01", "2026-03-03")
    middle = project.ledger().open_tickets()["2026-03-02"].ticket.report_id
    vendor.add_fault("status", {"kind": "status", "status": "RUNNING"}, report_id=middle)
    project.tick_and_run()
    assert sorted(project.landed(VIRTUAL.asset_key)) == ["2026-03-01", "2026-03-03"]
    vendor.clear_faults()
    project.tick_and_run()
    assert sorted(project.landed(VIRTUAL.asset_key)) == days_from("2026-03-01", 3)


def test_days_far_apart_land_in_runs_of_their_own(project: Project) -> None:
    project.materialize([VIRTUAL.request_key], "2026-01-05")
    project.materialize([VIRTUAL.request_key], "2026-03-05")
    assert ranges_of(project.tick()) == [
        ({"avr_virtual"}, "2026-01-05", "2026-01-05"),
        ({"avr_virtual"}, "2026-03-05", "2026-03-05"),
    ]


def test_a_report_that_failed_and_was_queued_again_by_the_vendor_lands(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("status", {"kind": "status", "status": "FAILED"}, times=2)
    vendor.add_fault("status", {"kind": "status", "status": "QUEUED"}, times=1)
    before = len(vendor.reports())
    project.materialize([VIRTUAL.request_key], DAY)
    assert skipped(project.tick()) == "1 failed for now, 0 landed"
    assert skipped(project.tick()) == "1 failed for now, 0 landed"
    assert skipped(project.tick()) == "1 queued, 0 landed"
    project.tick_and_run()
    assert project.landed(VIRTUAL.asset_key) == [DAY]
    assert len(vendor.reports()) == before + 1


def test_a_vendor_that_does_not_answer_fails_nothing(project: Project, vendor: SandboxProcess) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    vendor.add_fault("status", {"kind": "http", "status": 500, "body": {"error": "Unknown error"}}, times=1)
    assert skipped(project.tick()) == "1 not answered for, 0 landed"
    project.tick_and_run()
    assert project.landed(VIRTUAL.asset_key) == [DAY]


def test_a_refused_key_costs_one_call_and_a_new_key_is_tried_at_once(
    project: Project, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.change_settings(queue_seconds="600")
    project.materialize([VIRTUAL.request_key], "2026-01-01", "2026-02-15")
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "rotated")
    vendor.forget_calls()
    with pytest.raises(AccessDeniedError, match="Check DEXCARE_SERVICE_KEY") as caught:
        project.tick()
    assert "rotated" not in str(caught.value)
    assert vendor.calls()["total"] == 1
    said = skipped(project.tick())
    assert "Check DEXCARE_SERVICE_KEY" in said
    assert "Nothing is asked before" in said
    assert vendor.calls()["total"] == 1
    with pytest.raises(AccessDeniedError):
        project.tick(after=timedelta(minutes=5))
    assert vendor.calls()["total"] == 2
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "SECRET_TOKEN")
    assert skipped(project.tick()) == "46 queued, 0 landed"


def test_a_bad_day_gets_a_run_of_its_own_that_fails_while_its_neighbours_land(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("data", {"kind": "body", "text": "id,a\n1\n"}, day="2026-03-02")
    project.materialize([VIRTUAL.request_key], "2026-03-01", "2026-03-03")
    [shared] = project.tick_and_run()
    assert shared.success
    assert sorted(project.landed(VIRTUAL.asset_key)) == ["2026-03-01", "2026-03-03"]
    assert ranges_of(project.tick()) == [({"avr_virtual"}, "2026-03-02", "2026-03-02")]
    [own] = project.tick_and_run()
    assert not own.success
    assert "2026-03-02 the first: report" in failure_of(own)
    assert skipped(project.tick()) == "1 not to be landed"
    vendor.clear_faults()
    project.materialize([VIRTUAL.request_key], "2026-03-02")
    project.tick_and_run()
    assert sorted(project.landed(VIRTUAL.asset_key)) == days_from("2026-03-01", 3)


def test_a_landing_that_fails_for_a_reason_of_the_moment_is_tried_again_after_a_pause(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("data", {"kind": "http", "status": 503, "body": {"error": "Unknown error"}}, times=4)
    project.materialize([VIRTUAL.request_key], DAY)
    [shared] = project.tick_and_run()  # two attempts, both refused
    assert shared.success
    [own] = project.tick_and_run()  # at once, in a run of its own: two more
    assert not own.success
    assert skipped(project.tick()) == "1 waiting to be landed again, 0 landed"


def test_the_same_reports_are_not_requested_twice_at_once(project: Project) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    first, second = project.tick(), project.tick()
    assert isinstance(first, SensorResult)
    assert isinstance(second, SensorResult)
    [one], [other] = first.run_requests or [], second.run_requests or []
    assert one.run_key == other.run_key  # which the daemon launches once


def test_a_run_that_ended_without_landing_is_started_again_under_another_key_but_not_at_once(
    project: Project, data: Path
) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    # Somebody else holds the day while the run would land it.
    with Lake(data / "lake").writing(VIRTUAL.table, DAY):
        [run] = project.tick_and_run(after=timedelta())
        assert run.success
    assert project.landed(VIRTUAL.asset_key) == []
    assert skipped(project.tick(after=timedelta(seconds=1))) == "1 ready, 0 landed"
    [run] = project.tick_and_run(after=timedelta(minutes=1))
    assert run.success
    assert project.landed(VIRTUAL.asset_key) == [DAY]


FAILED: dict[str, Any] = {"kind": "status", "status": "FAILED"}
CANCELLED: dict[str, Any] = {"kind": "status", "status": "CANCELLED"}
UNKNOWN: dict[str, Any] = {"kind": "http", "status": 404, "body": {"error": "QueryExecution Not Found"}}
RUNNING: dict[str, Any] = {"kind": "status", "status": "RUNNING"}
TOO_EARLY = {"error": "QueryExecution did not succeed"}
NOT_READY: dict[str, Any] = {"kind": "http", "status": 400, "body": TOO_EARLY}
EXPIRED: dict[str, Any] = {"kind": "expired"}


@pytest.mark.parametrize(
    ("operation", "fault", "patience"),
    [
        ("status", FAILED, timedelta(minutes=10)),
        ("status", CANCELLED, timedelta()),
        ("status", UNKNOWN, timedelta()),
        ("status", RUNNING, timedelta(hours=6)),
        ("data", NOT_READY, timedelta()),
        ("data", EXPIRED, timedelta()),
    ],
)
def test_a_report_that_comes_to_nothing_is_asked_for_again_and_the_second_lands(
    project: Project, vendor: SandboxProcess, operation: str, fault: dict[str, Any], patience: timedelta
) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    first = project.ledger().newest_tickets([DAY])[DAY]
    vendor.add_fault(operation, fault, report_id=first.report_id)
    project.tick_and_run()
    if patience:
        project.tick_and_run(after=patience - 4 * TICK)
        assert project.ledger().newest_tickets([DAY])[DAY] == first
    project.tick_and_run(after=5 * TICK)
    second = project.ledger().newest_tickets([DAY])[DAY]
    assert (second.attempt, second.asked_by) == (2, first.asked_by)
    assert second.report_id != first.report_id
    project.tick_and_run()
    assert project.landed(VIRTUAL.asset_key) == [DAY]
    assert skipped(project.tick()) == "No report is in flight."


def test_after_three_reports_a_day_is_given_up_where_people_look_and_can_start_afresh(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("status", CANCELLED, type="virtual")
    before = len(vendor.reports())
    project.materialize([VIRTUAL.request_key], "2026-03-09", DAY)
    runs = [run for _ in range(12) for run in project.tick_and_run(after=timedelta(minutes=10))]
    assert len(vendor.reports()) == before + 2 * 3
    [failed] = [run for run in runs if not run.success]
    sentence = failure_of(failed)
    assert "2 days were given up, 2026-03-09 the first after 3 attempts: DexCare says CANCELLED" in sentence
    assert check_passed(project) is False
    assert skipped(project.tick()) == "2 given up"

    vendor.clear_faults()
    project.materialize([VIRTUAL.request_key], "2026-03-09")
    assert check_passed(project) is False  # the other day is still given up
    project.materialize([VIRTUAL.request_key], DAY)
    assert check_passed(project) is True
    assert {ticket.attempt for ticket in project.ledger().newest_tickets(["2026-03-09", DAY]).values()} == {1}
    project.tick_and_run()
    assert sorted(project.landed(VIRTUAL.asset_key)) == ["2026-03-09", DAY]


def check_passed(project: Project) -> bool:
    """The newest evaluation of `report_arrives` on the virtual reports' request."""
    key = AssetCheckKey(VIRTUAL.request_key, "report_arrives")
    [record] = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    return record.event.dagster_event.asset_check_evaluation_data.passed


def test_the_check_can_also_be_run_by_itself(project: Project) -> None:
    checks = AssetSelection.checks(AssetCheckKey(VIRTUAL.request_key, "report_arrives"))
    job = project.definitions.resolve_implicit_global_asset_job_def()
    result = job.get_subset(
        asset_selection=set(),
        asset_check_selection=checks.resolve_checks(project.definitions.get_repository_def().asset_graph),
    ).execute_in_process(instance=project.instance, raise_on_error=False)
    assert result.success
    assert check_passed(project) is True


def test_each_change_of_state_shows_at_the_day_with_its_polls_and_times(
    project: Project, vendor: SandboxProcess
) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    vendor.add_fault("status", {"kind": "status", "status": "QUEUED"}, times=2)
    vendor.add_fault("status", RUNNING, times=1)
    for _ in range(4):
        project.tick_and_run()
    records = project.instance.fetch_observations(VIRTUAL.request_key, limit=10, ascending=True).records
    seen = [record.event_log_entry.asset_observation for record in records]
    states = [one.metadata for one in seen if one and "state" in one.metadata]
    assert [(one["state"].value, one["polls"].value) for one in states] == [
        ("RUNNING", 3),
        ("SUCCEEDED", 4),
    ]
    ready = states[-1]
    # Ticks 15 s apart: queued for three of them, running for one.
    assert float(str(ready["seconds_queued"].value)) == pytest.approx(45, abs=10)
    assert float(str(ready["seconds_running"].value)) == pytest.approx(15, abs=10)
    assert ready["attempt"].value == 1


def test_a_lost_cursor_loses_nothing(project: Project, vendor: SandboxProcess) -> None:
    vendor.change_settings(queue_seconds="600")
    project.materialize([VIRTUAL.request_key], "2026-03-01", "2026-03-03")
    project.tick()
    vendor.change_settings(queue_seconds="0")
    project.cursor = "not even JSON"
    assert skipped(project.tick()) == "3 queued, 0 landed"


def test_reports_are_not_asked_about_before_the_time_that_they_usually_take(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("status", RUNNING, type="virtual", times=1)
    project.materialize([VIRTUAL.request_key], "2026-03-01")
    project.tick_and_run()
    project.tick_and_run(after=timedelta(seconds=85))  # it took about 100 s
    assert project.landed(VIRTUAL.asset_key) == ["2026-03-01"]
    vendor.change_settings(queue_seconds="6000")
    project.materialize([VIRTUAL.request_key], "2026-03-02")
    started = project.ledger().newest_tickets(["2026-03-02"])["2026-03-02"]
    # The ticket is as young as this process says; the sensor's clock runs ahead by what has passed.
    project.passed = timedelta()
    vendor.forget_calls()
    for _ in range(4):
        project.tick()
    assert vendor.calls()["by_operation"].get("status", 0) == 0
    project.tick()
    assert vendor.calls()["by_operation"]["status"] == 1
    assert started.attempt == 1
