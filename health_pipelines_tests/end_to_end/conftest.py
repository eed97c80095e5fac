"""Where Dagster keeps the events of a story: in files, and in PostgreSQL if it says `IN_BOTH_STORAGES`."""

import pytest

POSTGRES = "postgres"
# The same story a second time is for `make test-long`; what differs has tests of its own.
IN_BOTH_STORAGES = pytest.mark.parametrize(
    "storage_variables", ["sqlite", pytest.param(POSTGRES, marks=pytest.mark.long)], indirect=True
)


@pytest.fixture
def storage_variables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """For every process of the story: the address of an empty database, or nothing for files.

    Its module has to load the plugin `postgres_server.py`.
    """
    if getattr(request, "param", "sqlite") != POSTGRES:
        return {}
    variables = {"DAGSTER_POSTGRES_URL": str(request.getfixturevalue("postgres_url"))}
    # The test looks into the instance as well.
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
