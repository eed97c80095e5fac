"""A small warehouse whose rows a test changes, and a publisher of it.

Belongs here: making it, publishing it, and what it and the target have. Does not belong here: what is
expected (the tests).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from health_pipelines.lake.csv_partition import quoted
from health_pipelines.publish.memory import Memory
from health_pipelines.publish.mssql.target import MssqlTarget
from health_pipelines.publish.publisher import Published, Publisher
from health_pipelines.publish.source import Source
from health_pipelines.publish.tables import WantedTable
from health_pipelines.publish.types import of_duckdb
from health_pipelines.settings.secret import Secret
from health_pipelines.warehouse.models import Model

PASSWORD = "S3cr]et pass@word"
URL = Secret("mssql://publisher:S3cr%5Det%20pass%40word@sql.clinic.example:14330/health")


def model(name: str, *key: str) -> Model:
    return Model("current", name, "", key, (), {}, "table", "")


VISITS = model("visits", "id", "part")
# Every type, and names that want to be something else.
MADE = """
CREATE SCHEMA current;
CREATE TABLE current.visits (
    id VARCHAR, part INTEGER, "na]me; DROP TABLE x --" VARCHAR, "order" VARCHAR, is_open BOOLEAN,
    small SMALLINT, big BIGINT, cost DECIMAL(38,10), score DOUBLE, ratio FLOAT, born DATE,
    seen_at TIMESTAMP, landed_at TIMESTAMPTZ, huge HUGEINT, list INTEGER[], nothing INTEGER
);
COMMENT ON TABLE current.visits IS 'Visits; it''s all [of] them';
COMMENT ON COLUMN current.visits.cost IS 'What it costs';
INSERT INTO current.visits VALUES
    ('a', 1, 'Ada', 'x', true, 1, 9223372036854775807, 1234567890123456789012345678.0123456789, 0.1, 0.1,
     '2026-01-02', '2026-01-02 03:04:05.678901', '2026-01-02 03:04:05.678901+02', 1, [1, 2], NULL),
    ('A', 1, 'ada', '', false, -32768, -9223372036854775808, -0.0000000001, -1.7976931348623157e308, -0.5,
     '0001-01-01', '0001-01-01 00:00:00', '0001-01-01 00:00:00+00', -170141183460469231731687303715884105727,
     [], NULL),
    ('a', 2, 'A''; x', 'trailing  ', NULL, NULL, NULL, NULL, 2.2250738585072014e-308, NULL,
     '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00', NULL, NULL, NULL),
    ('\uff41', 1, '\U0001f600 \uff41 e\u0301', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL),
    ('', 1, '\\N', 'NULL', true, 0, 0, 0, 0, 0, '2026-01-01', '2026-01-01', '2026-01-01 00:00:00+00', 0,
     [NULL], NULL);
"""
CHANGED = """
UPDATE current.visits SET "order" = 'trailing' WHERE id = 'a' AND part = 2;
UPDATE current.visits SET score = score + 1, nothing = 7 WHERE id = 'a' AND part = 1;
DELETE FROM current.visits WHERE id = 'A';
INSERT INTO current.visits (id, part, is_open) VALUES ('a-', 1, true), ('new', 5, false);
"""
_AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Clinic:
    """`target`: that its tables are published into. `schema`: its schema there."""

    def __init__(self, folder: Path, target: MssqlTarget, schema: str = "health_current") -> None:
        self._warehouse = duckdb.connect()
        # One thread: so little is soonest done by one.
        self._warehouse.execute("SET TimeZone = 'UTC'; SET threads = 1")
        self.target = target
        self.schema = schema
        self._memory = Memory(folder / "publish")
        self._states = 0
        self.change(MADE)

    def change(self, sql: str) -> None:
        self._warehouse.execute(sql)
        self._states += 1

    def forget(self) -> None:
        """As if another machine had published before."""
        for file in self._memory.folder.glob("*"):
            file.unlink()

    def publish(self, model: Model = VISITS, *, compare: bool = False) -> Published:
        source = Source(self._warehouse, {model.full_name: str(self._states)}, with_deleted=True)
        at = _AT + timedelta(minutes=self._states)
        publisher = Publisher(source, self.target, self._memory, {"current": self.schema}, at)
        return publisher.publish(model, compare=compare)

    def wanted_table(self, model: Model = VISITS) -> WantedTable:
        source = Source(self._warehouse, {}, with_deleted=True)
        return source.wanted(model.full_name, self.schema, model.key, self.target)

    def columns(self, table: str = "visits") -> list[str]:
        return [str(name) for name, *_ in self._warehouse.execute(f"DESCRIBE current.{table}").fetchall()]

    def wanted(self, table: str = "visits") -> list[tuple[Any, ...]]:
        """The rows as this target has them: a FLOAT as a double, and what it has no type for as text."""
        types = self._warehouse.execute(f"DESCRIBE current.{table}").fetchall()
        names = ", ".join(f"{quoted(name)}::{of_duckdb(type_).duckdb}" for name, type_, *_ in types)
        return in_order(self._warehouse.execute(f"SELECT {names} FROM current.{table}").fetchall())


def in_order(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """By their first two columns, which no target spells otherwise."""
    return sorted(rows, key=lambda row: repr(row[:2]))
