"""Starts the sandbox as a process of its own and talks to the part of it that no vendor has.

For every test that needs a vendor. The tests of the sandbox itself are in `sandbox/`.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

START_WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 30
READY = "Sandbox listening on "


class SandboxProcess:
    """A running sandbox: `url` is what the pipeline gets to know, the rest is for the test."""

    def __init__(self, url: str, process: "subprocess.Popen[str]") -> None:
        self.url = url
        self.process = process
        self._http = httpx.Client(base_url=url, timeout=60)

    def control(self, method: str, path: str, **request: Any) -> Any:
        """One call of the control API, e.g. `control("GET", "clock")`; fails on anything but success."""
        response = self._http.request(method, f"/_sandbox/{path}", **request)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    def add_fault(self, operation: str, fault: dict[str, Any], **rule: Any) -> None:
        """`add_fault("data", {"kind": "cut", "after_bytes": 9}, day="2026-03-01", times=1)`."""
        self.control("POST", "faults", json={"operation": operation, "fault": fault, **rule})

    def clear_faults(self) -> None:
        """Nothing goes wrong from now on."""
        self.control("DELETE", "faults")

    def calls(self) -> dict[str, Any]:
        """`{"total": n, "by_operation": {"start": n, ...}}` since the start or `forget_calls`."""
        counted: dict[str, Any] = self.control("GET", "calls")
        return counted

    def forget_calls(self) -> None:
        """Count from zero."""
        self.control("DELETE", "calls")

    def reports(self) -> list[dict[str, Any]]:
        """Every report started, oldest first: id, type, startDate, endDate, attempt, status, downloads."""
        started: list[dict[str, Any]] = self.control("GET", "reports")
        return started

    def advance_clock(self, seconds: float) -> None:
        """Let time pass for the vendor."""
        self.control("POST", "clock", json={"advance_seconds": seconds})

    def truth(self, kind: str, start: str, end: str) -> list[dict[str, str | None]]:
        """The rows a perfect report of that type and window would have, were it run now."""
        params = {"type": kind, "startDate": start, "endDate": end}
        rows: list[dict[str, str | None]] = self.control("GET", "truth", params=params)
        return rows

    def drchrono_records(self, name: str, **params: str) -> list[dict[str, Any]]:
        """DrChrono's records of a type now, archived ones too: `since=day`, `fields="id,status"`."""
        response = self._http.get(f"/_sandbox/drchrono/records/{name}", params=params)
        assert response.is_success, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def change_records(self, name: str, **change: Any) -> list[str]:
        """Change DrChrono's records now and return the keys of the inserted ones.

        `insert=2, update=[key], archive=[key], remove=[key], vanish=[key], reappear=[key], set={field: 1},
        plant={key: {field: 1}}`.
        """
        inserted: list[str] = self.control("POST", f"drchrono/records/{name}", json=change)["inserted"]
        return inserted

    def drchrono_calls(self) -> dict[str, dict[str, int]]:
        """`{"appointments": {"POST": 3, "GET": 5}, "token": ...}` since the start or `forget_calls`."""
        counted: dict[str, dict[str, int]] = self.control("GET", "drchrono/calls")
        return counted

    def drchrono_lists(self) -> list[dict[str, Any]]:
        """Every bulk list started, oldest first: uuid, list, page, attempt, polls, dead, gone ..."""
        started: list[dict[str, Any]] = self.control("GET", "drchrono/lists")
        return started

    def drchrono_quota(self) -> dict[str, int]:
        """`{"used": calls counted in this hour, "throttled": calls throttled since the start}`."""
        counted: dict[str, int] = self.control("GET", "drchrono/quota")
        return counted

    def change_settings(self, **settings: Any) -> None:
        """Settings by their names on the command line, with underscores."""
        self.control("PUT", "settings", json=settings)

    def close(self) -> None:
        """Stop the process that was started, and wait until it is gone."""
        self._http.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# A DrChrono whose lists are ready at once and that counts no calls, for `running_sandbox`.
NO_WAITING: Mapping[str, Any] = {
    "drchrono_list_seconds": "0",
    "drchrono_calls_per_hour": 0,
    "drchrono_calls_per_second": 0,
}


@contextmanager
def running_sandbox(**options: Any) -> Iterator[SandboxProcess]:
    """A sandbox on a free port, gone when the block ends.

    Options are those of the command line with underscores: `running_sandbox(queue_seconds="0", volume=0.1)`.
    """
    command = [sys.executable, "-m", "health_pipelines.sandbox", "--port", "0"]
    for name, value in options.items():
        command.append(f"--{name.replace('_', '-')}={value}")
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        # A sandbox that never gets ready is killed, so the line below ends with nothing rather than never.
        too_late = threading.Timer(START_WITHIN_SECONDS, process.kill)
        too_late.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        too_late.cancel()
        if not line.startswith(READY):
            process.kill()
            raise RuntimeError(f"the sandbox did not start: {line!r}, see stderr")
        sandbox = SandboxProcess(line.removeprefix(READY).strip(), process)
        try:
            yield sandbox
        finally:
            sandbox.close()
