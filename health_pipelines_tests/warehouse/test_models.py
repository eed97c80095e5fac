"""The marts and the current records against rows whose numbers were computed by hand.

The hospital is in Chicago: UTC-5 in October 2026, UTC-6 from 1 November on.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from health_pipelines.settings import VisitColumns
from health_pipelines.warehouse import changed_keys
from health_pipelines.warehouse.checks import KEYS_ARE_UNIQUE, ROWS_RECONCILE
from health_pipelines.warehouse.models import Model, marts
from health_pipelines.warehouse.published import BuildReport
from health_pipelines_tests.warehouse.hospital import TYPES, Hospital

OCT_1, OCT_2, OCT_3 = date(2026, 10, 1), date(2026, 10, 2), date(2026, 10, 3)


def visit(
    id_: str | None,
    scheduled: str | None,
    state: str | None,
    entered: str | None = None,
    left: str | None = None,
) -> dict[str, str | None]:
    return {
        "visit_id": id_, "scheduled_at": scheduled, "state": state, "entered_at": entered, "left_at": left,
        "room": "007",
    }  # fmt: skip


VIRTUAL_OCT_1 = [
    # 23:30 local on the 1st, though on the 2nd in UTC. Waits of 100, 200 and 600 seconds.
    visit("v1", "2026-10-01 23:30:00", "completed", "2026-10-01 23:30:00", "2026-10-01 23:31:40"),
    visit("v2", "2026-10-02T04:30:00Z", "Completed", "2026-10-01 23:30:00", "2026-10-01 23:33:20"),
    visit("v3", "2026-10-01 12:00:00", "completed", "2026-10-01 12:00:00", "2026-10-01 12:10:00"),
    # Left before it entered, and never left: no waits.
    visit("v4", "2026-10-01 13:00:00", "completed", "2026-10-01 13:00:00", "2026-10-01 12:59:00"),
    visit("v5", "2026-10-01 14:00:00", "cancelled", "2026-10-01 14:00:00", None),
    # No day, though with a text.
    visit("v6", "soon", None),
    visit(None, "2026-10-01 15:00:00", "completed"),
]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_visits_are_counted_by_local_day_and_waits_leave_out_what_is_missing_or_negative(
    hospital: Hospital,
) -> None:
    hospital.land_visits("virtual", "2026-10-01", VIRTUAL_OCT_1)
    hospital.land_visits("retail", "2026-10-01", [visit("r1", "2026-10-01 08:00:00", "CANCELED")])
    hospital.land_visits("provider_booking", "2026-10-01", [visit("p1", "2026-10-02 00:30:00", "scheduled")])

    report = hospital.build()

    agnostic, specific = "provider-agnostic", "provider-specific"
    assert hospital.query("FROM marts.daily_visits ORDER BY report_type, day, status") == [
        # (100, 200, 600): half is 200; the ninth tenth lies at 1.8 of the way: 200 + 0.8 * 400.
        (OCT_2, "provider_booking", specific, "scheduled", "scheduled", 1, 0, 0, 0, None, None),
        (OCT_1, "retail", agnostic, "scheduled", "CANCELED", 1, 0, 1, 0, None, None),
        (OCT_1, "virtual", agnostic, "on-demand", "Completed", 1, 1, 0, 1, 200, 200),
        (OCT_1, "virtual", agnostic, "on-demand", "cancelled", 1, 0, 1, 0, None, None),
        (OCT_1, "virtual", agnostic, "on-demand", "completed", 3, 3, 0, 2, 350, 550),
        (None, "virtual", agnostic, "on-demand", None, 1, 0, 0, 0, None, None),
    ]
    assert hospital.query("SELECT visit_id, wait_seconds FROM marts.visits ORDER BY ALL") == [
        ("p1", None), ("r1", None), ("v1", 100), ("v2", 200), ("v3", 600), ("v4", -60), ("v5", None),
        ("v6", None),
    ]  # fmt: skip
    by_name = {model.name: model for model in report.models}
    assert by_name["current.avr_virtual"].failed_casts == {"visit_time": 1}
    assert by_name["current.avr_virtual"].rows_without_key == 1
    assert by_name["current.avr_virtual"].rows == 6
    assert hospital.query(
        "SELECT visit_time, visit_time_text, scheduled_at FROM current.avr_virtual WHERE visit_id = 'v6'"
    ) == [(None, "soon", "soon")]


# On this night clocks go back in Chicago, where 01:10 comes twice.
@pytest.mark.parametrize(
    ("entered", "left", "wait"),
    [
        ("2025-11-02 01:50:00", "2025-11-02 01:10:00", 1200),  # in the second pass
        ("2025-11-02 01:10:00", "2025-11-02 01:50:00", 2400),
        ("2025-11-02T06:50:00Z", "2025-11-02T06:10:00Z", -2400),  # an offset leaves no doubt
        ("2025-11-02 03:00:00", "2025-11-02 01:10:00", -10200),  # no reading makes it a wait
        ("2025-11-03 01:50:00", "2025-11-03 01:10:00", -2400),
    ],
)
def test_a_wait_ends_at_the_reading_of_its_time_that_makes_it_one(
    hospital: Hospital, entered: str, left: str, wait: int
) -> None:
    hospital.land_visits("virtual", "2025-11-02", [visit("v", entered, "completed", entered, left)])
    hospital.build()

    assert hospital.query("SELECT wait_seconds FROM marts.visits") == [(wait,)]


def test_a_late_correction_replaces_a_visit_wherever_it_lands(hospital: Hospital) -> None:
    days = [f"2026-10-0{day}" for day in range(1, 8)]
    for day in days:
        rows = [visit(f"{day} {number}", f"{day} 10:00:00", "scheduled") for number in range(3)]
        hospital.land_visits("virtual", day, rows, extracted=1)
    hospital.build()
    assert hospital.query("SELECT sum(visits), sum(completed) FROM marts.daily_visits") == [(21, 0)]

    # A visit of the 1st is held on the 7th, whose report has it too.
    moved = visit("2026-10-01 0", "2026-10-07 11:00:00", "completed")
    rows = [visit(f"2026-10-07 {number}", "2026-10-07 10:00:00", "scheduled") for number in range(3)]
    hospital.land_visits("virtual", "2026-10-07", [*rows, moved], extracted=2)
    report = hospital.build()

    assert made(report)["current.avr_virtual"] == "part"
    counts = "SELECT day, sum(visits), sum(completed) FROM marts.daily_visits WHERE day IN (?, ?) GROUP BY 1"
    by_day = counts.replace("?, ?", "DATE '2026-10-01', DATE '2026-10-07'") + " ORDER BY 1"
    assert hospital.query(by_day) == [(OCT_1, 2, 0), (date(2026, 10, 7), 4, 1)]
    assert hospital.one("SELECT count(*) FROM current.avr_virtual") == 21

    # The report of the 7th is corrected: it never had that visit. The older version is the newest there is.
    hospital.land_visits("virtual", "2026-10-07", rows, extracted=3)
    assert made(hospital.build())["current.avr_virtual"] == "part"

    assert hospital.query(by_day) == [(OCT_1, 3, 0), (date(2026, 10, 7), 3, 0)]


def made(report: Any) -> dict[str, str]:
    return {model.name: model.made for model in report.models}


def test_of_equal_extractions_the_newest_partition_counts_and_of_one_report_the_later_row(
    hospital: Hospital,
) -> None:
    hospital.land_visits("retail", "2026-10-02", [visit("a", None, "newer")], extracted=1)
    hospital.land_visits(
        "retail", "2026-10-01", [visit("a", None, "older"), visit("b", None, "1"), visit("b", None, "2")]
    )
    hospital.build()

    assert hospital.query("SELECT visit_id, status FROM current.avr_retail ORDER BY 1") == [
        ("a", "newer"), ("b", "2"),
    ]  # fmt: skip


def test_a_newer_extraction_counts_though_its_partition_is_older(hospital: Hospital) -> None:
    hospital.land_visits("retail", "2026-10-02", [visit("a", None, "first")], extracted=1)
    hospital.land_visits("retail", "2026-10-01", [visit("a", None, "corrected")], extracted=2)
    hospital.build()

    assert hospital.query("SELECT visit_id, status, _partition_date FROM marts.visits") == [
        ("a", "corrected", OCT_1)
    ]


def test_without_a_key_every_landed_row_is_current_and_the_description_says_so(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, visits={})
    for day in ("2026-10-01", "2026-10-02", "2026-10-03", "2026-10-04"):
        hospital.land_visits("virtual", day, [visit("a", None, "x"), visit(None, None, "y")])
    hospital.build()
    hospital.land_visits("virtual", "2026-10-04", [visit("a", None, "x")], extracted=2)

    assert made(hospital.build())["current.avr_virtual"] == "part"

    assert hospital.one("SELECT count(*) FROM current.avr_virtual") == 7
    said = hospital.one("SELECT comment FROM duckdb_tables() WHERE table_name = 'avr_virtual'")
    assert "DEXCARE_AVR_VIRTUAL_KEY names no column" in said


def test_a_setting_that_names_no_column_is_told_and_the_rest_is_built(tmp_path: Path) -> None:
    named = VisitColumns(key="VISIT_ID", time="scheduledAt", status="state")
    hospital = Hospital(tmp_path, visits={"virtual": named})
    hospital.land_visits("virtual", "2026-10-01", [visit("a", "2026-10-01 10:00:00", "completed")])

    report = hospital.build()

    assert report.corrections == (
        "DEXCARE_AVR_VIRTUAL_TIME is 'scheduledAt', and dexcare/avr_virtual has no such column; set it to "
        "one of the columns of that table.",
    )
    assert hospital.query("SELECT visit_id, visit_time, status FROM marts.visits") == [
        ("a", None, "completed")
    ]


def test_a_vendors_column_with_a_fixed_name_gets_another(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, visits={"virtual": VisitColumns(key="id", status="state")})
    hospital.land_visits(
        "virtual", "2026-10-01", [{"id": "1", "Status": "theirs", "state": "named", "is_deleted": "no"}]
    )
    hospital.build()

    assert hospital.query(
        "SELECT visit_id, status, Status_landed, is_deleted_landed, is_deleted, id FROM current.avr_virtual"
    ) == [("1", "named", "theirs", "no", False, "1")]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-10-31 23:30:00", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
        # The clock is set back at 2: of two half past ones the first.
        ("2026-11-01 01:30:00", datetime(2026, 11, 1, 6, 30, tzinfo=UTC)),
        ("2026-11-01 02:30:00.250", datetime(2026, 11, 1, 8, 30, 0, 250000, tzinfo=UTC)),
        ("2026-11-01 02:30:00.000 UTC", datetime(2026, 11, 1, 2, 30, tzinfo=UTC)),
        ("2026-11-01T02:30:00+02:00", datetime(2026, 11, 1, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_without_offset_is_in_the_health_systems_zone(
    hospital: Hospital, text: str, utc: datetime
) -> None:
    hospital.land_visits("virtual", "2026-10-31", [visit("a", text, "x")])
    hospital.build()

    [(microseconds,)] = hospital.query("SELECT epoch_us(visit_time) FROM marts.visits")
    assert microseconds == int(utc.timestamp() * 1_000_000)


def test_a_providers_actions_are_counted_by_the_day_that_found_them(hospital: Hospital) -> None:
    ann, bob = {"providerId": "1", "providerName": "Ann"}, {"providerId": "2", "providerName": "Bob"}
    hospital.land_histories(
        "2026-10-01",
        [
            {"id": "e1", "action": "assigned", "visitId": "v1", "actorId": "x", **ann},
            {"id": "e2", "action": "assigned", "visitId": "v1", "actorId": None, **ann},
            {"id": "e3", "action": "assigned", "visitId": "v2", "actorId": "x", **ann},
            {"id": "e4", "action": None, "visitId": None, "actorId": None, **bob},
        ],
    )
    # e3 is found again by the next day.
    hospital.land_histories(
        "2026-10-02",
        [{"id": "e3", "action": "assigned", "visitId": "v2", "actorId": "x", **ann}],
        extracted=2,
    )
    hospital.build()

    assert hospital.query("FROM marts.provider_activity ORDER BY ALL") == [
        (OCT_1, "1", "Ann", "assigned", 2, 1, 1),
        (OCT_1, "2", "Bob", None, 1, 0, 0),
        (OCT_2, "1", "Ann", "assigned", 1, 1, 1),
    ]


def line(id_: int, appointment: int, doctor: str, **values: Any) -> dict[str, Any]:
    return {"id": id_, "appointment": appointment, "doctor": doctor, "patient": "70",
            "updated_at": "2026-10-01T10:00:00", "posted_date": "2026-10-01", **values}  # fmt: skip


APPOINTMENTS: list[dict[str, Any]] = [
    {"id": 1, "scheduled_time": "2026-10-01T23:30:00", "status": "Complete", "deleted_flag": False,
     "doctor": 8, "patient": 70, "duration": 30},
    {"id": 2, "scheduled_time": "2026-10-02T00:10:00", "status": "No Show", "doctor": 8, "patient": 71},
    {"id": 3, "scheduled_time": "2026-10-01T09:00:00", "status": "", "deleted_flag": True, "doctor": 9},
    {"id": 4, "scheduled_time": "2026-10-01T12:00:00", "appt_is_break": True, "doctor": 9},
    {"id": 5, "scheduled_time": None, "status": None, "doctor": 9, "patient": 72},
]  # fmt: skip
LINES = [
    # Ages on 1 November, the day of the extraction (at 6 in the morning): 30, 31, 60, 90, 91, 120, 121 days.
    line(11, 1, "8", billed=100, balance_total="60.00", balance_ins=40, balance_pt=20, adjustment=10,
         ins_total="25.50", pt_paid=4.5, service_date="2026-10-02"),
    line(12, 1, "8", billed=50, balance_total="50", service_date="2026-10-01"),
    line(13, 2, "8", billed=20, balance_ins=15, balance_pt=5, ins1_paid=1, ins2_paid=2,
         service_date="2026-09-02"),
    line(14, 2, "8", billed=10, balance_total="-3.25", service_date="2026-08-03"),
    line(15, 2, "8", billed=10, balance_total="7", service_date="2026-08-02"),
    line(16, 2, "9", billed=10, balance_total="8", service_date="2026-07-04"),
    line(17, 2, "9", billed=10, balance_total="9", service_date="2026-07-03"),
    # Paid, without a balance, of a deleted appointment, of no appointment that landed, without a day.
    line(18, 2, "9", billed=10, balance_total="0", service_date="2026-07-03"),
    line(19, 2, "9", billed=None, service_date="2026-07-03"),
    line(20, 3, "9", billed=1000, balance_total="1000", service_date="2026-07-03"),
    line(21, 999, "9", billed=5, balance_total="5", service_date=None, posted_date=None),
]  # fmt: skip
TRANSACTIONS: list[dict[str, Any]] = [
    {"id": 31, "line_item": 11, "appointment": 1, "doctor": 8, "ins_paid": 25.5, "adjustment": 10,
     "posted_date": "2026-10-03"},
    {"id": 32, "line_item": 11, "appointment": 1, "doctor": 8, "ins_paid": None, "adjustment": 0.25,
     "posted_date": "2026-10-05"},
    {"id": 33, "line_item": 20, "appointment": 3, "doctor": 9, "ins_paid": 500, "posted_date": "2026-10-03"},
    {"id": 34, "line_item": None, "appointment": None, "doctor": 9, "ins_paid": 1, "posted_date": None},
]  # fmt: skip


@pytest.fixture
def practice(hospital: Hospital) -> Hospital:
    hospital.land_records("appointments", "2026-10-01", APPOINTMENTS)
    hospital.land_records("line_items", "2026-10-01", LINES)
    hospital.land_records("transactions", "2026-10-01", TRANSACTIONS)
    hospital.build()
    return hospital


def numbers(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(float(value) if isinstance(value, Decimal) else value for value in row) for row in rows]


CHARGES = """
    SELECT line_item_id, appointment_state, billed, adjusted, insurer_paid, patient_paid, balance,
           transactions, insurer_paid_in_transactions, adjusted_in_transactions, last_transaction_date
    FROM marts.charges ORDER BY 1
    """
AGING = "SELECT doctor_id, age, as_of_day, line_items, balance FROM marts.aging_receivables ORDER BY ALL"
DAYSHEET = "SELECT * FROM marts.daysheet ORDER BY day NULLS LAST, doctor_id"


def test_charges_are_line_items_with_their_transactions(practice: Hospital) -> None:
    assert numbers(practice.query(CHARGES)) == [
        ("11", "exists", 100, 10, 25.5, 4.5, 60, 2, 25.5, 10.25, date(2026, 10, 5)),
        ("12", "exists", 50, None, None, None, 50, 0, 0, 0, None),
        ("13", "exists", 20, None, 3, None, 20, 0, 0, 0, None),
        ("14", "exists", 10, None, None, None, -3.25, 0, 0, 0, None),
        ("15", "exists", 10, None, None, None, 7, 0, 0, 0, None),
        ("16", "exists", 10, None, None, None, 8, 0, 0, 0, None),
        ("17", "exists", 10, None, None, None, 9, 0, 0, 0, None),
        ("18", "exists", 10, None, None, None, 0, 0, 0, 0, None),
        ("19", "exists", None, None, None, None, None, 0, 0, 0, None),
        ("20", "deleted", 1000, None, None, None, 1000, 1, 500, 0, OCT_3),
        ("21", "missing", 5, None, None, None, 5, 0, 0, 0, None),
    ]


def test_receivables_age_from_the_service_to_the_day_of_the_newest_extraction(practice: Hospital) -> None:
    as_of = date(2026, 11, 1)
    assert numbers(practice.query(AGING)) == [
        ("8", "0-30", as_of, 1, 60),
        ("8", "31-60", as_of, 2, 70),
        ("8", "61-90", as_of, 1, -3.25),
        ("8", "91-120", as_of, 1, 7),
        ("9", "91-120", as_of, 1, 8),
        ("9", ">120", as_of, 1, 9),
        ("9", "unknown", as_of, 1, 5),
    ]
    [owed] = numbers(
        practice.query("SELECT sum(insurer_balance), sum(patient_balance) FROM marts.aging_receivables")
    )
    assert owed == (55, 25)


def test_the_daysheet_has_what_was_posted_for_each_doctor(practice: Hospital) -> None:
    assert numbers(practice.query(DAYSHEET)) == [
        (OCT_1, "8", 190, 0, 0, 5, 0),
        (OCT_1, "9", 30, 0, 0, 4, 0),
        (OCT_3, "8", 0, 25.5, 10, 0, 1),
        (date(2026, 10, 5), "8", 0, 0, 0.25, 0, 1),
        (None, "9", 5, 1, 0, 1, 1),
    ]


def test_appointments_are_those_that_stand_with_what_was_billed(practice: Hospital) -> None:
    assert numbers(
        practice.query(
            "SELECT appointment_id, scheduled_day, doctor_id, status, is_completed, is_no_show, line_items, "
            "billed, balance FROM marts.appointments ORDER BY 1"
        )
    ) == [
        ("1", OCT_1, "8", "Complete", True, False, 2, 150, 110),
        ("2", OCT_2, "8", "No Show", False, True, 7, 70, 40.75),
        ("5", None, "9", None, False, False, 0, 0, 0),
    ]


# On this night clocks go back in Denver, where 01:10 comes twice.
@pytest.mark.parametrize(
    ("changed", "deleted", "is_deleted"),
    [
        ("2025-11-02T01:50:00", "2025-11-02T01:10:00", True),  # in the second pass
        ("2025-11-02T01:50:00", "2025-11-02T00:50:00", False),
        ("2025-11-02T03:10:00", "2025-11-02T01:50:00", False),
        ("2025-11-02T07:50:00Z", "2025-11-02T07:10:00Z", False),  # an offset leaves no doubt
        ("2025-11-02T07:50:00Z", "2025-11-02T01:10:00", True),
        ("2025-11-03T01:50:00", "2025-11-03T01:10:00", False),
    ],
)
def test_a_deletion_counts_if_some_reading_of_its_time_makes_it_the_later_one(
    tmp_path: Path, changed: str, deleted: str, is_deleted: bool
) -> None:
    practice = Hospital(tmp_path, account_zone=ZoneInfo("America/Denver"))
    practice.land_records("line_items", "2025-11-02", [{"id": 1, "updated_at": changed}])
    deletion = {"billing_line_item_id": 1, "created_at": deleted}
    practice.land_records("line_item_deletions", "2025-11-02", [deletion])
    practice.build()

    assert practice.query("SELECT is_deleted FROM current.line_items") == [(is_deleted,)]


def test_a_deleted_line_item_leaves_charges_receivables_and_daysheet(practice: Hospital) -> None:
    deletions = [
        {"billing_line_item_id": 11, "appointment_id": 1, "created_at": "2026-10-06T10:00:00"},
        # Older than the line's last change: it was made again.
        {"billing_line_item_id": 12, "appointment_id": 1, "created_at": "2026-09-01T10:00:00"},
    ]
    practice.land_records("line_item_deletions", "2026-10-06", deletions, extracted=2)
    practice.build()

    assert practice.query("SELECT id FROM current.line_items WHERE is_deleted") == [("11",)]
    assert [row[0] for row in practice.query(CHARGES)][:2] == ["12", "13"]
    assert numbers(practice.query(AGING))[0] == ("8", "31-60", date(2026, 11, 1), 2, 70)
    assert numbers(practice.query(DAYSHEET))[:2] == [
        (OCT_1, "8", 90, 0, 0, 4, 0),
        (OCT_1, "9", 30, 0, 0, 4, 0),
    ]
    assert OCT_3 not in [row[0] for row in practice.query(DAYSHEET)]
    assert practice.query("SELECT line_items, billed FROM marts.appointments WHERE appointment_id = '1'") == [
        (1, Decimal(50))
    ]


def test_a_deleted_appointment_leaves_the_appointments_and_its_lines_the_receivables(
    practice: Hospital,
) -> None:
    deleted = [{**APPOINTMENTS[0], "deleted_flag": True}]
    practice.land_records("appointments", "2026-10-09", deleted, extracted=2)
    practice.build()

    assert practice.query("SELECT id FROM current.appointments WHERE is_deleted ORDER BY 1") == [
        ("1",),
        ("3",),
    ]
    assert practice.query("SELECT appointment_id FROM marts.appointments ORDER BY 1") == [("2",), ("5",)]
    assert numbers(practice.query(AGING))[0] == ("8", "31-60", date(2026, 11, 1), 1, 20)
    assert numbers(practice.query(DAYSHEET))[0] == (OCT_1, "8", 40, 0, 0, 3, 0)


def test_a_part_that_was_made_anew_is_what_a_whole_build_makes(practice: Hospital, tmp_path: Path) -> None:
    for day in range(2, 9):
        changed = line(100 + day, 1, "8", billed=day, balance_total=str(day), service_date="2026-10-01")
        practice.land_records("line_items", f"2026-10-0{day}", [changed])
    practice.land_records("line_item_deletions", "2026-10-02", [
        {"billing_line_item_id": 999, "appointment_id": 1, "created_at": "2026-10-02T10:00:00"}])  # fmt: skip
    for day in range(3, 9):
        practice.land_records("line_item_deletions", f"2026-10-0{day}", [])
    practice.build()
    versions = practice.warehouse.published.versions()
    # A change, a key in two partitions, and deletions of lines in partitions that did not change.
    practice.land_records("line_items", "2026-10-08", [{**LINES[1], "billed": 51}], extracted=3)
    deletion = {"billing_line_item_id": 105, "appointment_id": 1, "created_at": "2026-10-08T10:00:00"}
    practice.land_records("line_item_deletions", "2026-10-08", [deletion], extracted=3)

    report = practice.build()

    assert made(report)["current.line_items"] == "part"
    assert made(report)["current.line_item_deletions"] == "part"
    assert made(report)["current.transactions"] == "kept"
    assert practice.query("SELECT id FROM current.line_items WHERE is_deleted") == [("105",)]
    assert practice.query("SELECT billed FROM current.line_items WHERE id = '12'") == [(Decimal(51),)]
    whole = Hospital(tmp_path / "whole")
    whole.lake.root.parent.mkdir(parents=True, exist_ok=True)
    whole.lake.root.symlink_to(practice.lake.root)
    # Of the part alone was counted anew.
    assert counted(report) == counted(whole.build())
    for model in whole.warehouse.models():
        assert contents(practice, model) == contents(whole, model), model.name
    # The line that the partition had, the one that it has, and the one that was deleted.
    assert changed_since(practice, versions, "current.line_items") == {"108", "12", "105"}
    assert changed_since(practice, versions, "current.line_item_deletions") == {"105"}
    now = practice.warehouse.published.versions()
    assert now["current.transactions"] == versions["current.transactions"]
    assert changed_since(practice, versions, "marts.charges") is None


def counted(report: BuildReport) -> dict[tuple[str, str], Mapping[str, int]]:
    return {
        (model.name, check.name): check.numbers
        for model in report.models
        for check in model.checks
        if check.name in (KEYS_ARE_UNIQUE, ROWS_RECONCILE)
    }


def changed_since(hospital: Hospital, versions: Mapping[str, str], name: str) -> set[str] | None:
    now = hospital.warehouse.published.versions()[name]
    with duckdb.connect(str(hospital.warehouse.file), read_only=True) as connection:
        keys = changed_keys.between(connection, name, versions[name], now)
        return None if keys is None else {key for (key,) in connection.execute(keys).fetchall()}


def test_a_table_that_is_made_whole_again_is_no_part_of_what_it_was(practice: Hospital) -> None:
    versions = practice.warehouse.published.versions()
    practice.land_records("transactions", "2026-10-01", [], extracted=4)
    assert made(practice.build())["current.transactions"] == "whole"
    assert changed_since(practice, versions, "current.transactions") is None


def contents(hospital: Hospital, model: Model) -> list[Any]:
    return hospital.query(f"SELECT md5(CAST(rows AS VARCHAR)) FROM {model.full_name} AS rows ORDER BY 1")


def test_nothing_is_built_when_nothing_changed(practice: Hospital) -> None:
    before = practice.warehouse.file.stat()
    assert practice.warehouse.is_current()

    report = practice.build()

    assert not report.published
    assert {model.name: model.rows for model in report.models}["marts.charges"] == 11
    assert practice.warehouse.file.stat() == before


def test_marts_that_did_not_change_are_kept(practice: Hospital) -> None:
    practice.land_visits("virtual", "2026-10-01", VIRTUAL_OCT_1)
    assert not practice.warehouse.is_current()

    report = practice.build()

    assert report.published
    assert made(report)["marts.daily_visits"] == "whole"
    assert made(report)["marts.charges"] == made(report)["marts.daysheet"] == "kept"
    assert len(practice.query(CHARGES)) == 11


def test_a_value_that_does_not_fit_is_counted_and_its_text_kept(hospital: Hospital) -> None:
    hospital.land_records(
        "line_items",
        "2026-10-01",
        [line(1, 1, "8", billed="much", quantity="", service_date="someday"), line(2, 1, "8", billed=3)],
    )
    hospital.land_records("appointments", "2026-10-01", [{"id": 1, "scheduled_time": "whenever"}])

    report = {model.name: model for model in hospital.build().models}

    assert report["current.line_items"].failed_casts == {"billed": 1, "service_date": 1}
    assert report["current.appointments"].failed_casts == {"scheduled_time": 1}
    assert hospital.query(
        "SELECT billed, _extra->>'billed' FROM current.line_items ORDER BY id"
    ) == [(None, "much"), (Decimal(3), None)]  # fmt: skip
    assert hospital.query("SELECT scheduled_time, scheduled_time_text FROM current.appointments") == [
        (None, "whenever")
    ]


def test_a_partition_with_another_type_keeps_its_values_as_text(hospital: Hospital) -> None:
    file = hospital.land_records("line_items", "2026-10-01", [line(1, 1, "8", billed=3)])
    hospital.land_records("line_items", "2026-10-02", [line(2, 1, "8", billed=4)])
    hospital.build()
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows AS SELECT * REPLACE ('dear' AS billed) FROM '{file}'")
        connection.execute(f"COPY rows TO '{file}' (FORMAT parquet)")

    report = {model.name: model for model in hospital.build().models}

    assert hospital.query("SELECT id, billed, billed_text FROM current.line_items ORDER BY 1") == [
        ("1", None, "dear"), ("2", Decimal(4), None),
    ]  # fmt: skip
    assert report["current.line_items"].failed_casts == {"billed": 1}
    assert hospital.query("SELECT id, billed FROM drchrono.line_items ORDER BY 1") == [
        ("1", "dear"), ("2", "4.0000"),
    ]  # fmt: skip


def test_what_lands_after_files_disagreed_on_a_type_is_shown_too(hospital: Hospital) -> None:
    table = TYPES["line_items"].table
    file = hospital.land_records("line_items", "2026-10-01", [line(1, 1, "8", billed=3)])
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows AS SELECT * REPLACE (true AS service_date) FROM '{file}'")
        connection.execute(f"COPY rows TO '{file}' (FORMAT parquet)")
    hospital.show(table, file)
    for day in ("2026-10-02", "2026-10-03"):
        later = hospital.land_records("line_items", day, [line(2, 1, "8", service_date="2026-10-02")])
        assert hospital.show(table, later)

    assert hospital.query("SELECT service_date FROM drchrono.line_items ORDER BY 1") == [
        ("2026-10-02",), ("2026-10-02",), ("true",),
    ]  # fmt: skip


def test_every_column_is_described_in_the_file_as_in_the_models(practice: Hospital) -> None:
    for model in practice.warehouse.models():
        found = practice.query(
            "SELECT column_name, comment FROM duckdb_columns() "
            f"WHERE schema_name = '{model.schema}' AND table_name = '{model.name}' ORDER BY column_index"
        )
        assert found == list(model.columns.items()), model.full_name
        kind = f"duckdb_{model.kept_as}s()"
        [(said,)] = practice.query(
            f"SELECT comment FROM {kind} WHERE schema_name = '{model.schema}' "
            f"AND {model.kept_as}_name = '{model.name}'"
        )
        assert said == model.description
        assert {"Key", "Left out"} <= {line.split(":")[0] for line in said.splitlines()}


def test_the_key_of_a_mart_tells_its_rows_apart(practice: Hospital) -> None:
    practice.land_visits("virtual", "2026-10-01", VIRTUAL_OCT_1)
    practice.land_histories("2026-10-01", [{"id": "e1", "action": "assigned", "providerId": "1"}])
    practice.build()

    for model in marts():
        key = ", ".join(model.key)
        assert practice.one(f"SELECT count(*) FROM {model.full_name}") > 0
        assert practice.query(f"SELECT {key} FROM {model.full_name} GROUP BY {key} HAVING count(*) > 1") == []
