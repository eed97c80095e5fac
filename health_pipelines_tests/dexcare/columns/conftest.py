"""A sandbox whose reports have other columns, and a lake that they land in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from health_pipelines_tests.dexcare.columns.landing import Reports
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox


@pytest.fixture(scope="module")
def naming_sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(now="2026-03-20T12:00:00Z") as sandbox:
        yield sandbox


@pytest.fixture
def reports(naming_sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Reports]:
    yield Reports(naming_sandbox, tmp_path)
    naming_sandbox.change_settings(column_names="documented", searched="created")
