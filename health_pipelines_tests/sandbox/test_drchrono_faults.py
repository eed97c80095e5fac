"""What can be made to go wrong with the sandbox's DrChrono, and rows that change while somebody is paging."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from health_pipelines_tests.sandbox.drchrono_vendor import KEYS, NAMES, DrChrono, drchrono_sandbox
from health_pipelines_tests.support.sandbox_process import SandboxProcess

GONE = {"detail": "Invalid uuid specified"}


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxProcess]:
    with drchrono_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: SandboxProcess) -> Iterator[SandboxProcess]:
    settings = shared.control("GET", "settings")
    shared.forget_calls()
    yield shared
    shared.clear_faults()
    shared.change_settings(**settings)


@pytest.fixture
def vendor(sandbox: SandboxProcess) -> DrChrono:
    return DrChrono(sandbox)


def keys(rows: list[dict[str, Any]], name: str = "line_items") -> list[str]:
    return [str(row[KEYS[name]]) for row in rows]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({}, (200, "Failed")),
        ({"status": "Canceled"}, (200, "Canceled")),
        ({"status": "Error"}, (500, "Error")),
        ({"status": "Failed", "http": 500}, (500, "Failed")),
    ],
)
@pytest.mark.parametrize("operation", ["list_start", "list_poll"])
def test_a_list_can_die_and_stays_dead(
    vendor: DrChrono, sandbox: SandboxProcess, operation: str, fault: dict[str, Any], told: tuple[int, str]
) -> None:
    http, word = told
    sandbox.add_fault(operation, {"kind": "dead", **fault}, list="patients", times=1)
    uuid, other = vendor.started("patients"), vendor.started("patients")
    for _ in range(2):
        answer = vendor.poll("patients", uuid)
        assert answer.status_code == http
        assert {"status": word, "uuid": uuid}.items() <= answer.json().items()
        assert ("detail" in answer.json()) == (http == 500)
        assert "results" not in answer.json()
    assert vendor.poll("patients", other).json()["status"] == "Complete"


def test_a_list_that_will_die_is_in_progress_before() -> None:
    with drchrono_sandbox(drchrono_list_seconds="60") as sandbox:
        vendor = DrChrono(sandbox)
        sandbox.add_fault("list_start", {"kind": "dead"}, times=1)
        uuid = vendor.started("patients")
        assert vendor.poll("patients", uuid).json()["status"] == "In progress"
        sandbox.advance_clock(61)
        assert vendor.poll("patients", uuid).json()["status"] == "Failed"


@pytest.mark.parametrize("operation", ["list_start", "list_poll"])
def test_a_list_can_be_in_progress_until_it_is_gone(operation: str) -> None:
    with drchrono_sandbox() as sandbox:
        vendor = DrChrono(sandbox)
        sandbox.add_fault(operation, {"kind": "never_finish"}, times=1)
        uuid = vendor.started("patients")
        for _ in range(3):
            assert vendor.poll("patients", uuid).json() == {"status": "In progress", "uuid": uuid}
            sandbox.advance_clock(1100)
        sandbox.advance_clock(400)
        assert vendor.poll("patients", uuid).json() == GONE


def test_a_list_can_be_gone_early_and_for_good(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    uuid = vendor.started("patients")
    sandbox.add_fault("list_poll", {"kind": "expired"}, uuid=uuid, times=1)
    for _ in range(2):
        answer = vendor.poll("patients", uuid)
        assert (answer.status_code, answer.json()) == (404, GONE)


@pytest.mark.parametrize("operation", ["list_start", "list_poll", "deletions", "token"])
def test_every_call_can_be_throttled_in_the_words_seen_in_the_wild(
    vendor: DrChrono, sandbox: SandboxProcess, operation: str
) -> None:
    uuid = vendor.started("patients")
    sandbox.add_fault(operation, {"kind": "throttle", "seconds": 2295}, times=1)
    sandbox.add_fault(operation, {"kind": "throttle", "seconds": 1.5, "retry_after": 7}, times=1)

    def call() -> httpx.Response:
        match operation:
            case "list_start":
                return vendor.start("patients")
            case "list_poll":
                return vendor.poll("patients", uuid)
            case "deletions":
                return vendor.http.get("/api/line_item_deletions")
            case _:
                return vendor.refresh("unknown")

    first, second = call(), call()
    assert first.status_code == second.status_code == 429
    assert first.json() == {"detail": "Request was throttled. Expected available in 2295.0 seconds."}
    assert second.json() == {"detail": "Request was throttled. Expected available in 1.5 seconds."}
    assert ("retry-after" in first.headers, second.headers["retry-after"]) == (False, "7")
    assert call().status_code != 429


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_form_of_the_path_leads_to_the_same_list(
    vendor: DrChrono, sandbox: SandboxProcess, status: int
) -> None:
    sandbox.add_fault("list_start", {"kind": "redirect", "status": status}, times=1)
    sent = vendor.start("patients", page_size=3)
    assert sent.status_code == status
    assert sent.headers["location"] == "/api/patients_list/?page_size=3&since=2026-02-01"
    answer = vendor.http.post(sent.headers["location"])
    assert vendor.poll("patients", answer.json()["uuid"]).json()["pagination"]["page_size"] == 3


def test_a_redirect_to_another_host_tells_who_followed_with_the_token(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    sandbox.add_fault("list_poll", {"kind": "redirect", "to": "other"}, times=1)
    sent = vendor.poll("patients", "7")
    assert sent.status_code == 302
    location = sent.headers["location"]
    assert httpx.URL(location).host not in ("127.0.0.1", "")
    assert location.endswith("/api/patients_list?uuid=7")
    httpx.get(location)
    httpx.get(location, headers={"Authorization": "Bearer sandbox-token"})
    counted = sandbox.calls()["by_operation"]
    assert (counted["elsewhere"], counted["elsewhere_with_credentials"]) == (2, 1)


def test_a_redirect_can_lead_anywhere(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("list_poll", {"kind": "redirect", "status": 307, "to": "/api/line_items_list"}, times=1)
    assert vendor.poll("patients", "7").headers["location"] == "/api/line_items_list"


def test_a_body_can_be_cut_and_an_answer_lost_or_late_or_html(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    uuid = vendor.started("patients")
    sandbox.add_fault("list_poll", {"kind": "cut", "after_bytes": 100}, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        vendor.poll("patients", uuid)
    sandbox.change_settings(framing="close")
    sandbox.add_fault("list_poll", {"kind": "cut", "after_bytes": 100}, times=1)
    with pytest.raises(json.JSONDecodeError):
        vendor.poll("patients", uuid).json()
    before = len(sandbox.drchrono_lists())
    sandbox.add_fault("list_start", {"kind": "lose_response"}, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        vendor.start("patients")
    assert len(sandbox.drchrono_lists()) == before + 1, "an orphan"
    sandbox.add_fault("list_poll", {"kind": "slow", "seconds": 0.3}, times=1)
    began = time.monotonic()
    assert vendor.poll("patients", uuid).status_code == 200
    assert time.monotonic() - began >= 0.3
    sandbox.add_fault("list_start", {"kind": "http", "status": 502, "text": "<html>"}, times=1)
    assert (vendor.start("patients").text, vendor.start("patients").status_code) == ("<html>", 201)
    sandbox.add_fault("list_start", {"kind": "body", "text": "[]"}, times=1)
    assert vendor.start("patients").json() == []


def test_a_rule_strikes_the_list_the_page_and_the_attempt_it_names(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    broken = {"kind": "http", "status": 500, "body": {}}
    sandbox.add_fault("list_start", broken, list="line_items", page=2, attempt=2)
    asked = {"page_size": 23, "page": 2}
    assert vendor.start("patients", **asked).status_code == 201
    assert vendor.start("line_items", page_size=23, page=1).status_code == 201
    assert [vendor.start("line_items", **asked).status_code for _ in range(2)] == [201, 500]
    uuid = vendor.started("line_items", page_size=23, page=1)
    sandbox.add_fault("list_poll", broken, list="line_items", page=1)
    assert vendor.poll("line_items", uuid).status_code == 500
    assert vendor.poll("line_items", vendor.started("line_items", page_size=23, page=3)).status_code == 200


def test_records_can_change_just_before_the_nth_page(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    first = vendor.page("line_items", page_size=10)
    victim, changed = keys(first["results"])[:2]
    fault = {
        "kind": "change",
        "remove": [victim],
        "update": [int(changed)],
        "insert": 1,
        "set": {"code": "x"},
    }
    sandbox.add_fault("list_start", fault, list="line_items", page=2, times=1)
    expected = keys(sandbox.drchrono_records("line_items"))[11:21]
    second = vendor.page("line_items", page_size=10, page=2)
    assert keys(second["results"]) == expected, "the eleventh row slipped to the page before"
    assert second["pagination"]["count"] == first["pagination"]["count"]
    now = {str(row["id"]): row for row in sandbox.drchrono_records("line_items")}
    assert victim not in now
    assert now[changed]["code"] == "x"
    assert now[changed]["updated_at"].startswith("2026-03-20")
    assert list(now.values())[-1]["code"] == "x"
    deleted = vendor.http.get("/api/line_item_deletions", params={"since": "2026-03-20"}).json()["data"]
    assert int(victim) in {row["billing_line_item_id"] for row in deleted}


def test_records_of_another_type_can_change_while_a_list_is_polled(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    count = len(sandbox.drchrono_records("transactions"))
    uuid = vendor.started("patients")
    sandbox.add_fault("list_poll", {"kind": "change", "list": "transactions", "insert": 2}, times=1)
    assert vendor.poll("patients", uuid).json()["status"] == "Complete"
    assert len(sandbox.drchrono_records("transactions")) == count + 2


@pytest.mark.parametrize("operation", ["list_start", "list_poll"])
def test_a_change_of_a_record_that_is_not_there_is_loud(
    vendor: DrChrono, sandbox: SandboxProcess, operation: str
) -> None:
    sandbox.add_fault(operation, {"kind": "change", "remove": ["1"]}, times=1)
    answer = vendor.poll("patients", vendor.started("patients"))
    assert answer.status_code == 500
    assert answer.json()["detail"] == "sandbox: no record of patients has the key '1'"


@pytest.mark.parametrize("name", NAMES)
def test_a_record_of_each_type_can_be_changed_by_its_key(sandbox: SandboxProcess, name: str) -> None:
    before = sandbox.drchrono_records(name)
    some = before[3][KEYS[name]]
    (inserted,) = sandbox.change_records(name, insert=1, update=[some], set={"marked": name})
    after = {str(row[KEYS[name]]): row for row in sandbox.drchrono_records(name)}
    assert len(after) == len(before) + 1
    assert after[str(some)]["marked"] == after[inserted]["marked"] == name
    assert keys(sandbox.drchrono_records(name), name)[-1] == inserted, "the newest has the greatest id"
    sandbox.change_records(name, remove=[inserted])
    assert len(sandbox.drchrono_records(name)) == len(before)


def test_undocumented_and_ill_typed_values_can_be_planted_without_a_change(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    sandbox.change_records("patients", insert=1)
    row = sandbox.drchrono_records("patients")[-1]
    odd = {
        "doctor": "Dr. Who",
        "copay": {"deep": [1, None]},
        "undocumented": True,
        "_extra": 1,
        "updated_at": 7,
    }
    sandbox.change_records("patients", plant={row["id"]: odd})
    (found,) = [one for one in vendor.rows("patients") if one["id"] == row["id"]]
    assert found == row | odd
    sandbox.change_records("patients", remove=[row["id"]])


def test_an_updated_record_moves_to_the_end_and_says_something_else(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    before = vendor.rows("appointments", order_by="updated_at", show_archived="true")[0]
    sandbox.advance_clock(5)
    sandbox.change_records("appointments", update=[before["id"]])
    after = vendor.rows("appointments", order_by="updated_at", show_archived="true")[-1]
    assert after["id"] == before["id"]
    assert after["updated_at"] > before["updated_at"]
    differing = {field for field in before if before[field] != after[field]}
    assert len(differing) > 1
    assert "created_at" not in differing


@pytest.mark.parametrize("name", NAMES)
def test_rows_change_while_somebody_is_paging(name: str) -> None:
    with drchrono_sandbox(drchrono_churn=30, drchrono_ties="stable") as sandbox:
        vendor = DrChrono(sandbox)
        order = "updated_at"
        before = {str(row[KEYS[name]]): row for row in sandbox.drchrono_records(name)}
        rows = vendor.rows(name, page_size=max(1, len(before) // 8), order_by=order, show_archived="true")
        after = {str(row[KEYS[name]]): row for row in sandbox.drchrono_records(name)}
        seen = keys(rows, name)
        stayed = before.keys() & after.keys()
        assert after.keys() - before.keys(), "some were inserted"
        assert [key for key in stayed if before[key] != after[key]], "some were changed"
        removed = before.keys() - after.keys()
        assert bool(removed) == (name in ("line_items", "transactions"))
        assert len(set(seen)) < len(seen) or stayed - set(seen), "a row came twice or slipped through"
        if name == "line_items":
            gone = vendor.http.get("/api/line_item_deletions", params={"since": "2026-03-20"}).json()["data"]
            assert {int(key) for key in removed} <= {row["billing_line_item_id"] for row in gone}
        if name == "appointments":
            assert [key for key in stayed if after[key]["deleted_flag"] and not before[key]["deleted_flag"]]


def test_the_same_seed_changes_the_same_rows() -> None:
    def told() -> list[str]:
        with drchrono_sandbox(drchrono_churn=20) as sandbox:
            for page in (1, 2, 3):
                DrChrono(sandbox).start("patients", page=page)
            return [row["city"] for row in sandbox.drchrono_records("patients")]

    with drchrono_sandbox() as calm:
        undisturbed = [row["city"] for row in calm.drchrono_records("patients")]
    assert told() == told() != undisturbed


@pytest.mark.parametrize(
    "rule",
    [
        {"operation": "list_start", "fault": {"kind": "expired"}},
        {"operation": "token", "fault": {"kind": "dead"}},
        {"operation": "start", "fault": {"kind": "throttle"}},
        {"operation": "list_poll", "fault": {"kind": "status", "status": "FAILED"}},
        {"operation": "list_poll", "fault": {"kind": "dead", "status": "Dead"}},
        {"operation": "list_poll", "fault": {"kind": "dead", "http": 404}},
        {"operation": "list_poll", "fault": {"kind": "redirect", "status": 200}},
        {"operation": "list_poll", "fault": {"kind": "throttle", "seconds": "long"}},
        {"operation": "list_start", "fault": {"kind": "change"}},
        {"operation": "list_start", "fault": {"kind": "change", "remove": "1"}},
        {"operation": "list_start", "fault": {"kind": "change", "insert": -1}},
        {"operation": "list_start", "fault": {"kind": "change", "insert": 1, "list": "people"}},
        {"operation": "list_start", "fault": {"kind": "change", "plant": {"1": 2}}},
        {"operation": "list_start", "fault": {"kind": "never_finish"}, "list": "visits"},
        {"operation": "list_start", "fault": {"kind": "never_finish"}, "page": "two"},
    ],
)
def test_a_rule_that_could_never_match_is_refused(sandbox: SandboxProcess, rule: Any) -> None:
    answer = httpx.post(f"{sandbox.url}/_sandbox/faults", json=rule)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("people", {"insert": 1}),
        ("patients", {}),
        ("patients", {"list": "patients", "insert": 1}),
        ("patients", {"delete": ["1"]}),
        ("patients", {"remove": ["1"]}),
        ("patients", {"set": [], "insert": 1}),
    ],
)
def test_a_mistaken_change_is_refused_and_changes_nothing(
    sandbox: SandboxProcess, name: str, change: dict[str, Any]
) -> None:
    before = sandbox.drchrono_records("patients")
    answer = httpx.post(f"{sandbox.url}/_sandbox/drchrono/records/{name}", json=change)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert sandbox.drchrono_records("patients") == before


def test_only_appointments_are_archived(sandbox: SandboxProcess) -> None:
    key = sandbox.drchrono_records("patients")[0]["id"]
    answer = httpx.post(f"{sandbox.url}/_sandbox/drchrono/records/patients", json={"archive": [key]})
    assert (answer.status_code, answer.json()) == (400, {"error": "only appointments are archived"})


@pytest.mark.parametrize("query", ["since=yesterday", "since=2026-03-01T10:00:00"])
def test_a_mistaken_question_for_the_truth_is_refused(sandbox: SandboxProcess, query: str) -> None:
    assert httpx.get(f"{sandbox.url}/_sandbox/drchrono/records/patients?{query}").status_code == 400
    assert httpx.get(f"{sandbox.url}/_sandbox/drchrono/records/people").status_code == 400
    assert httpx.post(f"{sandbox.url}/_sandbox/drchrono/quota", json={"calls": "many"}).status_code == 400


def test_the_truth_can_be_asked_for_since_a_day_and_with_verbose_fields(sandbox: SandboxProcess) -> None:
    everything = sandbox.drchrono_records("patients", fields="id,updated_at")
    late = sandbox.drchrono_records("patients", since="2026-03-18", fields="id,updated_at")
    assert late == [row for row in everything if str(row["updated_at"]) >= "2026-03-18"]
    assert "primary_insurance" in sandbox.drchrono_records("patients", verbose="true")[0]
