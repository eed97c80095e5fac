"""Dagster's storage in PostgreSQL: few connections, and one sentence when something is wrong."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click import ClickException
from dagster import AssetKey, AssetMaterialization, DagsterInstance
from psycopg import sql
from sqlalchemy import make_url

from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

ROOT = Path(__file__).parents[2]
WORD = "pass-word-that-nobody-may-see"
ASSET = AssetKey("kept")
STOCK_COMMANDS = {
    "daemon": "dagster._daemon run -m health_pipelines.definitions",
    "webserver": "dagster_webserver -m health_pipelines.definitions -p 0",
    "materialize": "dagster asset materialize -m health_pipelines.definitions "
    "--select dexcare/avr_virtual_report --partition 2026-03-10",
    "migrate": "dagster instance migrate",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the production instance's file."""
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    return tmp_path


@pytest.fixture
def instance(home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_every_stock_command_says_in_one_sentence_what_is_wrong_and_shows_no_password(
    home: Path, postgres_server: str
) -> None:
    stranger = make_url(postgres_server).set(username="nobody_here", password=WORD)
    wrong: dict[str, dict[str, str]] = {
        # No variable at all, for each command.
        **{name: {} for name in STOCK_COMMANDS},
        "unreachable": {"DAGSTER_POSTGRES_URL": f"postgresql://dagster:{WORD}@127.0.0.1:1/dagster"},
        "refused": {"DAGSTER_POSTGRES_URL": stranger.render_as_string(hide_password=False)},
    }
    says = {
        **dict.fromkeys(STOCK_COMMANDS, "DAGSTER_POSTGRES_URL is not set"),
        "unreachable": "The database of DAGSTER_POSTGRES_URL cannot be used: no server listens there",
        "refused": "The database of DAGSTER_POSTGRES_URL cannot be used: the server ",
    }
    # Side by side, as each takes seconds to begin.
    started = {
        name: start(home, STOCK_COMMANDS.get(name, STOCK_COMMANDS["migrate"]), variables)
        for name, variables in wrong.items()
    }
    for name, command in started.items():
        printed, said = command.communicate(timeout=120)
        assert command.returncode == 1, (name, said)
        [sentence] = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert says[name] in sentence
        assert "Traceback" not in said + printed
        assert WORD not in said + printed


def test_an_instance_keeps_few_connections_and_closes_them(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        with DagsterInstance.from_config(str(home)) as instance:
            materialize(instance, "2026-03-10")
            before = backends(other)
            materialize(instance, "2026-03-11")
            assert instance.get_runs_count() == 0
            assert instance.all_instigator_state() == []
            assert materialized(instance) == ["2026-03-10", "2026-03-11"]
            assert 1 <= len(before) <= 2
            assert backends(other) == before
        # The server takes a moment to see that a connection is closed.
        wait_for(lambda: not backends(other), "no connection is left")


def test_what_is_stored_is_where_the_stock_storage_looks_for_it(
    instance: DagsterInstance, postgres_url: str, tmp_path: Path
) -> None:
    materialize(instance, "2026-03-10")
    stock = tmp_path / "stock"
    stock.mkdir()
    (stock / "dagster.yaml").write_text(f"storage:\n  postgres:\n    postgres_url: {postgres_url!r}\n")
    with DagsterInstance.from_config(str(stock)) as other:
        assert materialized(other) == ["2026-03-10"]


def test_a_server_that_ended_the_connection_costs_no_event(
    instance: DagsterInstance, postgres_url: str
) -> None:
    materialize(instance, "2026-03-10")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert backends(other) == set()
    materialize(instance, "2026-03-11")
    assert materialized(instance) == ["2026-03-10", "2026-03-11"]


def test_a_forked_process_leaves_the_connection_to_its_parent(
    instance: DagsterInstance, postgres_url: str
) -> None:
    materialize(instance, "2026-03-10")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        known = backends(other) | {other.info.backend_pid}
        child = os.fork()
        if child == 0:
            # Nothing of pytest may run in here.
            own: set[int] = set()
            try:
                assert instance.get_runs_count() == 0
                own = backends(psycopg.connect(postgres_url, autocommit=True)) - known
            finally:
                os._exit(0 if own else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        materialize(instance, "2026-03-11")
        assert backends(other) < known
    assert materialized(instance) == ["2026-03-10", "2026-03-11"]


def test_a_user_who_may_not_make_tables_is_told_so(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = f"reader_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {reader} LOGIN PASSWORD '{WORD}'")
        try:
            url = make_url(postgres_url).set(username=reader, password=WORD)
            monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.render_as_string(hide_password=False))
            with pytest.raises(ClickException, match="cannot be used: its user may not make tables"):
                DagsterInstance.from_config(str(home))
        finally:
            connection.execute(f"DROP ROLE {reader}")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (
            "postgresql://me:p%40%2F%25+w@db.example.org:5433/events?sslmode=require",
            {
                "user": "me",
                "password": "p@/%+w",
                "host": "db.example.org",
                "port": "5433",
                "dbname": "events",
                "sslmode": "require",
            },
        ),
        (
            "postgresql+psycopg2://me@[::1]/events",
            {"user": "me", "host": "::1", "dbname": "events"},
        ),
        (
            "postgres://me@a:1,b:2/events",
            {"user": "me", "host": "a,b", "port": "1,2", "dbname": "events"},
        ),
        ("postgresql:///events?host=/run/my%20db", {"host": "/run/my db", "dbname": "events"}),
    ],
)
def test_an_address_is_the_same_to_libpq_and_to_sqlalchemy(url: str, parts: dict[str, str]) -> None:
    address = PostgresAddress.of(Secret(url))
    assert address.parts == parts
    for same in (address, address.with_option("search_path", "other")):
        assert PostgresAddress.of(same.url).parts == same.parts
        read = make_url(same.url.reveal())
        [(), given] = read.get_dialect()().create_connect_args(read)
        assert given == same.parts
    assert address.shown.endswith(", database events")
    assert "p@/%+w" not in f"{address} {address.shown} {address.url}"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:a@{WORD}@host/events",
        f"postgresql://me:12/{WORD}@host/events",
        f"postgresql://me:a/{WORD}@host/events",
        f"postgresql://me:%zz{WORD}@host/events",
        f"mysql://me:{WORD}@host/events",
        f"host=host user=me password={WORD}",
        WORD,
    ],
)
def test_an_address_that_is_not_one_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(PostgresError, match="DAGSTER_POSTGRES_URL is not a URL like") as refused:
        PostgresAddress.of(Secret(url))
    assert WORD not in str(refused.value)
    assert refused.value.__context__ is None


def start(home: Path, command: str, variables: dict[str, str]) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    return subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        env={**kept, "DAGSTER_HOME": str(home), **variables},
        # A folder without `.env`.
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def materialize(instance: DagsterInstance, day: str) -> None:
    instance.report_runless_asset_event(AssetMaterialization(ASSET, partition=day))


def materialized(instance: DagsterInstance) -> list[str]:
    return sorted(instance.get_materialized_partitions(ASSET))


def backends(connection: "psycopg.Connection[tuple[int]]") -> set[int]:
    """The processes of the server that serve the database's other connections."""
    query = sql.SQL(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    return {pid for (pid,) in connection.execute(query).fetchall()}
