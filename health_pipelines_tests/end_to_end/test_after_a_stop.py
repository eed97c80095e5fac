"""An installation that stood still for days asks for all that it missed, in its first nights, unattended."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES
from health_pipelines.drchrono.tables import key_of
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.run_tags import DAILY, MISSING, REASON_TAG
from health_pipelines_tests.drchrono.project import BY_NAME, drchrono_settings, lists_are_quick
from health_pipelines_tests.support.dagster_processes import (
    OURS,
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
    time_of_day_soon,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(420)

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
CHECKS, PRESCRIPTIONS = BY_NAME["eligibility_checks"], BY_NAME["prescription_messages"]


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        volume="0.1",
        queue_seconds="0",
        run_seconds="0",
        drchrono_volume=10,
        drchrono_history_start=(TODAY - timedelta(days=120)).isoformat(),
        **NO_WAITING,
    ) as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[DagsterHome]:
    data = tmp_path / "data"
    lists_are_quick(data)
    settings = drchrono_settings(
        sandbox,
        data,
        HEALTH_TIMEZONE="UTC",
        DRCHRONO_TIMEZONE="UTC",
        HEALTH_START_DATE=(TODAY - timedelta(days=120)).isoformat(),
    )
    environment = sandbox_environment(sandbox, tmp_path, **settings)
    with dagster_home(environment, embedded_home(Path(environment["DAGSTER_HOME"]))) as home:
        yield home


def lands(home: DagsterHome, asset: str, first: date, last: date) -> None:
    """What landed before the installation stood still."""
    done = home.command(
        *("asset", "materialize", "-m", OURS, "--select", asset),
        *("--partition-range", f"{first}...{last}"),
    )
    assert done.returncode == 0, done.stderr


def landed(home: DagsterHome, table: Table) -> list[str]:
    return Lake(Path(home.environment["HEALTH_DATA_DIR"]) / "lake").days(table)


def a_night(home: DagsterHome, instance: DagsterInstance, vendor: str) -> None:
    """Let the daily schedule of a vendor tick once."""
    other = {"DRCHRONO": "DEXCARE", "DEXCARE": "DRCHRONO"}[vendor]
    home.environment |= {
        f"{vendor}_DAILY_AT": time_of_day_soon(),
        f"{other}_DAILY_AT": f"{datetime.now(UTC) - timedelta(hours=2):%H:%M}",
    }
    before = len(nightly_runs(instance))
    home.start_quick_daemon()
    wait_for(lambda: len(nightly_runs(instance)) > before, f"the night of {vendor}", within_seconds=180)


def nightly_runs(instance: DagsterInstance) -> list[DagsterRun]:
    return [run for run in instance.get_runs() if "dagster/schedule_name" in run.tags]


def reasons(instance: DagsterInstance, asset: AssetKey) -> list[str]:
    """Why the nights' runs of an asset were asked for."""
    return sorted(run.tags[REASON_TAG] for run in nightly_runs(instance) if run.asset_selection == {asset})


def wait_for_days(home: DagsterHome, table: Table, days: list[str]) -> None:
    wait_for(lambda: landed(home, table) == days, f"every day of {table}", within_seconds=180)


def all_runs_ended(instance: DagsterInstance) -> bool:
    return all(run.status in FINISHED_STATUSES for run in instance.get_runs())


@pytest.mark.long
def test_drchronos_next_night_asks_for_a_stop_of_five_days_and_one_of_fifteen(home: DagsterHome) -> None:
    begun = TODAY - timedelta(days=30)
    stops = ((CHECKS, 5), (PRESCRIPTIONS, 15))
    for record_type, days in stops:
        # The look-back of three days ends before the stop began.
        lands(home, f"drchrono/{record_type.name}", begun, YESTERDAY - timedelta(days=3 + days))
    every_day = days_from(begun.isoformat(), 30)

    with instance_of(home) as instance:
        a_night(home, instance, "DRCHRONO")

        for record_type, _ in stops:
            wait_for_days(home, record_type.table, every_day)
            # One sweep for the stop, however long it was.
            assert reasons(instance, key_of(record_type)) == [DAILY, MISSING]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_dexcares_nights_ask_for_a_stop_of_a_hundred_days_the_oldest_first(home: DagsterHome) -> None:
    begun = TODAY - timedelta(days=115)
    last = begun + timedelta(days=4)
    lands(home, "dexcare/provider_histories", begun, last)
    every_day = days_from(begun.isoformat(), 115)
    home.environment |= {"HEALTH_CATCH_UP_DAYS": "40", "DEXCARE_WEEKLY_LOOKBACK_DAYS": "0"}

    with instance_of(home) as instance:
        for night in (1, 2, 3):
            a_night(home, instance, "DEXCARE")
            wait_for(lambda: all_runs_ended(instance), "the end of the night's runs", within_seconds=240)
            there = landed(home, PROVIDER_HISTORIES)
            # What the look-back brought is the end, and before it there are forty days more each night.
            assert there == sorted({*every_day[: min(105, 5 + 40 * night)], *every_day[105:]})
            home.kill_everything()
        assert landed(home, PROVIDER_HISTORIES) == every_day
