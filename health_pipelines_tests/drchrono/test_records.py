"""The record types are what the vendor documents: names, keys, sizes and the kind of every field."""

from typing import Any

import pytest

from health_pipelines.drchrono.records import KINDS, LINE_ITEM_DELETIONS, RECORD_TYPES, RecordType
from health_pipelines.lake.partitions import Table

BY_NAME = {record_type.name: record_type for record_type in RECORD_TYPES}

# Counted by hand in the vendor's reference.
DOCUMENTED_FIELDS = {
    "appointments": 57,
    "patients": 65,
    "line_items": 31,
    "transactions": 17,
    "prescription_messages": 10,
    "eligibility_checks": 12,
    "clinical_notes": 5,
    "clinical_note_field_values": 6,
}

KEYS = {"id", "appointment", "patient", "doctor", "office", "line_item", "clinical_note_field", "cloned_from"}
MONEY = {
    "adjustment", "allowed", "balance_ins", "balance_pt", "balance_total", "billed", "copay",
    "expected_reimbursement", "ins1_paid", "ins2_paid", "ins3_paid", "ins_paid", "ins_total", "paid_total",
    "price", "pt_paid", "quantity",
}  # fmt: skip
TIMES = {"created_at", "updated_at", "scheduled_time", "extended_updated_at", "query_date"}
DATES = {"date_of_birth", "posted_date", "service_date", "check_date", "recur_end_date"}
NESTED = {
    "billing_notes", "clinical_note", "clinical_note_sections", "custom_demographics", "custom_fields",
    "custom_vitals", "diagnosis_pointers", "icd10_codes", "insurance", "modifiers", "offices",
    "patient_flags", "primary_insurance", "recurring_days", "reminders", "signee", "status_transitions",
    "vitals",
}  # fmt: skip


def test_there_are_the_eight_bulk_lists_each_with_all_documented_fields() -> None:
    assert {name: len(record_type.columns) for name, record_type in BY_NAME.items()} == DOCUMENTED_FIELDS
    assert [record_type.name for record_type in RECORD_TYPES] == list(DOCUMENTED_FIELDS)


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.name)
def test_every_field_has_the_kind_that_its_meaning_asks_for(record_type: RecordType) -> None:
    columns = record_type.columns
    assert set(columns.values()) <= set(KINDS)
    for names, kind in (
        (KEYS, "text"),
        (MONEY, "decimal"),
        (TIMES, "time"),
        (DATES, "date"),
        (NESTED, "json"),
    ):
        assert {name: columns[name] for name in names & set(columns)} == dict.fromkeys(
            names & set(columns), kind
        )


def test_what_is_only_a_number_or_a_truth_value_is_one() -> None:
    appointments = BY_NAME["appointments"].columns
    integers = {name for name, kind in appointments.items() if kind == "integer"}
    booleans = {name for name, kind in appointments.items() if kind == "boolean"}
    assert integers == {"duration", "exam_room", "recurs_every"}
    assert booleans == {
        "allow_overlapping", "appt_is_break", "deleted_flag", "is_virtual_base", "is_walk_in",
        "recurring_appointment",
    }  # fmt: skip


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.name)
def test_the_key_comes_first_and_the_time_of_change_is_a_time(record_type: RecordType) -> None:
    assert next(iter(record_type.columns)) == record_type.key
    assert record_type.changed is None or record_type.columns[record_type.changed] == "time"


def test_each_list_is_asked_for_as_the_vendor_wants_it() -> None:
    asked = {
        name: (one.path, one.key, one.changed, one.page_size, one.order_by, dict(one.extra_parameters))
        for name, one in BY_NAME.items()
    }
    changed: tuple[Any, ...] = ("id", "updated_at", 1000, "id", {})
    assert asked == {
        "appointments": (
            "/api/appointments_list", "id", "updated_at", 1000, "updated_at", {"show_archived": "true"},
        ),
        "patients": ("/api/patients_list", *changed),
        "line_items": ("/api/line_items_list", *changed),
        "transactions": ("/api/transactions_list", *changed),
        "prescription_messages": ("/api/prescription_messages_list", "id", None, 1000, "id", {}),
        "eligibility_checks": ("/api/eligibility_checks_list", *changed),
        "clinical_notes": ("/api/clinical_notes_list", "appointment", None, 1000, "id", {}),
        "clinical_note_field_values": (
            "/api/clinical_note_field_values_list", "id", "updated_at", 20000, "id", {},
        ),
    }  # fmt: skip
    assert BY_NAME["patients"].table == Table("drchrono", "patients")


def test_nobody_can_change_the_documented_fields() -> None:
    with pytest.raises(TypeError):
        BY_NAME["patients"].columns["id"] = "integer"  # type: ignore[index]


@pytest.mark.parametrize("record_type", [*RECORD_TYPES, LINE_ITEM_DELETIONS], ids=lambda one: one.name)
def test_every_field_has_a_meaning_of_its_own(record_type: RecordType) -> None:
    assert list(record_type.meanings) == list(record_type.columns)
    for field, meaning in record_type.meanings.items():
        assert meaning.endswith("."), field
        # The name alone says nothing that the column's name does not say.
        assert len(meaning.split()) > 1, field
    assert len(set(record_type.meanings.values())) == len(record_type.meanings)
