"""A backfill of 60 days of all visit reports, through the daemon as the UI launches it, and with kills."""

import os
import signal
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.services import free_port
from health_pipelines.dexcare.ledger import Ledger
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.settings import DEXCARE_CONCURRENCY
from health_pipelines_tests.dagster_processes import (
    DagsterHome,
    dagster_home,
    instance_of,
    run_processes,
    sandbox_environment,
)
from health_pipelines_tests.landed import days_from, rows_in_warehouse, true_rows
from health_pipelines_tests.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.waiting import wait_for

ZONE = ZoneInfo("America/Chicago")
# From winter into summer: one of the days has 23 hours.
DAYS = days_from("2026-01-25", 60)
EMBEDDED = (files("health_pipelines.commands") / "embedded_home.yaml").read_text()

pytestmark = pytest.mark.timeout(420)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.2", queue_seconds="1-3", run_seconds="2-6", max_running="60") as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[DagsterHome]:
    environment = sandbox_environment(sandbox, tmp_path, HEALTH_TIMEZONE=ZONE.key)
    with dagster_home(environment, EMBEDDED) as home:
        yield home


def test_sixty_days_of_three_reports_land_correctly_in_at_most_twelve_runs(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    home.start_daemon()
    launch_backfill(home)
    with instance_of(home) as instance:
        wait_until_landed(home, instance)
        assert_everything_landed_correctly(home, sandbox)
        assert instance.get_runs_count() <= 12
        assert len(sandbox.reports()) == len(DAYS) * len(VISIT_REPORTS)


def test_a_killed_daemon_and_killed_runs_lose_nothing_and_ask_for_nothing_twice(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    daemon = home.start_daemon()
    sandbox.change_settings(latency_ms=100)  # long enough to be killed while it asks
    launch_backfill(home)
    with instance_of(home) as instance:
        wait_for(lambda: len(recorded(instance)) >= 25, "some tickets", within_seconds=120)
        kill_the_run(instance)
        os.kill(daemon.pid, signal.SIGKILL)
        recorded_by_then = recorded(instance)
        assert len(recorded_by_then) < len(DAYS) * len(VISIT_REPORTS), "killed too late to matter"
        sandbox.change_settings(latency_ms=0)

        daemon = home.start_daemon()
        wait_for(lambda: landed_days(instance) >= 20, "the first landings", within_seconds=180)
        home.kill_everything()

        home.start_daemon()
        wait_until_landed(home, instance)
        assert_everything_landed_correctly(home, sandbox)
        final = recorded(instance)
        assert {day: final[day] for day in recorded_by_then} == recorded_by_then
        # A report whose answer was under way when a run was killed is an orphan: one a place and a kill.
        orphans = len(sandbox.reports()) - len(final)
        assert 0 <= orphans <= 2 * int(DEXCARE_CONCURRENCY.default or 0)
        assert_every_day_landed_once(instance)


def launch_backfill(home: DagsterHome) -> None:
    """As the UI does it: over the webserver's API, for the request assets."""
    port = free_port()
    webserver = home.start_webserver(port)
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(url), "the webserver", within_seconds=90)
    DagsterApi(url).launch_backfill([report.request_key.path for report in VISIT_REPORTS], DAYS)
    os.killpg(webserver.pid, signal.SIGTERM)
    webserver.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info").is_success
    except httpx.TransportError:
        return False


def recorded(instance: DagsterInstance) -> dict[tuple[str, str], str]:
    """The report id of the newest ticket of every table and day."""
    return {
        (report.table.name, day): ticket.report_id
        for report in VISIT_REPORTS
        for day, ticket in Ledger(instance, report.request_key).newest_tickets(DAYS).items()
    }


def landed_days(instance: DagsterInstance) -> int:
    return sum(len(Ledger(instance, report.request_key).settlements(DAYS)) for report in VISIT_REPORTS)


def wait_until_landed(home: DagsterHome, instance: DagsterInstance) -> None:
    try:
        wait_for(
            lambda: landed_days(instance) == len(DAYS) * len(VISIT_REPORTS),
            "everything landed",
            within_seconds=240,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}: {landed_days(instance)} days\n{home.log()}") from None


def assert_everything_landed_correctly(home: DagsterHome, sandbox: SandboxProcess) -> None:
    data = Path(home.environment["HEALTH_DATA_DIR"])
    for report in VISIT_REPORTS:
        truth = {day: true_rows(sandbox, report, day, ZONE) for day in DAYS}
        columns = next(iter(truth.values()))[0]
        landed = rows_in_warehouse(data, report, columns)
        assert landed == {day: rows for day, (_, rows) in truth.items()}


def assert_every_day_landed_once(instance: DagsterInstance) -> None:
    for report in VISIT_REPORTS:
        records = instance.fetch_materializations(report.asset_key, limit=1000).records
        assert sorted(str(record.partition_key) for record in records) == DAYS


def kill_the_run(instance: DagsterInstance) -> None:
    [run] = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    for pid in run_processes(instance, run.run_id):
        os.kill(pid, signal.SIGKILL)
