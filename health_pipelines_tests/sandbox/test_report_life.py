"""From QUEUED to gone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from health_pipelines.sandbox.reports import ReportQueue
from health_pipelines.sandbox.settings import Settings, Span
from health_pipelines.sandbox.visits import VisitSearch
from health_pipelines.sandbox.windows import Window
from health_pipelines_tests.sandbox.vendor import DAY, Vendor, by_id, read_athena_csv
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

HOUR = 3600


@pytest.fixture
def slow_sandbox() -> Iterator[SandboxProcess]:
    """Reports take hours, which only the test lets pass."""
    with running_sandbox(
        queue_seconds=HOUR, run_seconds=HOUR, max_running=2, now="2026-03-10T12:00:00Z"
    ) as sandbox:
        yield sandbox


def test_a_report_is_queued_then_running_then_succeeded(slow_sandbox: SandboxProcess) -> None:
    vendor = Vendor(slow_sandbox)
    report_id = vendor.started()
    assert vendor.status(report_id) == "QUEUED"
    slow_sandbox.advance_clock(HOUR)
    assert vendor.status(report_id) == "RUNNING"
    slow_sandbox.advance_clock(HOUR)
    assert vendor.status(report_id) == "SUCCEEDED"
    assert vendor.data(report_id).status_code == 200


def test_there_is_no_data_before_a_report_has_succeeded(slow_sandbox: SandboxProcess) -> None:
    vendor = Vendor(slow_sandbox)
    report_id = vendor.started()
    for _ in ("QUEUED", "RUNNING"):
        early = vendor.data(report_id)
        assert (early.status_code, early.json()) == (400, {"error": "QueryExecution did not succeed"})
        slow_sandbox.advance_clock(HOUR)
    assert slow_sandbox.reports()[0]["downloads"] == 0


def test_only_so_many_reports_run_at_once(slow_sandbox: SandboxProcess) -> None:
    vendor = Vendor(slow_sandbox)
    ids = [vendor.started() for _ in range(3)]
    slow_sandbox.advance_clock(HOUR + 60)
    assert [vendor.status(one) for one in ids] == ["RUNNING", "RUNNING", "QUEUED"]
    slow_sandbox.advance_clock(HOUR)
    assert [vendor.status(one) for one in ids] == ["SUCCEEDED", "SUCCEEDED", "RUNNING"]


def test_a_result_expires_and_is_then_as_unknown_as_any(slow_sandbox: SandboxProcess) -> None:
    vendor = Vendor(slow_sandbox)
    slow_sandbox.change_settings(result_life_seconds=HOUR)
    report_id = vendor.started()
    slow_sandbox.advance_clock(3 * HOUR - 60)
    assert vendor.data(report_id).status_code == 200
    slow_sandbox.advance_clock(60)
    gone = vendor.data(report_id)
    assert (gone.status_code, gone.json()) == (404, {"error": "QueryExecution Not Found"})
    assert vendor.status(report_id) == "SUCCEEDED"


def test_a_finished_report_stays_what_it_was_while_the_truth_moves_on(slow_sandbox: SandboxProcess) -> None:
    vendor, window = Vendor(slow_sandbox), ("2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z")
    report_id = vendor.started("provider_booking", startDate=window[0], endDate=window[1])
    slow_sandbox.advance_clock(2 * HOUR)
    first = vendor.data(report_id).content
    slow_sandbox.advance_clock(20 * HOUR)
    assert vendor.data(report_id).content == first
    assert by_id(read_athena_csv(first)) != by_id(slow_sandbox.truth("provider_booking", *window))


def test_a_report_sees_the_data_of_the_day_it_begins_to_run(slow_sandbox: SandboxProcess) -> None:
    vendor, window = Vendor(slow_sandbox), ("2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z")
    asked_for = slow_sandbox.truth("provider_booking", *window)
    slow_sandbox.change_settings(queue_seconds=24 * HOUR)
    report_id = vendor.started("provider_booking", startDate=window[0], endDate=window[1])
    slow_sandbox.advance_clock(25 * HOUR)
    found = by_id(read_athena_csv(vendor.data(report_id).content))
    assert found == by_id(slow_sandbox.truth("provider_booking", *window)) != by_id(asked_for)


def test_a_report_that_nobody_watched_still_took_its_turn() -> None:
    queue, noon = ReportQueue(), datetime(2026, 3, 1, 12, tzinfo=UTC)
    settings = Settings(queue_seconds=Span(0, 0), run_seconds=Span(600, 600), max_running=1)
    search = VisitSearch(1, 1, "virtual", Window(noon, noon), "created", end_inclusive=False)
    reports = [queue.start(name, search, dict(DAY), noon, settings) for name in ("first", "second", "third")]
    queue.advance(noon + timedelta(hours=9), settings.max_running)
    assert [report.runs_from for report in reports] == [
        noon + timedelta(minutes=10 * turn) for turn in range(3)
    ]
    assert [report.attempt for report in reports] == [1, 2, 3]


def test_waiting_and_running_times_are_drawn_within_their_range() -> None:
    queue, noon = ReportQueue(), datetime(2026, 3, 1, 12, tzinfo=UTC)
    settings = Settings(queue_seconds=Span(1, 3), run_seconds=Span(2, 6))
    search = VisitSearch(1, 1, "virtual", Window(noon, noon), "created", end_inclusive=False)
    reports = [queue.start(str(number), search, dict(DAY), noon, settings) for number in range(200)]
    waits = {(report.ready_at - noon).total_seconds() for report in reports}
    runs = {report.run_time.total_seconds() for report in reports}
    assert (round(min(waits)), round(max(waits))) == (1, 3)
    assert (round(min(runs)), round(max(runs))) == (2, 6)
    assert min(waits) >= 1
    assert max(waits) <= 3
    assert min(runs) >= 2
    assert max(runs) <= 6
