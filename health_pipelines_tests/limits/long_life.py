"""Many days of an installation, one after the other, in one process: what grows, and how fast.

`python -m health_pipelines_tests.limits.long_life --days 90 --into docs/images/long-life`: a CSV with a line
for each day, and its curves as a picture. Real Dagster on SQLite in a folder, the real schedule, sensor and
steps, the sandbox over HTTP with its own clock; only the daemon is played, by calling what it would call at
that day's time. One report type: the others do the same.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance, RunRequest, SensorResult, build_schedule_context
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing import run_claims
from health_pipelines.settings import Settings
from health_pipelines.status.calendar import calendar_of
from health_pipelines.status.reading import Reading
from health_pipelines.warehouse.storage import build_warehouse, warehouse_of
from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

FIRST = date(2026, 6, 1)
LOOKBACK_DAYS = 2
# The vendor calls its columns otherwise from this day on.
DRIFT_ON = 10
# A build and a look at the calendar take as long as all else of a day.
_BUILD_EVERY, _LOOK_EVERY = 15, 10


@dataclass(frozen=True)
class Measured:
    """At the end of a simulated day. Megabytes are of the process (resident), or of files."""

    day: int
    memory_mb: float
    open_files: int
    schedule_seconds: float
    sensor_seconds: float
    calendar_seconds: float
    cursor_bytes: int
    landed_days: int
    dagster_mb: float
    lake_mb: float
    warehouse_mb: float


def live(sandbox: SandboxProcess, folder: Path, days: int) -> Iterator[Measured]:
    """Each of the days, as it ends. The process's environment is that of the installation from then on."""
    os.environ.update(
        HEALTH_DATA_DIR=str(folder / "data"),
        HEALTH_TIMEZONE="UTC",
        HEALTH_START_DATE=FIRST.isoformat(),
        DEXCARE_BASE_URL=sandbox.url,
        DEXCARE_SERVICE_KEY="SECRET_TOKEN",
        DEXCARE_LOOKBACK_DAYS=str(LOOKBACK_DAYS),
        DEXCARE_WEEKLY_LOOKBACK_DAYS="0",
    )
    (folder / "home").mkdir()
    # Those of whatever this process did before may be closed on any of these days.
    before = _open_files()
    with DagsterInstance.local_temp(str(folder / "home")) as instance:
        project, settings = Project(instance), Settings.of_this_process()
        schedule, calendar_seconds = dexcare_daily(settings), 0.0
        for number in range(1, days + 1):
            night = datetime.combine(FIRST + timedelta(days=number), datetime.min.time(), UTC)
            night += timedelta(hours=2, minutes=15)
            sandbox.control("POST", "clock", json={"advance_seconds": 86400})
            if number == DRIFT_ON:
                sandbox.change_settings(column_names="other")
            begun = time.monotonic()
            context = build_schedule_context(instance, scheduled_execution_time=night)
            requests = schedule.evaluate_tick(context).run_requests or []
            schedule_seconds = time.monotonic() - begun
            for request in requests:
                if VIRTUAL.request_key in (request.asset_selection or []):
                    _run(project, request)
            begun = time.monotonic()
            ticked = project.tick()
            sensor_seconds = time.monotonic() - begun
            for request in ticked.run_requests or [] if isinstance(ticked, SensorResult) else []:
                _run(project, request)
            if number % _LOOK_EVERY == 1:
                begun = time.monotonic()
                calendar_of(Reading(instance, settings, night))
                calendar_seconds = time.monotonic() - begun
            if number % _BUILD_EVERY == 0:
                build_warehouse(settings)
            lake = Lake(settings.data_dir / "lake")
            yield Measured(
                number,
                _resident_mb(),
                # A run keeps its claim until its process ends; here all of them have one process.
                len(_open_files() - before) - len(run_claims._held),
                schedule_seconds,
                sensor_seconds,
                calendar_seconds,
                len(project.cursor or ""),
                len(lake.days(VIRTUAL.table)),
                _size_mb(folder / "home"),
                _size_mb(lake.root),
                _size_mb(warehouse_of(settings).file),
            )


def _run(project: Project, request: RunRequest) -> None:
    first, last = (
        request.tags[name] for name in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
    )
    keys = request.asset_selection or []
    assert project.materialize(keys, first, last, request.tags, request.run_config).success


def _open_files() -> set[tuple[str, str]]:
    """Their numbers, with what each is."""
    files = set()
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder itself, open while it was read
            files.add((file.name, str(file.readlink())))
    return {one for one in files if not one[1].startswith("/proc/")}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _size_mb(path: Path) -> float:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(one.stat().st_size for one in files if one.is_file()) / 1e6


def draw(measured: list[Measured], picture: Path) -> None:
    """The curves, a small one for each figure."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second

    figures = [one.name for one in fields(Measured) if one.name != "day"]
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(-(-len(figures) // 3), 3, squeeze=False).flat
    for name, axis in zip(figures, axes, strict=False):
        axis.plot([one.day for one in measured], [getattr(one, name) for one in measured], color="#0072B2")
        axis.set_title(name.replace("_", " "), loc="left", fontsize=10)
        axis.set_ylim(bottom=0)
    for axis in list(figure.axes)[len(figures) :]:
        axis.set_visible(False)
    figure.supxlabel("simulated days")
    figure.savefig(picture, dpi=80)


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--days", type=int, default=90)
    words.add_argument("--into", type=Path, default=Path("docs/images/long-life"))
    told = words.parse_args()
    measured = []
    now = datetime.combine(FIRST, datetime.min.time(), UTC).isoformat()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_sandbox(volume="0.1", queue_seconds="0", run_seconds="0", now=now) as sandbox,
        told.into.with_suffix(".csv").open("w", newline="") as lines,
    ):
        table = csv.DictWriter(lines, [one.name for one in fields(Measured)])
        table.writeheader()
        for one in live(sandbox, Path(folder), told.days):
            measured.append(one)
            table.writerow({name: round(value, 3) for name, value in asdict(one).items()})
            lines.flush()
    draw(measured, told.into.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
