"""Dagster's database is lost, then days of the lake: adopted without a call, and home again by themselves."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.commands.adopt import adopt
from health_pipelines.commands.places import embedded_home
from health_pipelines.commands.verify import answer as verify
from health_pipelines.definitions import build_definitions
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import Settings, use_settings
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick
from health_pipelines_tests.end_to_end.conftest import IN_BOTH_STORAGES
from health_pipelines_tests.support.dagster_processes import (
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
def home(
    sandbox: SandboxProcess,
    tmp_path: Path,
    storage_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[DagsterHome]:
    """Its settings are those of this process, too."""
    data = tmp_path / "data"
    lists_are_quick(data)
    settings = drchrono_settings(sandbox, data)
    environment = sandbox_environment(sandbox, tmp_path, **settings, **storage_variables)
    dagster_yaml = embedded_home(Path(environment["DAGSTER_HOME"]), in_postgres=bool(storage_variables))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    use_settings(os.environ)
    with dagster_home(environment, dagster_yaml) as home:
        yield home
    monkeypatch.undo()
    use_settings(os.environ)


@IN_BOTH_STORAGES
def test_all_sources_are_adopted_without_a_call_and_lost_days_come_home_by_themselves(
    home: DagsterHome, sandbox: SandboxProcess, storage_variables: dict[str, str]
) -> None:
    lake = Lake(Path(home.environment["HEALTH_DATA_DIR"]) / "lake")
    with instance_of(home) as instance:
        for asset in (RETAIL.request_key, *map(key_of, TABLES)):
            materialize(instance, asset)
    assert all(lake.days(table) == DAYS for table in TABLES)
    assert verify(None)[1] == 0

    lose_the_database(home, storage_variables)
    with instance_of(home) as instance:
        assert landed(instance) == [set()] * len(TABLES)
    sandbox.forget_calls()
    assert adopt(None, is_agreed=True) == 0
    with instance_of(home) as instance:
        assert landed(instance) == [set(DAYS)] * len(TABLES)
    assert (sandbox.calls()["total"], sandbox.drchrono_calls()) == (0, {})

    for table in TABLES:
        shutil.rmtree(lake.partition_file(table, DAYS[1]).parent)
    assert adopt(None, is_agreed=True) == 0
    home.start_quick_daemon()
    wait_for(
        lambda: all(lake.days(table) == DAYS for table in TABLES),
        "the lost days are home",
        within_seconds=600,
    )
    wait_for(lambda: verify(None)[1] == 0, "all is as it landed", within_seconds=60)


def materialize(instance: DagsterInstance, asset: AssetKey) -> None:
    ends = {ASSET_PARTITION_RANGE_START_TAG: DAYS[0], ASSET_PARTITION_RANGE_END_TAG: DAYS[-1]}
    job = build_definitions(Settings.of_this_process()).resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(asset_selection=[asset], instance=instance, tags=ends).success


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
