"""The system that is tried: its services on a folder of their own, started again as by a supervisor.

Belongs here: settings, starting, restarting and ending it. Does not belong here: what it is asked for
(`work.py`) and who is killed (`killing.py`).

It is the production instance (`dagster.yaml`, a code server of its own) with shorter waits, so that a round
takes minutes: every mechanism is there, pools and retries too.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance

from health_pipelines.commands.places import embedded_home
from health_pipelines.commands.services import free_port
from health_pipelines.settings import Settings
from health_pipelines_tests.crash.processes import processes_of
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick
from health_pipelines_tests.support.dagster_processes import OURS, ROOT, sandbox_environment
from health_pipelines_tests.support.postgres_server import PostgresServer, running_postgres_server
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

T = TypeVar("T")

POSTGRES = "postgres"
STORAGES = ("sqlite", POSTGRES)
# A run that has not come to its first step after so long is ended, and started again: a start takes less.
RUN_START_SECONDS = 60
# Calls at once to DexCare of one process: so many answers can be lost by one kill.
DEXCARE_AT_ONCE = 2
# As systemd waits before it starts a service again, but shorter.
RESTART_AFTER_SECONDS = 0.5
# A server that was killed answers again by then, on a slow machine too.
REACHED_WITHIN_SECONDS = 180
# DexCare's day is another one than the machine's: it begins so long ago and is moved on by the work.
VENDOR_DAYS_AGO, VENDOR_DAYS = 7, 5
DAYS_BEFORE = 4
DRCHRONO_DAYS = 8
# What a code server says once it can be asked.
_SERVES = "Started Dagster code server"


@dataclass
class System:
    """What runs, and where. `restarts`: how often each service was started again."""

    folder: Path
    storage: str
    environment: Mapping[str, str]
    dexcare: SandboxProcess
    drchrono: SandboxProcess
    postgres: PostgresServer
    first_day: datetime
    """DexCare's first day, as UTC midnight."""
    restarts: Counter[str] = field(default_factory=Counter)
    services: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _code_port: int = field(default_factory=free_port)
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def temporary(self) -> Path:
        """What every process has as its folder for temporary files."""
        return self.folder / "tmp"

    @property
    def settings(self) -> Settings:
        return Settings(self.environment)

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        """Dagster's record. Only where the system's settings are in the environment (`in_environment`)."""
        with DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def patiently(self, act: Callable[[DagsterInstance], T]) -> T:
        """What `act` returns, tried again while Dagster's record cannot be reached: its server may be dead.

        It may have been carried out though it failed.
        """
        until = time.monotonic() + REACHED_WITHIN_SECONDS
        while True:
            try:
                with self.instance() as instance:
                    return act(instance)
            except Exception:
                if time.monotonic() > until:
                    raise
            time.sleep(0.5)

    def start(self) -> None:
        """The services in their order, and somebody who starts each again when it has ended."""
        self._start("code")
        wait_for(lambda: _SERVES in self.log(), "the code server", within_seconds=300)
        self._start("daemon")
        threading.Thread(target=self._supervise, daemon=True).start()

    def end(self) -> None:
        """Kill all that is left."""
        self._ending.set()
        # Those that start others first.
        for _ in range(3):
            for process in [*self.services.values()]:
                process.kill()
            for one in processes_of(self.home):
                _kill(one.pid)
        for process in self.services.values():
            process.wait()

    def run_command(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """A stock `dagster` command that nobody starts again."""
        return self._process("command", [sys.executable, "-m", "dagster", *arguments])

    def log(self) -> str:
        """The end of what the services said."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _supervise(self) -> None:
        while not self._ending.wait(0.1):
            for service, process in list(self.services.items()):
                if process.poll() is not None and not self._ending.wait(RESTART_AFTER_SECONDS):
                    self._start(service)
                    self.restarts[service] += 1
            server = self.postgres.process
            is_gone = server is not None and server.poll() is not None
            # A session that has not noticed yet keeps the new server from starting; then it is tried again.
            if is_gone and not self._ending.wait(RESTART_AFTER_SECONDS):
                self.postgres.start()
                self.restarts["postgres"] += 1

    def _start(self, service: str) -> None:
        if service == "code":
            command = ["dagster", "code-server", "start", "-m", OURS, "-h", "127.0.0.1"]
            command += ["-p", str(self._code_port)]
        else:
            command = ["health_pipelines_tests.support.quick_daemon", "run", "-w", str(self._workspace())]
        self.services[service] = self._process(service, [sys.executable, "-m", *command])

    def _process(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=dict(self.environment),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _workspace(self) -> Path:
        file = self.folder / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self._code_port, "location_name": "health_pipelines"}
        file.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        return file


@contextmanager
def running_system(
    folder: Path, storage: str, *, run_start_seconds: int = RUN_START_SECONDS
) -> Iterator[System]:
    """A new system below `folder` (absolute), whose files stay at the end. `storage`: one of `STORAGES`."""
    # Whatever loads the definitions has its files for itself from then on, this process too; services begin
    # as in a shell.
    os.umask(0o022)
    now = datetime.now(UTC)
    begins = (now - timedelta(days=VENDOR_DAYS_AGO)).replace(hour=12, minute=0, second=0, microsecond=0)
    with ExitStack() as stack:
        dexcare = stack.enter_context(
            running_sandbox(
                now=begins.isoformat(),
                volume="0.2",
                queue_seconds="0-1",
                run_seconds="0-2",
                # Days pass in minutes here, and a result that is gone is another story.
                result_life_seconds=30 * 24 * 3600,
                largest_page=20,
                latency_ms=60,
            )
        )
        drchrono = stack.enter_context(
            running_sandbox(
                drchrono_volume=8,
                drchrono_history_start=(now - timedelta(days=DRCHRONO_DAYS + 1)).date().isoformat(),
                **{**NO_WAITING, "drchrono_list_seconds": "0.1-0.4"},
            )
        )
        postgres = stack.enter_context(running_postgres_server())
        system = System(
            folder,
            storage,
            _environment(
                folder,
                storage,
                dexcare=dexcare,
                drchrono=drchrono,
                postgres=postgres,
                begins=begins,
                run_start_seconds=run_start_seconds,
            ),
            dexcare,
            drchrono,
            postgres,
            begins.replace(hour=0) - timedelta(days=DAYS_BEFORE),
        )
        lists_are_quick(system.data)
        for name in ("dagster", "publish"):
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
        system.home.mkdir()
        dagster_yaml = _dagster_yaml(system.home, storage, run_start_seconds)
        (system.home / "dagster.yaml").write_text(json.dumps(dagster_yaml))
        with in_environment(system.environment):
            with system.instance():
                pass  # makes Dagster's tables: two services that begin at once would get in each other's way
            stack.callback(system.end)
            system.start()
            yield system


@contextmanager
def in_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Dagster's storage, and settings, are read from the process' own environment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _environment(
    folder: Path,
    storage: str,
    *,
    dexcare: SandboxProcess,
    drchrono: SandboxProcess,
    postgres: PostgresServer,
    begins: datetime,
    run_start_seconds: int,
) -> dict[str, str]:
    temporary = folder / "tmp"
    temporary.mkdir()
    settings = drchrono_settings(
        drchrono,
        folder / "data",
        HEALTH_TIMEZONE="UTC",
        DRCHRONO_TIMEZONE="UTC",
        HEALTH_START_DATE=(begins - timedelta(days=DAYS_BEFORE)).date().isoformat(),
        DRCHRONO_CONCURRENCY="4",
        DRCHRONO_HTTP_ATTEMPTS="4",
    )
    to = {name: postgres.url.replace("/postgres?", f"/{name}?") for name in ("dagster", "publish")}
    return sandbox_environment(
        dexcare,
        folder,
        **settings,
        DEXCARE_CONCURRENCY=str(DEXCARE_AT_ONCE),
        DEXCARE_POLL_SECONDS="5",
        DEXCARE_AVR_VIRTUAL_KEY="visit_id",
        DEXCARE_AVR_VIRTUAL_TIME="scheduled_at",
        DEXCARE_AVR_VIRTUAL_STATUS="status",
        HEALTH_BUILD_WAREHOUSE="true",
        HEALTH_RUN_START_SECONDS=str(run_start_seconds),
        # As many tables as show something: each is a step.
        PUBLISH_TABLES="current.avr_virtual, current.appointments, current.line_items, marts.daily_visits",
        PUBLISH_URL=f"{to['publish']}&sslmode=disable",
        # As deploy/ has it.
        DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR="1",
        PYTHONPATH=str(ROOT),
        TMPDIR=str(temporary),
        **({"DAGSTER_POSTGRES_URL": f"{to['dagster']}&sslmode=disable"} if storage == POSTGRES else {}),
    )


def _dagster_yaml(home: Path, storage: str, run_start_seconds: int) -> dict[str, Any]:
    """The production instance with shorter waits; on files where `storage` says so."""
    instance: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    if storage != POSTGRES:
        del instance["storage"]
        instance["event_log_storage"] = yaml.safe_load(embedded_home(home))["event_log_storage"]
    instance["run_monitoring"] |= {
        "start_timeout_seconds": run_start_seconds,
        "poll_interval_seconds": 5,
        "free_slots_after_run_end_seconds": 5,
    }
    instance["run_queue"] |= {"user_code_failure_retry_delay": 2}
    return instance


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
