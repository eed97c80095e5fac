"""What the sandbox refuses, and in which of the vendor's several envelopes."""

from uuid import uuid4

import httpx
import pytest

from health_pipelines_tests.sandbox.vendor import APR, AVR, DAY, Vendor
from health_pipelines_tests.support.sandbox_process import SandboxProcess

BAD_KEY = {"message": "Authorization failed: bad service token"}
NO_ROUTE = {"message": "no Route matched with those values"}
# Of no report. Not a random one: it is in names of tests, which have to be the same in every process.
UNKNOWN_ID = "0b6a7b1e-9d3c-4f0a-8f57-2c1d5e4a9b60"


@pytest.mark.parametrize(
    "authorization", [None, "", "SECRET_TOKEN", "Bearer SECRET_TOKEN", "dc-token WRONG", "dc-token é"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", AVR), ("GET", f"{AVR}/{UNKNOWN_ID}"), ("GET", f"{AVR}/{UNKNOWN_ID}/data"), ("POST", APR)],
)
def test_no_call_is_answered_without_the_key(
    sandbox: SandboxProcess, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    answer = httpx.request(method, sandbox.url + path, headers=headers)
    assert (answer.status_code, answer.json()) == (403, BAD_KEY)


@pytest.mark.parametrize("body", [{}, {"type": None}, {"type": ""}, DAY])
def test_a_report_must_have_a_type(vendor: Vendor, body: dict[str, object]) -> None:
    answer = vendor.start(**body)
    assert (answer.status_code, answer.json()) == (400, {"error": "'type' is required"})


@pytest.mark.parametrize("kind", ["all", "Virtual", "provider booking", 7, ["virtual"]])
def test_an_unknown_type_is_refused_in_words_that_forget_one(vendor: Vendor, kind: object) -> None:
    answer = vendor.start(type=kind, **DAY)
    assert (answer.status_code, answer.json()) == (400, {"error": "'type' must be one of [retail, virtual]"})


@pytest.mark.parametrize("kind", ["virtual", "retail", "provider_booking"])
def test_all_three_documented_types_are_taken(vendor: Vendor, kind: str) -> None:
    assert vendor.start(type=kind, **DAY).status_code == 200


def test_a_tenant_may_refuse_a_type_in_the_same_words(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(refused_types="provider_booking")
    answer = vendor.start(type="provider_booking", **DAY)
    assert (answer.status_code, answer.json()) == (400, {"error": "'type' must be one of [retail, virtual]"})
    assert vendor.start(type="virtual", **DAY).status_code == 200


@pytest.mark.parametrize("missing", ["startDate", "endDate"])
def test_one_date_needs_the_other(vendor: Vendor, missing: str) -> None:
    dates: dict[str, object] = {name: date for name, date in DAY.items() if name != missing}
    answer = vendor.start(type="virtual", **dates)
    assert (answer.status_code, answer.json()) == (400, {"error": f"'{missing}' is required"})


@pytest.mark.parametrize("start", ["yesterday", "2026-13-01T00:00:00Z", 20260301, "", "2026-03-01T00:00:00"])
def test_a_date_that_is_none_or_has_no_zone_is_refused(vendor: Vendor, start: object) -> None:
    answer = vendor.start(type="virtual", startDate=start, endDate=DAY["endDate"])
    assert answer.status_code == 400
    assert "'startDate'" in answer.json()["error"]


def test_a_window_that_ends_before_it_starts_is_refused(vendor: Vendor) -> None:
    answer = vendor.start(type="virtual", startDate=DAY["endDate"], endDate=DAY["startDate"])
    assert answer.status_code == 400
    assert "'endDate'" in answer.json()["error"]


@pytest.mark.parametrize(
    "start", ["2026-03-01T00:00:00Z", "2026-03-01T00:00:00.000+00:00", "2026-02-28T16:00:00-0800"]
)
def test_the_same_moment_may_be_written_in_any_iso_form(vendor: Vendor, start: str) -> None:
    window = {"startDate": start, "endDate": DAY["endDate"]}
    assert sorted(row["visit_id"] or "" for row in vendor.rows(**window)) == sorted(
        row["visit_id"] or "" for row in vendor.rows()
    )


@pytest.mark.parametrize(
    "content", [b"", b"type=virtual", b'{"type": "virtual"', b"[]", b'"virtual"', b"\xff"]
)
def test_a_start_body_that_is_no_json_object_is_refused(vendor: Vendor, content: bytes) -> None:
    answer = vendor.http.post(AVR, content=content)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


def test_a_status_of_something_that_is_no_guid_is_refused_with_the_vendors_odd_quoting(
    vendor: Vendor,
) -> None:
    answer = vendor.poll("not-a-guid")
    assert answer.status_code == 400
    assert answer.json()["msg"].startswith("getAvrQueryStatus bad request', not-a-guid, ")


def test_data_of_something_that_is_no_guid_is_refused(vendor: Vendor) -> None:
    answer = vendor.data("not-a-guid")
    assert (answer.status_code, answer.json()) == (400, {"error": "'reportId' must be a valid GUID"})


def test_a_report_nobody_started_is_not_found(vendor: Vendor) -> None:
    for answer in (vendor.poll(str(uuid4())), vendor.data(str(uuid4()))):
        assert (answer.status_code, answer.json()) == (404, {"error": "QueryExecution Not Found"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/8/reporting"),
        ("GET", AVR),
        ("DELETE", AVR),
        ("POST", f"{AVR}/"),
        ("POST", f"{AVR}/{UNKNOWN_ID}"),
        ("GET", f"{AVR}/{UNKNOWN_ID}/data/"),
        ("POST", "/api/7/reporting/allvisitsreport"),
        ("GET", APR),
    ],
)
def test_a_path_or_method_nobody_has_is_the_gateways_404(vendor: Vendor, method: str, path: str) -> None:
    answer = vendor.http.request(method, path)
    assert (answer.status_code, answer.json()) == (404, NO_ROUTE)
