"""The stock daemon: what lands is in PostgreSQL a little later, without anyone asking."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines_tests.support.dagster_processes import DagsterHome, dagster_home, sandbox_environment
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

DAYS = days_from("2026-03-09", 3)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(volume="0.3", queue_seconds="0", run_seconds="0") as sandbox:
        yield sandbox


@pytest.fixture
def home(sandbox: SandboxProcess, tmp_path: Path, postgres_url: str) -> Iterator[DagsterHome]:
    environment = sandbox_environment(
        sandbox,
        tmp_path,
        HEALTH_BUILD_WAREHOUSE="true",
        DEXCARE_AVR_VIRTUAL_KEY="visit_id",
        PUBLISH_URL=postgres_url,
        PUBLISH_TABLES="current.avr_virtual, marts.visits",
    )
    with dagster_home(environment, embedded_home(Path(environment["DAGSTER_HOME"]))) as home:
        yield home


@pytest.mark.long
def test_what_lands_is_published_without_anyone_asking(
    home: DagsterHome, sandbox: SandboxProcess, postgres_url: str
) -> None:
    asked = home.command(
        *("asset", "materialize", "-m", "health_pipelines.definitions"),
        *("--select", VISIT_REPORTS[0].request_key.to_user_string()),
        *("--partition-range", f"{DAYS[0]}...{DAYS[-1]}"),
    )
    assert asked.returncode == 0, asked.stderr
    home.start_daemon()
    first, last = f"{DAYS[0]}T00:00:00+0000", "2026-03-12T00:00:00+0000"
    truth = {str(row["visit_id"]) for row in sandbox.truth("virtual", first, last)}
    assert truth

    def published() -> bool:
        return {
            key for (key,) in ask(postgres_url, "SELECT visit_id FROM health_current.avr_virtual")
        } == truth

    try:
        wait_for(published, "every visit in PostgreSQL", within_seconds=200)
        in_mart = "SELECT count(*) FROM health_marts.visits"
        wait_for(lambda: ask(postgres_url, in_mart) == [(len(truth),)], "the mart", within_seconds=90)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{home.log()}") from None


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Nothing while the table is not there."""
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            return connection.execute(sql.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
