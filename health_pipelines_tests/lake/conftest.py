"""Projects of both vendors, as their own tests have them, and both with their lake in a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines_tests.dexcare.project import Project as DexCareProject
from health_pipelines_tests.drchrono.conftest import changing_practice, still_practice
from health_pipelines_tests.drchrono.project import Project as DrChronoProject
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick, set_variables
from health_pipelines_tests.support.sandbox_process import SandboxProcess

__all__ = ["changing_practice", "still_practice"]


@pytest.fixture
def visits(data: Path, lake_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DexCareProject]:
    """DexCare's reports, with the lake in a bucket."""
    monkeypatch.setenv("HEALTH_LAKE_URL", lake_url)
    with DagsterInstance.ephemeral() as instance:
        yield DexCareProject(instance)


@pytest.fixture
def records(
    changing_practice: SandboxProcess, lake_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DrChronoProject]:
    """DrChrono's lists, with the lake in a bucket."""
    data = tmp_path / "data"
    set_variables(monkeypatch, drchrono_settings(changing_practice, data, HEALTH_LAKE_URL=lake_url))
    lists_are_quick(data)
    with DagsterInstance.ephemeral() as instance:
        yield DrChronoProject(instance, data)
