"""Locks between processes, freed by the operating system however a process ends."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from health_pipelines.lake.locks import LockedElsewhereError, locked, take
from health_pipelines_tests.support.child_process import child
from health_pipelines_tests.support.waiting import wait_for

HOLDER = """
import sys
from pathlib import Path
from health_pipelines.lake.locks import locked

with locked(Path(sys.argv[1]), wait=True):
    print("locked", flush=True)
    sys.stdin.readline()
print("freed", flush=True)
sys.stdin.readline()
"""

# Holds the lock while a program that it started runs on.
PARENT = """
import subprocess, sys
from pathlib import Path
from health_pipelines.lake.locks import take

take(Path(sys.argv[1]), wait=False)
program = subprocess.Popen(["sleep", "60"])
print(program.pid, flush=True)
sys.stdin.readline()
"""


def make_file(folder: Path) -> Path:
    path = folder / "a lock"
    path.touch()
    return path


def make_folder(folder: Path) -> Path:
    path = folder / "a folder"
    path.mkdir()
    return path


@pytest.fixture(params=[make_file, make_folder])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make: Callable[[Path], Path] = request.param
    return make(tmp_path)


def is_free(path: Path) -> bool:
    try:
        with locked(path, wait=False):
            return True
    except LockedElsewhereError:
        return False


def test_a_lock_that_another_process_holds_is_refused_by_its_name_only(path: Path) -> None:
    with child(HOLDER, path) as holder:
        assert holder.line() == "locked"

        with pytest.raises(LockedElsewhereError) as refused, locked(path, wait=False):
            pytest.fail("two processes hold one lock")

    assert str(refused.value) == f"{path.name} is locked by another process"


def test_a_lock_is_free_after_its_block_though_the_process_lives(path: Path) -> None:
    with child(HOLDER, path) as holder:
        assert holder.line() == "locked"
        assert not is_free(path)
        holder.tell()
        assert holder.line() == "freed"
        assert is_free(path)
        assert holder.is_running


def test_a_lock_is_free_after_a_block_that_failed(path: Path) -> None:
    with pytest.raises(RuntimeError), locked(path, wait=False):
        raise RuntimeError

    assert is_free(path)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_no_lock(path: Path, ending: signal.Signals) -> None:
    with child(HOLDER, path) as holder:
        assert holder.line() == "locked"
        holder.process.send_signal(ending)
        assert holder.ended() == -ending

    assert is_free(path)


def test_a_program_that_a_dead_process_had_started_does_not_keep_its_lock(path: Path) -> None:
    with child(PARENT, path) as parent:
        program = int(parent.line())
        assert not is_free(path)
        parent.kill()
        try:
            assert is_free(path)
            os.kill(program, 0)  # it runs on
        finally:
            os.kill(program, signal.SIGKILL)


def test_who_waits_gets_the_lock_when_it_is_freed_and_not_before(path: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with locked(path, wait=True):
            entered.set()

    with child(HOLDER, path) as holder:
        assert holder.line() == "locked"
        waiting = threading.Thread(target=enter, daemon=True)
        waiting.start()
        assert not entered.wait(0.2)
        holder.tell()
        assert entered.wait(60)
        waiting.join(10)

    assert is_free(path)


def test_two_holders_in_one_process_exclude_each_other_too(path: Path) -> None:
    with locked(path, wait=False):
        assert not is_free(path)


def test_a_taken_lock_is_held_until_its_handle_is_closed(path: Path) -> None:
    handle = take(path, wait=False)
    assert not is_free(path)

    os.close(handle)

    assert is_free(path)


def test_a_refused_lock_leaves_no_file_open(path: Path) -> None:
    open_files = Path("/proc/self/fd")
    if not open_files.exists():
        pytest.skip("this system does not list a process's open files")
    with locked(path, wait=False):
        before = len(list(open_files.iterdir()))
        for _ in range(10):
            assert not is_free(path)
        assert len(list(open_files.iterdir())) == before


def test_a_lock_on_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing", wait=False):
        pytest.fail("there is nothing to lock")


def test_three_processes_never_hold_a_lock_together(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from health_pipelines.lake.locks import locked

lock, counter = Path(sys.argv[1]), Path(sys.argv[1], "counter")
for _ in range(50):
    with locked(lock, wait=True):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    (tmp_path / "counter").write_text("0")
    with child(code, tmp_path) as one, child(code, tmp_path) as two, child(code, tmp_path) as three:
        wait_for(lambda: not any(p.is_running for p in (one, two, three)), "all have counted")
        assert [p.ended() for p in (one, two, three)] == [0, 0, 0]

    assert (tmp_path / "counter").read_text() == "150"
