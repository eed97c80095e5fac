"""Which columns of the warehouse can hold PHI, protected health information: decided here and nowhere else.

Belongs here: the two lists of column names, each name with its reason. Does not belong here: what a column
means (`drchrono/meanings.json`, the models' headers), and how it is told (`dictionary.py`).

A name counts in every table, and is that of a column which a vendor documents or this project makes. What is
in neither list has to be taken for PHI, and a test fails until it is in one of them. In doubt a name is in
the first. Columns that no vendor documents are PHI whatever their name, even if it is in the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """`reason`: the heading under which the name is listed."""

    can_be_phi: bool
    reason: str


KEPT_TEXT = "Text as it came, whatever it is"
# What is beside a value that did not fit, and a vendor's column that had to be called something else.
_KEPT_ENDINGS = ("_text", "_landed")

PHI: Mapping[str, tuple[str, ...]] = {
    "Names, and who did something": (
        "actorFirstName", "actorLastName", "billing_provider", "created_by", "emergency_contact_name",
        "emergency_contact_relation", "employer", "first_name", "last_name", "middle_name", "nick_name",
        "primary_care_physician", "providerFirstName", "providerLastName", "providerName", "provider_name",
        "referring_doctor", "responsible_party_name", "responsible_party_relation", "signee",
        "supervising_provider",
    ),
    "Addresses and other ways to reach somebody": (
        "actorEmail", "address", "cell_phone", "city", "default_pharmacy", "email",
        "emergency_contact_phone", "employer_address", "employer_city", "employer_state",
        "employer_zip_code", "home_phone", "office_phone", "pharmacy", "preferred_pharmacies",
        "providerEmailAddress", "responsible_party_email", "responsible_party_phone", "state", "zip_code",
    ),
    "Ids and numbers that lead to a patient": (
        "actorId", "appointment", "appointment_id", "base_recurring_appointment", "billing_line_item_id",
        "chart_id", "cloned_from", "id", "line_item", "line_item_id", "parent_message", "patient",
        "patient_id", "recurrence_instance_key", "resubmit_claim_original_id", "social_security_number",
        "record", "trace_number", "visitId", "visit_id",
    ),
    "Dates of a person's life, care or bill": (
        "_gone_since", "_partition_date", "back_since", "check_date", "created_at", "date_of_birth",
        "date_of_death", "date_of_first_appointment", "date_of_last_appointment", "day",
        "extended_updated_at",
        "first_billed_date", "first_edi_date", "gone_since", "last_billed_date", "last_edi_date",
        "last_transaction_date", "patient_photo_date", "posted_date", "query_date", "recur_end_date",
        "recur_start_date", "recurring_days", "reminders", "scheduled_day", "scheduled_time",
        "service_date", "status_transitions", "updated_at", "visit_day", "visit_time", "wait_from",
        "wait_until",
    ),
    "What somebody is": (
        "custom_demographics", "ethnicity", "gender", "gender_identity_code",
        "gender_identity_description", "patient_flags", "patient_flags_attached", "patient_photo",
        "patient_status", "preferred_language", "preferred_language_code",
        "preferred_language_description", "pronouns", "race", "race_subcategories",
    ),
    "Health and care": (
        "clinical_note", "clinical_note_sections", "code", "custom_vitals", "diagnosis_pointers",
        "icd10_codes", "icd9_codes", "modifiers", "reason", "request_service_type",
        "service_type_description", "vitals",
    ),
    "Somebody's insurance": (
        "auto_accident_insurance", "coverage_details", "coverage_subscriber", "insurance",
        "patient_payment_profile", "payer_name", "payment_profile", "primary_insurance",
        "primary_insurance_id_number", "primary_insurer_name", "primary_insurer_payer_id",
        "secondary_insurance", "secondary_insurance_id_number", "secondary_insurer_name",
        "secondary_insurer_payer_id", "tertiary_insurance", "workers_comp_insurance",
    ),
    "Free text, and lists and objects that can hold any": (
        "adjustment_reason", "billing_notes", "custom_fields", "custom_status", "description",
        "json_data", "notes", "offices", "providerCredentials", "referring_source", "units", "value",
    ),
    KEPT_TEXT: ("_extra",),
}  # fmt: skip

NOT_PHI: Mapping[str, tuple[str, ...]] = {
    "Where a row comes from, and whether it is deleted": (
        "_as_sent", "_extracted_at", "_report_id", "as_of_day", "is_deleted",
    ),
    "Statuses and kinds": (
        "action", "adjustment_group_code", "age", "appointment_state", "billing_status", "booking_type",
        "claim_status", "cob_level", "eligibility", "ins1_status", "ins2_status", "ins_name",
        "insurance_status", "medication_history_consent", "message_direction", "message_status",
        "message_type", "procedure_type", "provider_type", "record_type", "report_type", "status",
    ),
    "Yes or no": (
        "allow_overlapping", "appt_is_break", "archived", "deleted_flag", "denied_flag",
        "disable_sms_messages", "is_cancelled", "is_completed", "is_no_show", "is_virtual",
        "is_virtual_base", "is_walk_in", "recurring_appointment",
    ),
    "Counts and durations": (
        "actors", "cancelled", "completed", "duration", "duration_minutes", "events", "line_items",
        "median_wait_seconds", "p90_wait_seconds", "patients", "quantity", "recurs_every",
        "transactions", "visits", "wait_seconds", "waits",
    ),
    "Money": (
        "adjusted", "adjusted_in_transactions", "adjustment", "adjustments", "allowed", "balance",
        "balance_ins", "balance_pt", "balance_total", "billed", "copay", "credits", "debits",
        "expected_reimbursement", "ins1_paid", "ins2_paid", "ins3_paid", "ins_paid", "ins_total",
        "insurer_balance", "insurer_paid", "insurer_paid_in_transactions", "paid_total",
        "patient_balance", "patient_paid", "price", "pt_paid",
    ),
    "The practice's own ids and settings": (
        "clinical_note_field", "color", "doctor", "doctor_id", "exam_room", "office", "office_id",
        "profile", "providerId", "provider_id", "reminder_profile",
    ),
}  # fmt: skip

_VERDICTS = {
    name.lower(): Verdict(can_be_phi, reason)
    for can_be_phi, reasons in ((False, NOT_PHI), (True, PHI))
    for reason, names in reasons.items()
    for name in names
}


def verdict(column: str) -> Verdict | None:
    """Of a documented column. None: nobody has decided on it, so that it has to be taken for PHI."""
    if column.lower().endswith(_KEPT_ENDINGS):
        return Verdict(can_be_phi=True, reason=KEPT_TEXT)
    return _VERDICTS.get(column.lower())
