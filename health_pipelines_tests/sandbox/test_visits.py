"""What is in a report: which visits, in which state, in which order, and how the CSV writes them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from health_pipelines_tests.sandbox.vendor import DAY, Rows, Vendor, by_id, read_athena_csv
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

KINDS = ("virtual", "retail", "provider_booking")
MIDNIGHT, NEXT_MIDNIGHT = "2026-03-01 00:00:00.000", "2026-03-02 00:00:00.000"
WINDOW = (DAY["startDate"], DAY["endDate"])
A_DAY = 24 * 3600


@pytest.fixture
def on_the_day() -> Iterator[SandboxProcess]:
    """On the evening of `DAY`, before anything about it has changed; with visits enough to see one in 100."""
    with running_sandbox(volume=10, now="2026-03-01T21:00:00Z") as sandbox:
        yield sandbox


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_contains_exactly_the_truth(vendor: Vendor, sandbox: SandboxProcess, kind: str) -> None:
    rows, truth = vendor.rows(kind), sandbox.truth(kind, *WINDOW)
    assert len(rows) == len(by_id(rows)), "no visit twice"
    assert by_id(rows) == by_id(truth)


def test_two_reports_of_one_window_differ_in_nothing_but_order(vendor: Vendor) -> None:
    first, second = (vendor.data(vendor.finished()).content for _ in range(2))
    assert first != second
    assert sorted(map(str, read_athena_csv(first))) == sorted(map(str, read_athena_csv(second)))


def test_two_reports_of_one_window_can_have_one_order(vendor: Vendor, sandbox: SandboxProcess) -> None:
    sandbox.change_settings(row_order="stable")
    first, second = (vendor.data(vendor.finished()).content for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("nulls", "null"), [("quoted", ""), ("word", "\\N")])
def test_null_can_be_written_in_other_ways(
    vendor: Vendor, sandbox: SandboxProcess, nulls: str, null: str
) -> None:
    sandbox.change_settings(nulls=nulls)
    truth = by_id(sandbox.truth("virtual", *WINDOW))
    assert any(None in row.values() for row in truth.values())
    expected = {
        id_: {name: null if value is None else value for name, value in row.items()}
        for id_, row in truth.items()
    }
    assert by_id(vendor.rows("virtual")) == expected


def test_one_report_is_the_same_bytes_however_often_it_is_downloaded(vendor: Vendor) -> None:
    report_id = vendor.finished("retail")
    assert vendor.data(report_id).content == vendor.data(report_id).content


def test_a_visit_is_the_same_whatever_window_finds_it(vendor: Vendor) -> None:
    whole = by_id(vendor.rows("retail"))
    noon = "2026-03-01T12:00:00Z"
    halves = [
        *vendor.rows("retail", startDate=DAY["startDate"], endDate=noon),
        *vendor.rows("retail", startDate=noon, endDate=DAY["endDate"]),
    ]
    assert len(halves) == len(whole)
    assert by_id(halves) == whole


@pytest.mark.parametrize("searched", ["created", "scheduled"])
@pytest.mark.parametrize("window_end", ["exclusive", "inclusive"])
def test_the_window_searches_the_time_it_is_set_to_and_ends_as_it_is_set_to(
    vendor: Vendor,
    sandbox: SandboxProcess,
    searched: Literal["created", "scheduled"],
    window_end: Literal["exclusive", "inclusive"],
) -> None:
    sandbox.change_settings(searched=searched, window_end=window_end)
    times = [row[f"{searched}_at"] or "" for row in vendor.rows("provider_booking")]
    assert min(times) == MIDNIGHT, "a window includes its start"
    assert all(MIDNIGHT <= time <= NEXT_MIDNIGHT for time in times)
    assert (NEXT_MIDNIGHT in times) == (window_end == "inclusive")


def test_what_is_created_and_what_is_scheduled_in_a_window_are_different_visits(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    created = by_id(vendor.rows("provider_booking"))
    sandbox.change_settings(searched="scheduled")
    scheduled = by_id(vendor.rows("provider_booking"))
    assert created.keys() - scheduled.keys()
    assert scheduled.keys() - created.keys()


def test_visits_change_and_appear_for_five_days_and_then_no_more(on_the_day: SandboxProcess) -> None:
    days: list[dict[str, dict[str, str | None]]] = []
    for _ in range(8):
        days.append(by_id(on_the_day.truth("provider_booking", *WINDOW)))
        on_the_day.advance_clock(A_DAY)
    assert days[5] == days[6] == days[7]
    assert days[0] != days[1]
    assert days[4] != days[5]
    assert days[0].keys() < days[5].keys(), "some appear, none disappears"
    changed = [one for one in days[0] if days[0][one] != days[5][one]]
    assert 0.04 < len(changed) / len(days[0]) < 0.08
    assert 0.004 < len(days[5].keys() - days[0].keys()) / len(days[0]) < 0.02
    columns = {name for one in changed for name in days[0][one] if days[0][one][name] != days[5][one][name]}
    assert columns == {"status", "notes", "updated_at"}


def test_nothing_changes_between_two_midnights(on_the_day: SandboxProcess) -> None:
    evening = on_the_day.truth("provider_booking", *WINDOW)
    on_the_day.advance_clock(3 * 3600 - 60)
    assert on_the_day.truth("provider_booking", *WINDOW) == evening
    on_the_day.advance_clock(60)
    assert on_the_day.truth("provider_booking", *WINDOW) != evening


def test_there_are_no_visits_in_the_future(on_the_day: SandboxProcess) -> None:
    tomorrow = ("2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z")
    assert on_the_day.truth("virtual", *tomorrow) == []
    on_the_day.advance_clock(A_DAY)
    assert on_the_day.truth("virtual", *tomorrow) != []


@pytest.mark.parametrize("kind", KINDS)
def test_null_and_empty_and_words_for_nothing_stand_side_by_side(vendor: Vendor, kind: str) -> None:
    rows = vendor.rows(kind, startDate="2026-02-01T00:00:00Z", endDate="2026-03-01T00:00:00Z")
    reasons = {row["reason_for_visit"] for row in rows}
    assert {None, "", "NA", "null", "007"} <= reasons
    assert {None, "", "NULL"} <= {row["utm_source"] for row in rows}
    assert all((row["provider_npi"] or "").startswith("0") for row in rows)
    assert any("\n" in (one or "") for one in reasons)
    assert any("\u2028" in (one or "") for one in reasons)
    assert any('"' in (one or "") for one in reasons)
    assert any(not (one or "").isascii() for one in reasons)


def test_null_is_nothing_and_empty_is_two_quotes_and_the_rest_is_quoted(vendor: Vendor) -> None:
    text = vendor.data(vendor.finished()).text
    assert ",," in text
    assert ',"",' in text
    assert '"Says it ""comes and goes"""' in text
    assert '"Two things:\r\n1. ear\r\n2. eye"' in text
    assert text.endswith("\n")
    assert not text.startswith("\ufeff")


def test_a_window_without_visits_is_a_header_and_nothing_else(vendor: Vendor) -> None:
    nothing = {"startDate": DAY["startDate"], "endDate": DAY["startDate"]}
    text = vendor.data(vendor.finished("retail", **nothing)).text
    assert text == vendor.data(vendor.finished("retail")).text.split("\n")[0] + "\n"


def test_the_three_types_share_most_columns_and_each_has_its_own(vendor: Vendor) -> None:
    headers = {kind: set(vendor.rows(kind)[0]) for kind in KINDS}
    assert len(set.intersection(*headers.values())) > 30
    assert "waiting_room_entered_at" in headers["virtual"] - headers["retail"]
    assert "clinic_id" in headers["retail"] - headers["provider_booking"]
    assert "slot_id" in headers["provider_booking"] - headers["virtual"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_may_call_its_columns_anything_or_have_several_that_look_alike(
    vendor: Vendor, sandbox: SandboxProcess, kind: str
) -> None:
    documented = vendor.rows(kind)
    by_first = {row["visit_id"]: list(row.values()) for row in documented}
    for names, more in (("other", 0), ("ambiguous", 4)):
        sandbox.change_settings(column_names=names)
        rows = vendor.rows(kind)
        assert len(rows) == len(documented)
        assert list(rows[0]) == [f"field_{number:02d}" for number in range(1, len(documented[0]) + more + 1)]
        for row in rows:
            assert list(row.values())[: len(documented[0])] == by_first[row["field_01"]]
    twins = [list(row.values())[-4:] for row in rows]
    assert len({id_ for id_, *_ in twins}) == len(rows)
    assert {status for _, status, *_ in twins} <= {row["status"] for row in documented} | {"confirmed"}
    # A header without rows has the same columns.
    empty = vendor.data(vendor.finished(kind, startDate=DAY["startDate"], endDate=DAY["startDate"])).text
    assert empty.count(",") + 1 == len(documented[0]) + 4


def test_volume_multiplies_visits() -> None:
    with running_sandbox(volume="0.25") as few, running_sandbox(volume="2") as many:
        assert 20 < len(few.truth("virtual", *WINDOW)) < 40
        assert 200 < len(many.truth("virtual", *WINDOW)) < 280


def test_two_processes_with_one_seed_hold_the_same_visits_and_another_seed_holds_others() -> None:
    found: list[Rows] = []
    for seed in (7, 7, 8):
        with running_sandbox(
            seed=seed, queue_seconds="0", run_seconds="0", now="2026-03-04T12:00:00Z"
        ) as sandbox:
            found.append(Vendor(sandbox).rows("retail"))
    first, same, other = map(by_id, found)
    assert first == same
    assert not first.keys() & other.keys()


def test_a_year_is_written_while_status_calls_are_answered(vendor: Vendor) -> None:
    year = {"startDate": "2025-01-01T00:00:00Z", "endDate": "2026-01-01T00:00:00Z"}
    report_id = vendor.finished("provider_booking", **year)
    slowest, began = 0.0, time.monotonic()
    with ThreadPoolExecutor(1) as other_caller:
        download = other_caller.submit(vendor.data, report_id)
        while not download.done():
            before = time.monotonic()
            assert vendor.status(report_id) == "SUCCEEDED"
            slowest = max(slowest, time.monotonic() - before)
    assert len(download.result().content) > 20_000_000
    # Who had to wait for the whole of it would have waited about as long as it took.
    assert slowest < (time.monotonic() - began) / 2
