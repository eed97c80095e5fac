"""Every query of docs/recipes.md, run on a small hospital, against answers that were worked out by hand.

The hospital is in Chicago: UTC-5 in October 2026, UTC-6 from 1 November on. 1 October 2026 is a Thursday.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from health_pipelines_tests.warehouse.hospital import Hospital

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
RECIPES = PAGE.split("\n# Opening the file elsewhere")[0]


def recipes() -> dict[str, tuple[str, list[str]]]:
    """The query of each recipe and the columns that it is said to have, by title."""
    found = {}
    for section in RECIPES.split("\n## ")[1:]:
        title, rest = section.split("\n", 1)
        [(query, shape)] = re.findall(r"```sql\n(.*?)```\n+(.*)", rest, re.DOTALL)
        found[title] = (query, re.findall(r"`(\w+)`", shape))
    return found


def appointment(id_: int, time: str, status: str, doctor: int, patient: int, **values: Any) -> dict[str, Any]:
    return {"id": id_, "scheduled_time": time, "status": status, "doctor": doctor, "patient": patient,
            "updated_at": "2026-10-01T10:00:00", **values}  # fmt: skip


APPOINTMENTS = [
    # A Thursday, though a Friday in UTC.
    appointment(1, "2026-10-01T23:30:00", "Complete", 8, 70),
    appointment(2, "2026-10-08T09:00:00", "No Show", 8, 71),
    appointment(3, "2026-10-01T10:00:00", "Complete", 8, 72),
    # Mondays.
    appointment(4, "2026-10-05T09:00:00", "Complete", 9, 70),
    appointment(5, "2026-10-05T10:00:00", "Cancelled", 9, 73),
    appointment(6, "2026-10-05T11:00:00", "No Show", 9, 73, deleted_flag=True),
    appointment(7, "2026-09-07T09:00:00", "Complete", 9, 72),
    appointment(8, "2026-10-05T12:00:00", "no show", 9, 74),
    appointment(9, "2026-10-12T09:00:00", "No Show", 9, 75),
    # A Tuesday, and one that is still to come.
    appointment(10, "2026-10-06T09:00:00", "Complete", 8, 76),
    appointment(11, "2026-11-03T09:00:00", "", 8, 77),
]


def line(id_: int, appointment: int, doctor: int, code: str, **values: Any) -> dict[str, Any]:
    return {"id": id_, "appointment": appointment, "doctor": doctor, "patient": 70, "code": code,
            "updated_at": "2026-10-10T10:00:00", **values}  # fmt: skip


LINES = [
    line(21, 1, 8, "99213", billed=100, adjustment=20, ins_total=50, pt_paid=10, balance_total=20,
         service_date="2026-10-01", posted_date="2026-10-02"),
    line(22, 7, 9, "99213", billed=80, balance_total=80,
         service_date="2026-09-07", posted_date="2026-09-08"),
    line(23, 10, 8, "87880", billed=30, balance_total=30,
         service_date="2026-10-06", posted_date="2026-10-06"),
    # Paid, and posted on the last day that is not among the 90.
    line(24, 7, 9, "87880", billed=60, pt_paid=60, balance_total=0,
         service_date="2026-08-03", posted_date="2026-08-03"),
    # Of a deleted appointment.
    line(25, 6, 9, "99213", billed=500, balance_total=500,
         service_date="2026-10-05", posted_date="2026-10-05"),
    # Deleted.
    line(26, 4, 9, "99213", billed=70, balance_total=70,
         service_date="2026-10-05", posted_date="2026-10-05"),
    line(27, 4, 9, "87880", billed=30, balance_total=30,
         service_date="2026-10-07", posted_date="2026-10-07"),
    line(28, 1, 8, "87880", billed=15, balance_total=15,
         service_date="2026-10-01", posted_date="2026-10-01"),
]  # fmt: skip
DELETIONS: list[dict[str, Any]] = [
    *({"billing_line_item_id": id_, "created_at": "2026-10-20T10:00:00"} for id_ in (26, 27, 28)),
    # Older than the line's last change.
    {"billing_line_item_id": 22, "created_at": "2026-09-20T10:00:00"},
    # Of a line that never landed.
    {"billing_line_item_id": 99, "created_at": "2026-10-20T10:00:00"},
]


def check(id_: int, appointment: int, said: str, asked: str, **values: Any) -> dict[str, Any]:
    return {"id": id_, "appointment": appointment, "cob_level": "primary", "eligibility": said,
            "query_date": f"{asked}T08:00:00", "payer_name": "Acme Health",
            "updated_at": "2026-10-10T10:00:00", **values}  # fmt: skip


CHECKS = [
    # Asked again, and covered.
    check(41, 1, "Inactive", "2026-09-30"),
    check(42, 1, "Active Coverage", "2026-10-01"),
    # Asked again, and not covered any more.
    check(43, 2, "Inactive", "2026-10-07", payer_name="Beta Health"),
    check(44, 2, "Active Coverage", "2026-10-01", payer_name="Beta Health"),
    check(45, 3, "", "2026-10-01"),
    check(46, 3, "Inactive", "2026-10-01", cob_level="secondary", payer_name=""),
    check(47, 4, "Inactive", "2026-10-05"),
    check(48, 10, "Inactive", "2026-10-05"),
]
CHARTS: list[dict[str, Any]] = [
    {"id": 70, "date_of_first_appointment": "2025-03-04"},
    {"id": 72, "date_of_first_appointment": None},
]


def visit(id_: str, time: str, state: str, waited_until: str | None = None) -> dict[str, str | None]:
    """Who waits does so from noon on."""
    return {"visit_id": id_, "scheduled_at": time, "state": state,
            "entered_at": waited_until and "2026-10-01 12:00:00",
            "left_at": waited_until and f"2026-10-01 {waited_until}"}  # fmt: skip


VISITS = {
    "virtual": [
        visit("v1", "2026-10-01 23:30:00", "completed", "12:01:40"),
        # 23:45 in Chicago.
        visit("v2", "2026-10-02T04:45:00Z", "completed", "12:03:20"),
        visit("v3", "2026-10-01 12:00:00", "completed", "12:10:00"),
        visit("v4", "2026-10-01 12:30:00", "cancelled"),
        # The wait ended a minute before it began.
        visit("v5", "2026-10-01 13:00:00", "completed", "11:59:00"),
        visit("v6", "soon", "completed"),
    ],
    "retail": [
        visit("r1", "2026-10-01 08:00:00", "CANCELED"),
        visit("r2", "2026-10-01 08:15:00", "completed", "12:05:00"),
    ],
    "provider_booking": [visit("p1", "2026-10-01 08:45:00", "scheduled")],
}

ANSWERS: Mapping[str, list[tuple[Any, ...]]] = {
    "Who does not come, by weekday and doctor?": [
        # Of 4, 7, 8 and 9 two did not come; 5 was cancelled and 6 deleted.
        ("Monday", "9", 4, 2, 50),
        ("Tuesday", "8", 1, 0, 0),
        # Of 1, 2 and 3 one.
        ("Thursday", "8", 3, 1, 33.3),
    ],
    "How long do patients wait, by how they booked?": [
        # 100, 200 and 600 seconds: half is 200, nine tenths is 200 + 0.8 * 400 = 520.
        ("on-demand", "virtual", 3, 3.3, 8.7),
        ("scheduled", "retail", 1, 5, 5),
    ],
    "At what hour do visits begin?": [
        # r2 and p1; v3; v5; v1 and v2.
        (8, 2), (12, 1), (13, 1), (23, 2),
    ],
    "How many days of charges are in accounts receivable?": [
        # Open: 20 + 80 + 30. Billed from 4 August to 1 November: 100 + 80 + 30, which is 2.33 a day.
        (date(2026, 11, 1), 130, 2.33, 55.7),
    ],
    "Which appointments were held and never billed?": [
        # The lines of 4 are deleted.
        (date(2026, 10, 1), "3", "8", None),
        (date(2026, 10, 5), "4", "9", None),
    ],
    "Which insurers did not confirm coverage?": [
        # 47 and 48; 45; 43; 46.
        ("Acme Health", "Inactive", 2), ("Acme Health", "no answer", 1), ("Beta Health", "Inactive", 1),
        ("unknown", "Inactive", 1),
    ],
    "How many patients are new, how many come back?": [
        # 72 is new in September and comes back in October, when 76 is new. The chart of 70 is older.
        (date(2026, 9, 1), 1, 0),
        (date(2026, 10, 1), 1, 2),
    ],
    "What is charged, paid and open by procedure?": [
        # 21 and 22; 23 and 24.
        ("99213", 2, 180, 20, 60, 100),
        ("87880", 2, 90, 0, 60, 30),
    ],
    "How many visits are cancelled, by report?": [
        (date(2026, 10, 1), "provider_booking", 1, 0, 0),
        (date(2026, 10, 1), "retail", 2, 1, 50),
        # v6 has no day.
        (date(2026, 10, 1), "virtual", 5, 1, 20),
    ],
    "Which billing lines were deleted?": [
        ("9", 2, 100, date(2026, 10, 5), date(2026, 10, 7)),
        ("8", 1, 15, date(2026, 10, 1), date(2026, 10, 1)),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("clinic") / "data")
    for type_, rows in VISITS.items():
        hospital.land_visits(type_, "2026-10-01", rows)
    hospital.land_records("appointments", "2026-10-01", APPOINTMENTS)
    hospital.land_records("patients", "2026-10-01", CHARTS)
    hospital.land_records("line_items", "2026-10-10", LINES)
    hospital.land_records("line_item_deletions", "2026-10-20", DELETIONS)
    hospital.land_records("eligibility_checks", "2026-10-10", CHECKS)
    hospital.build()
    return hospital


def test_the_page_has_ten_recipes_and_each_has_an_answer_here() -> None:
    assert len(recipes()) == 10
    assert list(recipes()) == list(ANSWERS)


@pytest.mark.parametrize("title", ANSWERS)
def test_a_recipe_gives_the_answer_that_was_worked_out_by_hand(clinic: Hospital, title: str) -> None:
    query, _ = recipes()[title]
    found = [
        tuple(float(value) if isinstance(value, Decimal) else value for value in row)
        for row in clinic.query(query)
    ]
    assert found == ANSWERS[title]


@pytest.mark.parametrize("title", ANSWERS)
def test_a_recipe_has_the_columns_that_the_page_says(clinic: Hospital, title: str) -> None:
    query, shape = recipes()[title]
    assert clinic.columns(f"({query})") == shape


def test_the_example_in_python_runs(clinic: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(clinic.folder.parent)
    names: dict[str, Any] = {}
    exec(code, names)
    assert set(names["rows"]) == set(clinic.query("FROM marts.daily_visits")) != set()


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!https?:)[^)#]+)", PAGE))
def test_a_page_that_is_linked_exists(target: str) -> None:
    assert (Path(__file__).parents[2] / "docs" / target).exists()
