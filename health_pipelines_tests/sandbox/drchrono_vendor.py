"""DrChrono's API as these tests call it: one HTTP call each, no retries, no interpretation."""

from contextlib import AbstractContextManager
from typing import Any

import httpx

from health_pipelines_tests.sandbox.vendor import eventually
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

NOW = "2026-03-20T15:00:00+00:00"
ZONE = "America/New_York"
SINCE = "2026-02-01"
TOKEN = "sandbox-token"
CLIENT = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}

KEYS = {
    "appointments": "id",
    "patients": "id",
    "line_items": "id",
    "transactions": "id",
    "prescription_messages": "id",
    "eligibility_checks": "id",
    "clinical_notes": "appointment",
    "clinical_note_field_values": "id",
}
NAMES = tuple(KEYS)
WITH_CHANGE_TIME = tuple(name for name in NAMES if name not in ("prescription_messages", "clinical_notes"))


def drchrono_sandbox(**options: Any) -> AbstractContextManager[SandboxProcess]:
    """A small practice with five weeks of history, whose lists are done at once and that knows no quota."""
    return running_sandbox(
        **{
            "now": NOW,
            "drchrono_zone": ZONE,
            "drchrono_volume": 20,
            "drchrono_history_start": "2026-02-15",
            "drchrono_list_seconds": "0",
            "drchrono_calls_per_second": 0,
            "drchrono_calls_per_hour": 0,
            **options,
        }
    )


class DrChrono:
    """A caller with a token that is let in."""

    def __init__(self, sandbox: SandboxProcess, token: str = TOKEN) -> None:
        self.http = httpx.Client(
            base_url=sandbox.url, headers={"Authorization": f"Bearer {token}"}, timeout=60
        )

    def start(self, name: str, **params: object) -> httpx.Response:
        """Start a list; without a window it begins before everything."""
        if not params.keys() & {"since", "date", "date_range"}:
            params["since"] = SINCE
        return self.http.post(f"/api/{name}_list", params={key: str(value) for key, value in params.items()})

    def started(self, name: str, **params: object) -> str:
        """The uuid of a new list."""
        answer = self.start(name, **params)
        assert answer.status_code == 201, answer.text
        uuid: str = answer.json()["uuid"]
        return uuid

    def poll(self, name: str, uuid: str) -> httpx.Response:
        """Ask for a list."""
        return self.http.get(f"/api/{name}_list", params={"uuid": uuid})

    def page(self, name: str, **params: object) -> dict[str, Any]:
        """A finished page."""
        uuid = self.started(name, **params)
        eventually(lambda: self.poll(name, uuid).json()["status"] == "Complete")
        body: dict[str, Any] = self.poll(name, uuid).json()
        return body

    def rows(self, name: str, **params: object) -> list[dict[str, Any]]:
        """The rows of all pages, each read once."""
        params = {"page_size": 1000, **params}
        first = self.page(name, **params)
        rows: list[dict[str, Any]] = first["results"]
        for page in range(2, first["pagination"]["pages"] + 1):
            rows += self.page(name, page=page, **params)["results"]
        return rows

    def refresh(self, token: str = "sandbox-refresh", **form: str) -> httpx.Response:
        """Ask for a new access token."""
        fields = {"grant_type": "refresh_token", "refresh_token": token, **CLIENT, **form}
        return httpx.post(f"{self.http.base_url}/o/token/".replace("//o", "/o"), data=fields)
