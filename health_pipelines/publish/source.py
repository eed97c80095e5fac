"""The warehouse as what is published is read from it: one open handle, so one state of all its tables.

Belongs here: opening the file, and what its tables are. Does not belong here: how it is built (`warehouse`),
and which rows there are (`rows.py`).

The file is replaced by renaming another over it. Whoever has it open keeps the state that they opened.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from health_pipelines.lake.csv_partition import text_literal
from health_pipelines.lake.locks import LockedElsewhereError, locked, take
from health_pipelines.lake.partitions import signature
from health_pipelines.publish.rows import TableRows
from health_pipelines.publish.tables import PublishError, WantedTable, wanted_table
from health_pipelines.publish.target import Target
from health_pipelines.publish.types import of_duckdb
from health_pipelines.warehouse import changed_keys
from health_pipelines.warehouse.build import Warehouse

# So much of the machine at most: a publisher works beside other steps, and rows are streamed.
_MEMORY = "100MB"
_OPENINGS = 20
# Part of what a published table is made of; another number when values are made otherwise.
_MADE_BY = "1"


class Source:
    """An open warehouse. `versions`: by full name, another one for each state of each table."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, versions: Mapping[str, str], *, with_deleted: bool
    ) -> None:
        self.connection = connection
        self._versions = versions
        self._with_deleted = with_deleted

    def has(self, source: str) -> bool:
        """Whether the warehouse has such a table, which it has not before anything was built."""
        return source in self._versions

    def made_of(self, source: str, schema: str, target: Target) -> str:
        """What a publishing depends on, but for the rows in the target."""
        return made_of(
            self._versions[source], schema=schema, target=target.identity, with_deleted=self._with_deleted
        )

    def wanted(self, source: str, schema: str, key: tuple[str, ...], target: Target) -> WantedTable:
        """What that table should be in `schema`. `key`: what its model calls its key, or nothing."""
        in_schema, name = source.split(".", 1)
        columns = [
            (column, of_duckdb(type_), about or "")
            for column, type_, about in self.connection.execute(
                "SELECT column_name, data_type, comment FROM duckdb_columns() "
                "WHERE schema_name = ? AND table_name = ? AND NOT internal ORDER BY column_index",
                [in_schema, name],
            ).fetchall()
        ]
        names = {column for column, _, _ in columns}
        return wanted_table(
            source,
            schema,
            columns=columns,
            key=key if names.issuperset(key) else (),
            about=self._about(in_schema, name),
            limit=target.name_limit,
        )

    def read(self, table: WantedTable, target: Target) -> TableRows:
        """Look at all rows of a table. Raises `PublishError` if a key repeats."""
        return TableRows(self.connection, table, target, self._condition(table))

    def read_changed(self, table: WantedTable, target: Target, version: str) -> TableRows | None:
        """Look at the rows that may differ from an older version of a table; None if nobody knows which."""
        keys = changed_keys.between(self.connection, table.source, version, self._versions[table.source])
        if keys is None or len(table.key) != 1:
            return None
        return TableRows(self.connection, table, target, self._condition(table), keys)

    def _condition(self, table: WantedTable) -> str:
        marked = any(column.source == "is_deleted" for column in table.columns)
        return "true" if self._with_deleted or not marked else "is_deleted IS NOT TRUE"

    def _about(self, schema: str, name: str) -> str:
        found = self.connection.execute(
            "SELECT comment FROM duckdb_tables() WHERE schema_name = $s AND table_name = $n UNION ALL "
            "SELECT comment FROM duckdb_views() WHERE schema_name = $s AND view_name = $n",
            {"s": schema, "n": name},
        ).fetchone()
        return (found[0] if found else None) or ""


def made_of(version: str, *, schema: str, target: str, with_deleted: bool) -> str:
    """What a publishing depends on, but for the rows in the target: another text for anything else.

    It begins with what it is made by, so that two can be compared by `made_alike`.
    """
    parts = (_MADE_BY, duckdb.__version__, schema, target, str(with_deleted))
    return f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]} {version}"


def version_of(made_of: str) -> str:
    """The version of the warehouse's table that `made_of` was told."""
    return made_of.split(" ", maxsplit=1)[1]


def made_alike(one: str, other: str) -> bool:
    """Whether equal hashes of both mean equal rows in the target."""
    return one.split(" ", maxsplit=1)[0] == other.split(" ", maxsplit=1)[0]


@contextmanager
def opened(warehouse: Warehouse, work: Path, *, with_deleted: bool) -> Iterator[Source]:
    """`work`: a folder for what does not fit into memory. `with_deleted`: whether deleted records are read.

    Raises `PublishError` if there is no warehouse, or it cannot be read.
    """
    connection, versions = _state(warehouse)
    with connection, _spill(work) as spill:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {text_literal(str(spill))}")
        # So that as little as possible is held back: rows have no order in a database.
        connection.execute("SET preserve_insertion_order = false")
        yield Source(connection, versions, with_deleted=with_deleted)


@contextmanager
def _spill(work: Path) -> Iterator[Path]:
    """A folder below `work` for rows that do not fit into memory; those of killed publishers are removed."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        # One at a time, so that nobody removes a folder that is not locked yet.
        with locked(work, wait=True):
            for left in work.iterdir():
                with suppress(OSError, LockedElsewhereError), locked(left, wait=False):
                    shutil.rmtree(left)
            mine = Path(tempfile.mkdtemp(dir=work))
            handle = take(mine, wait=True)
    except OSError as error:
        raise PublishError(
            f"{work} cannot be used ({error.strerror}), so that nothing was published: see that this user "
            "may write there, and that there is room."
        ) from None
    try:
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)
        os.close(handle)


def _state(warehouse: Warehouse) -> tuple[duckdb.DuckDBPyConnection, Mapping[str, str]]:
    """An open file, and what the note beside it says of this very file."""
    for _ in range(_OPENINGS):
        try:
            before, versions = signature(warehouse.file), warehouse.published.versions()
            connection = duckdb.connect(str(warehouse.file), read_only=True)
            if signature(warehouse.file) == before:
                return connection, versions
            connection.close()
        except (duckdb.Error, OSError):
            break
    raise PublishError(
        f"{warehouse.file} cannot be opened, so that nothing was published: build the warehouse "
        "(`health-pipelines build`), or close whatever writes into it."
    )
