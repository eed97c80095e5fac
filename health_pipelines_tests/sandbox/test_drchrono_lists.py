"""The life of a bulk list as its caller sees it: started, polled, paged, refused, gone."""

import itertools
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from health_pipelines_tests.sandbox.drchrono_vendor import (
    KEYS,
    NAMES,
    SINCE,
    WITH_CHANGE_TIME,
    DrChrono,
    drchrono_sandbox,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess

GONE = {"detail": "Invalid uuid specified"}


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxProcess]:
    with drchrono_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: SandboxProcess) -> Iterator[SandboxProcess]:
    settings = shared.control("GET", "settings")
    yield shared
    shared.clear_faults()
    shared.change_settings(**settings)


@pytest.fixture
def vendor(sandbox: SandboxProcess) -> DrChrono:
    return DrChrono(sandbox)


def in_progress(vendor: DrChrono, name: str, uuid: str) -> bool:
    answer = vendor.poll(name, uuid)
    assert answer.status_code == 200
    return bool(answer.json() == {"status": "In progress", "uuid": uuid})


@pytest.mark.parametrize("name", NAMES)
def test_a_list_is_started_and_fetched_as_the_vendors_page_says(
    vendor: DrChrono, sandbox: SandboxProcess, name: str
) -> None:
    answer = vendor.start(name, page=1, page_size=10)
    assert answer.status_code == 201
    uuid = answer.json()["uuid"]
    assert answer.json() == {
        "status": "In progress",
        "uuid": uuid,
        "description": f"Call {sandbox.url}/api/{name}_list?uuid={uuid} to get the list",
    }
    body = vendor.poll(name, uuid).json()
    assert list(body) == ["status", "pagination", "uuid", "results"]
    assert (body["status"], body["uuid"], len(body["results"])) == ("Complete", uuid, 10)
    count = body["pagination"]["count"]
    assert body["pagination"] == {"count": count, "pages": -(-count // 10), "page_size": 10, "page": 1}


@pytest.mark.parametrize("name", NAMES)
def test_all_pages_together_are_the_truth_and_no_row_comes_twice(
    vendor: DrChrono, sandbox: SandboxProcess, name: str
) -> None:
    sandbox.change_settings(drchrono_ties="stable")
    rows = vendor.rows(name, page_size=37, show_archived="true")
    truth = sandbox.drchrono_records(name)
    key = KEYS[name]
    assert len({str(row[key]) for row in rows}) == len(rows)
    assert sorted(rows, key=lambda row: str(row[key])) == sorted(truth, key=lambda row: str(row[key]))


def test_a_list_takes_its_time_and_is_ready_afterwards() -> None:
    with drchrono_sandbox(drchrono_list_seconds="100-200") as sandbox:
        vendor = DrChrono(sandbox)
        uuids = [vendor.started("patients") for _ in range(8)]
        assert all(in_progress(vendor, "patients", uuid) for uuid in uuids)
        sandbox.advance_clock(99)
        assert all(in_progress(vendor, "patients", uuid) for uuid in uuids)
        sandbox.advance_clock(50)
        assert len({in_progress(vendor, "patients", uuid) for uuid in uuids}) == 2, "each draws its own time"
        sandbox.advance_clock(52)
        assert not any(in_progress(vendor, "patients", uuid) for uuid in uuids)


def test_a_finished_list_stays_as_it_is(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    uuid = vendor.started("line_items", order_by="updated_at", page_size=1000)
    before = vendor.poll("line_items", uuid)
    newest = before.json()["results"][-1]["id"]
    sandbox.change_records("line_items", insert=3, update=[newest])
    assert vendor.poll("line_items", uuid).content == before.content


@pytest.mark.parametrize(("moment", "sees_it"), [("start", False), ("end", True)])
def test_a_list_looks_at_its_own_moment(moment: str, sees_it: bool) -> None:
    with drchrono_sandbox(drchrono_list_seconds="60", drchrono_query_moment=moment) as sandbox:
        vendor = DrChrono(sandbox)
        uuid = vendor.started("patients", page_size=1000)
        sandbox.advance_clock(30)
        (late,) = sandbox.change_records("patients", insert=1)
        sandbox.advance_clock(60)
        found = {str(row["id"]) for row in vendor.poll("patients", uuid).json()["results"]}
        assert (late in found) == sees_it


def test_lists_can_look_at_any_moment_while_they_are_prepared() -> None:
    with drchrono_sandbox(drchrono_list_seconds="60", drchrono_query_moment="random") as sandbox:
        vendor = DrChrono(sandbox)
        uuids = [vendor.started("patients", page_size=1000) for _ in range(24)]
        sandbox.advance_clock(30)
        sandbox.change_records("patients", insert=1)
        sandbox.advance_clock(60)
        counts = {vendor.poll("patients", uuid).json()["pagination"]["count"] for uuid in uuids}
        assert len(counts) == 2


def test_what_changes_after_a_list_has_looked_is_not_in_it_although_nobody_came_before() -> None:
    with drchrono_sandbox(drchrono_list_seconds="60") as sandbox:
        vendor = DrChrono(sandbox)
        uuid = vendor.started("patients", page_size=1000)
        sandbox.advance_clock(120)
        (late,) = sandbox.change_records("patients", insert=1)
        assert late not in {str(row["id"]) for row in vendor.poll("patients", uuid).json()["results"]}


@pytest.mark.parametrize("status", [404, 400])
def test_a_list_is_gone_after_an_hour(status: int) -> None:
    with drchrono_sandbox(drchrono_gone_status=status) as sandbox:
        vendor = DrChrono(sandbox)
        uuid = vendor.started("patients")
        sandbox.advance_clock(3590)
        assert vendor.poll("patients", uuid).status_code == 200
        sandbox.advance_clock(11)
        gone = vendor.poll("patients", uuid)
        assert (gone.status_code, gone.json()) == (status, GONE)


def test_a_uuid_is_good_for_its_own_endpoint_only(vendor: DrChrono) -> None:
    uuid = vendor.started("patients")
    for answer in (
        vendor.poll("line_items", uuid),
        vendor.poll("patients", str(uuid4())),
        vendor.poll("patients", ""),
        vendor.http.get("/api/patients_list"),
    ):
        assert (answer.status_code, answer.json()) == (404, GONE)


@pytest.mark.parametrize("name", NAMES)
def test_rows_come_in_the_order_asked_for(vendor: DrChrono, name: str) -> None:
    if name in WITH_CHANGE_TIME:
        times = [row["updated_at"] for row in vendor.rows(name, page_size=50, order_by="updated_at")]
        assert len(times) > 50
        assert times == sorted(times)
    if name == "appointments":
        times = [row["scheduled_time"] for row in vendor.rows(name, page_size=50)]
        assert times == sorted(times), "its default is the scheduled time"
    elif KEYS[name] == "id":
        ids = [row["id"] for row in vendor.rows(name, page_size=50)]
        assert ids == sorted(ids), "the default of the others is the id"


def test_equal_rows_come_in_another_order_in_each_query_unless_told_otherwise(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    def order() -> list[str]:
        rows = vendor.page("appointments", page_size=1000)["results"]
        return [row["id"] for row in rows]

    assert sorted(order()) == sorted(order())
    assert order() != order()
    uuid = vendor.started("appointments")
    assert vendor.poll("appointments", uuid).content == vendor.poll("appointments", uuid).content
    sandbox.change_settings(drchrono_ties="stable")
    assert order() == order()


def test_equal_rows_can_slip_between_two_pages_although_nothing_changes(vendor: DrChrono) -> None:
    rows = vendor.rows("appointments", page_size=7)
    assert len(rows) == vendor.page("appointments")["pagination"]["count"]
    assert len({row["id"] for row in rows}) < len(rows)


@pytest.mark.parametrize("name", WITH_CHANGE_TIME)
def test_since_is_inclusive_from_midnight_of_the_account(
    vendor: DrChrono, sandbox: SandboxProcess, name: str
) -> None:
    day = "2026-03-10"
    found = vendor.rows(name, since=day, show_archived="true")
    expected = [row for row in sandbox.drchrono_records(name) if row["updated_at"] >= day]
    assert {row["id"] for row in found} == {row["id"] for row in expected}
    assert len(expected) < len(sandbox.drchrono_records(name))


def test_since_finds_also_what_does_not_tell_its_change_time(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    before = {row["id"] for row in vendor.rows("prescription_messages", since="2026-03-20")}
    old = sandbox.drchrono_records("prescription_messages")[0]["id"]
    assert old not in before
    sandbox.change_records("prescription_messages", update=[old])
    assert {row["id"] for row in vendor.rows("prescription_messages", since="2026-03-20")} == before | {old}


def test_the_midnight_row_is_found_by_since_of_its_day(vendor: DrChrono) -> None:
    rows = vendor.rows("eligibility_checks", since="2026-03-17", order_by="updated_at")
    assert rows[0]["updated_at"][:10] == "2026-03-17"
    created = {row["created_at"] for row in vendor.rows("patients", since="2026-03-17")}
    assert "2026-03-17T00:00:00" in created


@pytest.mark.parametrize("name", ["appointments", "clinical_notes"])
def test_a_window_is_required_where_the_vendor_requires_one(vendor: DrChrono, name: str) -> None:
    answer = vendor.http.post(f"/api/{name}_list")
    assert answer.status_code == 400
    assert list(answer.json()) == ["detail"]
    for window in ({"since": SINCE}, {"date": "2026-03-01"}, {"date_range": "2026-03-01/2026-03-02"}):
        assert vendor.start(name, **window).status_code == 201


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("appointments", "clinical_notes")])
def test_a_window_is_not_required_elsewhere(vendor: DrChrono, name: str) -> None:
    assert vendor.http.post(f"/api/{name}_list").status_code == 201


@pytest.mark.parametrize(
    ("name", "params", "complains_of"),
    [
        ("appointments", {"order_by": "id"}, "order_by"),
        ("patients", {"order_by": "scheduled_time"}, "order_by"),
        ("patients", {"order_by": "-id"}, "order_by"),
        ("patients", {"page_size": 1001}, "page_size"),
        ("patients", {"page_size": 0}, "page_size"),
        ("patients", {"page_size": "many"}, "page_size"),
        ("clinical_note_field_values", {"page_size": 20001}, "page_size"),
        ("patients", {"page": 0}, "page"),
        ("patients", {"page": 1001}, "page"),
        ("patients", {"page": "1.5"}, "page"),
        ("patients", {"since": "yesterday"}, "since"),
        ("patients", {"since": "2026-13-01"}, "since"),
        ("patients", {"since": "20260301"}, "since"),
        ("patients", {"since": "2026-03-01T10:00:00"}, "since"),
        ("appointments", {"date": "2026-3-1"}, "date"),
        ("appointments", {"date_range": "2026-03-01"}, "date_range"),
        ("appointments", {"date_range": "2026-03-02/2026-03-01"}, "date_range"),
        ("line_items", {"patient": "Jane"}, "patient"),
    ],
)
def test_what_the_vendor_does_not_know_is_refused(
    vendor: DrChrono, sandbox: SandboxProcess, name: str, params: dict[str, object], complains_of: str
) -> None:
    before = len(sandbox.drchrono_lists())
    answer = vendor.start(name, **params)
    assert answer.status_code == 400
    ((parameter, words),) = answer.json().items()
    assert parameter == complains_of
    assert isinstance(words[0], str)
    assert len(sandbox.drchrono_lists()) == before


def test_the_largest_page_and_unknown_parameters_are_taken(vendor: DrChrono) -> None:
    assert (
        vendor.page("clinical_note_field_values", page_size=20000, colour="red")["pagination"]["pages"] == 1
    )
    assert vendor.start("patients", page_size=1000, page=1000).status_code == 201


def test_a_page_that_is_too_large_can_be_cut_down_instead(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(drchrono_oversize_page="clamp")
    assert vendor.page("patients", page_size=5000)["pagination"]["page_size"] == 1000


def test_a_since_with_a_time_of_day_can_be_taken_or_ignored(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    whole = {row["id"] for row in vendor.rows("line_items", since="2026-03-18")}
    sandbox.change_settings(drchrono_since_time="ignore")
    assert {row["id"] for row in vendor.rows("line_items", since="2026-03-18T12:00:00")} == whole
    sandbox.change_settings(drchrono_since_time="take")
    later = vendor.rows("line_items", since="2026-03-18T12:00:00")
    assert {row["id"] for row in later} < whole
    assert min(row["updated_at"] for row in later) >= "2026-03-18T12:00:00"


def test_a_page_beyond_the_last_is_empty_or_dead(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    body = vendor.page("patients", page_size=1000, page=9)
    assert body["results"] == []
    assert body["pagination"]["pages"] == 1
    assert body["pagination"]["page"] == 9
    sandbox.change_settings(drchrono_page_beyond_last="dead")
    uuid = vendor.started("patients", page_size=1000, page=9)
    answer = vendor.poll("patients", uuid)
    assert (answer.status_code, answer.json()) == (
        500,
        {"status": "Error", "uuid": uuid, "detail": "Invalid page."},
    )


def test_a_page_beyond_the_last_can_also_be_refused_or_be_the_last_again(
    vendor: DrChrono, sandbox: SandboxProcess
) -> None:
    sandbox.change_settings(drchrono_page_beyond_last="refused")
    answer = vendor.start("patients", page_size=1000, page=2)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})
    assert vendor.start("patients", page_size=1000, page=1).status_code == 201
    sandbox.change_settings(drchrono_page_beyond_last="repeated")
    last, behind = (vendor.page("patients", page_size=30, page=page) for page in (3, 9))
    assert (last["pagination"]["pages"], behind["pagination"]["page"]) == (3, 9)
    assert behind["results"] == last["results"] != []


def test_a_vendor_can_have_smaller_pages_than_documented(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(drchrono_largest_page=40)
    body = vendor.page("patients", page_size=1000)
    assert (len(body["results"]), body["pagination"]["page_size"]) == (40, 40)
    assert len(vendor.page("patients", page_size=20)["results"]) == 20
    # All the same, pages together are the list.
    assert {row["id"] for row in vendor.rows("patients")} == {
        row["id"] for row in sandbox.drchrono_records("patients")
    }


@pytest.mark.parametrize("order", ["falling", "arbitrary"])
def test_a_list_can_be_sorted_the_other_way_or_by_nothing_and_pages_still_make_it(
    vendor: DrChrono, sandbox: SandboxProcess, order: str
) -> None:
    rising = [row["id"] for row in vendor.rows("patients", order_by="id", page_size=30)]
    sandbox.change_settings(drchrono_list_order=order)
    ids = [row["id"] for row in vendor.rows("patients", order_by="id", page_size=30)]
    assert sorted(ids) == rising
    assert (ids == rising[::-1]) == (order == "falling")
    assert ids != rising


def test_since_can_be_compared_with_the_creation(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(drchrono_since_counts="created")
    day = "2026-03-10"
    found = {row["id"] for row in vendor.rows("transactions", since=day)}
    records = sandbox.drchrono_records("transactions")
    assert found == {row["id"] for row in records if row["created_at"] >= day}
    assert found < {row["id"] for row in records if row["updated_at"] >= day}


def test_the_day_of_since_can_begin_in_utc(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(drchrono_since_zone="utc")
    # Midnight in UTC is the evening before in New York, whose clocks were set ahead two days before.
    found = {row["id"] for row in vendor.rows("transactions", since="2026-03-10")}
    records = sandbox.drchrono_records("transactions")
    assert found == {row["id"] for row in records if row["updated_at"] >= "2026-03-09T20:00:00"}
    assert found > {row["id"] for row in records if row["updated_at"] >= "2026-03-10"}


def test_an_account_may_not_read_everything(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(drchrono_forbidden="patients,line_item_deletions")
    no = {"detail": "You do not have permission to perform this action."}
    answer = vendor.start("patients")
    assert (answer.status_code, answer.json()) == (403, no)
    assert vendor.http.get("/api/line_item_deletions", params={"since": SINCE}).status_code == 403
    assert vendor.start("appointments").status_code == 201


def test_nothing_found_is_one_empty_page(vendor: DrChrono) -> None:
    body = vendor.page("patients", since="2026-12-01")
    assert (body["results"], body["pagination"]["count"], body["pagination"]["pages"]) == ([], 0, 1)


def test_archived_appointments_come_on_request(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    key = next(row["id"] for row in sandbox.drchrono_records("appointments") if not row["deleted_flag"])
    sandbox.change_records("appointments", archive=[key])
    assert key not in {row["id"] for row in vendor.rows("appointments")}
    assert not any(row["deleted_flag"] for row in vendor.rows("appointments"))
    for word in ("true", "1"):
        found = {row["id"]: row for row in vendor.rows("appointments", show_archived=word)}
        assert found[key]["deleted_flag"] is True


FILTERS = [
    ("appointments", "status", "status"),
    ("appointments", "patient", "patient"),
    ("appointments", "office", "office"),
    ("appointments", "doctor", "doctor"),
    ("patients", "first_name", "first_name"),
    ("patients", "last_name", "last_name"),
    ("patients", "preferred_language", "preferred_language"),
    ("patients", "gender", "gender"),
    ("patients", "date_of_birth", "date_of_birth"),
    ("patients", "race", "race"),
    ("patients", "chart_id", "chart_id"),
    ("patients", "email", "email"),
    ("patients", "ethnicity", "ethnicity"),
    ("line_items", "posted_date", "posted_date"),
    ("line_items", "patient", "patient"),
    ("line_items", "doctor", "doctor"),
    ("line_items", "appointment", "appointment"),
    ("line_items", "service_date", "service_date"),
    ("transactions", "line_item", "line_item"),
    ("transactions", "posted_date", "posted_date"),
    ("transactions", "appointment", "appointment"),
    ("transactions", "doctor", "doctor"),
    ("prescription_messages", "patient", "patient"),
    ("prescription_messages", "doctor", "doctor"),
    ("prescription_messages", "parent_message", "parent_message"),
    ("eligibility_checks", "patient", "patient"),
    ("eligibility_checks", "query_date", "query_date"),
    ("eligibility_checks", "service_types", "request_service_type"),
    ("clinical_notes", "patient", "patient"),
    ("clinical_note_field_values", "appointment", "appointment"),
]


@pytest.mark.parametrize(("name", "parameter", "field"), FILTERS)
def test_a_filter_finds_what_it_says(
    vendor: DrChrono, sandbox: SandboxProcess, name: str, parameter: str, field: str
) -> None:
    rows = sandbox.drchrono_records(name)
    value = next(row[field] for row in rows if row[field] not in (None, "") and not row.get("deleted_flag"))
    wanted = [row for row in rows if row[field] == value and not row.get("deleted_flag")]
    found = vendor.rows(name, **{parameter: value})
    key = KEYS[name]
    assert {row[key] for row in found} == {row[key] for row in wanted}
    assert len(found) < len(rows)


def test_messages_are_found_by_the_day_of_their_creation(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    found = vendor.rows("prescription_messages", created_at="2026-03-10")
    rows = sandbox.drchrono_records("prescription_messages")
    assert (
        [row["id"] for row in found]
        == [row["id"] for row in rows if row["created_at"][:10] == "2026-03-10"]
        != []
    )


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("line_items", "office"),
        ("clinical_notes", "office"),
        ("clinical_notes", "doctor"),
        ("clinical_note_field_values", "clinical_note_template"),
    ],
)
def test_a_filter_by_something_that_is_not_sent_splits_the_rows(
    vendor: DrChrono, name: str, parameter: str
) -> None:
    values = {"office": range(200201, 200204), "doctor": range(100101, 100107)}
    parts = [vendor.rows(name, **{parameter: value}) for value in values.get(parameter, range(500, 503))]
    key = KEYS[name]
    together = [row[key] for row in itertools.chain(*parts)]
    assert sorted(together) == sorted(row[key] for row in vendor.rows(name))
    assert all(parts)


@pytest.mark.parametrize(
    ("name", "one", "several"),
    [
        ("appointments", "date", "date_range"),
        ("clinical_notes", "date", "date_range"),
        ("line_items", "service_date", "service_date_range"),
        ("eligibility_checks", "query_date", "query_date_range"),
        ("eligibility_checks", "appointment_date", "appointment_date_range"),
    ],
)
def test_a_range_of_days_includes_both(vendor: DrChrono, name: str, one: str, several: str) -> None:
    def keys(**params: object) -> set[Any]:
        return {row[KEYS[name]] for row in vendor.rows(name, since=SINCE, **params)}

    first, second = keys(**{one: "2026-03-10"}), keys(**{one: "2026-03-11"})
    assert first
    assert second
    assert keys(**{several: "2026-03-10/2026-03-11"}) == first | second


def test_calls_are_counted_by_endpoint_and_method(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    sandbox.forget_calls()
    vendor.page("patients")
    vendor.start("line_items")
    vendor.http.get("/api/line_item_deletions")
    vendor.refresh("unknown")
    assert sandbox.drchrono_calls() == {
        "patients": {"POST": 1, "GET": 2},
        "line_items": {"POST": 1},
        "line_item_deletions": {"GET": 1},
        "token": {"POST": 1},
    }
    assert sandbox.calls()["by_operation"] == {"list_start": 2, "list_poll": 2, "deletions": 1, "token": 1}


def test_a_list_of_lists_tells_what_was_asked(vendor: DrChrono, sandbox: SandboxProcess) -> None:
    uuid = vendor.started("patients", page=2, page_size=7, order_by="updated_at", verbose="true")
    vendor.started("patients", page=2, page_size=7, order_by="updated_at", verbose="true")
    vendor.poll("patients", uuid)
    one, again = sandbox.drchrono_lists()[-2:]
    wanted = {"uuid": uuid, "list": "patients", "page": 2, "page_size": 7, "attempt": 1, "polls": 1}
    assert wanted.items() <= one.items()
    assert (again["attempt"], again["polls"], again["gone"], again["dead"]) == (2, 0, False, False)


def test_the_same_seed_and_volume_are_the_same_practice_wherever_its_history_begins() -> None:
    def told(**options: object) -> dict[str, dict[str, object]]:
        with drchrono_sandbox(**options) as sandbox:
            return {row["id"]: row for row in sandbox.drchrono_records("appointments", verbose="true")}

    one, other = told(), told(drchrono_history_start="2026-03-01")
    assert other.items() <= one.items()
    assert 0 < len(other) < len(one)
    assert told(seed=2).keys() != one.keys()


def test_a_path_may_end_with_a_slash(vendor: DrChrono) -> None:
    assert vendor.http.post("/api/patients_list/").status_code == 201
    assert vendor.http.get("/api/line_item_deletions/").status_code == 200


def test_the_vendors_own_example_call_is_answered(vendor: DrChrono) -> None:
    answer: httpx.Response = vendor.http.post(
        "/api/appointments_list?verbose=true&since=2024-02-01&page=1&page_size=1000&order_by=updated_at"
    )
    assert answer.status_code == 201
    assert vendor.poll("appointments", answer.json()["uuid"]).json()["pagination"]["page"] == 1
