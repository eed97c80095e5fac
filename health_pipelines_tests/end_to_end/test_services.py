"""The three services as deploy/ starts them, on PostgreSQL, restarted one by one with reports in flight."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData, TickStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from health_pipelines.commands.services import free_port
from health_pipelines.dexcare.tables import VISIT_REPORTS, provider_histories_key
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines_tests.support.dagster_processes import ROOT, sandbox_environment
from health_pipelines_tests.support.landed import days_from, rows_in_warehouse, true_rows
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(420)

DEPLOY = ROOT / "deploy"
SERVICES = ("code", "daemon", "webserver")
SCHEDULE = "dexcare_daily"
KEY = "SECRET_TOKEN"
LOOKBACK = 3
# An hour ago, when this schedule of every day was due.
DUE = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
DAYS = days_from((DUE.date() - timedelta(days=LOOKBACK)).isoformat(), LOOKBACK)
REPORTS = LOOKBACK * len(VISIT_REPORTS)
# As the stopping of a run may take its time.
STOPPED_WITHIN_SECONDS = 60


@dataclass
class Deployment:
    """The services of deploy/ on this machine: other ports and folders, the same commands and settings."""

    home: Path
    environment: Mapping[str, str]
    code_port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    def start(self, service: str) -> None:
        log = (self.home / f"{service}.log").open("ab")
        with log:
            self.running[service] = subprocess.Popen(
                self._command(service),
                env=self._environment(service),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, service: str) -> None:
        """As Docker and systemd do it: SIGTERM for the service, which ends what it has begun."""
        process = self.running[service]
        process.send_signal(signal.SIGTERM)
        process.wait(STOPPED_WITHIN_SECONDS)

    def restart(self, service: str) -> None:
        self.stop(service)
        self.start(service)

    def kill(self) -> None:
        for process in self.running.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()

    def log(self) -> str:
        return "\n".join(path.read_text()[-6000:] for path in sorted(self.home.glob("*.log")))

    def _command(self, service: str) -> list[str]:
        program, *arguments = command_of_compose(service)
        here = {
            "0.0.0.0": "127.0.0.1",
            "4000": str(self.code_port),
            "3000": str(self.ui_port),
            workspace_of_compose(): str(self._workspace()),
        }
        return [str(Path(sys.executable).parent / program), *(here.get(one, one) for one in arguments)]

    def _workspace(self) -> Path:
        content = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
        [entry] = content["load_from"]
        entry["grpc_server"]["port"] = self.code_port
        file = self.home / "workspace.yaml"
        file.write_text(json.dumps(content))
        return file

    def _environment(self, service: str) -> dict[str, str]:
        """The vendor, its key and the lake are for the code server alone."""
        ours = ("DEXCARE_", "HEALTH_")
        if service == "code":
            return dict(self.environment)
        return {name: value for name, value in self.environment.items() if not name.startswith(ours)}


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.1", queue_seconds="0", run_seconds="0") as sandbox:
        yield sandbox


@pytest.fixture
def deployment(sandbox: SandboxProcess, tmp_path: Path, postgres_url: str) -> Iterator[Deployment]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    secrets = {"DAGSTER_POSTGRES_URL": postgres_url, "DEXCARE_SERVICE_KEY": KEY}
    for name, value in secrets.items():
        (tmp_path / name).write_text(f"{value}\n")
    environment = sandbox_environment(
        sandbox,
        tmp_path,
        HEALTH_TIMEZONE="UTC",
        DEXCARE_DAILY_AT=f"{DUE:%H:%M}",
        DEXCARE_LOOKBACK_DAYS=str(LOOKBACK),
        CODE_SERVER_HOST="127.0.0.1",
        HEALTH_BUILD_WAREHOUSE="true",
        **{f"{name}_FILE": str(tmp_path / name) for name in secrets},
    )
    del environment["DEXCARE_SERVICE_KEY"]
    deployment = Deployment(home, environment)
    try:
        yield deployment
    finally:
        deployment.kill()


@pytest.fixture
def instance(
    deployment: Deployment, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    with DagsterInstance.from_config(str(deployment.home)) as instance:
        yield instance


@pytest.mark.parametrize("service", SERVICES)
def test_compose_and_systemd_start_a_service_by_the_same_command(service: str) -> None:
    systemd, compose = (
        [Path(program).name, *(one.replace("0.0.0.0", "127.0.0.1") for one in arguments)]
        for program, *arguments in (command_of_systemd(service), command_of_compose(service))
    )
    assert systemd == compose


@pytest.mark.long
def test_a_missed_tick_is_made_up_and_a_restart_of_each_service_loses_and_doubles_nothing(
    deployment: Deployment, sandbox: SandboxProcess, instance: DagsterInstance
) -> None:
    sandbox.add_fault("status", {"kind": "status", "status": "RUNNING"})
    # The first report is started at once; long enough for the others to be caught in the middle.
    sandbox.add_fault("start", {"kind": "slow", "seconds": 4}, after=1)
    for service in SERVICES:
        deployment.start(service)
    try:
        state = wait_for(lambda: state_of(instance), "the daemon knows the schedule", within_seconds=120)
        assert state is not None

        # The daemon was away when the schedule was due.
        deployment.stop("daemon")
        instance.update_instigator_state(seen_first(state, DUE - timedelta(hours=1)))
        deployment.start("daemon")
        in_flight = wait_for(lambda: tickets(instance), "the first ticket", within_seconds=120)
        waiting = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.QUEUED]))
        assert len(in_flight) < REPORTS, "stopped too late to matter"
        assert waiting, "stopped too late to matter"

        # With runs in the middle of their work, and others in the queue.
        deployment.restart("code")
        wait_for(lambda: len(tickets(instance)) == REPORTS, "every ticket", within_seconds=120)
        asked = tickets(instance)
        assert in_flight.items() <= asked.items()

        # With all reports in flight.
        for service in ("daemon", "webserver"):
            deployment.restart(service)
        wait_for(lambda: is_served(deployment.ui), "the UI serves the project", within_seconds=120)
        assert landed(instance) == 0, "landed too early to matter"

        sandbox.clear_faults()
        wait_for(lambda: landed(instance) == REPORTS, "everything landed", within_seconds=120)
        wait_for(
            lambda: all(run.status in FINISHED_STATUSES for run in instance.get_runs()), "the end of all runs"
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{deployment.log()}") from None

    assert tickets(instance) == asked
    assert sorted(asked.values()) == sorted(report["id"] for report in sandbox.reports())
    data = Path(deployment.environment["HEALTH_DATA_DIR"])
    for report in VISIT_REPORTS:
        truth = {day: true_rows(sandbox, report, day, ZoneInfo("UTC")) for day in DAYS}
        columns = next(iter(truth.values()))[0]
        assert rows_in_warehouse(data, report, columns) == {day: rows for day, (_, rows) in truth.items()}
        assert landed_once(instance, report.asset_key) == DAYS
    assert landed_once(instance, provider_histories_key()) == DAYS
    assert not instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
    [tick] = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert tick.status is TickStatus.SUCCESS
    assert tick.timestamp == DUE.timestamp()


def command_of_compose(service: str) -> list[str]:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    command: list[str] = compose["services"][service]["command"]
    return command


def command_of_systemd(service: str) -> list[str]:
    unit = (DEPLOY / "systemd" / f"health-pipelines-{service}.service").read_text()
    [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    return shlex.split(command)


def workspace_of_compose() -> str:
    command = command_of_compose("daemon")
    return command[command.index("-w") + 1]


def state_of(instance: DagsterInstance) -> InstigatorState | None:
    """What Dagster keeps of the schedule since its daemon saw it first."""
    return next((state for state in instance.all_instigator_state() if state.name == SCHEDULE), None)


def seen_first(state: InstigatorState, at: datetime) -> InstigatorState:
    assert isinstance(state.instigator_data, ScheduleInstigatorData)
    return state.with_data(ScheduleInstigatorData(state.instigator_data.cron_schedule, at.timestamp()))


def tickets(instance: DagsterInstance) -> dict[tuple[str, str], str]:
    """The report id of the newest ticket of every table and day."""
    return {
        (report.table.name, day): ticket.report_id
        for report in VISIT_REPORTS
        for day, ticket in Ledger(instance, report.request_key).newest_tickets(DAYS).items()
    }


def landed(instance: DagsterInstance) -> int:
    return sum(len(Ledger(instance, report.request_key).settlements(DAYS)) for report in VISIT_REPORTS)


def landed_once(instance: DagsterInstance, asset: AssetKey) -> list[str]:
    """The day of each landing."""
    records = instance.fetch_materializations(asset, limit=1000).records
    return sorted(str(record.partition_key) for record in records)


def is_served(ui: str) -> bool:
    """Whether the UI's GraphQL knows the project, and that the schedule is on."""
    query = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
        ... on RepositoryLocation { repositories { schedules { name scheduleState { status } } } }
    } } } } }"""
    try:
        answer = httpx.post(f"{ui}/graphql", json={"query": query}, timeout=30)
        [entry] = answer.json()["data"]["workspaceOrError"]["locationEntries"]
    except (httpx.TransportError, ValueError):
        return False
    repositories: list[dict[str, Any]] = (entry["locationOrLoadError"] or {}).get("repositories", [])
    schedules = [one for repository in repositories for one in repository["schedules"]]
    return {"name": SCHEDULE, "scheduleState": {"status": "RUNNING"}} in schedules
