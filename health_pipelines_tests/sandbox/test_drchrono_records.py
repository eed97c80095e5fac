"""The records of the sandbox's DrChrono: which fields, of which types, in which state on which day."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from health_pipelines_tests.sandbox.drchrono_vendor import (
    KEYS,
    NAMES,
    WITH_CHANGE_TIME,
    ZONE,
    DrChrono,
    drchrono_sandbox,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess

# The vendor's OpenAPI: s text, i integer, n number, b boolean, a list, o object.
DOCUMENTED = {
    "appointments": """
        allow_overlapping:b appt_is_break:b base_recurring_appointment:s billing_notes:a
        billing_provider:s billing_status:s clinical_note:o cloned_from:i color:s created_at:s
        created_by:s custom_fields:a custom_status:s custom_vitals:a deleted_flag:b doctor:i
        duration:i exam_room:i extended_updated_at:s first_billed_date:s first_edi_date:s
        icd10_codes:a icd9_codes:a id:s ins1_status:s ins2_status:s is_virtual_base:b is_walk_in:b
        last_billed_date:s last_edi_date:s notes:s office:i patient:i payment_profile:s
        primary_insurance_id_number:s primary_insurer_name:s primary_insurer_payer_id:s profile:i
        reason:s recur_end_date:s recur_start_date:s recurrence_instance_key:s
        recurring_appointment:b recurring_days:a recurs_every:i reminder_profile:s reminders:a
        resubmit_claim_original_id:i scheduled_time:s secondary_insurance_id_number:s
        secondary_insurer_name:s secondary_insurer_payer_id:s status:s status_transitions:a
        supervising_provider:s updated_at:s vitals:o
    """,
    "patients": """
        address:s auto_accident_insurance:o cell_phone:s chart_id:s city:s copay:s created_at:s
        custom_demographics:a date_of_birth:s date_of_death:s date_of_first_appointment:s
        date_of_last_appointment:s default_pharmacy:s disable_sms_messages:b doctor:i email:s
        emergency_contact_name:s emergency_contact_phone:s emergency_contact_relation:s employer:s
        employer_address:s employer_city:s employer_state:s employer_zip_code:s ethnicity:s
        first_name:s gender:s gender_identity_code:s gender_identity_description:s home_phone:s id:i
        last_name:s medication_history_consent:s middle_name:s nick_name:s office_phone:s offices:a
        patient_flags:a patient_flags_attached:a patient_payment_profile:s patient_photo:s
        patient_photo_date:s patient_status:s preferred_language:s preferred_language_code:s
        preferred_language_description:s preferred_pharmacies:a primary_care_physician:s
        primary_insurance:o pronouns:s race:s race_subcategories:a referring_doctor:o
        referring_source:s responsible_party_email:s responsible_party_name:s
        responsible_party_phone:s responsible_party_relation:s secondary_insurance:o
        social_security_number:s state:s tertiary_insurance:o updated_at:s workers_comp_insurance:o
        zip_code:s
    """,
    "line_items": """
        adjustment:n allowed:n appointment:i balance_ins:n balance_pt:n balance_total:s billed:n
        billing_status:s code:s denied_flag:b description:s diagnosis_pointers:a doctor:s
        expected_reimbursement:n id:i ins1_paid:n ins2_paid:n ins3_paid:n ins_total:s
        insurance_status:s modifiers:a paid_total:s patient:s posted_date:s price:n procedure_type:s
        pt_paid:n quantity:n service_date:s units:s updated_at:s
    """,
    "transactions": """
        adjustment:n adjustment_group_code:s adjustment_reason:s appointment:i check_date:s
        claim_status:s created_at:s doctor:i id:i ins_name:i ins_paid:n insurance:o line_item:i
        patient:i posted_date:s trace_number:s updated_at:s
    """,
    "prescription_messages": """
        created_at:s doctor:i id:i json_data:s message_direction:s message_status:s message_type:s
        parent_message:s patient:i pharmacy:s
    """,
    "eligibility_checks": """
        appointment:s cob_level:s coverage_details:s coverage_subscriber:s eligibility:s id:i
        patient:s payer_name:s query_date:s request_service_type:s service_type_description:s
        updated_at:s
    """,
    "clinical_notes": """
        appointment:s archived:b clinical_note_sections:a patient:s signee:o
    """,
    "clinical_note_field_values": """
        appointment:i clinical_note_field:i created_at:s id:i updated_at:s value:s
    """,
}
ON_REQUEST = {
    "appointments": """
        reminders vitals custom_fields custom_vitals clinical_note extended_updated_at status_transitions
    """,
    "patients": """
        auto_accident_insurance custom_demographics patient_flags patient_flags_attached primary_insurance
        referring_doctor secondary_insurance tertiary_insurance workers_comp_insurance
    """,
    "line_items": "description",
}

PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "s": (str,),
    "i": (int,),
    "n": (int, float),
    "b": (bool,),
    "a": (list,),
    "o": (dict,),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with drchrono_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def vendor(sandbox: SandboxProcess) -> DrChrono:
    return DrChrono(sandbox)


def documented(name: str) -> dict[str, str]:
    return {field: letter for field, _, letter in (word.partition(":") for word in DOCUMENTED[name].split())}


@pytest.mark.parametrize("name", NAMES)
def test_every_documented_field_is_sent_and_some_only_on_request(vendor: DrChrono, name: str) -> None:
    fields, on_request = set(documented(name)), set(ON_REQUEST.get(name, "").split())
    plain, verbose = vendor.rows(name), vendor.rows(name, verbose="true")
    assert {frozenset(row) for row in plain} == {frozenset(fields - on_request)}
    yellow = {"yellow_notes"} if name == "clinical_notes" else set()
    assert {frozenset(row) for row in verbose} == {frozenset(fields | yellow)}


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_the_published_type_or_is_null(vendor: DrChrono, name: str) -> None:
    fields = documented(name)
    for row in vendor.rows(name, verbose="true"):
        for field, letter in fields.items():
            value = row[field]
            # Documented as text and described as objects.
            if value is None or field in ("coverage_details", "coverage_subscriber"):
                continue
            assert isinstance(value, PYTHON_TYPES[letter]), (field, value)
            assert isinstance(value, bool) == (letter == "b"), (field, value)


def test_full_coverage_comes_as_objects_on_request(vendor: DrChrono) -> None:
    def kinds(**params: object) -> set[type]:
        return {type(row["coverage_details"]) for row in vendor.rows("eligibility_checks", **params)}

    assert kinds() == {str}
    assert kinds(verbose="true") == {str, dict}


def test_the_same_key_is_a_number_here_and_text_there(vendor: DrChrono) -> None:
    made = {row["id"] for row in vendor.rows("appointments", show_archived="true")}
    whole = {key.partition("_")[0] for key in made}
    for name in ("line_items", "transactions", "clinical_note_field_values", "eligibility_checks"):
        named = {str(row["appointment"]) for row in vendor.rows(name)}
        before_history = {key for key in named if key < min(whole)}
        assert named - before_history <= whole, name
        assert len(before_history) < len(named) / 10
    patients = {row["id"] for row in vendor.rows("patients")}
    assert all(isinstance(patient, int) for patient in patients)
    assert {int(row["patient"]) for row in vendor.rows("line_items")} & patients
    assert {row["patient"] for row in vendor.rows("transactions")} & patients


def test_some_appointments_have_an_id_that_is_no_number_and_keep_it(sandbox: SandboxProcess) -> None:
    rows = sandbox.drchrono_records("appointments")
    odd = [row["id"] for row in rows if not row["id"].isdigit()]
    assert 0 < len(odd) < len(rows) / 10
    for key in odd:
        number, _, day = key.partition("_")
        assert number.isdigit()
        datetime.strptime(day, "%Y-%m-%d")  # noqa: DTZ007 - a date
    sandbox.change_records("appointments", update=odd)
    assert set(odd) <= {row["id"] for row in sandbox.drchrono_records("appointments")}


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_unique(sandbox: SandboxProcess, name: str) -> None:
    counted = Counter(str(row[KEYS[name]]) for row in sandbox.drchrono_records(name))
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("name", WITH_CHANGE_TIME)
def test_times_are_those_of_the_accounts_clock_without_a_zone(sandbox: SandboxProcess, name: str) -> None:
    now = datetime.fromisoformat(sandbox.control("GET", "clock")["now"]).astimezone(ZoneInfo(ZONE))
    times = [row["updated_at"] for row in sandbox.drchrono_records(name)]
    assert all(len(text) == len("2026-03-01T08:15:00") for text in times)
    newest = datetime.fromisoformat(max(times)).replace(tzinfo=ZoneInfo(ZONE))
    assert 0 <= (now - newest).total_seconds() < 86400


def test_most_records_never_change_and_others_change_on_other_days(sandbox: SandboxProcess) -> None:
    rows = sandbox.drchrono_records("clinical_note_field_values")
    unchanged = sum(row["created_at"] == row["updated_at"] for row in rows)
    later = sum(row["created_at"][:10] < row["updated_at"][:10] for row in rows)
    assert 0.55 < unchanged / len(rows) < 0.8
    assert 0.08 < later / len(rows) < 0.3
    assert all(row["created_at"] <= row["updated_at"] for row in rows)


def test_many_records_change_in_the_same_second(sandbox: SandboxProcess) -> None:
    for name in ("appointments", "line_items", "clinical_note_field_values"):
        counted = Counter(row["updated_at"] for row in sandbox.drchrono_records(name))
        assert max(counted.values()) > 1, name


def test_a_day_brings_as_many_records_as_the_volume_says() -> None:
    with drchrono_sandbox(drchrono_volume=50, now="2026-03-20T03:59:00+00:00") as sandbox:
        days = Counter(row["created_at"][:10] for row in sandbox.drchrono_records("appointments"))
        assert list(days.values())[:-1] == [50] * 32
        assert (min(days), max(days)) == ("2026-02-15", "2026-03-19")


def test_records_appear_and_change_as_time_goes_by() -> None:
    def told(sandbox: SandboxProcess) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in sandbox.drchrono_records("line_items")}

    with drchrono_sandbox() as watched:
        before = told(watched)
        watched.advance_clock(3 * 86400)
        after = told(watched)
    with drchrono_sandbox(now="2026-03-23T15:00:00+00:00") as unwatched:
        afresh = told(unwatched)
    assert 60 < len(after.keys() - before.keys()) < 90
    assert before.keys() - after.keys(), "lines are deleted"
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    assert changed
    assert all(after[key]["updated_at"] > before[key]["updated_at"] for key in changed)
    # One may have come or changed in the seconds between the two looks.
    differing = [key for key in after.keys() | afresh.keys() if after.get(key) != afresh.get(key)]
    assert len(differing) <= 1, "it does not matter whether somebody was looking"


def test_deleted_lines_are_listed_page_by_page(sandbox: SandboxProcess, vendor: DrChrono) -> None:
    def told(**params: str) -> list[dict[str, Any]]:
        body = vendor.http.get("/api/line_item_deletions", params=params).json()
        rows: list[dict[str, Any]] = body["data"]
        while body["next"]:
            assert body["next"].startswith(f"{sandbox.url}/api/line_item_deletions?")
            body = vendor.http.get(body["next"]).json()
            assert list(body) == ["previous", "next", "data"]
            assert 0 < len(body["data"]) <= 2
            rows += body["data"]
        return rows

    sandbox.change_settings(drchrono_deletions_page=2)
    victims = [row["id"] for row in sandbox.drchrono_records("line_items")[:5]]
    appointment = sandbox.drchrono_records("line_items")[0]["appointment"]
    sandbox.change_records("line_items", remove=victims)
    rows = told()
    ids = [row["billing_line_item_id"] for row in rows]
    assert len(set(ids)) == len(ids) > 5
    assert set(victims) <= set(ids)
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
    assert list(rows[0]) == ["billing_line_item_id", "created_at", "appointment_id"]
    assert not set(ids) & {row["id"] for row in sandbox.drchrono_records("line_items")}
    day = rows[len(rows) // 2]["created_at"][:10]
    assert told(since=day) == [row for row in rows if row["created_at"] >= day]
    assert {row["appointment_id"] for row in told(appointment_id=str(appointment))} == {appointment}
    assert vendor.http.get("/api/line_item_deletions?since=then").status_code == 400
    assert vendor.http.get("/api/line_item_deletions?appointment_id=x").status_code == 400
    assert vendor.http.get("/api/line_item_deletions?cursor=x").json() == {"detail": "Invalid cursor"}
    sandbox.change_settings(drchrono_deletions_key="results")
    assert list(vendor.http.get("/api/line_item_deletions").json()) == ["previous", "next", "results"]
    sandbox.change_settings(drchrono_deletions_key="data")


def test_a_practice_without_appointments_has_no_records_at_all() -> None:
    with drchrono_sandbox(drchrono_volume=0) as sandbox:
        vendor = DrChrono(sandbox)
        assert [vendor.rows(name) for name in NAMES] == [[]] * len(NAMES)


def test_a_large_practice_is_paged_quickly_while_its_rows_change() -> None:
    asked = {"since": "2024-01-01", "order_by": "updated_at", "page_size": 1000, "show_archived": "true"}
    now, first_day = "2026-03-21T04:00:00+00:00", "2025-02-14"
    with drchrono_sandbox(
        drchrono_volume=750, drchrono_history_start=first_day, now=now, drchrono_churn=50
    ) as sandbox:
        vendor = DrChrono(sandbox)
        began = time.monotonic()
        assert vendor.page("appointments", **asked)["pagination"]["count"] >= 300_000
        first = time.monotonic() - began
        began = time.monotonic()
        for page in (2, 150, 299):
            vendor.start("appointments", page=page, **asked)
        assert time.monotonic() - began < first / 3, "ten milliseconds each"


def test_a_record_vanishes_without_a_word_and_may_reappear_as_it_was(
    sandbox: SandboxProcess, vendor: DrChrono
) -> None:
    before = sandbox.drchrono_records("line_items")
    [gone] = [row for row in before if row["id"] == before[1]["id"]]
    sandbox.change_records("line_items", vanish=[gone["id"]])
    assert gone not in sandbox.drchrono_records("line_items")
    told = vendor.http.get(f"/api/line_item_deletions?appointment_id={gone['appointment']}").json()
    rows = told.get("data", told.get("results"))
    assert gone["id"] not in [row["billing_line_item_id"] for row in rows]
    sandbox.change_records("line_items", reappear=[gone["id"]])
    assert sandbox.drchrono_records("line_items") == before
