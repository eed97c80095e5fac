"""A backfill of days that did not change: nobody sees red, and nothing downstream wakes."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.execution.backfill import BulkActionStatus

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick
from health_pipelines_tests.end_to_end.conftest import IN_BOTH_STORAGES
from health_pipelines_tests.end_to_end.test_backfill import start_ui, status_of
from health_pipelines_tests.support.dagster_processes import (
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

HISTORIES, CHECKS = AssetKey(["dexcare", "provider_histories"]), AssetKey(["drchrono", "eligibility_checks"])
DAYS = days_from("2026-03-02", 10)
USERS_OWN = AssetKey("users_own_table")
# The project as it is, with a user's asset below it.
LOCATION = "health_pipelines_tests.support.downstream_location"

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(420)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        volume="0.1",
        now=datetime.fromisoformat("2026-03-20T12:00:00+00:00").isoformat(),
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


@pytest.mark.long
@IN_BOTH_STORAGES
def test_a_backfill_of_days_that_did_not_change_ends_well_and_wakes_nothing(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    home.start_quick_daemon(LOCATION)
    ui = start_ui(home, LOCATION)
    with instance_of(home) as instance:
        first = launch(ui)
        wait_for_end(home, instance, first, BulkActionStatus.COMPLETED_SUCCESS)
        wait_for(lambda: materializations(instance, USERS_OWN), "the user's asset", within_seconds=90)
        woken = materializations(instance, USERS_OWN)

        again = launch(ui)
        wait_for_end(home, instance, again, BulkActionStatus.COMPLETED_SUCCESS)
        assert failed_days(instance, again) == {}
        assert materializations(instance, HISTORIES) == materializations(instance, CHECKS) == len(DAYS)

        # What fails stays red, and it alone.
        sandbox.add_fault("provider_histories", {"kind": "http", "status": 400}, day=DAYS[3])
        mixed = launch(ui)
        wait_for(
            lambda: failed_days(instance, mixed) == {HISTORIES: {DAYS[3]}},
            "the end of the backfill with one day that fails",
            within_seconds=120,
        )
        assert status_of(instance, mixed) is BulkActionStatus.COMPLETED_FAILED
        assert materializations(instance, USERS_OWN) == woken


def launch(ui: str) -> str:
    return DagsterApi(ui).launch_backfill([HISTORIES.path, CHECKS.path], DAYS)


def wait_for_end(
    home: DagsterHome, instance: DagsterInstance, backfill: str, status: BulkActionStatus
) -> None:
    try:
        wait_for(lambda: status_of(instance, backfill) is status, f"{status}", within_seconds=120)
    except AssertionError as error:
        raise AssertionError(f"{error}: {status_of(instance, backfill)}\n{home.log()}") from None


def materializations(instance: DagsterInstance, asset: AssetKey) -> int:
    return len(instance.fetch_materializations(asset, limit=1000).records)


def failed_days(instance: DagsterInstance, backfill: str) -> dict[AssetKey, set[str]] | None:
    """The partitions that the UI shows as failed; None before the backfill has ended."""
    found = instance.get_backfill(backfill)
    assert found is not None
    if found.asset_backfill_data is None or found.backfill_end_timestamp is None:
        return None
    failed = found.asset_backfill_data.failed_and_downstream_subset
    return {
        key: set(days.get_partition_keys())
        for key, days in failed.partitions_subsets_by_asset_key.items()
        if not days.is_empty
    }
