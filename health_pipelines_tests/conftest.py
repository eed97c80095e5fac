"""Fixtures for every test: a sandbox that answers at once, and a project folder that points at it."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.defs_state.base import DefsStateStorage

from health_pipelines_tests.support.midnight import renew
from health_pipelines_tests.support.s3_server import (
    Server,
    credentials,
    in_environment,
    new_bucket,
    running_server,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

ZONE_NAME = "America/Chicago"
# Folders whose tests start daemons and wait for them.
LONG_STORIES = ("canary", "commands", "crash", "end_to_end")
# Rooms whose tests start processes or servers of their own, or build warehouses.
SLOW_ROOMS = (
    *LONG_STORIES,
    "alerts",
    "api",
    "fault_matrix",
    "http",
    "instance",
    "mssql",
    "publish",
    "sandbox",
    "vendors",
    "warehouse",
)
# Fixtures that start a server, or a project that talks to one.
STARTING = {
    "s3_server",
    "shared_sandbox",
    "sandbox",
    "vendor",
    "postgres_url",
    "still_practice",
    "changing_practice",
}


def pytest_configure() -> None:
    """A shell starts a background command with SIGINT ignored; Dagster then makes SIGTERM do as SIGINT does,
    and every process that a test starts would inherit being deaf to both."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where definitions are made, Dagster asks the storage of the instance that was entered last for the state
    # of components. Nothing here has such state; and where a fixture or a generator that is collected late
    # leaves its instance out of order, that storage is of an instance that is gone.
    DefsStateStorage.get = classmethod(lambda _: None)  # type: ignore[method-assign, assignment]
    _read_migrations_once()
    # How long an example takes, or making one, is up to the machine.
    too_slow = hypothesis.HealthCheck.too_slow
    hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[too_slow])
    hypothesis.settings.load_profile("patient")


def _read_migrations_once() -> None:
    """Each instance in memory has Alembic read ninety scripts of Dagster: most of what making one costs."""
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def from_config(_: type[ScriptDirectory], config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    ScriptDirectory.from_config = classmethod(from_config)  # type: ignore[method-assign, assignment]


def pytest_collection_finish() -> None:
    """Tests that import the definitions are collected: this process has its files for itself since then."""
    os.umask(0o022)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The stories of minutes begin first: no worker of pytest-xdist is left alone with one at the end.

    Whatever asks for a fixture that starts a process is marked `slow`, for `make test-fast` to leave out.
    """
    items.sort(key=lambda item: item.path.parent.name not in LONG_STORIES)
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & STARTING or item.path.parent.name in SLOW_ROOMS:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function):
        renew(item.module)


@pytest.fixture(autouse=True)
def umask_of_the_session() -> Iterator[None]:
    """Whatever loads the definitions has its files for itself from then on, this process too."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands turn it off for their process, which here is that of the next tests as well."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(queue_seconds="0", run_seconds="0", volume="0.1") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def lake_url(s3_server: Server) -> Iterator[str]:
    """The URL of a lake in a bucket of its own, which this process and its children may use."""
    with in_environment(credentials(s3_server.url)):
        yield new_bucket(s3_server)


@pytest.fixture
def vendor(shared_sandbox: SandboxProcess) -> Iterator[SandboxProcess]:
    """A sandbox without faults, without pauses and with nothing counted yet."""
    yield shared_sandbox
    shared_sandbox.clear_faults()
    shared_sandbox.change_settings(
        queue_seconds="0", run_seconds="0", framing="chunked", service_key="SECRET_TOKEN", latency_ms=0
    )
    shared_sandbox.forget_calls()


@pytest.fixture
def data(vendor: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a project whose settings lead to the sandbox."""
    folder = tmp_path / "data"
    monkeypatch.setenv("HEALTH_DATA_DIR", str(folder))
    monkeypatch.setenv("HEALTH_TIMEZONE", ZONE_NAME)
    monkeypatch.setenv("HEALTH_START_DATE", "2026-01-01")
    monkeypatch.setenv("DEXCARE_BASE_URL", vendor.url)
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "SECRET_TOKEN")
    monkeypatch.setenv("DEXCARE_HTTP_ATTEMPTS", "2")
    return folder
