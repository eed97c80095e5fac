"""The project of a test, on a Dagster instance of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines_tests.dexcare.project import Project


@pytest.fixture
def project(data: Path, tmp_path: Path) -> Iterator[Project]:
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Project(instance)
