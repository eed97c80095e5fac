"""The sensor: what a tick asks, says and starts, on a real instance."""

from pathlib import Path

import pytest
from dagster import SensorResult, SkipReason

from health_pipelines.http import AccessDeniedError
from health_pipelines.lake import Lake
from health_pipelines_tests.dexcare.project import PROVIDER_BOOKING, RETAIL, VIRTUAL, Project, failure_of
from health_pipelines_tests.landed import days_from
from health_pipelines_tests.sandbox_process import SandboxProcess

DAY = "2026-03-10"


def skipped(result: SensorResult | SkipReason) -> str:
    assert isinstance(result, SkipReason), result
    return result.skip_message or ""


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
    project.tick_and_land()
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
    project.tick_and_land()
    assert skipped(project.tick()) == "3 queued, 2 running, 1 landed"


def test_everything_that_is_ready_lands_in_one_run(project: Project) -> None:
    keys = [report.request_key for report in (VIRTUAL, RETAIL, PROVIDER_BOOKING)]
    project.materialize(keys, "2026-03-01", "2026-03-04")
    assert ranges_of(project.tick()) == [
        ({"avr_virtual", "avr_retail", "avr_provider_booking"}, "2026-03-01", "2026-03-04")
    ]
    [run] = project.tick_and_land()
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
    project.tick_and_land()
    assert sorted(project.landed(VIRTUAL.asset_key)) == ["2026-03-01", "2026-03-03"]
    vendor.clear_faults()
    project.tick_and_land()
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
    project.tick_and_land()
    assert project.landed(VIRTUAL.asset_key) == [DAY]
    assert len(vendor.reports()) == before + 1


def test_a_vendor_that_does_not_answer_fails_nothing(project: Project, vendor: SandboxProcess) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    vendor.add_fault("status", {"kind": "http", "status": 500, "body": {"error": "Unknown error"}}, times=1)
    assert skipped(project.tick()) == "1 not answered for, 0 landed"
    project.tick_and_land()
    assert project.landed(VIRTUAL.asset_key) == [DAY]


def test_a_refused_key_fails_the_tick_with_one_sentence_after_few_calls(
    project: Project, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.change_settings(queue_seconds="600")
    project.materialize([VIRTUAL.request_key], "2026-01-01", "2026-02-15")
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "rotated")
    vendor.forget_calls()
    with pytest.raises(AccessDeniedError, match="Check DEXCARE_SERVICE_KEY") as caught:
        project.tick()
    assert "rotated" not in str(caught.value)
    assert vendor.calls()["total"] <= 5
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "SECRET_TOKEN")
    assert skipped(project.tick()) == "46 queued, 0 landed"


def test_a_bad_day_gets_a_run_of_its_own_that_fails_while_its_neighbours_land(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("data", {"kind": "body", "text": "id,a\n1\n"}, day="2026-03-02")
    project.materialize([VIRTUAL.request_key], "2026-03-01", "2026-03-03")
    [shared] = project.tick_and_land()
    assert shared.success
    assert sorted(project.landed(VIRTUAL.asset_key)) == ["2026-03-01", "2026-03-03"]
    assert ranges_of(project.tick()) == [({"avr_virtual"}, "2026-03-02", "2026-03-02")]
    [own] = project.tick_and_land()
    assert not own.success
    assert "2026-03-02 the first: report" in failure_of(own)
    assert skipped(project.tick()) == "1 could not be landed, 2 landed"
    vendor.clear_faults()
    project.materialize([VIRTUAL.request_key], "2026-03-02")
    project.tick_and_land()
    assert sorted(project.landed(VIRTUAL.asset_key)) == days_from("2026-03-01", 3)


def test_a_landing_that_fails_for_a_reason_of_the_moment_is_tried_again_after_a_pause(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("data", {"kind": "http", "status": 503, "body": {"error": "Unknown error"}}, times=4)
    project.materialize([VIRTUAL.request_key], DAY)
    [shared] = project.tick_and_land()  # two attempts, both refused
    assert shared.success
    [own] = project.tick_and_land()  # at once, in a run of its own: two more
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
        [run] = project.tick_and_land()
        assert run.success
    assert project.landed(VIRTUAL.asset_key) == []
    assert skipped(project.tick()) == "1 ready, 0 landed"
