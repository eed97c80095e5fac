"""DrChrono through real Dagster processes: a backfill while records keep changing, and a killed sweep."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.tables import key_of
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick
from health_pipelines_tests.end_to_end.conftest import IN_BOTH_STORAGES
from health_pipelines_tests.end_to_end.test_backfill import start_ui
from health_pipelines_tests.support.dagster_processes import (
    ROOT,
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

APPOINTMENTS = RECORD_TYPES[0]
APPOINTMENTS_A_DAY = 120
# The clock of a vendor whose records change is today's: what changed since a sweep began must be seen to.
TODAY = datetime.now(UTC).date()
DAYS = days_from((TODAY - timedelta(days=60)).isoformat(), 60)

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        drchrono_volume=APPOINTMENTS_A_DAY,
        drchrono_history_start=(TODAY - timedelta(days=75)).isoformat(),
        drchrono_list_seconds="0.1-0.6",
        drchrono_calls_per_hour=0,
        drchrono_calls_per_second=0,
    ) as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path, storage_variables: dict[str, str]) -> Iterator[DagsterHome]:
    data = tmp_path / "data"
    settings = drchrono_settings(
        sandbox,
        data,
        HEALTH_TIMEZONE="UTC",
        DRCHRONO_TIMEZONE="UTC",
        HEALTH_START_DATE=DAYS[0],
        DRCHRONO_CONCURRENCY="4",
    )
    lists_are_quick(data)
    environment = sandbox_environment(sandbox, tmp_path, **settings, **storage_variables)
    dagster_yaml = embedded_home(Path(environment["DAGSTER_HOME"]), in_postgres=True)
    with dagster_home(environment, dagster_yaml if storage_variables else "") as home:
        yield home


@pytest.mark.long
def test_a_backfill_in_one_sweep_lands_every_record_once_while_records_keep_changing(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    before = truth(sandbox)
    sandbox.change_settings(drchrono_churn=8)
    home.start_quick_daemon()
    backfill = DagsterApi(start_ui(home)).launch_backfill([key_of(APPOINTMENTS).path], DAYS)
    with instance_of(home) as instance:

        def has_ended() -> bool:
            found = instance.get_backfill(backfill)
            return found is not None and found.status.value.startswith("COMPLETED")

        try:
            wait_for(has_ended, "the end of the backfill", within_seconds=180)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{home.log()}") from None
        found = instance.get_backfill(backfill)
        assert found is not None
        assert found.status is BulkActionStatus.COMPLETED_SUCCESS, home.log()
        assert instance.get_runs_count(RunsFilter(tags={"dagster/backfill": backfill})) == 1
        assert materialized(instance) == DAYS
    after = truth(sandbox)
    landed = landed_rows(home)

    untouched = {key: row for key, row in after.items() if before.get(key) == row}
    in_range = {key: row for key, row in untouched.items() if DAYS[0] <= row["updated_at"][:10] <= DAYS[-1]}
    assert len(in_range) > 0.9 * len(before) * len(DAYS) / 75
    assert len(after) > len(before)
    assert sum(before[key] != after[key] for key in before) > 20, "too little changed to matter"
    assert len({row["id"] for row in landed}) == len(landed), "a record landed twice"
    of_key = {row["id"]: row for row in landed}
    for key, row in in_range.items():
        assert of_key[key]["updated_at_text"] == row["updated_at"]
        assert of_key[key]["status"] == row["status"]
        assert of_key[key]["_partition_date"].isoformat() == row["updated_at"][:10]
    # What changed while it was swept is there as it was at some moment, or on its way to today.
    for key in of_key.keys() - in_range.keys():
        assert key not in untouched
        assert of_key[key]["updated_at_text"] == before[key]["updated_at"]
    pages = -(-len(after) // APPOINTMENTS.page_size)
    assert pages > 5
    # Records that move between two pages cost some pages more.
    assert sandbox.drchrono_calls()["appointments"]["POST"] <= 3 * pages


@IN_BOTH_STORAGES
def test_a_sweep_killed_in_the_middle_goes_on_without_asking_for_pages_it_has(
    home: DagsterHome, sandbox: SandboxProcess
) -> None:
    # Pages from the fourth on take for ever, until the process is dead.
    for page in range(4, 12):
        sandbox.add_fault("list_poll", {"kind": "slow", "seconds": 60}, list="appointments", page=page)
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "health_pipelines.definitions"]
    command += ["--select", "drchrono/appointments", "--partition-range", f"{DAYS[0]}...{DAYS[-1]}"]
    sweeps = Path(home.environment["HEALTH_DATA_DIR"]) / "drchrono" / "sweeps" / "appointments"
    with subprocess.Popen(
        command,
        env=dict(home.environment),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as first:
        try:
            wait_for(lambda: len(list(sweeps.glob("page-*.json"))) >= 3, "three pages", within_seconds=90)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    sandbox.clear_faults()
    read = [(one["page"], one["page_size"]) for one in sandbox.drchrono_lists()]
    # A crash can cut the last note in half.
    noted = [tuple(note["posted"]) for note in _whole_notes(sweeps) if "posted" in note]
    kept = len(list(sweeps.glob("page-*.json")))
    sandbox.forget_calls()

    second = home.command(*command[3:])
    assert second.returncode == 0, second.stderr
    assert f"{kept} pages were there from before" in second.stderr
    started = sandbox.drchrono_lists()[len(read) :]
    # The process may have died between the vendor's answer and its note: then one list is asked for again.
    assert len(noted) >= max(3, len(read) - 1)
    assert not {(one["page"], one["page_size"]) for one in started} & set(noted)
    calls = sandbox.drchrono_calls()["appointments"]
    # Lists that were asked for and not read are only polled; the killed process left one poll unanswered.
    assert calls.get("POST", 0) == len(started)
    now = truth(sandbox)
    expected = {key for key, row in now.items() if DAYS[0] <= row["updated_at"][:10] <= DAYS[-1]}
    landed = [row["id"] for row in landed_rows(home)]
    assert sorted(landed) == sorted(expected)
    with instance_of(home) as instance:
        assert materialized(instance) == DAYS
        assert [run.status for run in instance.get_runs(limit=1)] == [DagsterRunStatus.SUCCESS]


def truth(sandbox: SandboxProcess) -> dict[str, Any]:
    since = (TODAY - timedelta(days=61)).isoformat()
    records = sandbox.drchrono_records("appointments", since=since, fields="id,updated_at,status")
    return {str(record["id"]): record for record in records}


def landed_rows(home: DagsterHome) -> list[dict[str, Any]]:
    lake = Lake(Path(home.environment["HEALTH_DATA_DIR"]) / "lake")
    columns = ["id", "updated_at_text", "status", "_partition_date"]
    files = lake.partition_files(APPOINTMENTS.table)
    assert [file.parent.name for file in files] == [f"date={day}" for day in DAYS]
    return [row for file in files for row in pl.read_parquet(file, columns=columns, glob=False).to_dicts()]


def materialized(instance: DagsterInstance) -> list[str]:
    records = instance.fetch_materializations(key_of(APPOINTMENTS), limit=1000).records
    return sorted(str(record.partition_key) for record in records)


def _whole_notes(sweep: Path) -> list[dict[str, Any]]:
    lines = (sweep / "notes.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]
