"""Starts services as processes of their own, notices when one dies, and stops them all.

Belongs here: processes, ports and log files. Does not belong here: which services make up a command.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import Showing

T = TypeVar("T")

START_WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 15
# The code location's name, in the UI and in the API.
LOCATION = "health_pipelines.definitions"
_LOOK_EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path


class Services:
    """The services of one command. Leaving the context stops them, last started first."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._running: list[Service] = []

    def __enter__(self) -> Self:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # First ask all, then wait: they stop side by side.
        for service in reversed(self._running):
            if service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_SECONDS
        for service in reversed(self._running):
            try:
                service.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
            _kill_what_is_left(service.process.pid)

    def start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Service:
        """Start `python -m <arguments>`; what it prints goes to its log file."""
        log = self._log_folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 (our own modules)
                [sys.executable, "-m", *arguments],
                env={**environment, "PYTHONUNBUFFERED": "1"},
                # A folder without `.env`: Dagster puts that of its working directory over the environment,
                # and then the sandbox's runs would go to the real vendor.
                cwd=self._log_folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Dagster's own processes write events and logs, and do not load our definitions.
                umask=0o077,
                # Ctrl-C in the terminal is for us, who then stop the services in order.
                start_new_session=True,
            )
        service = Service(name, process, log)
        self._running.append(service)
        return service

    def wait_until(self, ready: Callable[[], T | None], what: str) -> T:
        """Wait until `ready()` gives something; a service that dies meanwhile is a `ProblemError`."""
        deadline = time.monotonic() + START_WITHIN_SECONDS
        with Showing(f"{what} is starting") as showing:
            while (found := ready()) is None:
                showing.update()
                self.check()
                if time.monotonic() > deadline:
                    logs = self._log_folder
                    raise ProblemError(
                        f"{what} did not come up in {START_WITHIN_SECONDS} s; look into {logs}."
                    )
                time.sleep(_LOOK_EVERY_SECONDS)
        return found

    def check(self) -> None:
        """Raise a `ProblemError` if a service has died."""
        for service in self._running:
            code = service.process.poll()
            if code is not None:
                raise ProblemError(
                    f"The {service.name} stopped (exit code {code}): {_last_words(service)}"
                    f"look into {service.log}."
                )


def _last_words(service: Service) -> str:
    """What a command of Dagster's said before it ended by itself, such as that a setting is missing."""
    *_, last = service.log.read_text(errors="replace").splitlines() or [""]
    return f"{last.removeprefix('Error: ').rstrip('.')}; " if last.startswith("Error: ") else ""


def start_sandbox(services: Services, environment: Mapping[str, str], *options: str) -> str:
    """Start the vendors' stand-in on a free port; returns its URL, at which it listens within a moment."""
    port = free_port()
    services.start("sandbox", ["health_pipelines.sandbox", "--port", str(port), *options], environment)
    return f"http://127.0.0.1:{port}"


def start_dagster(
    services: Services,
    environment: Mapping[str, str],
    *,
    port: int,
    module: str = LOCATION,
    reloads: bool = True,
) -> str:
    """Start Dagster as in production: one code server, and the daemon and the UI that share it.

    `module`: what the code server serves. `reloads`: whether the UI's button loads changed code, for which
    Dagster puts a process more before the server. Returns the UI's address.
    """
    # A socket in a folder of its own: no port to collide on, and the path is short enough for one.
    folder = Path(tempfile.mkdtemp(prefix="health_pipelines_"))
    code_socket = folder / "code.sock"
    workspace = folder / "workspace.yaml"
    server = {"host": "localhost", "socket": str(code_socket), "location_name": module}
    # JSON is YAML.
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
    # Loaded when the UI asks for it, so that it is the UI that says what is wrong with the definitions.
    serve = ["code-server", "start"] if reloads else ["api", "grpc", "--lazy-load-user-code"]
    services.start("code-server", ["dagster", *serve, "-m", module, "-s", str(code_socket)], environment)
    # All three load Dagster at the same time; two of them go on when the code server is there.
    later = ["health_pipelines.commands.when_there", str(code_socket)]
    services.start("daemon", [*later, "dagster._daemon", "run", "-w", str(workspace)], environment)
    services.start(
        "webserver",
        [*later, "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)],
        environment,
    )
    services.wait_until(lambda: True if code_socket.exists() else None, "Dagster's code server")
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool | None:
        try:
            return True if httpx.get(f"{url}/server_info").is_success else None
        except httpx.TransportError:
            return None

    services.wait_until(answers, "Dagster's UI")
    return url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _kill_what_is_left(session: int) -> None:
    """Runs are children of the code server and would outlive it."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return
