"""A run whose process is killed before its first step is found, and what it held goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter

from health_pipelines.landing.dagster_names import materializes_only
from health_pipelines.landing.run_claims import CLAIMED_BY_TAG, RunClaims, end_dead_runs
from health_pipelines_tests.support.dagster_processes import (
    ROOT,
    DagsterHome,
    dagster_home,
    instance_of,
    sandbox_environment,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

MODULE = "health_pipelines.definitions"
ASSET = "dexcare/provider_histories"
STARTS_WITHIN = timedelta(minutes=5)
is_ours = partial(materializes_only, [AssetKey.from_user_string(ASSET)])
BEFORE_THE_CLAIM = [
    pytest.param(DagsterRunStatus.NOT_STARTED, marks=pytest.mark.long),
    DagsterRunStatus.STARTED,
]


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.1") as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[DagsterHome]:
    with dagster_home(sandbox_environment(sandbox, tmp_path)) as home:
        yield home


@pytest.mark.parametrize("status", BEFORE_THE_CLAIM)
def test_a_run_killed_before_its_first_step_is_ended(home: DagsterHome, status: DagsterRunStatus) -> None:
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", MODULE, "--select", ASSET]
    with instance_of(home) as instance:
        run_id = ""
        for _ in range(10):  # now and then the claim is quicker
            process = subprocess.Popen(
                [*command, "--partition", "2026-03-06"],
                env=dict(home.environment),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            run_id = _first_run(instance, status, process)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            run = instance.get_run_by_id(run_id) if run_id else None
            if run is not None and run.status in BEFORE_THE_CLAIM and CLAIMED_BY_TAG not in run.tags:
                break
        else:
            pytest.fail("no run was killed before its claim in ten tries")

        claims = RunClaims(Path(home.environment["HEALTH_DATA_DIR"]) / "runs")
        later = datetime.now(UTC) + STARTS_WITHIN + timedelta(seconds=1)
        assert run_id in end_dead_runs(
            instance, claims, is_ours=is_ours, now=later, starts_within=STARTS_WITHIN
        )

        ended = instance.get_run_by_id(run_id)
        assert ended is not None
        assert ended.status is DagsterRunStatus.FAILURE
    again = home.command("asset", "materialize", "-m", MODULE, "--select", ASSET, "--partition", "2026-03-06")
    assert again.returncode == 0, again.stderr


def _first_run(
    instance: DagsterInstance, status: DagsterRunStatus, process: "subprocess.Popen[bytes]"
) -> str:
    """The id of a new run as soon as it has come so far; empty if it had gone further."""
    known = {run.run_id for run in instance.get_runs() if run.status.value in ("FAILURE", "SUCCESS")}
    while process.poll() is None:
        for run in instance.get_runs(RunsFilter(statuses=[status])):
            if run.run_id not in known:
                return run.run_id
        time.sleep(0.005)
    return ""
