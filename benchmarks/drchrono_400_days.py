"""400 days of appointments in one sweep, while records keep changing: `make test-drchrono-400`.

One range run in a process of its own, against the sandbox. Prints wall time, peak memory and calls, and fails
if a record that nobody changed meanwhile is not in the lake exactly once as the sandbox has it, or if the
calls are more than 2.5 for each 1,000 rows. The quota itself is left out, or 600 calls would take an hour of
real time; the calls are counted instead.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.drchrono.project import drchrono_settings
from health_pipelines_tests.support.dagster_processes import sandbox_environment
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

APPOINTMENTS = RECORD_TYPES[0]
# Two for each page are the least. Runs had 2.19 and 2.23: how many pages do not meet depends on what changes.
MOST_CALLS_FOR_1000_ROWS = 2.5
Told = dict[str, tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--appointments-a-day", type=int, default=750)
    parser.add_argument("--churn", type=int, default=1, help="changes between any two lists")
    parser.add_argument("--list-seconds", default="4-10", help="how long a list takes to prepare")
    given = parser.parse_args()
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=given.days), today - timedelta(days=1)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_sandbox(
            drchrono_volume=given.appointments_a_day,
            drchrono_history_start=(first - timedelta(days=1)).isoformat(),
            drchrono_list_seconds=given.list_seconds,
            drchrono_calls_per_hour=0,
            drchrono_calls_per_second=0,
        ) as sandbox,
    ):
        before = told(sandbox)
        sandbox.change_settings(drchrono_churn=given.churn)
        sandbox.forget_calls()
        began = time.monotonic()
        sweep(sandbox, Path(folder), first, last)
        seconds = time.monotonic() - began
        # Of the run's process alone: the sandbox has not ended.
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        calls = sandbox.drchrono_calls()["appointments"]
        sandbox.change_settings(drchrono_churn=0)
        after = told(sandbox)
        landed = landed_rows(Path(folder) / "data")
    number = sum(calls.values())
    for_1000 = 1000 * number / len(after)
    changed = sum(before[key] != after[key] for key in before)
    print(f"{given.days} days, {len(after):,} appointments, {changed:,} of them changed while they were read")
    print(f"landed           {len(landed):,} rows")
    print(f"wall time        {seconds:.0f} s, the start of the process included")
    print(f"peak memory      {peak_mb:.0f} MB, of the run's process")
    print(
        f"calls            {number} ({calls['POST']} POST, {calls['GET']} GET), {for_1000:.2f} for 1,000 rows"
    )
    wrong = mistakes(before, after, landed, first, last)
    print(f"wrong rows       {len(wrong)}")
    if wrong or for_1000 > MOST_CALLS_FOR_1000_ROWS:
        sys.exit("not as it should be")


def sweep(sandbox: SandboxProcess, folder: Path, first: date, last: date) -> None:
    settings = drchrono_settings(
        sandbox,
        folder / "data",
        HEALTH_TIMEZONE="UTC",
        DRCHRONO_TIMEZONE="UTC",
        HEALTH_START_DATE=first.isoformat(),
    )
    environment = sandbox_environment(sandbox, folder, **settings)
    Path(environment["DAGSTER_HOME"]).mkdir()
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "health_pipelines.definitions"]
    command += ["--select", "drchrono/appointments", "--partition-range", f"{first}...{last}"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr[-4000:])


def told(sandbox: SandboxProcess) -> Told:
    """By key: when it changed, and a field that changes with it."""
    rows = sandbox.drchrono_records("appointments", fields="id,updated_at,status")
    return {str(row["id"]): (row["updated_at"], row["status"]) for row in rows}


def landed_rows(data: Path) -> list[tuple[str, str, str, str]]:
    files = Lake(data / "lake").partition_files(APPOINTMENTS.table)
    columns = ["id", "updated_at_text", "status", "_partition_date"]
    frames = [pl.read_parquet(file, columns=columns, glob=False) for file in files]
    return [(key, at, status, str(day)) for frame in frames for key, at, status, day in frame.rows()]


def mistakes(
    before: Told, after: Told, landed: list[tuple[str, str, str, str]], first: date, last: date
) -> list[str]:
    """Keys of rows that are missing, there twice, or not as the sandbox has them or had them."""
    wrong = [key for key, at, _, day in landed if at[:10] != day]
    by_key: dict[str, tuple[str, str]] = {}
    for key, at, status, _ in landed:
        if key in by_key or (at, status) not in (before.get(key), after.get(key)):
            wrong.append(key)
        by_key[key] = (at, status)
    for key, now in after.items():
        if before.get(key) == now and first.isoformat() <= now[0][:10] <= last.isoformat():
            wrong += [] if by_key.get(key) == now else [key]
    return wrong


if __name__ == "__main__":
    main()
