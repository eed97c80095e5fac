"""Killing: from what was drawn to a process that is no more.

Belongs here: choosing among the processes that are there, `kill -9`, and the record of it. Does not belong
here: drawing (`plan.py`), and starting again (`system.py`).
"""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dagster import DagsterRun

from health_pipelines_tests.crash.plan import Kill, Role
from health_pipelines_tests.crash.processes import Process, children_of, command_of, processes_of
from health_pipelines_tests.crash.system import System

# A run at work is what a kill is best spent on: so long one is waited for, where one was drawn.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Killed:
    """`at`: seconds since the round began. `stage`: what a run was doing; else empty."""

    at: float
    role: Role
    stage: str
    pid: int
    run_id: str = ""

    def __str__(self) -> str:
        run = f" (run {self.run_id[:8]})" if self.run_id else ""
        who = " ".join(filter(None, (self.role.value, self.stage)))
        return f"{self.at:7.2f} s  killed: {who}{run}, process {self.pid}"


@dataclass
class Killer:
    """Kills processes of one system. `begun`: of the round, by the monotonic clock."""

    system: System
    begun: float
    killed: list[Killed] = field(default_factory=list)
    _stages: dict[str, str] = field(default_factory=dict)

    def carry_out(self, kill: Kill) -> Killed:
        """Find somebody and kill it; there is always somebody."""
        while True:
            process = self._chosen(kill)
            time.sleep(kill.into_seconds if process.role in (Role.RUN, Role.STARTING) else 0)
            stage = self._stage(process)
            if self._is_there(process):
                for pid in self._with_its_kin(process):
                    _kill(pid)
                hit = time.monotonic() - self.begun
                self.killed.append(Killed(hit, process.role, stage, process.pid, process.run_id))
                return self.killed[-1]

    def _chosen(self, kill: Kill) -> Process:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            there = self._there()
            for role in kill.roles:
                some = there.get(role, [])
                if some:
                    return some[int(kill.index * len(some))]
                if role is Role.RUN and time.monotonic() < until:
                    break
            time.sleep(0.1)

    def _there(self) -> dict[Role, list[Process]]:
        there: dict[Role, list[Process]] = {}
        for one in processes_of(self.system.home):
            there.setdefault(one.role, []).append(one)
        if Role.CODE in there:
            there[Role.CODE_AND_RUNS] = [Process(one.pid, Role.CODE_AND_RUNS) for one in there[Role.CODE]]
        server = self.system.postgres.process
        if server is not None and server.poll() is None:
            there[Role.POSTGRES] = [Process(server.pid, Role.POSTGRES)]
            there[Role.BACKEND] = [Process(pid, Role.BACKEND) for pid in children_of(server.pid)]
        return there

    def _is_there(self, process: Process) -> bool:
        return any(one.pid == process.pid for one in self._there().get(process.role, []))

    def _with_its_kin(self, process: Process) -> Sequence[int]:
        """As a supervisor ends a service whose main process died: with all that it has started."""
        if process.role is not Role.CODE_AND_RUNS:
            return [process.pid]
        kin = (Role.CODE, Role.RUN, Role.STARTING)
        return [one.pid for one in processes_of(self.system.home) if one.role in kin]

    def _stage(self, process: Process) -> str:
        if process.role is Role.BACKEND:
            # `postgres: user database host activity`
            return " ".join(command_of(process.pid).split()[1:4])
        if not process.run_id:
            return ""
        if process.run_id not in self._stages:
            try:
                with self.system.instance() as instance:
                    run = instance.get_run_by_id(process.run_id)
            except Exception:  # PostgreSQL was killed a moment ago
                return "unknown"
            self._stages[process.run_id] = stage_of(run) if run else "unknown"
        return self._stages[process.run_id]


def stage_of(run: DagsterRun) -> str:
    """What a run does, told from what it materializes."""
    names = sorted("/".join(key.path) for key in run.asset_selection or ())
    first = names[0] if names else ""
    if any(name.endswith("_report") for name in names):
        return "requesting"
    if first == "dexcare/provider_histories":
        return "paging histories"
    for beginning, stage in (("dexcare/", "landing"), ("drchrono/", "sweeping"), ("publish/", "publishing")):
        if first.startswith(beginning):
            return stage
    return "building" if first.startswith(("current/", "marts/")) else "other"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
