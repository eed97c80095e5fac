"""A warehouse with whatever tables a test says, and the database that it is published into.

Belongs here: writing the one as a build does, publishing, asking the other. Does not belong here: what rows
there are (the tests).
"""

import shutil
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from health_pipelines.lake.partitions import Lake
from health_pipelines.publish.memory import Memory
from health_pipelines.publish.postgres.target import PostgresTarget
from health_pipelines.publish.publisher import Published, Publisher
from health_pipelines.publish.source import opened
from health_pipelines.settings.secret import Secret
from health_pipelines.warehouse import changed_keys
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.models import Model
from health_pipelines.warehouse.published import BuildReport, State
from health_pipelines.warehouse.table_builder import ModelReport

SCHEMAS = {"current": "health_current", "marts": "health_marts"}
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Clinic:
    """`now` is the time of the next publishing; `lock_within_seconds` as the target takes it."""

    def __init__(self, folder: Path, url: str, *, lock_within_seconds: float = 30) -> None:
        self.url = url
        self.now = NOON
        self.target = PostgresTarget(Secret(url), lock_within_seconds=lock_within_seconds)
        self.memory = Memory(folder / "publish")
        self.warehouse = Warehouse(folder, Lake(folder / "lake"), [])
        self._folder = folder
        self._models: dict[str, Model] = {}
        # Where the note of a build is written first.
        (folder / ".warehouse").mkdir(parents=True, exist_ok=True)

    def build(self, tables: Mapping[str, str], keys: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """Put a warehouse in place with those tables, by full name, each with the SQL that makes it.

        `keys`: what tells rows apart; `id` where it is not said.
        """
        building = self._folder / "building.duckdb"
        building.unlink(missing_ok=True)
        with duckdb.connect(str(building)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, sql in tables.items():
                schema, table = name.split(".", 1)
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                connection.execute(f'CREATE TABLE {schema}."{table}" AS {sql}')
                connection.execute(f"COMMENT ON TABLE {schema}.\"{table}\" IS 'What {name} is.'")
                key = (keys or {}).get(name, ("id",))
                self._models[name] = Model(schema, table, "", key, (), {}, "table", "")
            changed_keys.prepare(connection)
        self._put_in_place(building, {name: changed_keys.whole_version() for name in tables})

    def build_part(self, table: str, *, gone: str = "false", added: str, untold: str = "") -> None:
        """Put a warehouse in place in which a part of the table is another one: the rest is not touched.

        `gone`: SQL of which rows are left out. `added`: SQL of rows, which replace those of their `id`.
        `untold`: SQL that changes more, of which no key is written down, as no build does.
        """
        building = self._folder / "building.duckdb"
        shutil.copyfile(self.warehouse.file, building)
        versions = dict(self.warehouse.published.versions())
        versions[table] = changed_keys.next_version(versions[table])
        with duckdb.connect(str(building)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE TEMP TABLE added AS {added}")
            connection.execute(
                f"CREATE TEMP TABLE changed AS SELECT id::VARCHAR AS key FROM {table} WHERE {gone} "
                "UNION SELECT id::VARCHAR FROM added"
            )
            connection.execute(f"DELETE FROM {table} WHERE id::VARCHAR IN (SELECT key FROM changed)")
            connection.execute(f"INSERT INTO {table} FROM added")
            changed_keys.write_down(connection, table, versions[table], "FROM changed")
            connection.execute(untold or "SELECT 1")
        self._put_in_place(building, versions)

    def _put_in_place(self, building: Path, versions: Mapping[str, str]) -> None:
        reports = tuple(ModelReport(name, 0, 0.0, "", version=version) for name, version in versions.items())
        self.warehouse.published.replace(building, State(report=BuildReport(True, 0.0, reports)))

    def know(self, *tables: str) -> None:
        """Publish tables that another process has built, with the key `id` but for one without."""
        for name in tables:
            schema, table = name.split(".", 1)
            key = () if table == "keyless" else ("id",)
            self._models[name] = Model(schema, table, "", key, (), {}, "table", "")

    def publish(self, table: str = "current.t", *, compare: bool = False, deleted: bool = True) -> Published:
        with opened(self.warehouse, self._folder / "spill", with_deleted=deleted) as source:
            publisher = Publisher(source, self.target, self.memory, SCHEMAS, self.now)
            return publisher.publish(self._models[table], compare=compare)

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the database says; `sql` may change it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def warehouse_rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse.file), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    def differences(self, table: str = "current.t") -> list[tuple[str, str]]:
        """The rows that are not the same here and there, cell by cell, each as often as it is."""
        names = [name for (name, *_) in self.warehouse_rows(f"DESCRIBE {table}")]
        columns = ", ".join(f'"{name}"' for name in names)
        here = Counter(map(_shown, self.warehouse_rows(f"SELECT {columns} FROM {table}")))
        there = Counter(map(_shown, self.ask(f"SELECT {columns} FROM health_{table}")))
        return [("only here", row) for row in here - there] + [("only there", row) for row in there - here]


def _shown(row: tuple[Any, ...]) -> str:
    """As text, since NaN equals nothing and -0.0 equals 0.0; times in one zone object."""
    return repr([cell.astimezone(UTC) if isinstance(cell, datetime) else cell for cell in row])
