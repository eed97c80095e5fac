"""A practice far from UTC in a week in which its clocks are set back, and the project that reads it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines_tests.drchrono.project import (
    ACCOUNT_ZONE,
    Project,
    drchrono_settings,
    lists_are_quick,
    set_variables,
)
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox


def practice() -> AbstractContextManager[SandboxProcess]:
    """Thursday noon in Auckland, whose clocks were set back on Sunday, 2026-04-05."""
    return running_sandbox(
        now="2026-04-09T00:00:00+00:00",
        drchrono_volume=40,
        drchrono_history_start="2026-03-25",
        drchrono_zone=ACCOUNT_ZONE.key,
        **NO_WAITING,
        drchrono_deletions_page=3,
    )


@pytest.fixture(scope="module")
def still_practice() -> Iterator[SandboxProcess]:
    """Nobody changes anything in this one, nor its settings."""
    with practice() as sandbox:
        yield sandbox


@pytest.fixture
def changing_practice() -> Iterator[SandboxProcess]:
    with practice() as sandbox:
        yield sandbox


@pytest.fixture
def project(
    still_practice: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """It reads the practice in which nothing changes."""
    still_practice.clear_faults()
    still_practice.forget_calls()
    yield from _project(still_practice, tmp_path, monkeypatch)
    still_practice.clear_faults()


@pytest.fixture
def live_project(
    changing_practice: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """It reads the practice in which a test may change everything."""
    yield from _project(changing_practice, tmp_path, monkeypatch)


def _project(sandbox: SandboxProcess, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    data = folder / "data"
    set_variables(monkeypatch, drchrono_settings(sandbox, data))
    lists_are_quick(data)
    # On SQLite in memory, at half the time of a folder.
    with DagsterInstance.ephemeral() as instance:
        yield Project(instance, data)
