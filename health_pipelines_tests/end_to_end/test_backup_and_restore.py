"""A backup of an installation at work, and what is restored from it, by the scripts of deploy/."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from psycopg import sql
from sqlalchemy import make_url

from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.dexcare.visits.sensor import REPORTS_TAG
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.support.dagster_processes import (
    ROOT,
    DagsterHome,
    dagster_home,
    instance_of,
    run_processes,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from, rows_in_warehouse, true_rows
from health_pipelines_tests.support.postgres_server import _newest_programs, running_postgres
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

VIRTUAL, RETAIL, BOOKING = VISIT_REPORTS
DAYS = days_from("2026-03-07", 3)
RUNNING = {"kind": "status", "status": "RUNNING"}
FOR_EVER = {"kind": "slow", "seconds": 3600}
# Stands for pg_dump and tar. Whichever of the two comes second waits until something has happened in between.
WAITING_PROGRAM = """#!/bin/sh
if mkdir '{scene}/first' 2>/dev/null; then
    exec '{program}' "$@"
fi
touch '{scene}/second'
until [ -e '{scene}/go' ]; do sleep 0.05; done
exec '{program}' "$@"
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Not the server of a variable: its version may be another than that of the programs of the wheel."""
    with running_postgres() as url:
        yield url


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.1", queue_seconds="0", run_seconds="0") as sandbox:
        yield sandbox


@pytest.mark.long
def test_an_installation_that_is_restored_from_a_backup_made_at_work_loses_and_doubles_nothing(
    server: str, sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup"
    before, after = tmp_path / "before", tmp_path / "after"
    # The download of one virtual day hangs in the middle of a run, and no retail report is done yet.
    sandbox.add_fault("data", FOR_EVER, type="virtual", day=DAYS[2])
    sandbox.add_fault("status", RUNNING, type="retail")
    with installed(before, server, sandbox, monkeypatch) as home, instance_of(home) as instance:
        ask(home, (VIRTUAL, RETAIL), DAYS)
        home.start_daemon()
        wait_for(lambda: landed(instance, VIRTUAL) == DAYS[:2], "two days", within_seconds=90)
        hanging = wait_for(lambda: landing_runs(instance), "the run that hangs")
        with backing_up(home, backup, tmp_path) as between:
            between.wait()
            # In the second half of the backup a report is done after all, and lands.
            sandbox.clear_faults()
            for day in DAYS[1:]:
                sandbox.add_fault("status", RUNNING, type="retail", day=day)
            wait_for(lambda: DAYS[0] in landed(instance, RETAIL), "a day in between")
            between.go_on()
        reports = newest_reports(instance)
    shutil.rmtree(before)
    sandbox.clear_faults()

    with installed(after, server, sandbox, monkeypatch, backup) as home, instance_of(home) as instance:
        assert landed(instance, RETAIL) == []
        assert lake_days(home, RETAIL) == DAYS[:1], "the lake has to be the newer of the two"
        home.start_daemon()
        # As the guide says: what came after the backup is asked for again.
        ask(home, (BOOKING,), DAYS[2:])
        expected = {VIRTUAL: DAYS, RETAIL: DAYS, BOOKING: DAYS[2:]}
        wait_for(
            lambda: {report: landed(instance, report) for report in VISIT_REPORTS} == expected,
            "everything landed",
            within_seconds=120,
        )
        for report, days in expected.items():
            truth = {day: true_rows(sandbox, report, day, ZoneInfo("UTC")) for day in days}
            columns = next(iter(truth.values()))[0]
            rows = rows_in_warehouse(after / "data", report, columns)
            assert rows == {day: of_day for day, (_, of_day) in truth.items()}
        # What was in flight has been collected; nothing was asked for twice.
        assert reports.items() <= newest_reports(instance).items()
        assert len(sandbox.reports()) == len(reports) + 1
        wait_for(
            lambda: {status_of(instance, run) for run in hanging} == {DagsterRunStatus.FAILURE},
            "the end of the run that has no process",
        )


def test_a_restore_touches_neither_a_folder_nor_a_database_that_is_in_use(
    server: str, tmp_path: Path
) -> None:
    backup, data = tmp_path / "backup", tmp_path / "data"
    (data / "lake").mkdir(parents=True)
    variables = {**programs_for(new_database(server)), "HEALTH_DATA_DIR": str(data)}
    run_script("backup.sh", backup, variables)

    refused = run_script("restore.sh", backup, variables, check=False)
    assert "The data folder is not empty; nothing was restored." in refused.stderr
    (data / "lake").rmdir()
    with psycopg.connect(server, dbname=variables["PGDATABASE"]) as connection:
        connection.execute("CREATE TABLE theirs ()")
    refused = run_script("restore.sh", backup, variables, check=False)
    assert f"The database {variables['PGDATABASE']} is not empty; nothing was restored." in refused.stderr
    assert refused.returncode != 0
    assert not list(data.iterdir())


def test_a_restore_says_on_a_terminal_how_much_there_is_and_how_far_it_is(
    server: str, tmp_path: Path
) -> None:
    backup, data = tmp_path / "backup", tmp_path / "data"
    (data / "lake").mkdir(parents=True)
    variables = {**programs_for(new_database(server)), "HEALTH_DATA_DIR": str(data)}
    with psycopg.connect(server, dbname=variables["PGDATABASE"]) as connection:
        connection.execute("CREATE TABLE runs (run_id text, status text)")
    run_script("backup.sh", backup, variables)

    (data / "lake").rmdir()
    variables |= {"PGDATABASE": programs_for(new_database(server))["PGDATABASE"]}
    ours, terminal = os.openpty()
    subprocess.run(
        [ROOT / "deploy" / "restore.sh", backup], env=variables, stderr=terminal, timeout=60, check=True
    )
    os.close(terminal)
    said = os.read(ours, 100_000).decode()
    os.close(ours)

    assert (data / "lake").is_dir()
    for file in ("dagster.dump", "data.tar"):
        size = (backup / file).stat().st_size
        assert re.search(rf"{file}: \S+ to restore\s.*{size} bytes .*copied", said, re.DOTALL), said


def test_a_backup_that_cannot_be_completed_does_not_look_like_one(server: str, tmp_path: Path) -> None:
    variables = {**programs_for(new_database(server)), "HEALTH_DATA_DIR": str(tmp_path / "missing")}
    failed = run_script("backup.sh", tmp_path / "backup", variables, check=False)
    assert failed.returncode != 0
    assert "there is no backup" in failed.stderr
    assert not (tmp_path / "backup").exists()


@contextmanager
def installed(
    folder: Path,
    server: str,
    sandbox: SandboxProcess,
    monkeypatch: pytest.MonkeyPatch,
    backup: Path | None = None,
) -> Iterator[DagsterHome]:
    """An installation with a database of its own, both empty or restored; killed when the block ends."""
    url = new_database(server)
    # The test reads the instance too.
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    # A download that hangs is to hang for longer than the story takes.
    variables = {"DAGSTER_POSTGRES_URL": url, "DEXCARE_HTTP_TIMEOUT_SECONDS": "300", **programs_for(url)}
    environment = sandbox_environment(sandbox, folder, **variables)
    if backup:
        run_script("restore.sh", backup, environment)
    with dagster_home(environment, (ROOT / "dagster.yaml").read_text()) as home:
        yield home


def new_database(server: str) -> str:
    """The URL of an empty database, which goes with its server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def programs_for(url: str) -> dict[str, str]:
    """What the programs of PostgreSQL read, and where they are."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    return {
        "PGHOST": str(parts["host"]),
        "PGUSER": str(parts["user"]),
        "PGDATABASE": str(parts["dbname"]),
        "PATH": f"{_newest_programs()}{os.pathsep}{os.environ['PATH']}",
    }


def run_script(
    name: str, backup: Path, environment: Mapping[str, str], *, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [ROOT / "deploy" / name, backup],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


class TwoSteps:
    """What stands between the two steps of a backup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wait(self) -> None:
        wait_for((self._folder / "second").exists, "the second step of the backup")

    def go_on(self) -> None:
        (self._folder / "go").touch()


@contextmanager
def backing_up(home: DagsterHome, backup: Path, folder: Path) -> Iterator[TwoSteps]:
    """Run backup.sh; its second step does not begin before `go_on`. It has ended well when the block ends."""
    path, instead = home.environment["PATH"], folder / "instead"
    instead.mkdir()
    for name in ("pg_dump", "tar"):
        program = shutil.which(name, path=path)
        (instead / name).write_text(WAITING_PROGRAM.format(scene=folder, program=program))
        (instead / name).chmod(0o755)
    environment = {**home.environment, "PATH": f"{instead}{os.pathsep}{path}"}
    with ThreadPoolExecutor() as beside:
        ended = beside.submit(run_script, "backup.sh", backup, environment)
        between = TwoSteps(folder)
        try:
            yield between
        finally:
            between.go_on()
        ended.result()


def ask(home: DagsterHome, reports: Sequence[VisitReport], days: Sequence[str]) -> None:
    """As a person does with Dagster's own command."""
    selected = ",".join(report.request_key.to_user_string() for report in reports)
    asked = home.command(
        *("asset", "materialize", "-m", "health_pipelines.definitions"),
        *("--select", selected, "--partition-range", f"{days[0]}...{days[-1]}"),
    )
    assert asked.returncode == 0, asked.stderr


def landed(instance: DagsterInstance, report: VisitReport) -> list[str]:
    """The days that have landed as Dagster knows it."""
    return sorted(Ledger(instance, report.request_key).settlements(DAYS))


def lake_days(home: DagsterHome, report: VisitReport) -> list[str]:
    lake = Lake(Path(home.environment["HEALTH_DATA_DIR"]) / "lake")
    return [file.parent.name.removeprefix("date=") for file in lake.partition_files(report.table)]


def newest_reports(instance: DagsterInstance) -> dict[tuple[VisitReport, str], str]:
    return {
        (report, day): ticket.report_id
        for report in VISIT_REPORTS
        for day, ticket in Ledger(instance, report.request_key).newest_tickets(DAYS).items()
    }


def landing_runs(instance: DagsterInstance) -> list[str]:
    """The runs of the sensor that are in the middle of a step."""
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    return [run.run_id for run in started if REPORTS_TAG in run.tags and run_processes(instance, run.run_id)]


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status
