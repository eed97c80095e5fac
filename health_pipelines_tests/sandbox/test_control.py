"""The part of the sandbox that no vendor has: counters, list of reports, clock, settings."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from health_pipelines_tests.sandbox.vendor import AVR, DAY, Vendor
from health_pipelines_tests.support.sandbox_process import SandboxProcess


def test_every_vendor_call_is_counted_by_what_it_was_and_control_calls_are_not(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    report_id = vendor.started()
    vendor.poll(report_id)
    vendor.poll(report_id)
    vendor.data(report_id)
    vendor.search()
    vendor.http.get("/nowhere")
    assert sandbox.reports()
    assert sandbox.calls() == {
        "total": 6,
        "by_operation": {"start": 1, "status": 2, "data": 1, "provider_histories": 1, "no_route": 1},
    }


def test_refused_and_faulty_calls_are_counted_too(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("status", {"kind": "http", "status": 500, "body": {}})
    httpx.post(sandbox.url + AVR)
    vendor.start(type="nonsense")
    vendor.poll("not-a-guid")
    vendor.data(str(uuid4()))
    assert sandbox.calls()["by_operation"] == {"start": 2, "status": 1, "data": 1}


def test_counting_can_begin_again(vendor: Vendor, sandbox: SandboxProcess) -> None:
    vendor.start(type="virtual")
    sandbox.forget_calls()
    assert sandbox.calls() == {"total": 0, "by_operation": {}}


def test_reports_are_listed_with_what_was_asked_and_how_often_it_was_downloaded(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    report_id = vendor.finished("retail")
    vendor.data(report_id)
    vendor.data(report_id)
    newest = sandbox.reports()[-1]
    assert datetime.fromisoformat(newest.pop("startedAt")).utcoffset() is not None
    assert newest.pop("attempt") >= 1
    assert newest == {"id": report_id, "type": "retail", "status": "SUCCEEDED", "downloads": 2, **DAY}


def test_the_key_can_be_changed_while_the_sandbox_runs(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(service_key="rotated")
    assert vendor.start(type="virtual").status_code == 403
    vendor.http.headers["Authorization"] = "dc-token rotated"
    assert vendor.start(type="virtual").status_code == 200


def test_queue_and_run_times_can_be_changed_for_reports_to_come(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    before = vendor.started()
    sandbox.change_settings(queue_seconds="3600-7200")
    assert vendor.status(vendor.started()) == "QUEUED"
    sandbox.change_settings(queue_seconds=0, run_seconds=3600)
    assert vendor.status(vendor.started()) == "RUNNING"
    assert vendor.status(before) == "SUCCEEDED"


def test_every_vendor_answer_can_be_given_a_latency(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(latency_ms=200)
    before = time.monotonic()
    vendor.poll(str(uuid4()))
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "settings", {"seed": 2}),
        ("PUT", "settings", {"colour": "red"}),
        ("PUT", "settings", {"max_running": 0}),
        ("PUT", "settings", {"queue_seconds": "3-1"}),
        ("PUT", "settings", {"framing": "none"}),
        ("POST", "clock", {"advance_seconds": -1}),
        ("POST", "clock", {"advance_seconds": "1"}),
        ("POST", "clock", {}),
    ],
)
def test_a_mistaken_control_call_is_refused_and_changes_nothing(
    sandbox: SandboxProcess, method: str, path: str, body: Any
) -> None:
    before = sandbox.control("GET", "settings")
    answer = httpx.request(method, f"{sandbox.url}/_sandbox/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert sandbox.control("GET", "settings") == before


def test_a_thousand_reports_may_be_open_at_once(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(queue_seconds=3600, run_seconds=3600)
    with ThreadPoolExecutor(8) as callers:
        ids = list(callers.map(lambda _: vendor.started(), range(1000)))
        words = set(callers.map(vendor.status, ids))
    assert len(set(ids)) == 1000
    assert words == {"QUEUED"}
