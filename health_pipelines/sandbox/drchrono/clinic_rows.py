"""The fields of appointments, clinical notes, their values, prescription messages and eligibility checks."""

import json

from health_pipelines.sandbox.drchrono.calendar import mix
from health_pipelines.sandbox.drchrono.collection import Record
from health_pipelines.sandbox.drchrono.people import ICD10, NOTES, PAYERS, Times
from health_pipelines.sandbox.drchrono.telling import Row, Subject, doctor_of, is_virtual, office_of

STATUSES = (
    "",
    "Arrived",
    "Checked In",
    "Checked In Online",
    "In Room",
    "In Session",
    "Complete",
    "Complete",
    "Complete",
    "Confirmed",
    "Not Confirmed",
    "Rescheduled",
    "Cancelled",
    "No Show",
)
TEMPLATES = (500, 501, 502)
STCS = ("30", "98", "MH", "UC")


def appointment_key(record: Record, times: Times) -> str:
    """`123`, or `123_2026-01-02` for an instance of a series; it stays when the appointment is moved."""
    return (
        f"{record.number}_{times.date(record.created)}" if is_virtual(record.number) else str(record.number)
    )


def appointment(subject: Subject) -> Row:
    """`id` is text, and for an instance of a series no number."""
    record, times, lasting, passing = subject.record, subject.times, subject.lasting(), subject.passing()
    virtual, key = is_virtual(record.number), appointment_key(record, times)
    status, (payer, payer_id) = passing.of(STATUSES), lasting.of(PAYERS)
    billed = times.date(record.changed) if record.version and status == "Complete" else None
    row: Row = {
        "id": key,
        "allow_overlapping": lasting.chance(0.1),
        "appt_is_break": lasting.chance(0.02),
        "base_recurring_appointment": str(record.number) if virtual else None,
        "billing_notes": [
            {
                "text": passing.of(NOTES),
                "created_at": times.time(record.changed),
                "appointment": record.number,
                "id": record.number * 10 + record.version,
                "created_by": "Robin Test-Case",
            }
        ]
        if passing.chance(0.1)
        else [],
        "billing_provider": str(doctor_of(record.number)) if lasting.chance(0.3) else "",
        "billing_status": passing.of(("", "Bill Insurance", "Paid In Full", "Balance Due", "Settled")),
        "cloned_from": record.number - 1 if lasting.chance(0.01) else None,
        "color": lasting.of(("#71D572", "", "Gray")),
        "created_at": times.time(record.created),
        "created_by": lasting.of(("Robin Test-Case", "", None)),
        "custom_status": None,
        "deleted_flag": record.archived,
        "doctor": doctor_of(record.number),
        "duration": lasting.of((15, 20, 30, 45, 60)),
        "exam_room": lasting.below(4),
        "first_billed_date": billed,
        "first_edi_date": None,
        "icd10_codes": [passing.of(ICD10) for _ in range(passing.below(3))],
        "icd9_codes": [],
        "ins1_status": passing.of(("", "In Process Payer", "Rejected")),
        "ins2_status": "",
        "is_virtual_base": False,
        "is_walk_in": lasting.chance(0.05),
        "last_billed_date": billed,
        "last_edi_date": None,
        "notes": passing.of(NOTES),
        "office": office_of(record.number),
        "patient": subject.calendar.patient_of(record.number),
        "payment_profile": lasting.of(("", "Cash", "Insurance")),
        "primary_insurance_id_number": f"{lasting.below(10**9):09d}" if payer else "",
        "primary_insurer_name": payer,
        "primary_insurer_payer_id": payer_id,
        "profile": lasting.of((None, 31, 32)),
        "reason": lasting.of(NOTES),
        "recur_end_date": None,
        "recur_start_date": times.date(record.scheduled) if virtual else None,
        "recurrence_instance_key": key if virtual else None,
        "recurring_appointment": virtual,
        "recurring_days": [0, 2] if virtual else [],
        "recurs_every": 1 if virtual else None,
        "reminder_profile": "",
        "resubmit_claim_original_id": None,
        "scheduled_time": times.time(record.scheduled),
        "secondary_insurance_id_number": "",
        "secondary_insurer_name": "",
        "secondary_insurer_payer_id": "",
        "status": status,
        "supervising_provider": None,
        "updated_at": times.time(record.changed),
    }
    if subject.verbose:
        weight = passing.below(2500)
        row |= {
            "clinical_note": {
                "pdf": "",
                "locked": status == "Complete",
                "updated_at": times.time(record.changed),
            },
            "custom_fields": [
                {
                    "field_type": 7,
                    "created_at": times.time(record.created),
                    "updated_at": times.time(record.changed),
                    "field_value": passing.of(NOTES),
                }
            ],
            "custom_vitals": [{"value": str(passing.below(10)), "vital_type": 3}]
            if passing.chance(0.2)
            else [],
            "extended_updated_at": times.time(record.changed),
            "reminders": [
                {
                    "scheduled_time": times.time(record.scheduled - 86400),
                    "type": lasting.of(("email", "sms", "phone", "auto_call")),
                    "id": record.number * 10 + 1,
                }
            ],
            "status_transitions": [
                {
                    "appointment": key,
                    "to_status": status,
                    "from_status": "",
                    "datetime": times.time(record.changed),
                }
            ]
            if record.version
            else [],
            "vitals": {
                "height_units": "inches",
                "weight_units": "lbs",
                "pain": passing.of(("", "3", "10")),
                "temperature": 98.6,
                "weight": weight / 10,
                "smoking_status": passing.of(("blank", "449868002", "8517006")),
                "head_circumference": None,
                "bmi": f"{weight / 80:.2f}",
                "head_circumference_units": "inches",
                "blood_pressure_2": 80,
                "blood_pressure_1": 110 + passing.below(60),
                "height": 68.5,
                "pulse": 60 + passing.below(60),
                "oxygen_saturation": 98,
                "respiratory_rate": None,
                "temperature_units": "f",
            },
        }
    return row


def clinical_note(subject: Subject) -> Row:
    """No id and no time: `appointment`, as text, is the key."""
    record, passing = subject.record, subject.passing()
    row: Row = {
        "appointment": str(record.parent),
        "archived": passing.chance(0.05),
        "clinical_note_sections": [
            {
                "name": name,
                "clinical_note_template": template,
                "values": [
                    {
                        "clinical_note_field": template * 10 + number,
                        "id": record.number * 100 + template % 10 * 10 + number,
                        "value": passing.of(NOTES),
                    }
                    for number in range(2)
                ],
            }
            for name, template in zip(("Subjective", "Plan"), TEMPLATES, strict=False)
        ],
        "patient": str(subject.calendar.patient_of(record.parent)),
        "signee": {"locked_by": passing.of(("", "Robin Test-Case")), "supervisor_locked_by": ""},
        "_office": office_of(record.parent),
        "_doctor": doctor_of(record.parent),
        "_date": subject.times.date(record.created),
    }
    if subject.verbose:
        # The vendor does not say what the field with the yellow notes is called.
        row["yellow_notes"] = passing.of(NOTES)
    return row


def clinical_note_field_value(subject: Subject) -> Row:
    """Small, and many."""
    record, lasting = subject.record, subject.lasting()
    template = lasting.of(TEMPLATES)
    return {
        "id": record.number,
        "appointment": record.parent,
        "clinical_note_field": template * 10 + lasting.below(4),
        "created_at": subject.times.time(record.created),
        "updated_at": subject.times.time(record.changed),
        "value": subject.passing().of(NOTES),
        "_template": template,
    }


def prescription_message(subject: Subject) -> Row:
    """The vendor knows when it changed (it filters and sorts by that) and does not tell."""
    record, lasting = subject.record, subject.lasting()
    return {
        "id": record.number,
        "created_at": subject.times.time(record.created),
        "doctor": doctor_of(record.parent),
        "json_data": json.dumps(
            {"drug": lasting.of(("Placebo 10 mg", "Sugar pill")), "refills": lasting.below(4)}
        )
        if lasting.chance(0.8)
        else "",
        "message_direction": lasting.of(("I", "O")),
        "message_status": subject.passing().of(("Sent", "Success", "Error", "")),
        "message_type": lasting.of(("NewRx", "RefillRequest", "Status")),
        "parent_message": str(record.number - 1) if lasting.chance(0.2) else None,
        "patient": subject.calendar.patient_of(record.parent),
        "pharmacy": f"{lasting.below(10**7):07d}",
    }


def eligibility_check(subject: Subject) -> Row:
    """`coverage_details` and `coverage_subscriber` are documented as text and sent as objects on request."""
    record, lasting, passing = subject.record, subject.lasting(), subject.passing()
    payer, payer_id = lasting.of(PAYERS)
    full = subject.verbose and payer != ""
    return {
        "id": record.number,
        "appointment": str(record.parent),
        "cob_level": lasting.of(("primary", "secondary")),
        "coverage_details": {"plan": {"number": payer_id, "copay": [20, 35.5]}} if full else "",
        "coverage_subscriber": {"relationship": "self", "id": f"{lasting.below(10**6):06d}"} if full else "",
        "eligibility": passing.of(("Active Coverage", "Inactive", "Unknown", "")),
        "patient": str(subject.calendar.patient_of(record.parent)),
        "payer_name": payer,
        "query_date": subject.times.date(record.created),
        "request_service_type": lasting.of(STCS),
        "service_type_description": lasting.of(("Health Benefit Plan Coverage", "Mental Health", "")),
        "updated_at": subject.times.time(record.changed),
        "_date": subject.times.date(record.created + 86400 * (mix(record.parent, 8) % 14)),
    }
