"""Real Dagster processes on a home of their own, for tests that kill them.

The daemon is the stock one, `dagster-daemon run -m health_pipelines.definitions`, with nothing but the
settings of the sandbox in its environment.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance

from health_pipelines_tests.support.sandbox_process import SandboxProcess

ROOT = Path(__file__).parents[2]
KEY = "SECRET_TOKEN"
OURS = "health_pipelines.definitions"


def sandbox_environment(sandbox: SandboxProcess, folder: Path, **more: str) -> dict[str, str]:
    """What every process of a test gets: the sandbox as the vendor, all data below `folder`."""
    ours = ("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_", "ALERT_", "DAGSTER_POSTGRES_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "DAGSTER_HOME": str(folder / "home"),
        "HEALTH_DATA_DIR": str(folder / "data"),
        "DEXCARE_BASE_URL": sandbox.url,
        "DEXCARE_SERVICE_KEY": KEY,
        "DEXCARE_POLL_SECONDS": "5",
        # Stories about the warehouse say so: each build is a process of some seconds more.
        "HEALTH_BUILD_WAREHOUSE": "false",
        **more,
    }


class DagsterHome:
    """A Dagster instance in `environment["DAGSTER_HOME"]`, on SQLite by default, and the processes on it."""

    def __init__(self, environment: Mapping[str, str], dagster_yaml: str = "") -> None:
        self.environment = dict(environment)
        self.folder = Path(environment["DAGSTER_HOME"])
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "dagster.yaml").write_text(dagster_yaml)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_daemon(self, *target: str) -> "subprocess.Popen[bytes]":
        """`target`: what it loads, as options of Dagster's; this project's definitions without any."""
        return self.start("dagster._daemon", "run", *(target or ("-m", OURS)))

    def start_quick_daemon(self, module: str = OURS) -> "subprocess.Popen[bytes]":
        """The same daemon, but it looks after backfills every 2 s (see `quick_daemon.py`)."""
        return self.start("health_pipelines_tests.support.quick_daemon", "run", "-m", module)

    def start_webserver(self, port: int, module: str = OURS) -> "subprocess.Popen[bytes]":
        return self.start("dagster_webserver", "-m", module, "-p", str(port))

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A stock `dagster` command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "dagster", *arguments],
            env=dict(self.environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def log(self) -> str:
        """The end of what the processes printed, for the message of a failed test."""
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.folder.glob("*.log")))

    def kill_everything(self) -> None:
        """`kill -9` of every process started here with all of its children, runs included."""
        for process in self._processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()
        self._processes.clear()

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """A Python module with its arguments, in a process group of its own."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}-{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=dict(self.environment),
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def time_of_day_soon() -> str:
    """For a daily schedule that is to tick in a minute or two: when a daemon that starts now is surely up."""
    return f"{datetime.now(UTC) + timedelta(seconds=105):%H:%M}"


@contextmanager
def dagster_home(environment: Mapping[str, str], dagster_yaml: str = "") -> Iterator[DagsterHome]:
    home = DagsterHome(environment, dagster_yaml)
    # Dagster makes the tables of a new instance here: of two processes that begin at once both would, and one
    # of them could find a database that has two versions.
    with instance_of(home):
        pass
    try:
        yield home
    finally:
        home.kill_everything()


def instance_of(home: DagsterHome) -> DagsterInstance:
    return DagsterInstance.from_config(str(home.folder))


def run_processes(instance: DagsterInstance, run_id: str) -> set[int]:
    """The process ids that wrote a run's step events: with the in-process executor, the run's own."""
    return {
        entry.dagster_event.pid
        for entry in instance.all_logs(run_id)
        if entry.dagster_event is not None and entry.dagster_event.pid is not None and entry.step_key
    }
