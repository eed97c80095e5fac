"""Turns, locks, schemas and rights, and what is said of those."""

import sys
from functools import partial

import duckdb
import pytest

from health_pipelines.publish.mssql import statements
from health_pipelines.publish.mssql.target import MssqlTarget, connected
from health_pipelines.publish.tables import PublishError
from health_pipelines.publish.target import Rows
from health_pipelines.settings.secret import Secret
from health_pipelines_tests.publish.mssql.clinic import PASSWORD, URL, Clinic
from health_pipelines_tests.publish.mssql.conftest import Database
from health_pipelines_tests.publish.mssql.fake_server import SECRET, FakeServer
from health_pipelines_tests.publish.mssql.fake_tsql import TsqlError, of_server


@pytest.fixture
def target(server: FakeServer) -> MssqlTarget:
    return MssqlTarget(URL, connect=server.connect)


def test_an_identity_is_of_the_database_and_shows_no_user(target: MssqlTarget) -> None:
    assert target.identity == "mssql sql.clinic.example:14330, database health"


def test_a_driver_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mssql_python", None)
    with pytest.raises(PublishError, match=r"install health-pipelines\[mssql\]"):
        MssqlTarget(URL).examine(["health_current"])


def test_the_driver_connects_nowhere_without_saying_the_password() -> None:
    pytest.importorskip("mssql_python", reason="the extra mssql is not installed")
    url = Secret("mssql://u:S3cr%5Det@127.0.0.1:1/health")
    target = MssqlTarget(url, connect=partial(connected, within_seconds=1))
    with pytest.raises(PublishError, match="The database of PUBLISH_URL cannot be used: ") as caught:
        target.examine(["health_current"])
    assert "S3cr" not in str(caught.value)
    # Else a session would stay open, with rows of patients in its temporary tables.
    assert not sys.modules["mssql_python.pooling"].PoolingManager.is_enabled()


def test_a_second_publisher_of_a_table_waits_and_then_gives_up(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    before = server.query("FROM health_current.visits")
    clinic.change("DELETE FROM current.visits")
    with clinic.target.publishing(clinic.wanted_table()), pytest.raises(PublishError) as caught:
        clinic.publish()
    assert "another publisher has been at it for longer than 900 s" in str(caught.value)
    assert server.query("FROM health_current.visits") == before
    assert server.open == []
    clinic.publish()
    assert server.query("FROM health_current.visits") == []


def test_who_has_locked_a_table_is_said(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    server.query(
        "INSERT INTO catalog.holders VALUES ('[health_current].[visits]', 57, 'maria', '', '2026-11-30')"
    )
    clinic.change("DELETE FROM current.visits")
    locked_at_lock(server)
    with pytest.raises(PublishError) as caught:
        clinic.publish()
    assert (
        "it is locked by the session 57 of maria (unnamed) since 2026-11-30 00:00, for longer than 30 s"
        in str(caught.value)
    )


def test_a_lock_of_nobody_known_is_said(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    clinic.change("DELETE FROM current.visits")
    locked_at_lock(server)
    with pytest.raises(PublishError, match="it is locked, for longer than 30 s; end that transaction"):
        clinic.publish()


def locked_at_lock(server: FakeServer) -> None:
    server.fail_at("TABLOCKX", of_server("Lock request time out period exceeded."))


def test_a_session_waits_for_locks_half_a_minute_and_undoes_all_at_once(
    clinic: Clinic, server: FakeServer
) -> None:
    clinic.publish()
    said = "\n".join(server.said)
    assert "SET LOCK_TIMEOUT 30000" in said
    assert "SET XACT_ABORT ON" in said
    assert "@LockOwner = 'Transaction', @LockTimeout = 900000" in said


def test_what_the_server_says_never_shows(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    clinic.change("DELETE FROM current.visits")
    server.fail_at("DELETE", TsqlError("Integrity constraint violation", f"[Microsoft][SQL Server]{SECRET}"))
    with pytest.raises(PublishError) as caught:
        clinic.publish()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error}{error!r}"
        assert PASSWORD not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__


def test_a_schema_that_cannot_be_made_is_said(clinic: Clinic, server: FakeServer) -> None:
    server.fail_at("CREATE SCHEMA", of_server("CREATE SCHEMA permission denied in database 'health'."))
    with pytest.raises(
        PublishError, match="The schema health_current cannot be made: the user of PUBLISH_URL may"
    ):
        clinic.publish()


def test_a_warehouse_that_cannot_be_read_to_its_end_leaves_the_table_as_it_was(
    clinic: Clinic, server: FakeServer
) -> None:
    clinic.publish()
    before = server.query("FROM health_current.visits")
    table = clinic.wanted_table()
    with duckdb.connect() as connection:
        rows = Rows(connection, f"SELECT error('{SECRET}') AS id, 1 AS part")
        with pytest.raises(PublishError) as caught, clinic.target.publishing(table) as there:
            there.stage_gone(table, rows)
    assert "the warehouse could not be read to its end (InvalidInputException)" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert server.query("FROM health_current.visits") == before


def test_a_schema_that_is_there_is_left_alone(target: MssqlTarget, server: FakeServer) -> None:
    target.prepare(["health_current"])
    begun = len(server.said)
    target.prepare(["health_current"])
    assert server.said[begun:] == [statements.OBJECT, statements.ROLLBACK]


def test_the_doctor_finds_nothing_where_all_is_well(target: MssqlTarget, server: FakeServer) -> None:
    access = target.examine(["health_current", "health_marts"])
    assert (access.version, list(access.problems)) == ("SQL Server 16.0.4175.1", [])
    assert server.open == []


@pytest.mark.parametrize(
    ("is_so", "said"),
    [
        ("UPDATE catalog.server SET version = '12.0.6024.0'", "SQL Server 12.0.6024.0 is too old"),
        ("UPDATE catalog.server SET updateability = 'READ_ONLY'", "It takes no changes"),
        ("UPDATE catalog.server SET schemas = 0", "may not make the schema health_current"),
        ("UPDATE catalog.server SET tables = 0", "may not make tables; GRANT"),
        (
            "CREATE SCHEMA health_current; INSERT INTO catalog.locked_schemas VALUES ('health_current')",
            "may not make tables in the schema health_current",
        ),
    ],
)
def test_the_doctor_says_what_publishing_would_fail_of(
    target: MssqlTarget, server: FakeServer, is_so: str, said: str
) -> None:
    server.query(is_so)
    [problem] = target.examine(["health_current"]).problems
    assert said in problem


def test_azures_database_is_not_too_old_whatever_it_calls_itself(
    target: MssqlTarget, server: FakeServer
) -> None:
    server.query("UPDATE catalog.server SET version = '12.0.2000.8', edition = 5")
    assert list(target.examine(["health_current"]).problems) == []


def test_a_note_says_what_was_published_when(clinic: Clinic, server: FakeServer) -> None:
    totals = clinic.publish().totals
    clinic.change("DELETE FROM current.visits WHERE part = 2")
    changed = clinic.publish()
    noted = (
        "SELECT table_name, rows, combined_hash, published_at > compared_at FROM health_current._published"
    )
    assert server.query(noted) == [("visits", 4, changed.totals.combined_hash, True)]
    assert changed.totals != totals


def test_a_session_skips_what_comes_before_the_rows(database: Database) -> None:
    database.session.do("BEGIN TRANSACTION")
    assert database.session.ask(statements.turn("x", 1)) == [(0,)]
