"""The project of a test, on a Dagster instance of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines_tests.dexcare.project import Project


@pytest.fixture
def project(data: Path) -> Iterator[Project]:
    # SQLite in memory: in a folder Dagster makes new files and tables for every instance and every run, which
    # was half of what these tests cost. The instances of `end_to_end/` are in folders.
    with DagsterInstance.ephemeral() as instance:
        yield Project(instance)
