"""A machine that goes down at any stage of a run's life, whoever started it, leaves nothing started for ever.

Everything is killed at once when a new run has come to the stage, as when the power fails: daemon, code
server, UI and runs. Then one daemon is started. Whatever the killed runs held has to go on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.run_claims import CLAIMED_BY_TAG
from health_pipelines_tests.end_to_end.conftest import POSTGRES
from health_pipelines_tests.end_to_end.test_backfill import start_ui
from health_pipelines_tests.support.dagster_processes import (
    OURS,
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
    time_of_day_soon,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

HISTORIES, HISTORIES_TABLE = (
    AssetKey(["dexcare", "provider_histories"]),
    Table("dexcare", "provider_histories"),
)
REPORT = VISIT_REPORTS[1]
# So long a run may take to its first step here; five minutes where nobody waits for it.
RUN_START_SECONDS = 40

Stage = Callable[[DagsterRun], bool]
STAGES: dict[str, Stage] = {
    "waiting": lambda run: run.status in (DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED),
    "starting": lambda run: run.status is DagsterRunStatus.STARTING,
    "before its claim": lambda run: run.status is DagsterRunStatus.STARTED and CLAIMED_BY_TAG not in run.tags,
    "in its step": lambda run: run.status is DagsterRunStatus.STARTED and CLAIMED_BY_TAG in run.tags,
}


@dataclass
class Machine:
    """A machine that goes down when a run of one kind has come to a stage. `days`: not used yet."""

    home: DagsterHome
    instance: DagsterInstance
    days: list[str]
    killed: list[str] = field(default_factory=list)
    wanted: dict[Table, set[str]] = field(default_factory=dict)

    def next_day(self, table: Table) -> str:
        day = self.days.pop(0)
        self.wanted.setdefault(table, set()).add(day)
        return day

    def from_backfill(self) -> None:
        self.home.start_quick_daemon()
        ui = start_ui(self.home)
        day = self.next_day(HISTORIES_TABLE)
        DagsterApi(ui).launch_backfill([HISTORIES.path], [day])

    def from_sensor(self) -> None:
        day = self.next_day(REPORT.table)
        asked = self.home.command(
            *("asset", "materialize", "-m", OURS),
            *("--select", REPORT.request_key.to_user_string(), "--partition", day),
        )
        assert asked.returncode == 0, asked.stderr
        self.home.start_quick_daemon()

    def from_schedule(self) -> None:
        self.home.environment |= {"DEXCARE_DAILY_AT": time_of_day_soon(), "DEXCARE_LOOKBACK_DAYS": "1"}
        self.home.start_quick_daemon()

    def from_command_line(self) -> None:
        day = self.next_day(HISTORIES_TABLE)
        self.home.start(
            *("dagster", "asset", "materialize", "-m", OURS),
            *("--select", HISTORIES.to_user_string(), "--partition", day),
        )

    def goes_down(self, launcher: str, stage: str) -> None:
        """Have a run launched, and kill everything when it is there; now and then the run is quicker."""
        start, is_from = LAUNCHERS[launcher]
        for _ in range(10):
            known = {run.run_id for run in self.instance.get_runs()}
            start(self)

            def there(known: set[str] = known) -> list[DagsterRun]:
                return [run for run in self.instance.get_runs() if run.run_id not in known and is_from(run)]

            def has_come() -> list[DagsterRun]:
                return [run for run in there() if STAGES[stage](run) or run.status in FINISHED_STATUSES]

            wait_for(
                has_come,
                f"a run of the {launcher} that is {stage}",
                within_seconds=180,
                longest_pause_seconds=0.005,
            )
            self.home.kill_everything()
            if caught := [run.run_id for run in there() if STAGES[stage](run)]:
                self.killed += caught
                return
        pytest.fail(f"no run of the {launcher} was killed while it was {stage} in ten tries")

    def unfinished(self) -> list[DagsterRun]:
        return [run for run in self.instance.get_runs() if run.status not in FINISHED_STATUSES]

    def open_backfills(self) -> list[str]:
        return [
            one.backfill_id
            for one in self.instance.get_backfills()
            if not one.status.value.startswith("COMPLETED")
        ]

    def missing(self) -> dict[Table, set[str]]:
        lake = Lake(Path(self.home.environment["HEALTH_DATA_DIR"]) / "lake")
        return {
            table: lacking for table, days in self.wanted.items() if (lacking := days - set(lake.days(table)))
        }


def _has_tag(name: str) -> Callable[[DagsterRun], bool]:
    return lambda run: f"dagster/{name}" in run.tags


LAUNCHERS: dict[str, tuple[Callable[[Machine], None], Callable[[DagsterRun], bool]]] = {
    "backfill": (Machine.from_backfill, _has_tag("backfill")),
    "sensor": (Machine.from_sensor, _has_tag("sensor_name")),
    "schedule": (Machine.from_schedule, _has_tag("schedule_name")),
    "command line": (
        Machine.from_command_line,
        lambda run: not any(_has_tag(one)(run) for one in ("backfill", "sensor_name", "schedule_name")),
    ),
}


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    # Slow enough that a step can be killed in the middle.
    with running_sandbox(volume="0.1", queue_seconds="0", run_seconds="0", latency_ms=300) as sandbox:
        yield sandbox


@pytest.fixture
def machine(sandbox: SandboxProcess, tmp_path: Path, storage_variables: dict[str, str]) -> Iterator[Machine]:
    environment = sandbox_environment(
        sandbox,
        tmp_path,
        HEALTH_RUN_START_SECONDS=str(RUN_START_SECONDS),
        HEALTH_START_DATE="2026-01-01",
        **storage_variables,
    )
    dagster_yaml = embedded_home(Path(environment["DAGSTER_HOME"]), in_postgres=bool(storage_variables))
    with dagster_home(environment, dagster_yaml) as home, instance_of(home) as instance:
        yield Machine(home, instance, days_from("2026-03-01", 90))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("storage_variables", ["sqlite", POSTGRES], indirect=True)
def test_what_a_killed_run_held_goes_on_at_every_stage_whoever_started_it(machine: Machine) -> None:
    kills = [(launcher, stage) for launcher in LAUNCHERS for stage in STAGES]
    # Dagster's command carries its run out by itself, and never says that it is starting.
    kills.remove(("command line", "starting"))
    for launcher, stage in kills:
        machine.goes_down(launcher, stage)
    assert len(machine.killed) >= len(kills)

    machine.home.start_quick_daemon()
    try:
        wait_for(lambda: not machine.unfinished(), "the end of every run", within_seconds=300)
        wait_for(lambda: not machine.open_backfills(), "the end of every backfill", within_seconds=60)
        wait_for(lambda: REPORT.table not in machine.missing(), "the sensor's days", within_seconds=120)
    except AssertionError as error:
        runs = [(run.run_id[:8], run.status.value, run.tags) for run in machine.unfinished()]
        raise AssertionError(f"{error}: {runs} {machine.missing()}\n{machine.home.log()}") from None
    # What the command line began, and whatever a backfill gave up, is asked for again by whoever began it.
    for day in sorted(machine.missing().get(HISTORIES_TABLE, ())):
        again = machine.home.command(
            *("asset", "materialize", "-m", OURS),
            *("--select", HISTORIES.to_user_string(), "--partition", day),
        )
        assert again.returncode == 0, again.stderr
    assert machine.missing() == {}
