"""Nothing but stock Dagster: its CLI and a bare daemon on a home with an empty dagster.yaml."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines_tests.support.dagster_processes import (
    ROOT,
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import days_from, rows_in_warehouse, true_rows
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

MODULE = "health_pipelines.definitions"
DAYS = days_from("2026-03-06", 4)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.1", queue_seconds="0-1", run_seconds="1-2") as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[DagsterHome]:
    with dagster_home(sandbox_environment(sandbox, tmp_path)) as home:
        yield home


def test_the_definitions_load_without_any_variable_set() -> None:
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    loaded = subprocess.run(
        [sys.executable, "-c", f"from {MODULE} import defs; print(len(defs.resolve_all_asset_keys()))"],
        env=bare,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.strip() == "40", loaded.stderr


def test_the_stock_cli_asks_and_a_bare_daemon_lands(home: DagsterHome, sandbox: SandboxProcess) -> None:
    for report in VISIT_REPORTS:
        asset = report.request_key.to_user_string()
        asked = home.command(
            "asset",
            "materialize",
            "-m",
            MODULE,
            "--select",
            asset,
            "--partition-range",
            f"{DAYS[0]}...{DAYS[-1]}",
        )
        assert asked.returncode == 0, asked.stderr
    home.start_daemon()
    with instance_of(home) as instance:
        wait_for(
            lambda: all(
                len(instance.get_materialized_partitions(report.asset_key)) == len(DAYS)
                for report in VISIT_REPORTS
            ),
            "everything landed",
            within_seconds=90,
        )
    for report in VISIT_REPORTS:
        truth = {day: true_rows(sandbox, report, day, ZoneInfo("UTC")) for day in DAYS}
        columns = next(iter(truth.values()))[0]
        data = Path(home.environment["HEALTH_DATA_DIR"])
        assert rows_in_warehouse(data, report, columns) == {day: rows for day, (_, rows) in truth.items()}


def test_the_stock_cli_also_lands_what_is_ready(home: DagsterHome, sandbox: SandboxProcess) -> None:
    for asset in ("dexcare/avr_retail_report", "dexcare/avr_retail"):
        wait_for(
            lambda: all(report["status"] == "SUCCEEDED" for report in sandbox.reports()), "reports are ready"
        )
        done = home.command("asset", "materialize", "-m", MODULE, "--select", asset, "--partition", DAYS[0])
        assert done.returncode == 0, done.stderr
    report = VISIT_REPORTS[1]
    columns, rows = true_rows(sandbox, report, DAYS[0], ZoneInfo("UTC"))
    data = Path(home.environment["HEALTH_DATA_DIR"])
    assert rows_in_warehouse(data, report, columns) == {DAYS[0]: rows}
