"""Where `make dev` and `make demo` keep Dagster's events."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from health_pipelines.commands.places import real_place, sandbox_place
from health_pipelines.commands.services import free_port
from health_pipelines_tests.commands.test_demo import environment
from health_pipelines_tests.dexcare.project import RETAIL, VIRTUAL
from health_pipelines_tests.status.planted import put
from health_pipelines_tests.support.dagster_processes import ROOT
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

WORD = "pass-word-that-nobody-may-see"
KEY = {"DEXCARE_SERVICE_KEY": "SECRET_TOKEN"}


def test_the_first_day_of_a_sandbox_that_was_used_is_the_first_that_landed(tmp_path: Path) -> None:
    variables = {"HEALTH_DATA_DIR": str(tmp_path)}
    assert "HEALTH_START_DATE" not in sandbox_place(variables).environment

    put(tmp_path / "sandbox", RETAIL.table, "2026-03-10")
    put(tmp_path / "sandbox", VIRTUAL.table, "2026-03-09")

    assert sandbox_place(variables).environment["HEALTH_START_DATE"] == "2026-03-09"
    theirs = {**variables, "HEALTH_START_DATE": "2026-01-01"}
    assert sandbox_place(theirs).environment["HEALTH_START_DATE"] == "2026-01-01"


def test_with_postgres_set_the_sandbox_of_dev_is_in_a_schema_of_its_own(
    tmp_path: Path, postgres_url: str
) -> None:
    log = tmp_path / "dev.log"
    url = make_url(postgres_url)
    # A server that wants no password believes every one.
    url = url.set(password=url.password or WORD)
    variables = environment(tmp_path / "data", DAGSTER_POSTGRES_URL=url.render_as_string(hide_password=False))
    with log.open("wb") as output:
        dev = subprocess.Popen(
            [sys.executable, "-m", "health_pipelines", "dev", "--port", str(free_port())],
            env=variables,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: "Dagster's UI:" in log.read_text(), "the UI's address", within_seconds=120)
        with psycopg.connect(postgres_url) as connection:
            # The daemon's heartbeats come at once.
            wait_for(
                lambda: connection.execute("SELECT 1 FROM sandbox.daemon_heartbeats").fetchall(), "the daemon"
            )
            assert tables(connection) == {"sandbox"}
    finally:
        dev.send_signal(signal.SIGTERM)
        dev.wait(60)
    [where] = [line for line in log.read_text().splitlines() if line.startswith("Dagster's events: ")]
    assert where.startswith("Dagster's events: PostgreSQL on ")
    assert where.endswith(f", database {url.database}, schema sandbox")
    assert f":{url.password}@" not in log.read_text()


@pytest.mark.parametrize("vendor", [{}, {"DEXCARE_BASE_URL": "http://127.0.0.1:1"}])
def test_dev_says_in_one_sentence_that_postgres_is_not_there(tmp_path: Path, vendor: dict[str, str]) -> None:
    url = f"postgresql://dagster:{WORD}@127.0.0.1:1/dagster"
    done = run_dev(tmp_path, DAGSTER_POSTGRES_URL=url, **vendor)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "The database of DAGSTER_POSTGRES_URL cannot be used: no server listens there. "
        "Check the setting and that the server runs."
    )


@pytest.mark.long
def test_dev_says_what_a_service_said_before_it_ended(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    done = run_dev(tmp_path, DAGSTER_HOME=str(home), DEXCARE_BASE_URL="http://127.0.0.1:1", **KEY)
    assert done.returncode == 1
    assert f"Dagster's events: what {home}/dagster.yaml says" in done.stdout
    [said] = done.stderr.strip().splitlines()
    assert "(exit code 1): DAGSTER_POSTGRES_URL is not set, and this instance's storage is" in said


def test_with_postgres_set_the_real_place_is_in_it_with_its_tables_made(
    tmp_path: Path, postgres_url: str
) -> None:
    place = real_place({"HEALTH_DATA_DIR": str(tmp_path), "DAGSTER_POSTGRES_URL": postgres_url})
    with psycopg.connect(postgres_url) as connection:
        assert tables(connection) == {"public"}
    assert "PostgresStorage" in (place.dagster_home / "dagster.yaml").read_text()
    assert place.storage.startswith("PostgreSQL on ")


def test_a_dagster_home_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "dagster.yaml").write_text("nux: {enabled: false}\n")
    unreachable = f"postgresql://dagster:{WORD}@127.0.0.1:1/dagster"
    place = real_place(
        {
            "HEALTH_DATA_DIR": str(tmp_path / "data"),
            "DAGSTER_HOME": str(theirs),
            "DAGSTER_POSTGRES_URL": unreachable,
        }
    )
    assert place.dagster_home == theirs
    assert (theirs / "dagster.yaml").read_text() == "nux: {enabled: false}\n"
    assert place.storage == f"what {theirs}/dagster.yaml says"


def test_the_demo_is_in_files_whatever_is_set(tmp_path: Path) -> None:
    unreachable = f"postgresql://dagster:{WORD}@127.0.0.1:1/dagster"
    place = sandbox_place({"HEALTH_DATA_DIR": str(tmp_path), "DAGSTER_POSTGRES_URL": unreachable})
    assert place.storage == f"files in {tmp_path}/sandbox/dagster_home"
    assert WORD not in str(place.environment)


def run_dev(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """To its end, which it comes to by itself when something is wrong."""
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", "dev", "--port", str(free_port())],
        env=environment(folder / "data", **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tables(connection: "psycopg.Connection[tuple[str]]") -> set[str]:
    """The schemas that have tables of Dagster's."""
    rows = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'event_logs'").fetchall()
    return {schema for (schema,) in rows}
