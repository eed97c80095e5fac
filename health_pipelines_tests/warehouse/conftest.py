"""A hospital whose lake is the project's, and the project on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS
from health_pipelines_tests.warehouse.hospital import NAMED, ZONE, Hospital
from health_pipelines_tests.warehouse.project import Project


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    """Its settings are those of this process."""
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEALTH_TIMEZONE", ZONE.key)
    for of_type in VISIT_COLUMN_SETTINGS.values():
        for name, setting in of_type.items():
            monkeypatch.setenv(setting.name, getattr(NAMED, name))
    return Hospital(tmp_path)


@pytest.fixture
def project(clinic: Hospital) -> Iterator[Project]:
    with DagsterInstance.ephemeral() as instance:
        yield Project(instance)
