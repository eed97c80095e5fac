"""The connection dies at every statement: the table is as it was or as it should be, and is put right."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from health_pipelines.publish.mssql.target import MssqlTarget
from health_pipelines.publish.tables import PublishError
from health_pipelines_tests.publish.mssql.clinic import URL, Clinic, model
from health_pipelines_tests.publish.mssql.fake_server import SECRET, FakeServer, broken

pytestmark = pytest.mark.slow
TABLE = model("small", "id")
LOG = model("small")


def made(folder: Path, server: FakeServer) -> Clinic:
    clinic = Clinic(folder, MssqlTarget(URL, connect=server.connect))
    clinic.change("CREATE TABLE current.small AS SELECT i::VARCHAR AS id, i AS x FROM range(4) t(i)")
    return clinic


def rows(server: FakeServer) -> list[tuple[object, ...]] | None:
    there = "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'health_current' AND table_name = 'small'"
    if not server.query(there):
        return None
    return server.query("SELECT id, x FROM health_current.small ORDER BY ALL")


def change(clinic: Clinic, number: int) -> None:
    clinic.change(
        f"UPDATE current.small SET x = {number} + 10 WHERE id = '1'; "
        "DELETE FROM current.small WHERE id LIKE 'n%'; "
        f"INSERT INTO current.small (id, x) VALUES ('n{number}', {number})"
    )


def error_of(publish: Callable[[], object]) -> str:
    try:
        publish()
    except PublishError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("publishing", ["first", "changes", "compared", "without a key", "altered"])
def test_a_death_at_any_statement_leaves_one_of_two_states(
    tmp_path: Path, publishing: str, when: Literal["before", "after"]
) -> None:
    table = LOG if publishing == "without a key" else TABLE
    server = FakeServer()
    clinic = made(tmp_path, server)
    died, number, is_at_end = 0, 0, False
    again = publishing != "changes"
    if publishing != "first":
        clinic.publish(table)
    while not is_at_end:
        if publishing == "first":
            server = FakeServer()
            clinic.target = MssqlTarget(URL, connect=server.connect)
            clinic.forget()
        else:
            change(clinic, number)
        if publishing == "altered":
            clinic.change(f"ALTER TABLE current.small ADD COLUMN c{number} INTEGER")
        before, after = rows(server), [row[:2] for row in clinic.wanted("small")]
        server.fail(number, when, broken())
        said = error_of(lambda: clinic.publish(table, compare=again))
        assert rows(server) in ((before, after) if said else (after,))
        assert not said or "the connection to the server broke" in said
        assert SECRET not in said
        died += bool(said)
        is_at_end = not server.has_failed
        server.heal()
        clinic.publish(table, compare=again)
        assert rows(server) == after
        assert server.open == []
        number += 1
    # All but what is said to take leave, twice.
    assert died == number - 3
