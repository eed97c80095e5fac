"""Which records the last builds made anew, for whoever keeps a copy of a table and has an older state of it.

Belongs here: what a build writes down of that in the file itself, and how a table's version tells how far it
goes. Does not belong here: which records have to be made anew (`table_builder.py`), and who asks (`publish`).

A version is `<whole>-<part>`: another whole for each time that a table was made whole, and the number of the
times since then that a part of it was. Versions of one whole differ by the keys of the parts between them.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import text_literal
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

SCHEMA = "_builds"
_TABLE = f"{SCHEMA}.changed_keys"
# Whoever is further behind reads all rows, which a copy of one night never is.
_PARTS_KEPT = 20


def whole_version() -> str:
    """The version of a table that was just made whole."""
    return f"{uuid.uuid4().hex}-0"


def next_version(version: str) -> str:
    """The version of a table of which a part was made anew."""
    whole, _, part = version.partition("-")
    return f"{whole}-{int(part) + 1}" if part.isdigit() else whole_version()


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the table in which keys are written down."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_TABLE} (model VARCHAR NOT NULL, version VARCHAR NOT NULL, key VARCHAR)"
    )
    connection.execute(
        f"COMMENT ON TABLE {_TABLE} IS 'Keys of the records that each of the last builds made anew, and a "
        "row without a key for each build. For publishing; not for reports.'"
    )


def write_down(connection: duckdb.DuckDBPyConnection, model: str, version: str, keys: str) -> None:
    """`keys`: SQL that gives the changed keys as the column `key`. Those of builds long ago are forgotten."""
    whole, _, part = version.partition("-")
    kept = (f"{whole}-{number}" for number in range(int(part) - _PARTS_KEPT + 1, int(part)))
    connection.execute(
        f"DELETE FROM {_TABLE} WHERE model = {text_literal(model)} "
        f"AND version NOT IN ('', {', '.join(map(text_literal, kept))})"
    )
    connection.execute(
        f"INSERT INTO {_TABLE} SELECT {text_literal(model)}, {text_literal(version)}, key "
        f"FROM (SELECT NULL AS key UNION ALL SELECT key FROM ({keys}))"
    )


def between(connection: duckdb.DuckDBPyConnection, model: str, older: str, newer: str) -> str | None:
    """SQL of the keys, as text, of all records that differ between two versions of a table, and maybe more.

    None if that is not known: the table was made whole since, or the file is of before it was written down.
    """
    whole, _, first = older.partition("-")
    same, _, last = newer.partition("-")
    if whole != same or not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        return None
    versions = [f"{whole}-{number}" for number in range(int(first) + 1, int(last) + 1)]
    these = f"model = {text_literal(model)} AND version IN ({', '.join(map(text_literal, versions))})"
    try:
        [(written,)] = connection.execute(
            f"SELECT count(*) FROM {_TABLE} WHERE {these} AND key IS NULL"
        ).fetchall()
    except duckdb.CatalogException:
        return None
    return (
        f"SELECT DISTINCT key FROM {_TABLE} WHERE {these} AND key IS NOT NULL"
        if written == len(versions)
        else None
    )
