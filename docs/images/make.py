"""`make screenshots`: the images of README.md and docs/, taken of Dagster's UI with the sandbox's patients.

Belongs here: what is on which image. Does not belong here: anything made nicer for it; what is seen is the
real daemon, the real sensors and the real assets over real HTTP.

It needs Chromium (Debian: `apt install chromium`), which it speaks to by its DevTools protocol, and takes
some minutes. Folders and ports are its own.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from dagster import AssetKey, DagsterInstance
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.demo import LANDING, READ_AT_ONCE
from health_pipelines.commands.places import sandbox_place
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.services import Services, free_port, start_dagster, start_sandbox
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.landed_partition import landings_since
from health_pipelines.status.calendar_asset import calendar_key
from health_pipelines.warehouse.assets import warehouse_keys

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DAYS = 14
WITHIN_SECONDS = 900
LARGEST_BYTES = 200_000
_COLOURS = 256
_RETAIL = VISIT_REPORTS[1]
_DRAWN = "img[src^='data:image/png']"


def main() -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"None of {', '.join(BROWSERS)} is on the path; install Chromium first.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="health_pipelines_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            _take(browser, folder)
        except ProblemError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _take(browser: str, folder: Path) -> None:
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in range(DAYS, 0, -1)]
    own = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ
    }
    place = sandbox_place(
        {
            **own,
            # Of this folder, wherever the project is installed from.
            "PYTHONPATH": str(ROOT),
            "HEALTH_DATA_DIR": str(folder / "data"),
            "HEALTH_START_DATE": days[0],
            "HEALTH_OWNERS": "team:data",
            # One build, when all is there.
            "HEALTH_BUILD_WAREHOUSE": "false",
        }
    )
    with Services(place.logs) as services:
        variables = dict(place.environment)
        sandbox = start_sandbox(services, variables)
        variables["DEXCARE_BASE_URL"] = variables["DRCHRONO_BASE_URL"] = sandbox
        ui = start_dagster(services, variables, port=free_port())
        print(f"Dagster's UI: {ui}", flush=True)
        with (
            DagsterInstance.from_config(str(place.dagster_home)) as instance,
            _Browser.started(browser, folder) as pages,
        ):
            lake = Lake(place.data / "lake")
            stage = _Stage(services, instance, DagsterApi(ui), sandbox, lake, days)
            stage.fill()
            for page in (
                _Page("asset-graph", "/asset-groups", "marts"),
                _Page("asset", "/assets/marts/charges?view=overview", "A row is"),
                _Page(
                    "partition",
                    f"/assets/dexcare/avr_virtual?view=partitions&partition={days[3]}",
                    "csv_bytes",
                ),
                _Page("chart", "/assets/marts/daily_visits?view=events", "visits per day", "visits per day"),
            ):
                _photograph(pages, ui, page)
            stage.plant()
            for page in (
                _Page("calendar", "/assets/status/calendar?view=events", "in words", "calendar"),
                _Page("runs", "/runs", "health_pipelines/reason"),
            ):
                _photograph(pages, ui, page)


@dataclass(frozen=True)
class _Stage:
    """What the pictures are taken of."""

    services: Services
    instance: DagsterInstance
    api: DagsterApi
    sandbox: str
    lake: Lake
    days: Sequence[str]

    def fill(self) -> None:
        """Days of every table, and the warehouse."""
        asked_at = datetime.now(UTC)
        self.api.launch_run([report.request_key.path for report in VISIT_REPORTS], self.days)
        for tables in (READ_AT_ONCE[:1], READ_AT_ONCE[1:]):
            self.api.launch_run([asset_key(one.source, one.name).path for one in tables], self.days)
        keys = [asset_key(table.source, table.name) for table in LANDING]

        def landed() -> bool:
            found = (landings_since(self.instance, key, self.days, asked_at) for key in keys)
            return sum(map(len, found)) == DAYS * len(keys)

        self._wait(landed, "landing")
        self._materialize(warehouse_keys())

    def plant(self) -> None:
        """Days that are gone, one of them on its way, one whose run fails."""
        since, days = time.time(), self.days
        for day in days[-6:-2]:
            self.lake.partition_file(_RETAIL.table, day).unlink()
        faults = [
            {"operation": "start", "day": days[-4], "fault": {"kind": "refuse_type"}},
            {"operation": "status", "type": "retail", "fault": {"kind": "status", "status": "RUNNING"}},
        ]
        httpx.post(f"{self.sandbox}/_sandbox/faults", json=faults).raise_for_status()
        for day in (days[-5], days[-4]):
            self.api.launch_run([_RETAIL.request_key.path], [day])
        self._wait(partial(self.api.failed_run, since), "the run that is to fail")
        self._materialize([calendar_key()])

    def _materialize(self, assets: Sequence[AssetKey]) -> None:
        made = partial(_made_since, self.instance, assets[0], time.time())
        self.api.launch_run([key.path for key in assets])
        self._wait(made, assets[0].to_user_string())

    def _wait(self, ready: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WITHIN_SECONDS
        while not ready():
            self.services.check()
            if time.monotonic() > deadline:
                raise ProblemError(f"After {WITHIN_SECONDS} s {what} has not ended.")
            time.sleep(1)


def _made_since(instance: DagsterInstance, asset: AssetKey, at: float) -> bool:
    event = instance.get_latest_materialization_event(asset)
    return event is not None and event.timestamp > at


@dataclass(frozen=True)
class _Page:
    """`ready`: words that are there when it is. `drawn`: the entry of the metadata whose picture is meant, if
    the page is not.
    """

    name: str
    path: str
    ready: str
    drawn: str | None = None


def _photograph(pages: "_Browser", ui: str, page: _Page) -> None:
    pages.open(f"{ui}{page.path}", page.ready)
    if page.drawn:
        pages.show_markdown(page.drawn)
    size = _save(pages.picture(_DRAWN if page.drawn else None), HERE / f"{page.name}.png")
    print(f"{page.name}.png: {size / 1000:.0f} kB", flush=True)


def _save(png: bytes, file: Path) -> int:
    drawn = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS).save(drawn, "PNG", optimize=True)
    if drawn.tell() > LARGEST_BYTES:
        raise ProblemError(f"{file.name} would take {drawn.tell()} bytes.")
    file.write_bytes(drawn.getvalue())
    return drawn.tell()


@dataclass
class _Browser:
    """A page of Chromium, told what to do over its DevTools protocol."""

    _page: ClientConnection
    _number: int = field(default=0)

    @classmethod
    @contextmanager
    def started(cls, browser: str, folder: Path) -> Iterator["_Browser"]:
        profile = folder / "browser"
        process = subprocess.Popen(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = _port_of(process, profile / "DevToolsActivePort")
            targets = httpx.get(f"http://127.0.0.1:{port}/json", timeout=60).json()
            page = next(one for one in targets if one["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None) as connection:
                found = cls(connection)
                found.tell("Page.enable")
                found.tell(
                    "Emulation.setDeviceMetricsOverride",
                    width=1500,
                    height=900,
                    deviceScaleFactor=1,
                    mobile=False,
                )
                yield found
        finally:
            process.terminate()
            process.wait()

    def open(self, url: str, ready: str) -> None:
        """Go there, and wait until the page has those words and nothing on it changes any more."""
        self.tell("Page.navigate", url=url)
        deadline, before = time.monotonic() + 120, ""
        while True:
            time.sleep(3)
            text = self.run("document.body.innerText")
            is_loading = any(word in text for word in ("fetching statuses", "Loading"))
            # Some pages count the seconds until they look again.
            text = re.sub(r"\b\d+:\d\d\b|\d+ seconds ago", "", text)
            if ready in text and not is_loading and text == before:
                return
            before = text
            if time.monotonic() > deadline:
                raise ProblemError(f"{url} does not show {ready!r}.")

    def show_markdown(self, label: str) -> None:
        """Of that entry of the metadata that is shown."""
        self.run(
            "[...document.querySelectorAll('tr')]"
            f".find((one) => one.innerText.startsWith({json.dumps(label)})).querySelectorAll('*')"
            ".forEach((one) => one.innerText === '[Show Markdown]' && one.click())"
        )
        deadline = time.monotonic() + 60
        while not self.run(f"document.querySelector({json.dumps(_DRAWN)})?.complete"):
            if time.monotonic() > deadline:
                raise ProblemError(f"The UI does not show {label!r}.")
            time.sleep(0.5)

    def picture(self, part: str | None) -> bytes:
        """A PNG of the page, or of the first element that a selector finds."""
        options: dict[str, Any] = {}
        if part:
            box = self.run(
                f"(() => {{ const one = document.querySelector({json.dumps(part)}); one.scrollIntoView();"
                "const box = one.getBoundingClientRect();"
                "return {x: box.x, y: box.y, width: box.width, height: box.height} })()"
            )
            options = {"clip": {**box, "scale": 1}, "captureBeyondViewport": True}
        return base64.b64decode(self.tell("Page.captureScreenshot", format="png", **options)["data"])

    def run(self, script: str) -> Any:
        return self.tell("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._page.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._page.recv(timeout=120))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise ProblemError(f"Chromium: {answer['error']['message']}")
                return dict(answer["result"])


def _port_of(process: "subprocess.Popen[bytes]", note: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if note.exists() and (lines := note.read_text().splitlines()):
            return lines[0]
        time.sleep(0.2)
    raise ProblemError("Chromium did not start.")


if __name__ == "__main__":
    sys.exit(main())
