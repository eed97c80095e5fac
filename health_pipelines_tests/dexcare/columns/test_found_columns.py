"""Which columns are found in visit reports of the sandbox: real rows over HTTP, real partitions."""

import json
from collections.abc import Mapping

import pytest

from health_pipelines.dexcare.columns.guesses import (
    Guess,
    file_of,
    find,
    guesses_now,
    remembered,
    sentences,
    visit_columns,
)
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.settings import Settings, VisitColumns
from health_pipelines_tests.dexcare.columns.landing import TYPES, Reports, Rows

FIRST, SECOND, THIRD = "2026-03-10", "2026-03-11", "2026-03-12"
RIGHT = {
    "virtual": ("visit_id", "scheduled_at", "status", "waiting_room_entered_at", "started_at"),
    "retail": ("visit_id", "scheduled_at", "status", "checked_in_at", "started_at"),
    "provider_booking": ("visit_id", "scheduled_at", "status", "slot_start_at", "started_at"),
}
ROLES = ("key", "time", "status", "wait_from", "wait_until")
VIRTUAL = VISIT_REPORTS[0]


def found(reports: Reports, type_: str = "virtual") -> Mapping[str, Guess]:
    find(reports.settings)
    return remembered(reports.settings)[type_].of


def names(guesses: Mapping[str, Guess]) -> tuple[str | None, ...]:
    return tuple(guesses[role].column for role in ROLES)


@pytest.mark.parametrize("searched", ["created", "scheduled"])
@pytest.mark.parametrize("type_", TYPES)
def test_the_five_columns_are_found_in_the_first_day_that_lands(
    reports: Reports, type_: str, searched: str
) -> None:
    reports.sandbox.change_settings(searched=searched)
    reports.land(type_, FIRST)

    assert names(found(reports, type_)) == RIGHT[type_]


@pytest.mark.parametrize("type_", TYPES)
def test_names_that_say_nothing_are_no_hindrance(reports: Reports, type_: str) -> None:
    documented = reports.rows(type_, FIRST)
    reports.sandbox.change_settings(column_names="other")
    rows = reports.land(type_, FIRST)

    columns = names(found(reports, type_))

    assert set(rows[0]).isdisjoint(documented[0])
    # Where two columns have the same values in all rows, either of them is right.
    for column, right in zip(columns, RIGHT[type_], strict=True):
        assert [row[str(column)] for row in rows] == [row[right] for row in documented]


@pytest.mark.parametrize("type_", TYPES)
def test_where_several_columns_would_do_none_is_guessed_and_all_are_named(
    reports: Reports, type_: str
) -> None:
    reports.sandbox.change_settings(column_names="ambiguous")
    for day in (FIRST, SECOND):
        reports.land(type_, day)

    guesses = found(reports, type_)

    assert names(guesses) == (None,) * 5
    for role in ("key", "time", "status"):
        assert guesses[role].said.startswith("ambiguous: field_"), guesses[role].said
        assert " and field_" in guesses[role].said


def test_a_word_for_null_is_no_value(reports: Reports) -> None:
    rows: Rows = [
        {name: r"\N" if value is None else value for name, value in row.items()}
        for row in reports.rows("virtual", FIRST)
    ]
    reports.land("virtual", FIRST, rows)

    assert names(found(reports)) == RIGHT["virtual"]


def test_evidence_is_words_and_numbers_and_no_value(reports: Reports) -> None:
    reports.sandbox.change_settings(column_names="other")
    rows = reports.land("virtual", FIRST)

    key = found(reports)["key"]

    assert key.said == f"unique in the one day ({len(rows)} rows), never empty, shaped like a UUID"
    text = file_of(reports.settings).read_text()
    long_values = {value for row in rows for value in row.values() if value and len(value) > 10}
    assert [value for value in long_values if value in text] == []


def test_a_number_that_begins_anew_each_day_is_no_key(reports: Reports) -> None:
    for day in (FIRST, SECOND):
        rows = reports.rows("virtual", day)
        reports.land("virtual", day, [{k: v for k, v in row.items() if k != "visit_id"} for row in rows])
        assert len({row["visit_number"] for row in rows}) == len(rows), "unique in the day"
        key = found(reports)["key"]
        assert key.column is None
        if day == FIRST:
            assert key.said.startswith("none yet: visit_number is unique, but one day cannot show")


def test_a_number_that_goes_on_is_a_key_once_two_days_have_shown_it(reports: Reports) -> None:
    for place, day in enumerate((FIRST, SECOND)):
        rows = reports.rows("virtual", day)
        reports.land(
            "virtual",
            day,
            [{**row, "visit_id": f"{(place + 1) * 1_000_000 + n}"} for n, row in enumerate(rows)],
        )
        assert found(reports)["key"].column == (None if day == FIRST else "visit_id")


def test_a_visit_that_two_days_found_is_no_contradiction(reports: Reports) -> None:
    first = reports.land("virtual", FIRST)
    second = reports.rows("virtual", SECOND)
    again = [{**row, "status": "reviewed", "notes": "later"} for row in first[:7]]
    reports.land("virtual", SECOND, [*second, *again])

    key = found(reports)["key"]

    assert key.column == "visit_id"
    assert key.said.endswith("7 are in several days, for one and the same visit")


def test_a_guess_stays_as_it_is_when_other_days_would_have_led_to_another(reports: Reports) -> None:
    rows = reports.land("virtual", FIRST)
    before = found(reports)
    # Now there is a second column of each kind, with better names.
    more = [
        {"visit_guid": f"{n:032x}", "visit_status": row["status"], **row}
        for n, row in enumerate(reports.rows("virtual", SECOND))
    ]
    reports.land("virtual", SECOND, more)

    assert not find(reports.settings)
    assert remembered(reports.settings)["virtual"].of == before
    # Alone, it would have.
    file_of(reports.settings).unlink()
    assert names(found(reports)) != names(before)
    assert len(rows) > 100


@pytest.mark.parametrize("how", ["twice", "empty", "gone", "other visits"])
def test_a_day_that_contradicts_the_key_ends_the_guess_for_good(reports: Reports, how: str) -> None:
    first = reports.land("virtual", FIRST)
    assert found(reports)["key"].column == "visit_id"
    second = reports.rows("virtual", SECOND)
    if how == "twice":
        second[1]["visit_id"] = second[0]["visit_id"]
    elif how == "empty":
        second[1]["visit_id"] = ""
    elif how == "gone":
        second = [{k: v for k, v in row.items() if k != "visit_id"} for row in second]
    else:
        second[1]["visit_id"] = first[0]["visit_id"]
    reports.land("virtual", SECOND, second)

    assert find(reports.settings)

    key = remembered(reports.settings)["virtual"].of["key"]
    assert (key.column, key.is_contradicted) == (None, True)
    why = (
        "1 of its values are those of other visits"
        if how == "other visits"
        else f"on {SECOND} a row has none"
    )
    assert why in key.said
    columns = visit_columns(reports.settings)["virtual"]
    assert columns == VisitColumns(None, *RIGHT["virtual"][1:], guessed=ROLES[1:])
    [said] = [
        one for one in sentences("virtual", columns, remembered(reports.settings)["virtual"]) if "_KEY" in one
    ]
    assert said.startswith(
        "DEXCARE_AVR_VIRTUAL_KEY is not set: visit_id was guessed and is not used any more"
    )
    # Whatever lands afterwards: a person decides.
    reports.land("virtual", SECOND)
    reports.land("virtual", THIRD)
    assert found(reports)["key"].is_contradicted


def test_a_column_that_the_vendor_renames_is_looked_for_again(reports: Reports) -> None:
    reports.land("virtual", FIRST)
    assert found(reports)["status"].column == "status"
    renamed = [
        {("visitState" if k == "status" else k): v for k, v in row.items()}
        for row in reports.rows("virtual", SECOND)
    ]
    reports.land("virtual", SECOND, renamed)

    after = found(reports)

    assert after["status"].column == "visitState"
    assert after["key"].column == "visit_id"


def test_a_setting_is_stronger_than_a_guess_and_the_others_go_by_it(reports: Reports) -> None:
    reports.land("provider_booking", FIRST)
    settings = Settings({**reports.settings.environment, "DEXCARE_AVR_PROVIDER_BOOKING_TIME": "created_at"})

    find(settings)

    columns = visit_columns(settings)["provider_booking"]
    assert columns.time == "created_at"
    assert "time" not in columns.guessed
    assert "time" not in remembered(settings)["provider_booking"].of


def test_too_few_rows_say_nothing_and_more_days_do(reports: Reports) -> None:
    reports.land("virtual", FIRST, reports.rows("virtual", FIRST)[:12])
    key = found(reports)["key"]
    assert (key.column, key.said) == (None, "none yet: 12 rows have landed, and fewer than 20 say nothing")

    reports.land("virtual", SECOND, reports.rows("virtual", SECOND)[:12])
    assert found(reports)["key"].column == "visit_id"


def test_nothing_is_read_again_while_nothing_lands(reports: Reports) -> None:
    reports.land("virtual", FIRST, reports.rows("virtual", FIRST)[:12])
    why = found(reports)["key"].said
    # A look would find the reason again.
    file = file_of(reports.settings)
    file.write_text(file.read_text().replace(why, "as it was"))

    assert not find(reports.settings)

    assert found(reports)["key"].said == "as it was"


def test_a_damaged_partition_leaves_guesses_as_they_are(reports: Reports) -> None:
    reports.land("virtual", FIRST)
    before = found(reports)
    file = reports.hospital.lake.partition_file(VIRTUAL.table, FIRST)
    file.write_bytes(file.read_bytes()[:100])

    assert guesses_now(reports.settings, VIRTUAL).of == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"virtual": {}}', '{"virtual": {"of": {"key": 1}}}'])
def test_a_memory_that_cannot_be_read_is_no_memory(reports: Reports, text: str) -> None:
    reports.land("virtual", FIRST)
    find(reports.settings)
    good = json.loads(file_of(reports.settings).read_text())
    file_of(reports.settings).write_text(text)

    assert remembered(reports.settings) == {}
    find(reports.settings)
    assert json.loads(file_of(reports.settings).read_text()) == good
