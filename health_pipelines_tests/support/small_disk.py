"""A disk that is full, or only read, when a test says so: a real one where this machine lets us mount it.

`on_a_small_disk` runs a function in a process and a namespace of its own, in which every user may mount if
the kernel and the container let them (`unshare -rm`), and whose disk is gone with it. Where they do not, the
test skips and says so; what it shows is then shown by `files_of_at_most` alone, which works everywhere: no
file may grow beyond a size.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from health_pipelines_tests.support.child_process import ROOT

PAGE = 4096
_NO_MOUNT = 77


class SmallDisk:
    """`folder` is its top. For a process that `on_a_small_disk` started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def with_room_for(self, pages: int) -> Iterator[None]:
        """As good as full while the block runs: so many pages of 4 KiB can still be written."""
        ballast = self.folder / ".ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(self.folder).free - pages * PAGE))
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def only_read(self) -> Iterator[None]:
        """Mounted read-only while the block runs."""
        self._mount("ro")
        try:
            yield
        finally:
            self._mount("rw")

    def _mount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)


def on_a_small_disk(
    story: Callable[..., None], mount_point: Path, megabytes: int, *arguments: object
) -> None:
    """Carry out `story(SmallDisk, *arguments)`, a function at the top of a module, with texts as arguments.

    The environment is this process's. Skips the test where nobody may mount.
    """
    mount_point.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o "size=$2m" small "$1" || exit {_NO_MOUNT}; shift 2; exec "$@"'
    code = (
        "import pathlib, sys; from health_pipelines_tests.support.small_disk import SmallDisk; "
        f"from {story.__module__} import {story.__name__} as story; "
        "story(SmallDisk(pathlib.Path(sys.argv[1])), *sys.argv[2:])"
    )
    command = ["unshare", "-rm", "sh", "-c", script, "sh", mount_point, megabytes]
    command += [sys.executable, "-c", code, mount_point, *arguments]
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode == _NO_MOUNT or "unshare:" in ended.stderr:
        pytest.skip(
            "NOT SHOWN HERE: this machine lets nobody mount a disk (unshare -rm), so that none that is "
            "really full was tried; limits on the size of files were."
        )
    said = ended.stderr.partition("nanobind: leaked")[0]  # DuckDB's, at the end of any process
    assert ended.returncode == 0, f"{ended.stdout[-4000:]}\n{said[-4000:]}"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Whatever of this process writes beyond it into a file fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def few_open_files(more: int) -> Iterator[None]:
    """This process may open so many files more than it has open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is on the number of a handle, and the lowest that is free is given.
    free = (number for number in range(soft) if not _is_open(number))
    limit = [next(free) for _ in range(more + 1)][-1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True
