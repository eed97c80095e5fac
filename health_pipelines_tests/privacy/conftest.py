"""Projects of both vendors, as their own tests have them."""

from health_pipelines_tests.dexcare.conftest import project
from health_pipelines_tests.drchrono.conftest import changing_practice, live_project
from health_pipelines_tests.support.postgres_server import postgres_server, postgres_url

__all__ = ["changing_practice", "live_project", "postgres_server", "postgres_url", "project"]
