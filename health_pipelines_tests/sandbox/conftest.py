"""One sandbox for all tests that leave it as they found it; the others start their own."""

from collections.abc import Iterator

import pytest

from health_pipelines_tests.sandbox.vendor import Vendor
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SandboxProcess]:
    """Reports are finished as soon as they are started."""
    with running_sandbox(queue_seconds="0", run_seconds="0") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: SandboxProcess) -> Iterator[SandboxProcess]:
    """The shared sandbox, whose faults, counters and settings are put back afterwards."""
    settings = shared_sandbox.control("GET", "settings")
    del settings["seed"], settings["volume"]
    shared_sandbox.forget_calls()
    yield shared_sandbox
    shared_sandbox.clear_faults()
    shared_sandbox.change_settings(**settings)


@pytest.fixture
def vendor(sandbox: SandboxProcess) -> Vendor:
    """A caller with the right key."""
    return Vendor(sandbox)
