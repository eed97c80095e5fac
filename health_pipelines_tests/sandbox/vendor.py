"""The vendor's API as these tests call it: one HTTP call each, no retries, no interpretation."""

import re
import time
from collections.abc import Callable
from typing import Any

import httpx

from health_pipelines_tests.support.sandbox_process import SandboxProcess

AVR = "/api/8/reporting/allvisitsreport"
APR = "/v1/reporting/providerhistories"
DAY = {"startDate": "2026-03-01T00:00:00+0000", "endDate": "2026-03-02T00:00:00+0000"}

Rows = list[dict[str, str | None]]


class Vendor:
    """A caller with the right key."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.http = httpx.Client(
            base_url=sandbox.url, headers={"Authorization": "dc-token SECRET_TOKEN"}, timeout=60
        )

    def start(self, **body: object) -> httpx.Response:
        """Ask for a report."""
        return self.http.post(AVR, json=body)

    def started(self, kind: str = "virtual", **window: object) -> str:
        """The id of a new report; without a window it covers `DAY`."""
        answer = self.start(type=kind, **(window or DAY))
        assert answer.status_code == 200, answer.text
        report_id: str = answer.json()["id"]
        return report_id

    def poll(self, report_id: str) -> httpx.Response:
        """Ask for the status."""
        return self.http.get(f"{AVR}/{report_id}")

    def status(self, report_id: str) -> str:
        """The status of a report that must have one."""
        word: str = self.poll(report_id).json()["status"]
        return word

    def data(self, report_id: str) -> httpx.Response:
        """Download the result."""
        return self.http.get(f"{AVR}/{report_id}/data")

    def finished(self, kind: str = "virtual", **window: object) -> str:
        """The id of a report that has succeeded."""
        report_id = self.started(kind, **window)
        eventually(lambda: self.status(report_id) == "SUCCEEDED")
        return report_id

    def rows(self, kind: str = "virtual", **window: object) -> Rows:
        """What a new report of that window contains."""
        return read_athena_csv(self.data(self.finished(kind, **window)).content)

    def search(self, **body: object) -> httpx.Response:
        """Search provider histories."""
        return self.http.post(APR, json=body)


def eventually(holds: Callable[[], bool], within_seconds: float = 60) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


_FIELD = re.compile(r'(?:"((?:[^"]|"")*)")?([,\n])')


def read_athena_csv(content: bytes) -> Rows:
    """Rows by column, NULL as None; fails on a byte that Athena would not have written.

    Written here because the standard library's reader takes NULL and the empty string for the same.
    """
    text, position = content.decode(), 0
    records: list[list[str | None]] = [[]]
    while position < len(text):
        field = _FIELD.match(text, position)
        assert field is not None, f"not Athena's CSV at {position}: {text[position : position + 40]!r}"
        records[-1].append(None if field[1] is None else field[1].replace('""', '"'))
        if field[2] == "\n":
            records.append([])
        position = field.end()
    header, *rows, after_the_last = records
    assert after_the_last == [], "no line end at the end"
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip([str(name) for name in header], row, strict=True)) for row in rows]


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows without their order."""
    return {row["visit_id"]: row for row in rows}
