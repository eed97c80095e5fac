"""The warehouse as what is published is read from it: one open handle, so one state of all its tables.

Belongs here: opening the file, and what its tables are. Does not belong here: how it is built (`warehouse`),
and which rows have changed (`changes.py`).

The file is replaced by renaming another over it. Whoever has it open keeps the state that they opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.publish.names import NameLimit
from health_pipelines.publish.tables import PublishError, WantedTable, wanted_table
from health_pipelines.publish.types import of_duckdb

SCHEMAS = ("current", "marts")
IS_DELETED = "is_deleted"
# So much of the machine at most: a publisher reads beside other steps, and what it reads is streamed.
_MEMORY = "300MB"


@dataclass(frozen=True)
class Source:
    """An open warehouse. `state`: another one for each file that was ever put in its place."""

    connection: duckdb.DuckDBPyConnection
    state: str

    def tables(self) -> list[str]:
        """`<schema>.<table>` of all that can be published, in order."""
        return [
            name
            for (name,) in self.connection.execute(
                "SELECT schema_name || '.' || name FROM ("
                "SELECT schema_name, table_name AS name FROM duckdb_tables() UNION ALL "
                "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal) "
                f"WHERE schema_name IN {SCHEMAS} ORDER BY ALL"
            ).fetchall()
        ]

    def wanted(self, source: str, schema: str, key: tuple[str, ...], limit: NameLimit) -> WantedTable:
        """What that table should be. `key`: what its model calls its key.

        A key of which some part is NULL somewhere tells no rows apart: the table is then one without. Raises
        `PublishError` if a key repeats.
        """
        in_schema, name = source.split(".", 1)
        columns = [
            (column, of_duckdb(type_), about or "")
            for column, type_, about in self.connection.execute(
                "SELECT column_name, data_type, comment FROM duckdb_columns() "
                "WHERE schema_name = ? AND table_name = ? AND NOT internal ORDER BY column_index",
                [in_schema, name],
            ).fetchall()
        ]
        names = [column for column, _, _ in columns]
        keys = tuple(one for one in key if one in names)
        if keys != key or not self._tells_rows_apart(source, keys):
            keys = ()
        return wanted_table(
            source, schema, columns=columns, key=keys, about=self._about(in_schema, name), limit=limit
        )

    def _tells_rows_apart(self, source: str, key: tuple[str, ...]) -> bool:
        if not key:
            return False
        parts = ", ".join(map(quoted, key))
        nulls = " OR ".join(f"{quoted(part)} IS NULL" for part in key)
        [(incomplete,)] = self.connection.execute(
            f"SELECT count(*) FROM {_sql_name(source)} WHERE {nulls}"
        ).fetchall()
        if incomplete:
            return False
        [(repeated,)] = self.connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {_sql_name(source)} GROUP BY {parts} HAVING count(*) > 1)"
        ).fetchall()
        if repeated:
            raise PublishError(
                f"{source} has {repeated} keys ({', '.join(key)}) that more than one row has; the table in "
                "the target is as it was: build the warehouse again, and look at its checks."
            )
        return True

    def _about(self, schema: str, name: str) -> str:
        found = self.connection.execute(
            "SELECT comment FROM duckdb_tables() WHERE schema_name = $s AND table_name = $n UNION ALL "
            "SELECT comment FROM duckdb_views() WHERE schema_name = $s AND view_name = $n",
            {"s": schema, "n": name},
        ).fetchone()
        return (found[0] if found else None) or ""


def _sql_name(source: str) -> str:
    schema, name = source.split(".", 1)
    return f"{quoted(schema)}.{quoted(name)}"


@contextmanager
def opened(file: Path, work: Path) -> Iterator[Source]:
    """`work`: a folder for what does not fit into memory. Raises `PublishError` if there is no warehouse."""
    try:
        connection = duckdb.connect(str(file), read_only=True)
    except (duckdb.Error, OSError):
        raise PublishError(
            f"{file} cannot be opened; nothing was published: build the warehouse "
            "(`health-pipelines build`), or close whatever writes into it."
        ) from None
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {text_literal(str(work))}")
        yield Source(connection, _state(file))


def _state(file: Path) -> str:
    found = file.stat()
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"
