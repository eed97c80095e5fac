"""Every cell of the table in docs/reports.md, as the sensor carries it out against the sandbox over HTTP.

`test_report.py` compares the table with the pure function; here each row is a day whose report stays in that
state, and what counts is which report is started, landed or given up, and when.
"""

import re
from datetime import timedelta
from typing import Any

import pytest

from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.dexcare.visits.test_report import documented, time_in_words
from health_pipelines_tests.support.sandbox_process import SandboxProcess

LATE_BEFORE = "QUEUED or RUNNING, and an earlier report was late"
WITHOUT_RESULT = "404, or SUCCEEDED without a result"
UNKNOWN = {"kind": "http", "status": 404, "body": {"error": "QueryExecution Not Found"}}


def says(status: str) -> dict[str, Any]:
    return {"kind": "status", "status": status}


# A day for each row (two for the row that has two ways), and what DexCare says of its report.
ROWS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "2026-03-01": ("QUEUED", "status", says("QUEUED")),
    "2026-03-02": ("RUNNING", "status", says("RUNNING")),
    "2026-03-03": ("SUCCEEDED", "status", None),
    "2026-03-04": ("FAILED", "status", says("FAILED")),
    "2026-03-05": ("CANCELLED", "status", says("CANCELLED")),
    "2026-03-06": (WITHOUT_RESULT, "status", UNKNOWN),
    "2026-03-07": (WITHOUT_RESULT, "data", {"kind": "expired"}),
}
LATE_DAY = "2026-03-20"
# The real clock goes on while the test runs; the shortest time in the table is five times as long.
MARGIN = timedelta(minutes=2)
LATE = timedelta(hours=6)


def test_every_row_of_the_table_is_here() -> None:
    assert {LATE_BEFORE, *(row for row, _, _ in ROWS.values())} == set(documented())


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_report_that_stays_as_it_is_has_the_end_that_the_table_says_at_the_time_that_it_says(
    project: Project, vendor: SandboxProcess, attempt: int
) -> None:
    cells = {day: documented()[row][attempt - 1] for day, (row, _, _) in ROWS.items()}
    project.materialize([VIRTUAL.request_key], min(cells), max(cells))
    for number in range(1, attempt):
        cancel(project, vendor, list(cells), number)
    for day, (_, operation, fault) in ROWS.items():
        if fault is not None:
            vendor.add_fault(operation, fault, report_id=report_of(project, day))
    assert ends(project, list(cells), {minutes_in(cell) for cell in cells.values()}) == cells


@pytest.mark.parametrize("attempt", [2, 3])
@pytest.mark.parametrize("status", ["QUEUED", "RUNNING"])
def test_a_report_after_a_late_one_has_the_end_that_the_table_says(
    project: Project, vendor: SandboxProcess, attempt: int, status: str
) -> None:
    cell = documented()[LATE_BEFORE][attempt - 1]
    project.materialize([VIRTUAL.request_key], LATE_DAY)
    vendor.add_fault("status", says("RUNNING"), report_id=report_of(project, LATE_DAY))
    project.tick_and_run()
    project.tick_and_run(after=LATE)
    if attempt == 3:
        cancel(project, vendor, [LATE_DAY], 2)
    assert attempts(project, [LATE_DAY]) == {attempt}
    vendor.add_fault("status", says(status), report_id=report_of(project, LATE_DAY))
    assert ends(project, [LATE_DAY], {minutes_in(cell)}) == {LATE_DAY: cell}


def cancel(project: Project, vendor: SandboxProcess, days: list[str], attempt: int) -> None:
    """Have the `attempt`th reports cancelled, and the next ones started."""
    for day in days:
        vendor.add_fault("status", says("CANCELLED"), report_id=report_of(project, day))
    forget_what_passed(project)
    project.tick_and_run()
    if attempt > 1:
        project.tick_and_run(after=timedelta(minutes=10))
    assert attempts(project, days) == {attempt + 1}


def ends(project: Project, days: list[str], minutes: set[int]) -> dict[str, str]:
    """What became of each day's newest report, and when, in the words of the table.

    Looks twice at once, then shortly before and shortly after each of the times.
    """
    forget_what_passed(project)
    watched = {day: report_of(project, day) for day in days}
    found: dict[str, str] = {}

    def look(passed: timedelta, words: str) -> None:
        project.tick_and_run(after=passed - project.passed)
        for day in days:
            what = end_of(project, day, watched[day])
            if what and day not in found:
                found[day] = what if what == "land" else f"{what} {words}"

    look(timedelta(), "at once")
    look(timedelta(seconds=15), "at once")
    for minute in sorted(minutes - {0}):
        time = timedelta(minutes=minute)
        look(time - MARGIN, f"before {minute} min")
        look(time + MARGIN, time_in_words(minute))
    return found


def end_of(project: Project, day: str, report_id: str) -> str:
    """Empty while the report is watched."""
    if report_of(project, day) != report_id:
        return "ask again"
    open_ticket = project.ledger().open_tickets([day]).get(day)
    if open_ticket is None:
        return "land"
    return "give up" if open_ticket.given_up else ""


def minutes_in(cell: str) -> int:
    found = re.search(r"(\d+) (h|min)$", cell)
    return int(found[1]) * (60 if found[2] == "h" else 1) if found else 0


def report_of(project: Project, day: str) -> str:
    return project.ledger().newest_tickets([day])[day].report_id


def attempts(project: Project, days: list[str]) -> set[int]:
    return {ticket.attempt for ticket in project.ledger().newest_tickets(days).values()}


def forget_what_passed(project: Project) -> None:
    """A report's age counts from the real time of its start, so the sensor's clock goes back to it."""
    project.passed = timedelta()
    project.cursor = None
