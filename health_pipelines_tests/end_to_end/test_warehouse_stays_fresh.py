"""The stock daemon lands a range of days and keeps the warehouse current: soon, seldom, never for nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.warehouse.sensor import PLACE_TAG, SENSOR_NAME
from health_pipelines_tests.support.dagster_processes import (
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from, true_rows
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

VIRTUAL = VISIT_REPORTS[0]
ZONE = ZoneInfo("America/Chicago")
DAYS = days_from("2026-01-25", 60)
DAILY_VISITS = AssetKey(["marts", "daily_visits"])

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    # So few at once that the days land in many runs.
    with running_sandbox(volume="0.2", queue_seconds="0", run_seconds="4-5", max_running="15") as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[DagsterHome]:
    environment = sandbox_environment(
        sandbox,
        tmp_path,
        HEALTH_TIMEZONE=ZONE.key,
        HEALTH_BUILD_WAREHOUSE="true",
        DEXCARE_AVR_VIRTUAL_KEY="visit_id",
        DEXCARE_AVR_VIRTUAL_TIME="scheduled_at",
        DEXCARE_AVR_VIRTUAL_STATUS="status",
    )
    with dagster_home(environment, embedded_home(Path(environment["DAGSTER_HOME"]))) as home:
        yield home


@pytest.mark.long
def test_sixty_days_are_built_a_few_times_completely_and_nothing_after_that(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    ask(home, f"{DAYS[0]}...{DAYS[-1]}")
    home.start_daemon()
    with instance_of(home) as instance:
        try:
            wait_for(
                lambda: len(Ledger(instance, VIRTUAL.request_key).settlements(DAYS)) == len(DAYS),
                "everything landed",
                within_seconds=150,
            )
            wait_for(lambda: is_current(instance), "a current warehouse", within_seconds=90)
            assert statuses_in_marts(home) == true_statuses(sandbox)
            runs = builds(instance)
            assert 1 <= len(runs) <= 4
            assert {run.status for run in runs} == {DagsterRunStatus.SUCCESS}

            # One day is asked for again and is the same: nothing is built for it.
            materialized = instance.fetch_materializations(DAILY_VISITS, limit=100).records
            ask(home, f"{DAYS[0]}...{DAYS[0]}")
            ledger = Ledger(instance, VIRTUAL.request_key)
            wait_for(lambda: not ledger.open_tickets(), "the day landed again", within_seconds=90)
            seen = len(ticks(instance))
            wait_for(lambda: len(ticks(instance)) >= seen + 2, "two more ticks", within_seconds=90)
            assert {tick.skip_reason for tick in ticks(instance)[:2]} == {"The warehouse is current."}
            assert len(builds(instance)) == len(runs)
            assert instance.fetch_materializations(DAILY_VISITS, limit=100).records == materialized
        except AssertionError as error:
            raise AssertionError(f"{error}\n{home.log()}") from None


def ask(home: DagsterHome, days: str) -> None:
    asked = home.command(
        *("asset", "materialize", "-m", "health_pipelines.definitions"),
        *("--select", VIRTUAL.request_key.to_user_string(), "--partition-range", days),
    )
    assert asked.returncode == 0, asked.stderr


def builds(instance: DagsterInstance) -> list[DagsterRun]:
    return list(instance.get_runs(RunsFilter(tags={PLACE_TAG: "health_pipelines"})))


def ticks(instance: DagsterInstance) -> list[InstigatorTick]:
    """Those that have ended, newest first."""
    [state] = [state for state in instance.all_instigator_state() if state.instigator_name == SENSOR_NAME]
    ended = [TickStatus.SKIPPED, TickStatus.SUCCESS, TickStatus.FAILURE]
    return list(instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=ended))


def is_current(instance: DagsterInstance) -> bool:
    return [tick.skip_reason for tick in ticks(instance)[:1]] == ["The warehouse is current."]


def statuses_in_marts(home: DagsterHome) -> Mapping[str, int]:
    file = Path(home.environment["HEALTH_DATA_DIR"]) / "warehouse.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        query = "SELECT status, sum(visits)::BIGINT FROM marts.daily_visits GROUP BY 1"
        return Counter(dict(connection.execute(query).fetchall()))


def true_statuses(sandbox: SandboxProcess) -> Mapping[str, int]:
    """How many visits the vendor has of each status; one on the stroke of midnight is in two days."""
    status_of: dict[str | None, str] = {}
    for day in DAYS:
        columns, rows = true_rows(sandbox, VIRTUAL, day, ZONE)
        for row in rows:
            visit = dict(zip(columns, row, strict=True))
            status_of[visit["visit_id"]] = str(visit["status"])
    return Counter(status_of.values())
