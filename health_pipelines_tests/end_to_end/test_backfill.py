"""A backfill of 60 days of all visit reports, through the daemon as the UI launches it, and with kills."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines.commands.services import free_port
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.dexcare.visits.sensor import REPORTS_TAG
from health_pipelines.landing.landed_partition import DATA_VERSION_TAG
from health_pipelines.settings.variables import DEXCARE_CONCURRENCY
from health_pipelines.warehouse.sensor import PLACE_TAG
from health_pipelines_tests.end_to_end.conftest import IN_BOTH_STORAGES
from health_pipelines_tests.support.dagster_processes import (
    OURS,
    DagsterHome,
    dagster_home,
    instance_of,
    run_processes,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from, rows_in_warehouse, true_rows
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

ZONE = ZoneInfo("America/Chicago")
# From winter into summer: one of the days has 23 hours.
DAYS = days_from("2026-01-25", 60)
FEW_DAYS = days_from("2026-03-01", 12)

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(420)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.2", queue_seconds="1-3", run_seconds="2-6", max_running="60") as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path, storage_variables: dict[str, str]) -> Iterator[DagsterHome]:
    environment = sandbox_environment(sandbox, tmp_path, HEALTH_TIMEZONE=ZONE.key, **storage_variables)
    dagster_yaml = embedded_home(Path(environment["DAGSTER_HOME"]), in_postgres=bool(storage_variables))
    with dagster_home(environment, dagster_yaml) as home:
        yield home


@pytest.mark.long
def test_sixty_days_of_three_reports_land_correctly_in_at_most_twelve_runs(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    home.start_daemon()
    launch_backfill(home)
    with instance_of(home) as instance:
        wait_until_landed(home, instance)
        assert_everything_landed_correctly(home, sandbox)
        builds = instance.get_runs_count(RunsFilter(tags={PLACE_TAG: "health_pipelines"}))
        assert instance.get_runs_count() - builds <= 12
        assert builds <= 4
        assert len(sandbox.reports()) == len(DAYS) * len(VISIT_REPORTS)


@pytest.mark.long
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


@pytest.mark.long
@IN_BOTH_STORAGES
def test_a_daemon_killed_after_it_submitted_a_landing_lands_each_day_once(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    home.start_quick_daemon()
    launch_backfill(home, FEW_DAYS)
    with instance_of(home) as instance:

        def submitted() -> list[DagsterRunStatus]:
            return [run.status for run in instance.get_runs() if REPORTS_TAG in run.tags]

        statuses = wait_for(submitted, "a run of the sensor", within_seconds=120)
        home.kill_everything()
        assert not set(statuses) & set(FINISHED_STATUSES), "killed too late to matter"
        recorded_by_then = recorded(instance, FEW_DAYS)

        home.start_quick_daemon()
        wait_until_landed(home, instance, FEW_DAYS)
        assert_everything_landed_correctly(home, sandbox, FEW_DAYS)
        assert_every_day_landed_once(instance, FEW_DAYS)
        assert recorded_by_then.items() <= recorded(instance, FEW_DAYS).items()


@pytest.mark.long
def test_cancelled_backfills_leave_nothing_that_blocks_the_next_one(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    requests = [report.request_key for report in VISIT_REPORTS]
    landings = [report.asset_key for report in VISIT_REPORTS]
    everything = len(FEW_DAYS) * len(VISIT_REPORTS)
    home.start_quick_daemon()
    ui = start_ui(home)
    with instance_of(home) as instance:
        # Cancelled while it asks, with reports in flight.
        sandbox.add_fault("status", {"kind": "status", "status": "RUNNING"})
        sandbox.change_settings(latency_ms=500)
        first = launch(ui, requests, FEW_DAYS)
        wait_for(lambda: len(recorded(instance, FEW_DAYS)) >= 5, "some tickets", within_seconds=120)
        cancel(ui, instance, first)
        in_flight = recorded(instance, FEW_DAYS)
        assert len(in_flight) < everything, "cancelled too late to matter"
        sandbox.change_settings(latency_ms=0)
        launch(ui, requests, FEW_DAYS)
        wait_for(lambda: len(recorded(instance, FEW_DAYS)) == everything, "every ticket", within_seconds=120)
        assert in_flight.items() <= recorded(instance, FEW_DAYS).items()
        # A call that was under way when its run was interrupted can leave an orphan.
        assert 0 <= len(sandbox.reports()) - everything <= int(DEXCARE_CONCURRENCY.default or 0)

        # Cancelled while it lands, beside the sensor.
        sandbox.clear_faults()
        sandbox.add_fault("data", {"kind": "slow", "seconds": 3})
        landing = launch(ui, landings, FEW_DAYS)
        wait_for(lambda: is_landing(instance, landing), "a landing run", within_seconds=120)
        cancel(ui, instance, landing)
        assert landed_days(instance, FEW_DAYS) < everything, "cancelled too late to matter"
        sandbox.clear_faults()

        last = launch(ui, requests, FEW_DAYS)
        wait_for(
            # Days that are still in flight are not asked for again, and yet are no failure.
            lambda: status_of(instance, last) == BulkActionStatus.COMPLETED_SUCCESS,
            "the end of the last backfill",
            within_seconds=120,
        )
        wait_until_landed(home, instance, FEW_DAYS)
        assert_everything_landed_correctly(home, sandbox, FEW_DAYS)
        assert_nothing_was_started_twice_while_in_flight(instance)
        wait_for(
            lambda: all(run.status in FINISHED_STATUSES for run in instance.get_runs()), "the end of all runs"
        )


def launch_backfill(home: DagsterHome, days: list[str] = DAYS) -> None:
    """As the UI does it: over the webserver's API, for the request assets."""
    launch(start_ui(home), [report.request_key for report in VISIT_REPORTS], days)


def start_ui(home: DagsterHome, module: str = OURS) -> str:
    port = free_port()
    home.start_webserver(port, module)
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(url) and has_loaded(url), "the webserver", within_seconds=90)
    return url


def has_loaded(ui: str) -> bool:
    """Whether the webserver knows the project's assets."""
    query = "query Known($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename } }"
    variables = {"key": {"path": VISIT_REPORTS[0].asset_key.path}}
    answer = httpx.post(f"{ui}/graphql", json={"query": query, "variables": variables}, timeout=60)
    return bool(answer.json()["data"]["assetNodeOrError"]["__typename"] == "AssetNode")


def launch(ui: str, assets: list[AssetKey], days: list[str]) -> str:
    return DagsterApi(ui).launch_backfill([asset.path for asset in assets], days)


def cancel(ui: str, instance: DagsterInstance, backfill: str) -> None:
    """As the UI's button does it, and wait until Dagster says that it is done."""
    document = "mutation Cancel($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"
    answer = httpx.post(f"{ui}/graphql", json={"query": document, "variables": {"id": backfill}}, timeout=60)
    assert answer.json()["data"]["cancelPartitionBackfill"]["__typename"] == "CancelBackfillSuccess"
    wait_for(
        lambda: status_of(instance, backfill) is BulkActionStatus.CANCELED,
        "the end of the cancelled backfill",
        within_seconds=120,
    )


def status_of(instance: DagsterInstance, backfill: str) -> BulkActionStatus:
    found = instance.get_backfill(backfill)
    assert found is not None
    return found.status


def is_landing(instance: DagsterInstance, backfill: str) -> bool:
    """Whether a run of the backfill is in the middle of a step."""
    runs = instance.get_runs(RunsFilter(tags={"dagster/backfill": backfill}))
    return any(run_processes(instance, run.run_id) for run in runs)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info").is_success
    except httpx.TransportError:
        return False


def recorded(instance: DagsterInstance, days: list[str] = DAYS) -> dict[tuple[str, str], str]:
    """The report id of the newest ticket of every table and day."""
    return {
        (report.table.name, day): ticket.report_id
        for report in VISIT_REPORTS
        for day, ticket in Ledger(instance, report.request_key).newest_tickets(days).items()
    }


def landed_days(instance: DagsterInstance, days: list[str] = DAYS) -> int:
    return sum(len(Ledger(instance, report.request_key).settlements(days)) for report in VISIT_REPORTS)


def wait_until_landed(home: DagsterHome, instance: DagsterInstance, days: list[str] = DAYS) -> None:
    try:
        wait_for(
            lambda: landed_days(instance, days) == len(days) * len(VISIT_REPORTS),
            "everything landed",
            within_seconds=240,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}: {landed_days(instance, days)} days\n{home.log()}") from None


def assert_everything_landed_correctly(
    home: DagsterHome, sandbox: SandboxProcess, days: list[str] = DAYS
) -> None:
    data = Path(home.environment["HEALTH_DATA_DIR"])
    for report in VISIT_REPORTS:
        truth = {day: true_rows(sandbox, report, day, ZONE) for day in days}
        columns = next(iter(truth.values()))[0]
        landed = rows_in_warehouse(data, report, columns)
        assert landed == {day: rows for day, (_, rows) in truth.items()}


def assert_every_day_landed_once(instance: DagsterInstance, days: list[str] = DAYS) -> None:
    for report in VISIT_REPORTS:
        records = instance.fetch_materializations(report.asset_key, limit=1000).records
        assert sorted(str(record.partition_key) for record in records) == days


def assert_nothing_was_started_twice_while_in_flight(instance: DagsterInstance) -> None:
    """Every report but the newest of its day had landed before the next one was started."""
    for report in VISIT_REPORTS:
        landed_at: dict[str, float] = {}
        for record in instance.fetch_observations(report.request_key, limit=1000, ascending=True).records:
            observation = record.event_log_entry.asset_observation
            if observation is not None and observation.tags:
                landed_at.setdefault(observation.tags[DATA_VERSION_TAG], record.timestamp)
        earlier: dict[str, str] = {}
        for record in instance.fetch_materializations(report.request_key, limit=1000, ascending=True).records:
            ticket = record.asset_materialization
            assert ticket is not None
            assert ticket.tags is not None
            day = str(record.partition_key)
            if earlier.get(day, ticket.tags[DATA_VERSION_TAG]) != ticket.tags[DATA_VERSION_TAG]:
                assert landed_at.get(earlier[day], float("inf")) < record.timestamp, (report, day)
            earlier[day] = ticket.tags[DATA_VERSION_TAG]


def kill_the_run(instance: DagsterInstance) -> None:
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    [run] = [run for run in started if PLACE_TAG not in run.tags]
    for pid in run_processes(instance, run.run_id):
        os.kill(pid, signal.SIGKILL)
