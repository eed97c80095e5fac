"""The fields of billing line items and of the transactions on them.

Amounts are numbers in some fields and text in others, as the vendor publishes them.
"""

from datetime import timedelta

from health_pipelines.sandbox.drchrono.calendar import mix
from health_pipelines.sandbox.drchrono.people import CPT, PAYERS, money
from health_pipelines.sandbox.drchrono.telling import Row, Subject, doctor_of, office_of


def line_item(subject: Subject) -> Row:
    """`doctor` and `patient` are text here, `appointment` is a number."""
    record, lasting, passing = subject.record, subject.lasting(), subject.passing()
    quantity = lasting.of((1, 1, 1, 2, 0.5, 10))
    billed = lasting.cents(400)
    paid = passing.cents(150) if record.version else 0
    by_patient = paid // 4
    row: Row = {
        "id": record.number,
        "adjustment": passing.cents(20) / 100,
        "allowed": lasting.cents(300) / 100,
        "appointment": record.parent,
        "balance_ins": (billed - paid) / 100,
        "balance_pt": 0,
        "balance_total": money(billed - paid),
        "billed": billed / 100,
        "billing_status": passing.of(("", "Balance Due", "Paid In Full")),
        "code": lasting.of(CPT),
        "denied_flag": passing.chance(0.05),
        "diagnosis_pointers": [str(1 + number) for number in range(lasting.below(4))],
        "doctor": str(doctor_of(record.parent)),
        "expected_reimbursement": lasting.cents(300) / 100,
        "ins1_paid": (paid - by_patient) / 100,
        "ins2_paid": 0,
        "ins3_paid": 0,
        "ins_total": money(paid - by_patient),
        "insurance_status": passing.of(("", "In Process", "Rejected")),
        "modifiers": [lasting.of(("25", "59", "GT"))] if lasting.chance(0.2) else [],
        "paid_total": money(paid),
        "patient": str(subject.calendar.patient_of(record.parent)),
        "posted_date": subject.times.date(record.created),
        "price": billed / 100,
        "procedure_type": lasting.of(("C", "H", "U", "S")),
        "pt_paid": by_patient / 100,
        "quantity": quantity,
        "service_date": subject.times.date(record.created - 86400 * lasting.below(3)),
        "units": lasting.of(("UN", "MJ", "")),
        "updated_at": subject.times.time(record.changed),
        "_office": office_of(record.parent),
    }
    if subject.verbose:
        row["description"] = lasting.of(("OFFICE O/P EST LOW", "Psytx w pt 60 minutes", ""))
    return row


def transaction(subject: Subject) -> Row:
    """`ins_name` is a code: 1 primary, 2 secondary."""
    record, lasting, passing, times = subject.record, subject.lasting(), subject.passing(), subject.times
    payer, payer_id = lasting.of(PAYERS)
    day = subject.calendar.day(record.created)
    lines = subject.calendar.numbers("line_items", day) or subject.calendar.numbers(
        "line_items", day - timedelta(days=1)
    )
    return {
        "id": record.number,
        "adjustment": passing.cents(50) / 100,
        "adjustment_group_code": lasting.of(("", "CO", "OA", "PI", "PR")),
        "adjustment_reason": lasting.of(("", "45", "253", "1")),
        "appointment": record.parent,
        "check_date": times.date(record.created) if lasting.chance(0.7) else None,
        "claim_status": passing.of(("", "1", "2", "4")),
        "created_at": times.time(record.created),
        "doctor": doctor_of(record.parent),
        "ins_name": lasting.of((1, 1, 2, None)),
        "ins_paid": passing.cents(200) / 100,
        "insurance": {"id_number": payer_id, "message": "", "name": payer},
        "line_item": lines[mix(record.number, 7) % len(lines)] if lines else 0,
        "patient": subject.calendar.patient_of(record.parent),
        "posted_date": times.date(record.created),
        "trace_number": f"{lasting.below(10**10):010d}",
        "updated_at": times.time(record.changed),
    }
