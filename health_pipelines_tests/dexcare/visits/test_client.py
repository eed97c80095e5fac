"""The DexCare client against the sandbox: every documented answer, and what it becomes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TypeVar
from uuid import uuid4

import pytest

from health_pipelines.dexcare.connection import UnexpectedAnswerError
from health_pipelines.dexcare.visits.client import (
    DexCareClient,
    ReportGoneError,
    ReportNotReadyError,
    ReportStatus,
    ReportType,
    vendor_time,
)
from health_pipelines.http import AccessDeniedError, Downloaded, PermanentError, RefusedError, TransientError
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.support.sandbox_process import SandboxProcess

T = TypeVar("T")
START, END = datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)
QUICK = HttpPolicy(attempts=3, timeout_seconds=5, wait_initial_seconds=0.01, wait_jitter_seconds=0.01)


def call(
    vendor: SandboxProcess,
    work: Callable[[DexCareClient], Awaitable[T]],
    *,
    key: str = "SECRET_TOKEN",
    policy: HttpPolicy = QUICK,
) -> T:
    async def with_client() -> T:
        async with DexCareClient(vendor.url, Secret(key), policy) as client:
            return await work(client)

    return asyncio.run(with_client())


def start(vendor: SandboxProcess, type_: ReportType = ReportType.VIRTUAL) -> str:
    return call(vendor, lambda client: client.start_report(type_, START, END)).report_id


def download(vendor: SandboxProcess, report_id: str) -> tuple[Downloaded, bytes]:
    attempts: list[bytearray] = []

    def begin() -> Callable[[bytes], None]:
        attempts.append(bytearray())
        return attempts[-1].extend

    downloaded = call(vendor, lambda client: client.download_report(report_id, begin))
    return downloaded, bytes(attempts[-1])


@pytest.mark.parametrize("type_", list(ReportType))
def test_each_type_can_be_started_watched_and_downloaded(vendor: SandboxProcess, type_: ReportType) -> None:
    report_id = start(vendor, type_)
    assert call(vendor, lambda client: client.report_status(report_id)) is ReportStatus.SUCCEEDED
    downloaded, body = download(vendor, report_id)
    assert downloaded == Downloaded(len(body), end_is_proven=True)
    assert body.startswith(b'"visit_id"')
    assert next(report["type"] for report in vendor.reports() if report["id"] == report_id) == type_


def test_a_window_goes_out_in_the_vendors_format_and_in_utc() -> None:
    assert vendor_time(datetime(2022, 4, 13, 15, tzinfo=UTC)) == "2022-04-13T15:00:00+0000"
    seven_west = timezone(timedelta(hours=-7))
    assert vendor_time(datetime(2022, 4, 13, 17, 30, tzinfo=seven_west)) == "2022-04-14T00:30:00+0000"


def test_an_unknown_report_is_gone(vendor: SandboxProcess) -> None:
    unknown = str(uuid4())
    assert call(vendor, lambda client: client.report_status(unknown)) is ReportStatus.GONE
    with pytest.raises(ReportGoneError, match="QueryExecution Not Found"):
        download(vendor, unknown)


def test_an_expired_result_is_gone(vendor: SandboxProcess) -> None:
    report_id = start(vendor)
    vendor.add_fault("data", {"kind": "expired"})
    with pytest.raises(ReportGoneError):
        download(vendor, report_id)


def test_a_result_asked_for_too_early_is_not_ready(vendor: SandboxProcess) -> None:
    vendor.change_settings(queue_seconds="600")
    report_id = start(vendor)
    with pytest.raises(ReportNotReadyError, match="did not succeed"):
        download(vendor, report_id)


@pytest.mark.parametrize(
    "report_id", ["", "42", "not-a-guid", "../../../x", "{0b6a7b1e-9d3c-4f0a-8f57-2c1d5e4a9b60}"]
)
def test_an_id_that_is_no_guid_is_refused_before_it_goes_into_a_path(
    vendor: SandboxProcess, report_id: str
) -> None:
    vendor.forget_calls()
    with pytest.raises(PermanentError, match="is not a report id"):
        call(vendor, lambda client: client.report_status(report_id))
    assert vendor.calls()["total"] == 0


@pytest.mark.parametrize("envelope", ["error", "message", "msg"])
def test_the_vendors_words_are_found_in_all_three_envelopes(vendor: SandboxProcess, envelope: str) -> None:
    vendor.add_fault("start", {"kind": "http", "status": 400, "body": {envelope: "these words"}})
    with pytest.raises(RefusedError, match=r"^DexCare answered 400 to POST \S+: these words\.$"):
        start(vendor)


def test_a_bad_key_is_denied_once_and_never_shown(vendor: SandboxProcess) -> None:
    vendor.forget_calls()
    with pytest.raises(AccessDeniedError) as caught:
        call(vendor, lambda client: client.start_report(ReportType.VIRTUAL, START, END), key="s3cr3t-key")
    assert vendor.calls()["total"] == 1
    assert "bad service token" in str(caught.value)
    seen, error = "", caught.value
    while error is not None:
        seen += repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    assert "s3cr3t-key" not in seen


def test_a_key_that_the_vendor_repeats_is_taken_out_of_its_words(vendor: SandboxProcess) -> None:
    vendor.add_fault("start", {"kind": "http", "status": 400, "body": {"error": "dc-token SECRET_TOKEN?"}})
    with pytest.raises(RefusedError) as caught:
        start(vendor)
    assert "SECRET_TOKEN" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_server_error_is_tried_again_up_to_the_limit(vendor: SandboxProcess) -> None:
    report_id = start(vendor)
    fault = {"kind": "http", "status": 500, "body": {"error": "Unknown error"}}
    vendor.add_fault("status", fault, times=2)
    assert call(vendor, lambda client: client.report_status(report_id)) is ReportStatus.SUCCEEDED
    vendor.add_fault("status", fault)
    vendor.forget_calls()
    with pytest.raises(TransientError, match="Unknown error"):
        call(vendor, lambda client: client.report_status(report_id))
    assert vendor.calls()["total"] == QUICK.attempts


def test_a_silent_vendor_is_a_transient_error(vendor: SandboxProcess) -> None:
    report_id = start(vendor)
    vendor.add_fault("status", {"kind": "slow", "seconds": 2})
    impatient = HttpPolicy(attempts=1, timeout_seconds=0.2)
    with pytest.raises(TransientError, match=r"was silent for 0\.2 s"):
        call(vendor, lambda client: client.report_status(report_id), policy=impatient)


def test_a_throttled_call_waits_as_long_as_the_vendor_says(vendor: SandboxProcess) -> None:
    report_id = start(vendor)
    throttled = {
        "kind": "http",
        "status": 429,
        "body": {"message": "slow down"},
        "headers": {"Retry-After": "1"},
    }
    vendor.add_fault("status", throttled, times=1)
    before = datetime.now(UTC)
    assert call(vendor, lambda client: client.report_status(report_id)) is ReportStatus.SUCCEEDED
    assert (datetime.now(UTC) - before).total_seconds() >= 1


def test_every_lost_answer_to_a_start_is_counted(vendor: SandboxProcess) -> None:
    vendor.add_fault("start", {"kind": "lose_response"}, times=2)
    started = call(vendor, lambda client: client.start_report(ReportType.VIRTUAL, START, END))
    assert started.lost_starts == 2


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_body_that_ends_early_is_noticed_and_read_again_from_its_beginning(
    vendor: SandboxProcess, framing: str
) -> None:
    vendor.change_settings(framing=framing)
    report_id = start(vendor)
    _, whole = download(vendor, report_id)
    vendor.add_fault("data", {"kind": "cut", "after_bytes": 1000, "how": "reset"}, times=2)
    assert download(vendor, report_id)[1] == whole


def test_a_body_whose_end_the_transport_does_not_tell_says_so(vendor: SandboxProcess) -> None:
    vendor.change_settings(framing="close")
    downloaded, body = download(vendor, start(vendor))
    assert downloaded == Downloaded(len(body), end_is_proven=False)


def test_a_status_that_is_not_documented_is_named(vendor: SandboxProcess) -> None:
    report_id = start(vendor)
    vendor.add_fault("status", {"kind": "status", "status": "EXPIRED"})
    with pytest.raises(UnexpectedAnswerError, match="'EXPIRED'"):
        call(vendor, lambda client: client.report_status(report_id))


def test_a_start_without_a_guid_in_its_answer_is_an_error(vendor: SandboxProcess) -> None:
    vendor.add_fault("start", {"kind": "http", "status": 200, "body": {"id": "1"}})
    with pytest.raises(UnexpectedAnswerError, match="no 'id'"):
        start(vendor)


def test_a_redirect_is_not_followed_and_the_key_stays_home(vendor: SandboxProcess) -> None:
    elsewhere = {"Location": "https://elsewhere.example.com/"}
    vendor.add_fault("start", {"kind": "http", "status": 302, "body": {}, "headers": elsewhere})
    with pytest.raises(PermanentError, match="a redirect, which is not followed"):
        start(vendor)
