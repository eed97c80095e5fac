"""Visits of the sandbox, landed as they come: the names of their columns are the sandbox's to choose.

Belongs here: landing them. Does not belong here: what is expected of them (the tests).
"""

from datetime import date, timedelta
from pathlib import Path

from health_pipelines.settings import Settings
from health_pipelines_tests.support.sandbox_process import SandboxProcess
from health_pipelines_tests.warehouse.hospital import Hospital

TYPES = ("virtual", "retail", "provider_booking")
Rows = list[dict[str, str | None]]


class Reports:
    """`settings`: of a place whose lake they land in, in which no column is named."""

    def __init__(self, sandbox: SandboxProcess, folder: Path) -> None:
        self.sandbox = sandbox
        self.hospital = Hospital(folder)
        self.settings = Settings({"HEALTH_DATA_DIR": str(folder)})

    def rows(self, type_: str, day: str) -> Rows:
        end = date.fromisoformat(day) + timedelta(days=1)
        return self.sandbox.truth(type_, f"{day}T00:00:00Z", f"{end}T00:00:00Z")

    def land(self, type_: str, day: str, rows: Rows | None = None) -> Rows:
        rows = self.rows(type_, day) if rows is None else rows
        self.hospital.land_visits(type_, day, rows)
        return rows
