"""Who is let in to the sandbox's DrChrono, and how often: tokens, the quota, throttled calls."""

import time
from typing import Any

import httpx
import pytest

from health_pipelines_tests.sandbox.drchrono_vendor import NAMES, DrChrono, drchrono_sandbox
from health_pipelines_tests.sandbox.vendor import eventually
from health_pipelines_tests.support.sandbox_process import SandboxProcess

TWO_DAYS = 48 * 3600
WAIT = "Request was throttled. Expected available in {} seconds."


def lets_in(sandbox: SandboxProcess, token: str) -> bool:
    answer = DrChrono(sandbox, token).start("patients")
    if answer.status_code == 201:
        return True
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid token."})
    return False


def refreshed(vendor: DrChrono, token: str = "sandbox-refresh") -> dict[str, Any]:
    answer = vendor.refresh(token)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_nothing_is_answered_without_a_token_and_nothing_is_counted() -> None:
    with drchrono_sandbox() as sandbox, httpx.Client(base_url=sandbox.url) as anybody:
        paths = [("POST", f"/api/{name}_list?since=2026-03-01") for name in NAMES]
        paths += [("GET", f"/api/{name}_list?uuid=1") for name in NAMES]
        for method, path in [*paths, ("GET", "/api/line_item_deletions")]:
            for headers in ({}, {"Authorization": "dc-token sandbox-token"}):
                missing = anybody.request(method, path, headers=headers)
                assert missing.status_code == 401
                assert missing.json() == {"detail": "Authentication credentials were not provided."}
            for word in ("Bearer WRONG", "Bearer", "Bearer é"):
                wrong = anybody.request(method, path, headers={b"Authorization": word.encode()})
                assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid token."})
        assert sandbox.drchrono_quota() == {"used": 0, "throttled": 0}


def test_an_access_token_lives_two_days_and_the_fixed_one_for_ever() -> None:
    with drchrono_sandbox() as sandbox:
        given = refreshed(DrChrono(sandbox))
        assert given["expires_in"] == TWO_DAYS
        assert given["token_type"] == "Bearer"
        assert lets_in(sandbox, given["access_token"])
        sandbox.advance_clock(TWO_DAYS - 60)
        assert lets_in(sandbox, given["access_token"])
        sandbox.advance_clock(61)
        assert not lets_in(sandbox, given["access_token"])
        assert lets_in(sandbox, "sandbox-token")
        sandbox.change_settings(drchrono_access_token="rotated")
        assert not lets_in(sandbox, "sandbox-token")
        assert lets_in(sandbox, "rotated")


def test_access_tokens_can_be_revoked() -> None:
    with drchrono_sandbox() as sandbox:
        given = refreshed(DrChrono(sandbox))
        sandbox.control("DELETE", "drchrono/tokens")
        assert not lets_in(sandbox, given["access_token"])
        assert lets_in(sandbox, refreshed(DrChrono(sandbox), given["refresh_token"])["access_token"])


def test_a_refresh_token_is_replaced_and_the_old_one_stops_working() -> None:
    with drchrono_sandbox() as sandbox:
        vendor = DrChrono(sandbox)
        first = refreshed(vendor)
        again = vendor.refresh("sandbox-refresh")
        assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})
        second = refreshed(vendor, first["refresh_token"])
        assert len({first["refresh_token"], second["refresh_token"], "sandbox-refresh"}) == 3
        assert lets_in(sandbox, first["access_token"])
        assert lets_in(sandbox, second["access_token"])


def test_a_replaced_refresh_token_can_have_a_time_of_grace() -> None:
    with drchrono_sandbox(drchrono_refresh_grace_seconds=60) as sandbox:
        vendor = DrChrono(sandbox)
        refreshed(vendor)
        sandbox.advance_clock(30)
        refreshed(vendor)
        sandbox.advance_clock(31)
        assert vendor.refresh().status_code == 400, "a refresh in the time of grace does not prolong it"


def test_refresh_tokens_can_stay() -> None:
    with drchrono_sandbox(drchrono_rotate_refresh="no") as sandbox:
        vendor = DrChrono(sandbox)
        assert {refreshed(vendor)["refresh_token"] for _ in range(3)} == {"sandbox-refresh"}


def test_a_refresh_can_end_the_access_token_before() -> None:
    with drchrono_sandbox(drchrono_refresh_revokes="yes") as sandbox:
        vendor = DrChrono(sandbox)
        first = refreshed(vendor)
        second = refreshed(vendor, first["refresh_token"])
        assert not lets_in(sandbox, first["access_token"])
        assert lets_in(sandbox, second["access_token"])


def test_a_token_is_refused_in_oauths_words() -> None:
    with drchrono_sandbox() as sandbox:
        vendor = DrChrono(sandbox)
        for form, status, error in (
            ({"client_secret": "wrong"}, 401, "invalid_client"),
            ({"client_id": ""}, 401, "invalid_client"),
            ({"grant_type": "password"}, 400, "unsupported_grant_type"),
            ({"refresh_token": ""}, 400, "invalid_request"),
            ({"refresh_token": "unknown"}, 400, "invalid_grant"),
        ):
            token = form.get("refresh_token", "sandbox-refresh")
            rest = {name: value for name, value in form.items() if name != "refresh_token"}
            answer = vendor.refresh(token, **rest)
            assert (answer.status_code, answer.json()) == (status, {"error": error})
        in_json = httpx.post(f"{sandbox.url}/o/token/", json={"grant_type": "refresh_token"})
        assert (in_json.status_code, in_json.json()) == (400, {"error": "invalid_request"})
        basic = httpx.post(
            f"{sandbox.url}/o/token/",
            data={"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"},
            auth=("sandbox-client", "sandbox-secret"),
        )
        assert basic.status_code == 200


def test_a_refresh_whose_answer_is_lost_has_happened() -> None:
    with drchrono_sandbox() as sandbox:
        vendor = DrChrono(sandbox)
        sandbox.add_fault("token", {"kind": "lose_response"}, times=1)
        with pytest.raises(httpx.RemoteProtocolError):
            vendor.refresh()
        assert vendor.refresh().json() == {"error": "invalid_grant"}


def test_the_quota_begins_anew_at_the_full_hour() -> None:
    with drchrono_sandbox(now="2026-03-20T15:21:45+00:00", drchrono_calls_per_hour=5) as sandbox:
        vendor = DrChrono(sandbox)
        assert [vendor.start("patients").status_code for _ in range(6)] == [201] * 5 + [429]
        throttled = vendor.poll("patients", "1")
        assert throttled.status_code == 429
        seconds = 2295
        assert throttled.json()["detail"] in [WAIT.format(f"{seconds - late}.0") for late in range(10)]
        assert "retry-after" not in throttled.headers
        assert vendor.http.get("/api/line_item_deletions").status_code == 429
        sandbox.advance_clock(2280)
        assert vendor.start("patients").status_code == 429
        sandbox.advance_clock(16)
        assert vendor.start("patients").status_code == 201
        assert sandbox.drchrono_quota() == {"used": 1, "throttled": 4}


def test_polls_and_refused_parameters_use_the_quota_and_tokens_do_not() -> None:
    with drchrono_sandbox(drchrono_calls_per_hour=500) as sandbox:
        vendor = DrChrono(sandbox)
        vendor.page("patients")
        vendor.start("patients", order_by="shoe_size")
        sandbox.add_fault("list_poll", {"kind": "http", "status": 500, "body": {}}, times=1)
        vendor.poll("patients", "1")
        vendor.refresh()
        assert sandbox.drchrono_quota()["used"] == 5


def test_somebody_else_can_use_the_quota() -> None:
    with drchrono_sandbox(drchrono_calls_per_hour=500) as sandbox:
        sandbox.control("POST", "drchrono/quota", json={"calls": 499})
        assert [DrChrono(sandbox).start("patients").status_code for _ in range(2)] == [201, 429]


def test_calls_in_one_second_are_limited_and_the_next_second_is_another() -> None:
    with drchrono_sandbox(drchrono_calls_per_second=3, drchrono_count_refused="no") as sandbox:
        vendor = DrChrono(sandbox)
        vendor.http.get("/nowhere")

        refused: list[httpx.Response] = []

        def fourth_is_refused() -> bool:
            """Not where a busy machine takes more than a second for four calls."""
            answers = [vendor.poll("patients", "1") for _ in range(4)]
            refused[:] = answers[3:]
            return [answer.status_code for answer in answers] == [404] * 3 + [429]

        began = time.monotonic()
        eventually(fourth_is_refused)
        assert refused[0].json() == {"detail": WAIT.format("1.0")}
        eventually(lambda: vendor.poll("patients", "1").status_code == 404)
        assert time.monotonic() - began >= 1


def test_who_does_not_stop_calling_is_not_let_in_again() -> None:
    with drchrono_sandbox(drchrono_calls_per_second=2) as sandbox:
        vendor = DrChrono(sandbox)
        asked, statuses, answered = list[float](), list[int](), list[float]()
        while not asked or asked[-1] - asked[0] < 2:
            asked.append(time.monotonic())
            statuses.append(vendor.poll("patients", "1").status_code)
            answered.append(time.monotonic())
        assert statuses[:2] == [404, 404]
        assert 429 in statuses
        # A busy machine can stop calling for a second by itself.
        let_in = [call for call in range(2, len(statuses)) if statuses[call] != 429]
        assert all(answered[call] - asked[call - 2] >= 1 for call in let_in)


@pytest.mark.parametrize(("count_refused", "used"), [("yes", 4), ("no", 2)])
def test_throttled_calls_count_or_not(count_refused: str, used: int) -> None:
    with drchrono_sandbox(drchrono_calls_per_hour=2, drchrono_count_refused=count_refused) as sandbox:
        for _ in range(4):
            DrChrono(sandbox).start("patients")
        assert sandbox.drchrono_quota() == {"used": used, "throttled": 2}


def test_retry_after_is_sent_if_told_so() -> None:
    with drchrono_sandbox(drchrono_calls_per_hour=1, drchrono_retry_after="yes") as sandbox:
        vendor = DrChrono(sandbox)
        vendor.start("patients")
        throttled = vendor.start("patients")
        assert throttled.json() == {"detail": WAIT.format(f"{throttled.headers['retry-after']}.0")}
