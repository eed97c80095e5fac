"""Two hosts that share a database and a lake land a backfill of all sources, and each of them is killed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS, provider_histories_key
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.drchrono.tables import SWEPT, key_of
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines_tests.dexcare.histories.test_provider_histories import as_rows, events_of
from health_pipelines_tests.drchrono.project import LINEAGE, Row, drchrono_settings, parsed_row, true_rows
from health_pipelines_tests.end_to_end.test_backfill import start_ui
from health_pipelines_tests.support.dagster_processes import (
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.hosts import Host, HostLauncher
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.landed import true_rows as true_visits
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

UTC_ZONE = ZoneInfo("UTC")
TODAY = datetime.now(UTC).date()
DAY_BEFORE, *DAYS = days_from((TODAY - timedelta(days=61)).isoformat(), 61)
# The vendor's limit, and the one that both hosts are told.
CALLS_PER_SECOND = 10
WITHIN_SECONDS = 1500


@dataclass
class Cluster:
    """`coordinator`: daemon, code server and UI, which carry out no run."""

    coordinator: DagsterHome
    hosts: list[Host]
    lake: Lake

    def log(self) -> str:
        return "\n".join([self.coordinator.log(), *(host.log() for host in self.hosts)])


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        volume="0.1",
        queue_seconds="0-2",
        run_seconds="1-3",
        max_running="60",
        drchrono_volume=6,
        drchrono_history_start=(TODAY - timedelta(days=65)).isoformat(),
        drchrono_list_seconds="0.1-0.5",
        drchrono_calls_per_hour=0,
        drchrono_calls_per_second=CALLS_PER_SECOND,
    ) as sandbox:
        yield sandbox


@pytest.fixture
def cluster(
    sandbox: SandboxProcess, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    shared = tmp_path / "shared"
    hosts = [Host(tmp_path / name) for name in ("one", "other")]
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)  # this process looks as well
    settings = drchrono_settings(
        sandbox,
        tmp_path / "data",
        HEALTH_TIMEZONE="UTC",
        DRCHRONO_TIMEZONE="UTC",
        HEALTH_START_DATE=DAYS[0],
        DRCHRONO_CALLS_PER_SECOND=str(CALLS_PER_SECOND),
        DEXCARE_CONCURRENCY="2",
        DAGSTER_POSTGRES_URL=postgres_url,
    )
    environment = sandbox_environment(sandbox, tmp_path, **settings)
    instance = yaml.safe_load(embedded_home(Path(environment["DAGSTER_HOME"]), in_postgres=True))
    for host in hosts:
        host.prepare(environment, json.dumps(instance))
    for data in (tmp_path / "data", *(host.data for host in hosts)):
        data.mkdir(exist_ok=True)
        for name in ("lake", "privacy"):
            (shared / name).mkdir(parents=True, exist_ok=True)
            (data / name).symlink_to(shared / name)
    instance["run_launcher"] = {
        "module": HostLauncher.__module__,
        "class": HostLauncher.__name__,
        "config": {"hosts": [str(host.folder) for host in hosts]},
    }
    instance["concurrency"] = {"runs": {"max_concurrent_runs": 4}}
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(host.kill_everything)
        home = stack.enter_context(dagster_home(environment, json.dumps(instance)))
        yield Cluster(home, hosts, Lake(shared / "lake"))


def test_two_hosts_that_are_killed_in_turn_land_sixty_days_of_all_sources(
    cluster: Cluster, sandbox: SandboxProcess
) -> None:
    cluster.coordinator.start_quick_daemon()
    ui = DagsterApi(start_ui(cluster.coordinator))
    requests = [*(report.request_key for report in VISIT_REPORTS), provider_histories_key()]
    asked = [
        ui.launch_backfill([key.path for key in requests], DAYS),
        *(ui.launch_backfill([key_of(record_type).path], DAYS) for record_type in SWEPT),
    ]
    with instance_of(cluster.coordinator) as instance:
        for host in cluster.hosts:
            wait_for(partial(is_at_work, instance, host), "a run at work", within_seconds=600)
            assert host.kill_everything(), "it had ended: killed too late to matter"

        def all_is_there() -> bool:
            landed = sum(len(Ledger(instance, one.request_key).settlements(DAYS)) for one in VISIT_REPORTS)
            tables = [PROVIDER_HISTORIES, *(record_type.table for record_type in SWEPT)]
            # One ends as failed whose retry Dagster lost: its days are asked for again beside it.
            ended = [instance.get_backfill(one) for one in asked]
            return (
                landed == len(VISIT_REPORTS) * len(DAYS)
                and all(cluster.lake.days(table) == DAYS for table in tables)
                and all(one is not None and one.status in BULK_ACTION_TERMINAL_STATUSES for one in ended)
            )

        told(cluster, lambda: wait_for(all_is_there, "all of it", within_seconds=WITHIN_SECONDS))
        killed = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
        assert len(killed) >= len(cluster.hosts)
        wait_for(lambda: all(run.status in FINISHED_STATUSES for run in instance.get_runs()), "rest")
        on_hosts = [set(host.runs) for host in cluster.hosts]
        assert all(on_hosts)
        assert set.union(*on_hosts) == {run.run_id for run in instance.get_runs()}

    for report in VISIT_REPORTS:
        for day in DAYS:
            columns, rows = true_visits(sandbox, report, day, UTC_ZONE)
            assert cells(cluster, report.table, day, columns) == rows, (report, day)
    for day, next_day in zip(DAYS, [*DAYS[1:], TODAY.isoformat()], strict=True):
        window = {"startDate": f"{day}T00:00:00Z", "endDate": f"{next_day}T00:00:00Z"}
        events = events_of(sandbox, day, **window)
        assert cells(cluster, PROVIDER_HISTORIES, day, list(events[0])) == Counter(as_rows(events)), day
    for record_type in SWEPT:
        # A sweep asks from the day before on, and what has no time of its change lands with the first day.
        truth = true_rows(sandbox, record_type, DAY_BEFORE, zone=UTC_ZONE)
        in_days = {
            key: row
            for key, row in truth.items()
            if record_type.changed is None or row[f"{record_type.changed}_text"][:10] in set(DAYS)
        }
        landed = [
            parsed_row(record_type, row)
            for file in cluster.lake.partition_files(record_type.table)
            for row in pl.read_parquet(file, glob=False, hive_partitioning=False).to_dicts()
        ]
        assert len(landed) == len(in_days), record_type.name
        assert {row[record_type.key]: without(row, LINEAGE) for row in landed} == in_days, record_type.name
    # One quota for both: either alone may use all of it.
    assert sandbox.drchrono_quota()["throttled"] == 0


def is_at_work(instance: DagsterInstance, host: Host) -> bool:
    """Whether a run there has begun its first step."""
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    return any(
        run.run_id in host.runs and instance.get_run_stats(run.run_id).steps_succeeded == 0 for run in started
    )


def cells(cluster: Cluster, table: Table, day: str, columns: list[str]) -> Counter[tuple[object, ...]]:
    frame = pl.read_parquet(cluster.lake.partition_file(table, day), glob=False, hive_partitioning=False)
    rows = frame.drop(LINEAGE_COLUMNS)
    assert set(rows.columns) == set(columns) or not columns
    return Counter(rows.select(columns).rows()) if columns else Counter()


def without(row: Row, names: tuple[str, ...]) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def told(cluster: Cluster, act: Callable[[], object]) -> None:
    try:
        act()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{cluster.log()}") from None
