"""A year of days of three reports, beside the same days with one Dagster run a day as tutorials do it.

Both are launched as the UI launches a backfill, on the real code server, daemon and webserver, against the
sandbox, whose reports take 2 s. Wall-clock runs from the launch until the last partition has landed. CPU is
the user and system time, over the same while and until the last run has ended, of every Dagster process:
the three services, the runs, their steps, and whatever they started, also what has ended. It is read from
/proc, so this needs Linux; the sandbox and this process are not in it. One run a day is measured over fewer
days and scaled.

    make benchmark-year
    python benchmarks/backfill_year.py --days 60 --tutorial-days 5
"""

import argparse
import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines.commands.services import LOCATION, Services, free_port, start_dagster
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.support.sandbox_process import running_sandbox

ROOT = Path(__file__).parents[1]
FIRST_DAY = date(2025, 1, 1)
YEAR = 365
LOOK_EVERY_SECONDS = 0.5
WITHIN_SECONDS = 3600
# A run a day starts as many processes at once as it is let; more than this only fights for two cores.
TUTORIAL_HOME = "telemetry: {enabled: false}\nconcurrency: {runs: {max_concurrent_runs: 4}}\n"
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
PR_SET_CHILD_SUBREAPER = 36
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Way:
    """How the work is cut: the code location, what is in its Dagster home, and what a person materializes."""

    name: str
    module: str
    dagster_yaml: Callable[[Path], str]
    assets: tuple[AssetKey, ...]


PROJECT = Way("this project", LOCATION, embedded_home, tuple(one.request_key for one in VISIT_REPORTS))
TUTORIAL = Way(
    "one run a day",
    "benchmarks.one_run_a_day",
    lambda _: TUTORIAL_HOME,
    tuple(one.asset_key for one in VISIT_REPORTS),
)


@dataclass(frozen=True)
class Measured:
    days: int
    wall_seconds: float
    cpu_seconds: float
    runs: int

    def scaled_to(self, days: int) -> "Measured":
        factor = days / self.days
        return Measured(
            days, self.wall_seconds * factor, self.cpu_seconds * factor, round(self.runs * factor)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=YEAR)
    parser.add_argument("--tutorial-days", type=int, default=30, help="0: leave it out")
    arguments = parser.parse_args()
    adopt_orphans()
    project = measure(PROJECT, arguments.days)
    print("| | partitions | runs | wall s | CPU s |\n| --- | --- | --- | --- | --- |")
    print(line(PROJECT.name, project), flush=True)
    if not arguments.tutorial_days:
        return
    tutorial = measure(TUTORIAL, arguments.tutorial_days)
    scaled = tutorial.scaled_to(arguments.days)
    print(line(f"{TUTORIAL.name}, measured", tutorial))
    print(line(f"{TUTORIAL.name}, scaled", scaled))
    print(f"\n{scaled.cpu_seconds / project.cpu_seconds:.0f} times the CPU, ", end="")
    print(f"{scaled.wall_seconds / project.wall_seconds:.0f} times the wall-clock; {os.cpu_count()} cores")


def line(name: str, measured: Measured) -> str:
    partitions = measured.days * len(VISIT_REPORTS)
    times = f"{measured.wall_seconds:,.0f} | {measured.cpu_seconds:,.0f}"
    return f"| {name} | {partitions:,} | {measured.runs:,} | {times} |"


def measure(way: Way, days: int) -> Measured:
    """Land `days` days of every report in the given way, on a Dagster and a lake of its own."""
    partitions = [(FIRST_DAY + timedelta(days=number)).isoformat() for number in range(days)]
    with (
        tempfile.TemporaryDirectory() as name,
        running_sandbox(volume="0.05", queue_seconds="0", run_seconds="2", max_running="5000") as sandbox,
    ):
        folder = Path(name)
        environment = {
            **{one: os.environ[one] for one in ("PATH", "HOME") if one in os.environ},
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(folder / "home"),
            "HEALTH_DATA_DIR": str(folder / "data"),
            "HEALTH_START_DATE": FIRST_DAY.isoformat(),
            "DEXCARE_BASE_URL": sandbox.url,
            "DEXCARE_SERVICE_KEY": "SECRET_TOKEN",
        }
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").write_text(way.dagster_yaml(folder / "home"))
        lake = Lake(folder / "data" / "lake")
        used = CpuBelow(os.getpid(), leaving_out=sandbox.process.pid)
        with (
            Services(folder / "logs") as services,
            DagsterInstance.from_config(str(folder / "home")) as instance,
        ):
            ui = start_dagster(services, environment, port=free_port(), module=way.module)

            def everything_landed() -> bool:
                services.check()
                # The files first: to look at them costs next to nothing of the two cores.
                return all(len(lake.partition_files(one.table)) == days for one in VISIT_REPORTS) and all(
                    len(instance.get_materialized_partitions(one.asset_key)) == days for one in VISIT_REPORTS
                )

            def every_run_ended() -> bool:
                unfinished = instance.get_runs_count(RunsFilter(statuses=UNFINISHED))
                return not unfinished and not used.living_runs()

            began, used_before = time.monotonic(), used.seconds()
            DagsterApi(ui).launch_backfill([key.path for key in way.assets], partitions)
            wait_until(everything_landed, f"{way.name}: everything landed")
            wall = time.monotonic() - began
            wait_until(every_run_ended, f"{way.name}: every run ended")
            return Measured(days, wall, used.seconds() - used_before, instance.get_runs_count())


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {WITHIN_SECONDS} s: {what}")
        time.sleep(LOOK_EVERY_SECONDS)


def adopt_orphans() -> None:
    """From now on a process whose parent is gone becomes a child of this one, so that its time is counted."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@dataclass(frozen=True)
class CpuBelow:
    """The CPU time of all processes below `root` but those below `leaving_out`."""

    root: int
    leaving_out: int

    def seconds(self) -> float:
        """User and system time; Linux adds that of an ended process to the parent that waited for it."""
        return sum(ticks for _, ticks in self._below()) / TICKS_PER_SECOND

    def living_runs(self) -> list[int]:
        """Dagster starts runs and steps as `spawn`ed processes of Python."""
        return [process for process, _ in self._below() if b"multiprocessing.spawn" in _command(process)]

    def _below(self) -> list[tuple[int, int]]:
        """Process ids and clock ticks."""
        children: dict[int, list[int]] = {}
        ticks: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # The name, in parentheses, may hold anything.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            process = int(folder.name)
            children.setdefault(int(fields[1]), []).append(process)
            # utime, stime, and those of its children that it has waited for
            ticks[process] = sum(map(int, fields[11:15]))
        found: list[tuple[int, int]] = []
        open_ = [process for process in children.get(self.root, []) if process != self.leaving_out]
        while open_:
            process = open_.pop()
            found.append((process, ticks[process]))
            open_ += children.get(process, [])
        return found


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


if __name__ == "__main__":
    main()
