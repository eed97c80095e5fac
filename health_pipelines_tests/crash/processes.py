"""Which processes of the system there are, and what each is doing. Linux: all of it is in /proc.

Belongs here: looking. Does not belong here: whom to kill (`plan.py`, `killing.py`).

A process of the system is one that has its `DAGSTER_HOME` in the environment, also if its parent was killed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from health_pipelines_tests.crash.plan import Role

_PROC = Path("/proc")
_CLAIM_SUFFIX = ".run"


@dataclass(frozen=True)
class Process:
    """`run_id`: of the run that it has claimed, empty before."""

    pid: int
    role: Role
    run_id: str = ""


def processes_of(home: Path) -> list[Process]:
    """Those with that `DAGSTER_HOME`, by their ids. Of the code server both processes are there."""
    marker = f"DAGSTER_HOME={home}".encode()
    found = []
    for pid in sorted(int(one.name) for one in _PROC.iterdir() if one.name.isdigit()):
        if pid != os.getpid() and marker in _read(pid, "environ").split(b"\0"):
            process = _process(pid, _read(pid, "cmdline").decode(errors="replace").replace("\0", " "))
            if process is not None:
                found.append(process)
    return found


def children_of(pid: int) -> list[int]:
    """The ids of the processes that it has started and that live, such as PostgreSQL's sessions."""
    found = []
    for one in _PROC.iterdir():
        if one.name.isdigit():
            # `pid (name) state parent …`; a name may have anything in it.
            fields = _read(int(one.name), "stat").rpartition(b")")[2].split()
            if len(fields) > 1 and int(fields[1]) == pid:
                found.append(int(one.name))
    return sorted(found)


def command_of(pid: int) -> str:
    return _read(pid, "cmdline").decode(errors="replace").replace("\0", " ").strip()


def _process(pid: int, command: str) -> Process | None:
    """None for one that is about to end, or helps another one."""
    if "multiprocessing.resource_tracker" in command or not command:
        return None
    if "quick_daemon" in command:
        return Process(pid, Role.DAEMON)
    if "code-server" in command or " api grpc " in command:
        return Process(pid, Role.CODE)
    if " asset materialize " in command:
        return Process(pid, Role.COMMAND, _claimed(pid))
    if "multiprocessing" in command:
        run_id = _claimed(pid)
        return Process(pid, Role.RUN if run_id else Role.STARTING, run_id)
    return None


def _claimed(pid: int) -> str:
    """The run whose claim the process holds open."""
    try:
        opened = [one.readlink() for one in (_PROC / str(pid) / "fd").iterdir()]
    except OSError:
        return ""
    claims = [one.name for one in opened if one.suffix == _CLAIM_SUFFIX]
    return claims[0].removesuffix(_CLAIM_SUFFIX) if claims else ""


def _read(pid: int, name: str) -> bytes:
    """Nothing of a process that has ended meanwhile, or is somebody else's."""
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
