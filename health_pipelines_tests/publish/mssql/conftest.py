"""Where the tests of this folder publish to."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from health_pipelines.publish.mssql.address import MssqlAddress
from health_pipelines.publish.mssql.session import Session
from health_pipelines.publish.mssql.statements import quoted
from health_pipelines.publish.mssql.target import MssqlTarget, connected
from health_pipelines.settings.secret import Secret
from health_pipelines_tests.publish.mssql.clinic import URL, Clinic, in_order
from health_pipelines_tests.publish.mssql.fake_server import FakeServer

REAL = "MSSQL_TEST_URL"


@dataclass(frozen=True)
class Database:
    """A database to publish into, and a session of somebody else's in it."""

    target: MssqlTarget
    session: Session
    schema: str

    def rows(self, clinic: Clinic, table: str = "visits") -> list[tuple[Any, ...]]:
        """Of the warehouse's columns, as they are in the target."""
        names = ", ".join(quoted(name) for name in clinic.columns(table))
        return in_order(self.session.ask(f"SELECT {names} FROM {quoted(self.schema, table)}"))

    def edit(self, statement: str, table: str = "visits") -> None:
        """By hand, in T-SQL: `{}` is the table."""
        self.session.do(statement.replace("{}", quoted(self.schema, table)))


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def clinic(tmp_path: Path, server: FakeServer) -> Clinic:
    return Clinic(tmp_path, MssqlTarget(URL, connect=server.connect))


@pytest.fixture
def database(clinic: Clinic, server: FakeServer) -> Database:
    """The one that `clinic` publishes into."""
    return Database(clinic.target, Session(lambda: server.connect(MssqlAddress.of(URL))), clinic.schema)


@pytest.fixture(params=["in DuckDB", "of Microsoft"])
def any_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The fake one, and a real one if there is one."""
    if request.param == "in DuckDB":
        server = FakeServer()
        session = Session(lambda: server.connect(MssqlAddress.of(URL)))
        yield Database(MssqlTarget(URL, connect=server.connect), session, "health_current")
        return
    if REAL not in os.environ:
        pytest.skip(f"{REAL} names no SQL Server to publish into, like mssql://user:password@host/database")
    url, schema = Secret(os.environ[REAL]), f"health_test_{secrets.token_hex(4)}"
    session = Session(lambda: connected(MssqlAddress.of(url)))
    yield Database(MssqlTarget(url), session, schema)
    for (name,) in session.ask("SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(?)", [schema]):
        session.do(f"DROP TABLE {quoted(schema, name)}")
    session.do(f"DROP SCHEMA IF EXISTS {quoted(schema)}")
    session.close()


@pytest.fixture
def any_clinic(tmp_path: Path, any_database: Database) -> Clinic:
    return Clinic(tmp_path, any_database.target, any_database.schema)
