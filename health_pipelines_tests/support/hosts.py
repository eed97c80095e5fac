"""Hosts that carry out runs as a cluster's would: a launcher for Dagster that starts each run on one of them.

For stories about several hosts. Here a host is a folder with a data folder, a Dagster home and a user's home
of its own, and every process of it is told of those alone; what the hosts share is in their settings. A run
is a process of its own, as with `K8sRunLauncher`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from dagster import Array, String
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from health_pipelines_tests.support.dagster_processes import ROOT

_ENVIRONMENT = "environment.json"


class Host:
    """In `folder`, an absolute path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, environment: Mapping[str, str], dagster_yaml: str) -> None:
        """`environment`: of a process on this host; the folders are added."""
        home = self.folder / "dagster_home"
        for one in (home, self.folder / "user", self.folder / "runs", self.data):
            one.mkdir(parents=True, exist_ok=True)
        (home / "dagster.yaml").write_text(dagster_yaml)
        own = {"DAGSTER_HOME": home, "HOME": self.folder / "user", "HEALTH_DATA_DIR": self.data}
        told = {**environment, **{name: str(path) for name, path in own.items()}}
        (self.folder / _ENVIRONMENT).write_text(json.dumps(told))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def runs(self) -> list[str]:
        """The ids of the runs that were ever started here."""
        return sorted(file.stem for file in (self.folder / "runs").glob("*.pid"))

    def start(self, run_id: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        noted = self.folder / "runs" / f"{run_id}.pid"
        with noted.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dagster", *arguments],
                env=json.loads((self.folder / _ENVIRONMENT).read_text()),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        noted.write_text(str(process.pid))
        return process

    def signal(self, run_id: str, number: signal.Signals) -> bool:
        """False if it is no longer there."""
        try:
            os.killpg(int((self.folder / "runs" / f"{run_id}.pid").read_text()), number)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def kill_everything(self) -> list[str]:
        """As a power cut does; returns the runs that were there."""
        return [run for run in self.runs if self.signal(run, signal.SIGKILL)]

    def log(self) -> str:
        """The end of what its runs said, for the message of a failed test."""
        logs = sorted((self.folder / "runs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


class HostLauncher(RunLauncher[Any], ConfigurableClass):
    """`hosts`: their folders. A run's id says which of them has it, so that a test knows as well."""

    def __init__(self, hosts: Sequence[str], inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hosts = [Host(Path(one)) for one in hosts]
        self._inst_data = inst_data
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"hosts": Array(String)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run, origin = context.dagster_run, context.job_code_origin
        assert origin is not None
        # Nobody else asks how those ended, and until then each would stay a dead process.
        self._started = [process for process in self._started if process.poll() is None]
        # Without an instance: each host has its own home.
        arguments = ExecuteRunArgs(origin, run.run_id, instance_ref=None).get_command_args()
        at = list(arguments).index("api")
        self._started.append(self._host_of(run.run_id).start(run.run_id, arguments[at:]))

    def terminate(self, run_id: str) -> bool:
        return self._host_of(run_id).signal(run_id, signal.SIGINT)

    def _host_of(self, run_id: str) -> Host:
        return self._hosts[int(run_id[:8], 16) % len(self._hosts)]
