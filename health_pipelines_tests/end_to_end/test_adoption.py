"""Dagster's database is lost, then days of the lake: adopted without a call, and home again by themselves."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance

from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick
from health_pipelines_tests.end_to_end.conftest import IN_BOTH_STORAGES
from health_pipelines_tests.support.dagster_processes import (
    ROOT,
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

RETAIL = VISIT_REPORTS[1]
# One of each source.
TABLES = (RETAIL.table, PROVIDER_HISTORIES, Table("drchrono", "eligibility_checks"))
DAYS = days_from("2026-03-10", 3)

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        volume="0.1",
        queue_seconds="0",
        run_seconds="0",
        now="2026-03-20T12:00:00+00:00",
        drchrono_volume=20,
        drchrono_history_start="2026-02-25",
        **NO_WAITING,
    ) as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path, storage_variables: dict[str, str]) -> Iterator[DagsterHome]:
    data = tmp_path / "data"
    lists_are_quick(data)
    settings = drchrono_settings(sandbox, data)
    environment = sandbox_environment(sandbox, tmp_path, **settings, **storage_variables)
    dagster_yaml = embedded_home(Path(environment["DAGSTER_HOME"]), in_postgres=bool(storage_variables))
    with dagster_home(environment, dagster_yaml) as home:
        yield home


@IN_BOTH_STORAGES
def test_all_sources_are_adopted_without_a_call_and_lost_days_come_home_by_themselves(
    home: DagsterHome, sandbox: SandboxProcess, storage_variables: dict[str, str]
) -> None:
    lake = Lake(Path(home.environment["HEALTH_DATA_DIR"]) / "lake")
    for asset in (RETAIL.request_key, *map(key_of, TABLES)):
        words = ("--select", asset.to_user_string(), "--partition-range", f"{DAYS[0]}...{DAYS[-1]}")
        done = home.command("asset", "materialize", "-m", "health_pipelines.definitions", *words)
        assert done.returncode == 0, done.stderr
    assert all(lake.days(table) == DAYS for table in TABLES)
    typed(home, "verify")

    lose_the_database(home, storage_variables)
    with instance_of(home) as instance:
        assert landed(instance) == [set()] * len(TABLES)
    sandbox.forget_calls()
    typed(home, "adopt", "--yes")
    with instance_of(home) as instance:
        assert landed(instance) == [set(DAYS)] * len(TABLES)
    assert (sandbox.calls()["total"], sandbox.drchrono_calls()) == (0, {})

    for table in TABLES:
        shutil.rmtree(lake.partition_file(table, DAYS[1]).parent)
    typed(home, "adopt", "--yes")
    home.start_quick_daemon()
    wait_for(
        lambda: all(lake.days(table) == DAYS for table in TABLES),
        "the lost days are home",
        within_seconds=240,
    )
    wait_for(lambda: typed(home, "verify", check=False).returncode == 0, "all is as it landed")


def key_of(table: Table) -> AssetKey:
    return AssetKey([table.source, table.name])


def landed(instance: DagsterInstance) -> list[set[str]]:
    return [set(instance.get_materialized_partitions(key_of(table))) for table in TABLES]


def lose_the_database(home: DagsterHome, storage_variables: dict[str, str]) -> None:
    if not storage_variables:
        shutil.rmtree(home.folder / "history")
        return
    with psycopg.connect(storage_variables["DAGSTER_POSTGRES_URL"], autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


def typed(home: DagsterHome, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "health_pipelines", *words],
        env={**home.environment, "PYTHONPATH": str(ROOT)},
        cwd=home.folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done
