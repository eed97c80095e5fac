"""The warehouse as what is published is read from it: one open handle, so one state of all its tables.

Belongs here: opening the file, what its tables are, and which rows differ from those published before. Does
not belong here: how it is built (`warehouse`), and what is done about the rows (`publisher.py`).

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

from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.lake.locks import LockedElsewhereError, locked, take
from health_pipelines.publish.tables import ROW_HASH, PublishError, WantedTable, wanted_table
from health_pipelines.publish.target import Rows, Target, Totals
from health_pipelines.publish.types import of_duckdb
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.published import signature

# So much of the machine at most: a publisher works beside other steps, and rows are streamed.
_MEMORY = "100MB"
_OPENINGS = 20
# Temporary tables in DuckDB: keys and hashes of all rows, and keys of those that differ from what is known.
_NOW, _DIFFERENT = "published_now", "published_different"
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

    def read(self, table: WantedTable, target: Target) -> "TableRows":
        """Look at all rows of a table. Raises `PublishError` if a key repeats."""
        return TableRows(self.connection, table, target, self._condition(table))

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


class TableRows:
    """The rows of one table as the target gets them.

    `table`: without its key if some part of it is NULL somewhere, for then it tells no rows apart. `altered`:
    by column, how many values the target cannot hold and gets otherwise. Looking at them reads the table
    once; changed rows are found by their keys and hashes alone.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, table: WantedTable, target: Target, condition: str
    ) -> None:
        self._connection = connection
        schema, name = table.source.split(".", 1)
        self._from = f"{quoted(schema)}.{quoted(name)} WHERE {condition}"
        # A view has no numbers of rows.
        self._has_numbers = bool(
            connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [schema, name]
            ).fetchall()
        )
        self.altered = self._look(table, target)
        # What the target can hold as it is, which is nearly everything, is not looked at once more.
        values = [
            target.value(one.type, quoted(one.source))
            if one.name in self.altered
            else f"{quoted(one.source)}::{one.type.duckdb}"
            for one in table.columns
        ]
        named = (f"{sql} AS {quoted(one.name)}" for sql, one in zip(values, table.columns, strict=True))
        self._rows = f"SELECT {', '.join(named)}, {_hash(table)}"
        self.table, self.totals = self._counted(table)

    def all(self) -> Rows:
        """Every row."""
        return Rows(self._connection, f"{self._rows} FROM {self._from}")

    def changed_since(self, file: Path) -> tuple[Rows, Rows] | None:
        """The rows that are new or differ from those remembered in `file`, and the keys that are gone.

        None if the file is damaged, or its keys are of another type than they are now.
        """
        names = [quoted(one) for one in self.table.key]
        known = f"read_parquet({text_literal(str(file))})"
        try:
            self._connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {_DIFFERENT} AS "
                f"SELECT {', '.join(names)}, now.{ROW_HASH} IS NULL AS is_gone, now.number "
                f"FROM {_NOW} AS now FULL JOIN {known} AS known USING ({', '.join(names)}) "
                f"WHERE now.{ROW_HASH} IS DISTINCT FROM known.{ROW_HASH}"
            )
        except duckdb.Error:
            return None
        # By numbers, if rows have any: all columns are then read of those rows alone.
        of_rows, of_sent = ", ".join(self._keys.values()), ", ".join(names)
        if self._has_numbers:
            of_rows, of_sent = "rowid", "number"
        these = f"({of_rows}) IN (SELECT {of_sent} FROM {_DIFFERENT} WHERE NOT is_gone)"
        sent = f"{self._rows} FROM {self._from} AND {these}"
        gone = f"SELECT {', '.join(names)} FROM {_DIFFERENT} WHERE is_gone"
        return Rows(self._connection, sent), Rows(self._connection, gone)

    def remember(self, file: Path) -> None:
        """Write keys and hashes, to be compared with next time."""
        columns = ", ".join(quoted(one) for one in (*self.table.key, ROW_HASH))
        self._connection.execute(
            f"COPY (SELECT {columns} FROM {_NOW}) TO {text_literal(str(file))} (FORMAT parquet)"
        )

    def _look(self, table: WantedTable, target: Target) -> Mapping[str, int]:
        """Keep the keys and hashes of all rows; returns the values that are altered."""
        conditions = {one.name: target.alters(one.type, quoted(one.source)) for one in table.columns}
        asked = {name: sql for name, sql in conditions.items() if sql}
        odd = " OR ".join(f"coalesce({sql}, false)" for sql in asked.values()) or "false"
        # As the target gets them: two that differ in what it cannot hold are one there.
        self._keys = {
            one: target.value(table.column(one).type, quoted(table.column(one).source)) for one in table.key
        }
        keys = "".join(f"{sql} AS {quoted(name)}, " for name, sql in self._keys.items())
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_NOW} AS SELECT {keys}{_hash(table)}, "
            f"{odd} AS is_odd, {'rowid' if self._has_numbers else 'NULL'} AS number FROM {self._from}"
        )
        [(odd_rows,)] = self._connection.execute(f"SELECT count(*) FROM {_NOW} WHERE is_odd").fetchall()
        if not odd_rows:
            return {}
        counted = ", ".join(f"count(*) FILTER ({sql})" for sql in asked.values())
        [counts] = self._connection.execute(f"SELECT {counted} FROM {self._from}").fetchall()
        return {name: count for name, count in zip(asked, counts, strict=True) if count}

    def _counted(self, table: WantedTable) -> tuple[WantedTable, Totals]:
        """The table, without its key if that tells no rows apart. Raises `PublishError` if it repeats."""
        incomplete = " OR ".join(f"{quoted(one)} IS NULL" for one in table.key) or "false"
        [(rows, combined, without)] = self._connection.execute(
            f"SELECT count(*), coalesce(sum({ROW_HASH}::HUGEINT), 0), count(*) FILTER ({incomplete}) "
            f"FROM {_NOW}"
        ).fetchall()
        totals = Totals(int(rows), int(combined))
        if without:
            return table.without_key(), totals
        if table.key:
            keys = ", ".join(map(quoted, table.key))
            [(different,)] = self._connection.execute(
                f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {_NOW})"
            ).fetchall()
            if different != rows:
                raise PublishError(
                    f"{table.source} has rows that share a key ({', '.join(table.key)}), so that "
                    f"{table.full_name} is as it was: build the warehouse again, and look at its checks."
                )
        return table, totals


def _hash(table: WantedTable) -> str:
    """SQL of the hash of a row of the warehouse. What the target gets is made of nothing else."""
    columns = ", ".join(quoted(column.source) for column in table.columns)
    return f"(hash({columns}) >> 1)::BIGINT AS {ROW_HASH}"


def made_of(version: str, *, schema: str, target: str, with_deleted: bool) -> str:
    """What a publishing depends on, but for the rows in the target: another text for anything else.

    It begins with what it is made by, so that two can be compared by `made_alike`.
    """
    parts = (_MADE_BY, duckdb.__version__, schema, target, str(with_deleted))
    return f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]} {version}"


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
