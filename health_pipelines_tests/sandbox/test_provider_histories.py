"""The search in provider histories: terms, pages, and pages that move while they are read."""

from typing import Any

import pytest

from health_pipelines_tests.sandbox.vendor import Vendor
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

WEEK = {"startDate": "2026-03-01T00:00:00.000Z", "endDate": "2026-03-08T00:00:00.000Z"}
ONE_DAY = {"startDate": "2026-03-01T00:00:00.000Z", "endDate": "2026-03-02T00:00:00.000Z"}

Events = list[dict[str, Any]]


def all_pages(vendor: Vendor, **body: object) -> Events:
    """Every page of a search, one after the other, as the vendor's page says."""
    events: Events = []
    while True:
        page = vendor.search(**body, offset=len(events)).json()
        events += page["data"]
        if not page["data"] or len(events) >= page["count"]:
            return events


def ids(events: Events) -> list[str]:
    return [event["id"] for event in events]


@pytest.mark.parametrize("missing", ["startDate", "endDate"])
def test_both_dates_are_required(vendor: Vendor, missing: str) -> None:
    answer = vendor.search(**{name: date for name, date in WEEK.items() if name != missing})
    assert (answer.status_code, answer.json()) == (400, {"error": f"'{missing}' is required"})


@pytest.mark.parametrize(
    "body", [{"limit": 0}, {"limit": "5"}, {"offset": -1}, {"action": 7}, {"action": None}, {"colour": "red"}]
)
def test_what_is_no_search_is_refused(vendor: Vendor, body: dict[str, object]) -> None:
    answer = vendor.search(**WEEK, **body)
    assert answer.status_code == 400
    assert f"'{next(iter(body))}'" in answer.json()["error"]


def test_pages_add_up_to_the_count_with_nothing_twice(vendor: Vendor) -> None:
    events = all_pages(vendor, **WEEK)
    assert len(set(ids(events))) == len(events) == vendor.search(**WEEK).json()["count"]
    assert 300 < len(events) < 550


def test_a_page_has_50_rows_unless_told_and_never_more_than_the_largest(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    assert len(vendor.search(**WEEK).json()["data"]) == 50
    assert len(vendor.search(**WEEK, limit=7).json()["data"]) == 7
    assert len(vendor.search(**WEEK, limit=1000).json()["data"]) == 200
    sandbox.change_settings(default_page=3, largest_page=5)
    assert len(vendor.search(**WEEK).json()["data"]) == 3
    assert len(vendor.search(**WEEK, limit=1000).json()["data"]) == 5


def test_beyond_the_last_row_a_page_is_empty_and_the_count_stays(vendor: Vendor) -> None:
    count = vendor.search(**WEEK).json()["count"]
    assert vendor.search(**WEEK, offset=count).json() == {"count": count, "data": []}


def test_rows_come_by_time_or_in_any_order_that_stays(vendor: Vendor, sandbox: SandboxProcess) -> None:
    by_time = all_pages(vendor, **WEEK)
    assert [event["eventDate"] for event in by_time] == sorted(event["eventDate"] for event in by_time)
    sandbox.change_settings(page_order="arbitrary")
    arbitrary = all_pages(vendor, **WEEK)
    assert arbitrary != by_time
    assert sorted(ids(arbitrary)) == sorted(ids(by_time))
    assert all_pages(vendor, **WEEK) == arbitrary


@pytest.mark.parametrize(
    "term",
    [
        "action",
        "visitId",
        "providerId",
        "providerEmailAddress",
        "providerName",
        "providerFirstName",
        "providerLastName",
        "actorId",
        "actorEmail",
        "actorFirstName",
        "actorLastName",
    ],
)
def test_a_term_finds_the_rows_that_equal_it_in_any_case(vendor: Vendor, term: str) -> None:
    everything = all_pages(vendor, **WEEK)
    wanted = next(event[term] for event in everything if event[term])
    found = all_pages(vendor, **WEEK, **{term: wanted.upper()})
    assert ids(found) == [event["id"] for event in everything if event[term] == wanted]
    assert vendor.search(**WEEK, **{term: wanted[:-1]}).json()["count"] == 0


def test_credentials_are_found_inside_the_field(vendor: Vendor) -> None:
    found = all_pages(vendor, **WEEK, providerCredentials="md")
    assert {event["providerCredentials"] for event in found} == {"MD", "MD DO"}


def test_terms_are_combined_with_and(vendor: Vendor) -> None:
    everything = all_pages(vendor, **WEEK)
    found = all_pages(vendor, **WEEK, action="assigned", providerFirstName="Jenny")
    both = [one for one in everything if one["action"] == "assigned" and one["providerFirstName"] == "Jenny"]
    assert ids(found) == ids(both) != []


def test_the_window_includes_its_start_and_its_end_if_so_set(vendor: Vendor, sandbox: SandboxProcess) -> None:
    dates = [event["eventDate"] for event in all_pages(vendor, **ONE_DAY)]
    assert min(dates) == ONE_DAY["startDate"]
    assert ONE_DAY["endDate"] not in dates
    sandbox.change_settings(window_end="inclusive")
    assert ONE_DAY["endDate"] in [event["eventDate"] for event in all_pages(vendor, **ONE_DAY)]


def test_events_have_nested_fields_and_nulls_beside_empty_strings(vendor: Vendor) -> None:
    events = all_pages(vendor, **WEEK)
    assert all(isinstance(event["details"]["queue"]["waitSeconds"], float) for event in events)
    assert {None, ""} <= {event["providerCredentials"] for event in events}
    assert None in {event["actorId"] for event in events}


def test_rows_appear_before_the_second_page(vendor: Vendor, sandbox: SandboxProcess) -> None:
    still = all_pages(vendor, **ONE_DAY, limit=20)
    sandbox.add_fault("provider_histories", {"kind": "shift", "insert": 2}, after=1)
    moved = all_pages(vendor, **ONE_DAY, limit=20)
    assert ids(moved[:20]) == ids(still[:20])
    assert ids(moved[20:22]) == ids(still[18:20]), "two rows are read twice"
    assert len(moved) == len(still) + 2


def test_rows_disappear_before_the_second_page(vendor: Vendor, sandbox: SandboxProcess) -> None:
    still = all_pages(vendor, **ONE_DAY, limit=20)
    sandbox.add_fault("provider_histories", {"kind": "shift", "remove": 2}, after=1)
    moved = all_pages(vendor, **ONE_DAY, limit=20)
    assert set(ids(still)) - set(ids(moved)) == set(ids(still[20:22])), "two rows are never read"


def test_a_rule_strikes_the_day_it_names(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.add_fault("provider_histories", {"kind": "http", "status": 500, "body": {}}, day="2026-03-02")
    other = {"startDate": ONE_DAY["endDate"], "endDate": "2026-03-03T00:00:00Z"}
    assert (vendor.search(**ONE_DAY).status_code, vendor.search(**other).status_code) == (200, 500)


def test_provider_histories_can_have_a_key_of_their_own(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(apr_key="another")
    assert vendor.search(**WEEK).status_code == 403
    assert vendor.start(type="virtual").status_code == 200
    vendor.http.headers["Authorization"] = "dc-token another"
    assert vendor.search(**WEEK).status_code == 200
    assert vendor.start(type="virtual").status_code == 403


def test_what_has_not_happened_yet_is_not_found() -> None:
    with running_sandbox(now="2026-03-01T12:00:00Z") as sandbox:
        vendor = Vendor(sandbox)
        morning = vendor.search(**WEEK).json()["count"]
        sandbox.advance_clock(12 * 3600)
        evening = vendor.search(**WEEK).json()["count"]
    assert 0 < morning < evening < 90


def test_two_processes_with_one_seed_hold_the_same_events() -> None:
    with running_sandbox(seed=7) as one, running_sandbox(seed=7) as other, running_sandbox(seed=8) as another:
        found = [all_pages(Vendor(sandbox), **WEEK) for sandbox in (one, other, another)]
    assert found[0] == found[1]
    assert not set(ids(found[0])) & set(ids(found[2]))
