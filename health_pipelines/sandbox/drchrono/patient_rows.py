"""The fields of patients, many of them only on request."""

from health_pipelines.sandbox.drchrono.people import (
    CITIES,
    DOCTORS,
    FIRST_NAMES,
    LAST_NAMES,
    NOTES,
    OFFICES,
    PAYERS,
    STATES,
    Dice,
    phone,
)
from health_pipelines.sandbox.drchrono.telling import Row, Subject

INSURANCE_TEXTS = (
    "insurance_group_name",
    "insurance_claim_office_number",
    "subscriber_address",
    "subscriber_state",
    "subscriber_social_security",
    "photo_front",
    "subscriber_last_name",
    "subscriber_middle_name",
    "subscriber_date_of_birth",
    "patient_relationship_to_subscriber",
    "subscriber_gender",
    "photo_back",
    "subscriber_suffix",
    "subscriber_zip_code",
    "subscriber_city",
    "insurance_plan_type",
    "subscriber_country",
    "subscriber_first_name",
)
AUTO_ACCIDENT_TEXTS = (
    "claim_rep_city",
    "claim_rep_state",
    "claim_rep_address",
    "will_require_therapy_rec",
    "subscriber_middle_name",
    "significant_injury_notes",
    "subscriber_first_name",
    "subscriber_address",
    "disabled_from_date",
    "company",
    "disabled_to_date",
    "similar_condition_date",
    "payer_address",
    "subscriber_last_name",
    "subscriber_social_security",
    "subscriber_phone_number",
    "subscriber_city",
    "similar_condition_notes",
    "payer_id",
    "payer_state",
    "subscriber_zip_code",
    "payer_zip",
    "payer_city",
    "date_of_accident",
    "subscriber_date_of_birth",
    "subscriber_suffix",
    "subscriber_state",
    "return_to_work_date",
    "notes",
    "policy_number",
    "claim_rep_zip",
    "state_of_occurrence",
    "treatment_duration",
    "patient_relationship_to_subscriber",
    "claim_rep_name",
)
AUTO_ACCIDENT_TRUTHS = (
    "still_under_care",
    "claim_rep_is_insurer",
    "will_require_therapy",
    "is_subscriber_the_patient",
    "had_similar_condition",
)
WORKERS_COMP_TEXTS = (
    "workers_comp_payer_city",
    "workers_comp_payer_id",
    "workers_comp_group_name",
    "workers_comp_wcb",
    "workers_comp_carrier_code",
    "workers_comp_notes",
    "property_and_casualty_agency_claim_number",
    "workers_comp_state_of_occurrence",
    "workers_comp_payer_zip",
    "workers_comp_wcb_rating_code",
    "workers_comp_case_number",
    "workers_comp_group_number",
    "workers_comp_company",
    "workers_comp_payer_address",
    "workers_comp_date_of_accident",
    "workers_comp_payer_state",
)
DOCTOR_TEXTS = (
    "fax",
    "last_name",
    "middle_name",
    "suffix",
    "first_name",
    "provider_number",
    "specialty",
    "provider_qualifier",
    "phone",
    "address",
    "npi",
    "email",
)


def patient(subject: Subject) -> Row:
    """Address and contact change; name, birth and numbers stay."""
    record, times, lasting, passing = subject.record, subject.times, subject.lasting(), subject.passing()
    first, last = lasting.of(FIRST_NAMES), lasting.of(LAST_NAMES)
    email = f"patient{record.number}@example.invalid" if lasting.chance(0.8) else ""
    row: Row = {
        "id": record.number,
        "address": f"{passing.below(999)} Example St\nApt {passing.below(9)}" if passing.chance(0.7) else "",
        "cell_phone": phone(passing),
        "chart_id": f"{last[:2].upper()}{record.number % 10**7:07d}",
        "city": passing.of(CITIES),
        "copay": passing.of(("", "20.00", "35.50")),
        "created_at": times.time(record.created),
        "date_of_birth": f"{1930 + lasting.below(90)}-0{1 + lasting.below(9)}-{10 + lasting.below(18)}",
        "date_of_death": None,
        "date_of_first_appointment": times.date(record.created),
        "date_of_last_appointment": times.date(record.changed) if record.version else None,
        "default_pharmacy": f"{lasting.below(10**7):07d}",
        "disable_sms_messages": passing.chance(0.2),
        "doctor": lasting.of(DOCTORS),
        "email": email,
        "emergency_contact_name": "",
        "emergency_contact_phone": phone(lasting),
        "emergency_contact_relation": None,
        "employer": lasting.of(NOTES),
        "employer_address": "",
        "employer_city": "",
        "employer_state": "",
        "employer_zip_code": "",
        "ethnicity": lasting.of(("blank", "hispanic", "not_hispanic", "declined")),
        "first_name": first,
        "gender": lasting.of(("", "Male", "Female", "Other", "UNK", "ASKU")),
        "gender_identity_code": "",
        "gender_identity_description": "",
        "home_phone": "",
        "last_name": last,
        "medication_history_consent": None,
        "middle_name": lasting.of(("", "Q", None)),
        "nick_name": "",
        "office_phone": "",
        "offices": [lasting.of(OFFICES)],
        "patient_payment_profile": lasting.of(("", "Cash", "Insurance", "Worker's Comp")),
        "patient_photo": None,
        "patient_photo_date": None,
        "patient_status": passing.of(("A", "A", "A", "I", "D")),
        "preferred_language": lasting.of(("blank", "eng", "spa", "zho", "other", "declined")),
        "preferred_language_code": "",
        "preferred_language_description": "",
        "preferred_pharmacies": [f"{lasting.below(10**7):07d}"] if lasting.chance(0.3) else [],
        "primary_care_physician": "",
        "pronouns": lasting.of(("", "LA29518-0", "LA29520-6")),
        "race": lasting.of(("blank", "indian", "asian", "black", "hawaiian", "white", "other", "declined")),
        "race_subcategories": [{"code": "2029-7", "description": "Asian Indian"}]
        if lasting.chance(0.1)
        else [],
        "referring_source": "",
        "responsible_party_email": "",
        "responsible_party_name": "",
        "responsible_party_phone": "",
        "responsible_party_relation": "",
        "social_security_number": f"000-00-{lasting.below(10000):04d}" if lasting.chance(0.5) else "",
        "state": passing.of(STATES),
        "updated_at": times.time(record.changed),
        "zip_code": passing.of(("00501", "02134", "68001-1234", "")),
    }
    if subject.verbose:
        row |= _on_request(subject, lasting, passing)
    return row


def _on_request(subject: Subject, lasting: Dice, passing: Dice) -> Row:
    created, updated = subject.times.time(subject.record.created), subject.times.time(subject.record.changed)
    flag = {"created_at": created, "updated_at": updated, "archived": False, "id": 41}
    flagged = passing.chance(0.2)
    return {
        "auto_accident_insurance": {
            **{f"auto_accident_{name}": "" for name in AUTO_ACCIDENT_TEXTS},
            **{f"auto_accident_{name}": False for name in AUTO_ACCIDENT_TRUTHS},
            "auto_accident_case_number": f"{lasting.below(10**6):06d}",
            "auto_accident_significant_injury": lasting.of(("YES", "NO", "N\\A")),
        },
        "custom_demographics": [{"field_type": 9, "updated_at": updated, "value": passing.of(NOTES)}],
        "patient_flags": [
            {**flag, "name": "Allergy", "doctor": lasting.of(DOCTORS), "color": "#FF0000", "priority": 1}
        ]
        if flagged
        else [],
        "patient_flags_attached": [{**flag, "flag_text": passing.of(NOTES), "flag_type": 41}]
        if flagged
        else [],
        "primary_insurance": _insurance(lasting),
        "referring_doctor": dict.fromkeys(DOCTOR_TEXTS, ""),
        "secondary_insurance": _insurance(lasting),
        "tertiary_insurance": _insurance(lasting),
        "workers_comp_insurance": dict.fromkeys(WORKERS_COMP_TEXTS, ""),
    }


def _insurance(dice: Dice) -> Row:
    payer, payer_id = dice.of(PAYERS)
    return {
        **dict.fromkeys(INSURANCE_TEXTS, ""),
        "insurance_id_number": f"{dice.below(10**9):09d}" if payer else "",
        "insurance_company": payer,
        "insurance_payer_id": payer_id,
        "insurance_plan_name": "PPO" if payer else "",
        "insurance_group_number": f"{dice.below(10**4):04d}",
        "is_subscriber_the_patient": dice.chance(0.8),
    }
