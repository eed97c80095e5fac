"""Each thing that can be made to go wrong, as a caller sees it, and whom it happens to."""

import base64
import time
from typing import Any

import httpx
import pytest

from health_pipelines_tests.sandbox.vendor import AVR, DAY, Vendor, eventually
from health_pipelines_tests.support.sandbox_process import SandboxProcess

OTHER_DAY = {"startDate": "2026-03-02T08:00:00Z", "endDate": "2026-03-03T08:00:00Z"}
UNKNOWN_ERROR = {"kind": "http", "status": 500, "body": {"error": "Unknown error"}}


def read_into(received: list[bytes], vendor: Vendor, report_id: str) -> None:
    with vendor.http.stream("GET", f"{AVR}/{report_id}/data") as answer:
        assert answer.status_code == 200
        received.extend(answer.iter_raw())


def statuses(vendor: Vendor, report_id: str, polls: int) -> list[str]:
    return [vendor.status(report_id) for _ in range(polls)]


def test_any_status_body_and_headers_can_be_answered(vendor: Vendor, sandbox: SandboxProcess) -> None:
    fault = {"kind": "http", "status": 429, "body": {"detail": "slow down"}, "headers": {"Retry-After": "7"}}
    sandbox.add_fault("start", fault)
    before = sandbox.reports()
    answer = vendor.start(type="virtual")
    assert (answer.status_code, answer.json()) == (429, {"detail": "slow down"})
    assert answer.headers["retry-after"] == "7"
    assert sandbox.reports() == before, "nothing was started"


def test_a_gateways_html_can_be_answered(vendor: Vendor, sandbox: SandboxProcess) -> None:
    fault = {"kind": "http", "status": 502, "text": "<html>", "headers": {"Content-Type": "text/html"}}
    sandbox.add_fault("start", fault)
    answer = vendor.start(type="virtual")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (502, "<html>", "text/html")


def test_a_rule_happens_so_many_times(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", UNKNOWN_ERROR, times=2)
    assert [vendor.start(type="virtual").status_code for _ in range(4)] == [500, 500, 200, 200]


def test_a_rule_lets_so_many_pass_before(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", UNKNOWN_ERROR, after=1, times=1)
    assert [vendor.start(type="virtual").status_code for _ in range(3)] == [200, 500, 200]


def test_a_rule_without_times_happens_until_cleared(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", UNKNOWN_ERROR)
    assert [vendor.start(type="virtual").status_code for _ in range(5)] == [500] * 5
    sandbox.clear_faults()
    assert vendor.start(type="virtual").status_code == 200


def test_the_oldest_rule_that_is_not_used_up_decides(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", UNKNOWN_ERROR, times=1)
    sandbox.add_fault("start", {"kind": "http", "status": 503, "body": {}}, times=1)
    assert [vendor.start(type="virtual").status_code for _ in range(3)] == [500, 503, 200]


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        ({}, (True, True, True)),
        ({"type": "virtual"}, (True, True, False)),
        ({"day": "2026-03-01"}, (True, False, True)),
        ({"day": "2026-03-02"}, (False, True, False)),
        ({"type": "retail", "day": "2026-03-02"}, (False, False, False)),
    ],
)
@pytest.mark.parametrize("operation", ["start", "status", "data"])
def test_a_rule_strikes_the_type_and_day_it_names(
    vendor: Vendor, sandbox: SandboxProcess, operation: str, rule: dict[str, str], struck: tuple[bool, ...]
) -> None:
    asked = [{"type": "virtual", **DAY}, {"type": "virtual", **OTHER_DAY}, {"type": "retail", **DAY}]
    if operation == "start":
        sandbox.add_fault(operation, UNKNOWN_ERROR, **rule)
        answers = [vendor.start(**body) for body in asked]
    else:
        ids = [vendor.finished(body.pop("type"), **body) for body in asked]
        sandbox.add_fault(operation, UNKNOWN_ERROR, **rule)
        answers = [(vendor.poll if operation == "status" else vendor.data)(one) for one in ids]
    assert tuple(answer.status_code == 500 for answer in answers) == struck


def test_a_rule_strikes_the_report_it_names(vendor: Vendor, sandbox: SandboxProcess) -> None:
    one, other = vendor.started(), vendor.started()
    sandbox.add_fault("status", UNKNOWN_ERROR, report_id=one)
    assert (vendor.poll(one).status_code, vendor.poll(other).status_code) == (500, 200)


def test_a_rule_strikes_the_attempt_it_names(vendor: Vendor, sandbox: SandboxProcess) -> None:
    window = {"startDate": "2024-05-05T00:00:00Z", "endDate": "2024-05-06T00:00:00Z"}
    sandbox.add_fault("status", {"kind": "status", "status": "FAILED"}, attempt=1, day="2024-05-05")
    first, second = vendor.started("retail", **window), vendor.started("retail", **window)
    assert statuses(vendor, first, 3) == ["FAILED"] * 3
    assert statuses(vendor, second, 3) == ["SUCCEEDED"] * 3


def test_failed_can_turn_into_queued_again_for_each_report(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault(
        "status", {"kind": "status", "status": "FAILED", "then": ["FAILED", "QUEUED", "RUNNING"]}
    )
    for report_id in (vendor.started(), vendor.started()):
        assert statuses(vendor, report_id, 5) == ["FAILED", "FAILED", "QUEUED", "RUNNING", "SUCCEEDED"]


def test_a_status_can_be_any_word_for_ever(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.started()
    sandbox.add_fault("status", {"kind": "status", "status": "PURRING"}, report_id=report_id)
    assert statuses(vendor, report_id, 4) == ["PURRING"] * 4


def test_an_answer_can_be_slow_and_other_callers_do_not_wait_for_it(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    report_id = vendor.started()
    sandbox.add_fault("status", {"kind": "slow", "seconds": 30}, report_id=report_id)
    with pytest.raises(httpx.ReadTimeout):
        vendor.http.get(f"{AVR}/{report_id}", timeout=0.3)
    assert vendor.status(vendor.started()) == "SUCCEEDED"


def test_a_slow_answer_can_also_be_a_wrong_one(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", {"kind": "slow", "seconds": 0.2})
    sandbox.add_fault("start", UNKNOWN_ERROR)
    before = time.monotonic()
    assert vendor.start(type="virtual").status_code == 500
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("after_bytes", [0, 1, 5000])
def test_a_body_that_ends_early_is_an_error_where_its_end_is_told(
    vendor: Vendor, sandbox: SandboxProcess, framing: str, after_bytes: int
) -> None:
    sandbox.change_settings(framing=framing)
    report_id = vendor.finished()
    whole = vendor.data(report_id).content
    sandbox.add_fault("data", {"kind": "cut", "after_bytes": after_bytes, "how": "close"}, times=1)
    received: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        read_into(received, vendor, report_id)
    assert b"".join(received) == whole[:after_bytes]
    assert vendor.data(report_id).content == whole


def test_a_body_that_ends_early_looks_whole_where_its_end_is_not_told(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    sandbox.change_settings(framing="close")
    report_id = vendor.finished()
    whole = vendor.data(report_id)
    assert "content-length" not in whole.headers
    assert "transfer-encoding" not in whole.headers
    sandbox.add_fault("data", {"kind": "cut", "after_bytes": 5000, "how": "close"})
    assert vendor.data(report_id).content == whole.content[:5000] != whole.content


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_reset_connection_is_an_error_however_the_end_is_told(
    vendor: Vendor, sandbox: SandboxProcess, framing: str
) -> None:
    sandbox.change_settings(framing=framing)
    report_id = vendor.finished()
    sandbox.add_fault("data", {"kind": "cut", "after_bytes": 5000, "how": "reset"})
    with pytest.raises(httpx.ReadError):
        vendor.data(report_id)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_the_same_bytes_arrive_however_their_end_is_told(
    vendor: Vendor, sandbox: SandboxProcess, framing: str
) -> None:
    report_id = vendor.finished()
    whole = vendor.data(report_id).content
    sandbox.change_settings(framing=framing)
    answer = vendor.data(report_id)
    assert answer.content == whole
    assert ("content-length" in answer.headers) == (framing == "length")
    assert ("transfer-encoding" in answer.headers) == (framing == "chunked")


@pytest.mark.parametrize(
    "content", [b"", b'\xef\xbb\xbf"visit_id"\r\n"1"\r\n', b"\xff\xfe", b'"visit_id"\n"1","2"\n']
)
def test_a_body_can_be_replaced_by_any_bytes(vendor: Vendor, sandbox: SandboxProcess, content: bytes) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("data", {"kind": "body", "base64": base64.b64encode(content).decode()})
    answer = vendor.data(report_id)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"].startswith("text/csv")


def test_a_body_can_be_replaced_by_text(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("data", {"kind": "body", "text": '"visit_id"\n"é"\n'})
    assert vendor.data(report_id).text == '"visit_id"\n"é"\n'


def test_a_lost_response_leaves_a_report_behind(vendor: Vendor, sandbox: SandboxProcess) -> None:
    before = len(sandbox.reports())
    sandbox.add_fault("start", {"kind": "lose_response"}, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        vendor.start(type="retail", **DAY)
    orphan = sandbox.reports()[before]
    assert orphan["type"] == "retail"
    eventually(lambda: vendor.status(orphan["id"]) == "SUCCEEDED")


def test_a_result_can_be_gone_early(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("data", {"kind": "expired"}, times=1)
    gone = vendor.data(report_id)
    assert (gone.status_code, gone.json()) == (404, {"error": "QueryExecution Not Found"})
    assert vendor.data(report_id).status_code == 200


def test_a_tenant_can_refuse_a_type_that_is_documented(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", {"kind": "refuse_type"}, type="provider_booking")
    refused = vendor.start(type="provider_booking", **DAY)
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "'type' must be one of [retail, virtual]"},
    )
    assert vendor.start(type="virtual", **DAY).status_code == 200


def test_a_caller_without_the_key_uses_no_fault_up(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("start", UNKNOWN_ERROR, times=1)
    assert httpx.post(sandbox.url + AVR, json={"type": "virtual"}).status_code == 403
    assert vendor.start(type="virtual").status_code == 500


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"operation": "start"},
        {"operation": "begin", "fault": {"kind": "expired"}},
        {"operation": "start", "fault": {"kind": "explode"}},
        {"operation": "start", "fault": {"kind": "expired"}},
        {"operation": "data", "fault": {"kind": "shift", "insert": 1}},
        {"operation": "data", "fault": {"kind": "body"}},
        {"operation": "data", "fault": {"kind": "body", "base64": "?"}},
        {"operation": "data", "fault": {"kind": "cut"}},
        {"operation": "data", "fault": {"kind": "cut", "after_bytes": 1, "how": "gently"}},
        {"operation": "data", "fault": {"kind": "expired"}, "typ": "virtual"},
        {"operation": "data", "fault": {"kind": "expired"}, "type": "Virtual"},
        {"operation": "data", "fault": {"kind": "expired"}, "day": "yesterday"},
        {"operation": "data", "fault": {"kind": "expired"}, "times": -1},
        {"operation": "data", "fault": {"kind": "slow", "seconds": "long"}},
        {"operation": "data", "fault": {"kind": "http", "status": 99, "body": {}}},
        {"operation": "status", "fault": {"kind": "status"}},
        {"operation": "status", "fault": {"kind": "status", "status": "FAILED", "then": "QUEUED"}},
        "boom",
    ],
)
def test_a_rule_that_could_never_match_is_refused(sandbox: SandboxProcess, rule: Any) -> None:
    answer = httpx.post(f"{sandbox.url}/_sandbox/faults", json=rule)
    assert answer.status_code == 400
    assert answer.json()["error"]
