"""A clinic with a database of its own."""

from pathlib import Path

import pytest

from health_pipelines_tests.publish.clinic import Clinic
from health_pipelines_tests.support.postgres_server import postgres_server, postgres_url

__all__ = ["clinic", "postgres_server", "postgres_url"]


@pytest.fixture
def clinic(tmp_path: Path, postgres_url: str) -> Clinic:
    return Clinic(tmp_path, postgres_url)
