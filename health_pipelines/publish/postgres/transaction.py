"""One table in one transaction of PostgreSQL.

Belongs here: the statements. Does not belong here: their order (`publish/publisher.py`), and connections and
locks (`target.py`).
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from health_pipelines.publish.postgres.streams import copy_rows
from health_pipelines.publish.postgres.types import of_spelled, spelled
from health_pipelines.publish.tables import (
    ROW_HASH,
    ROW_HASH_ABOUT,
    Alterations,
    Column,
    ExistingTable,
    PublishError,
    WantedTable,
)
from health_pipelines.publish.target import NOTES, Merged, Note, Rows, Totals
from health_pipelines.publish.types import BIGINT

# Temporary tables, gone with the transaction.
_STAGED, _GONE = sql.Identifier("pg_temp", "staged"), sql.Identifier("pg_temp", "gone")
# Of `pg_class.relkind`: tables, and those in partitions, which somebody may have made in its place.
_TABLES = ("r", "p")


class PostgresTransaction:
    """`table`: the one that the transaction is about."""

    def __init__(self, connection: "psycopg.Connection[TupleRow]", table: WantedTable) -> None:
        self._connection = connection
        self._table = table
        self.bytes_sent = 0

    def existing(self) -> ExistingTable | None:
        found = self._ask(
            "SELECT c.oid, c.relkind::text, pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE') "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            (self._table.schema, self._table.name),
        )
        if not found:
            return None
        [(oid, kind, owner, is_ours)] = found
        if kind not in _TABLES:
            raise PublishError(
                f"{self._table.full_name} is no table in the target, but something else of that name, "
                "such as a view: rename it, or choose another PUBLISH_SCHEMA."
            )
        columns = self._ask(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (oid,),
        )
        key = self._ask(
            "SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(number, place), "
            "pg_attribute a WHERE i.indrelid = %s AND i.indisprimary AND a.attrelid = i.indrelid "
            "AND a.attnum = k.number ORDER BY k.place",
            (oid,),
        )
        key_columns = tuple(name for (name,) in key)
        return ExistingTable(
            {name: of_spelled(kind) for name, kind, _ in columns},
            {name: kind for name, kind, _ in columns},
            key_columns,
            is_ours,
            owner,
            [name for name, _, required in columns if required and name not in key_columns],
        )

    def noted(self) -> Note | None:
        found = self._ask(
            sql.SQL(
                "SELECT version, rows, combined_hash, published_at, compared_at FROM {} WHERE table_name = %s"
            ).format(self._notes),
            (self._table.name,),
        )
        return next((Note(one[0], Totals(one[1], int(one[2])), one[3], one[4]) for one in found), None)

    def stage(self, table: WantedTable, rows: Rows) -> None:
        self._stage(_STAGED, [*table.columns, _row_hash()], rows, table.key)

    def stage_gone(self, table: WantedTable, rows: Rows) -> None:
        self._stage(_GONE, [table.column(name) for name in table.key], rows, table.key)

    def create(self, table: WantedTable, rows: Rows) -> Merged:
        # Right behind the key: the server reads a row only up to the last column that it needs, and adds the
        # hashes of all rows up at each publishing.
        behind = 1 + max(
            (table.columns.index(table.column(one)) for one in table.key), default=len(table.columns)
        )
        declared = [*table.columns[:behind], _row_hash(), *table.columns[behind:]]
        self._do(sql.SQL("CREATE TABLE {} ({})").format(self._name, _declared(declared)))
        self._comment(table, [])
        into = sql.SQL("{} ({})").format(self._name, _names([*table.columns, _row_hash()]))
        with self._connection.cursor() as cursor:
            self.bytes_sent += copy_rows(cursor, into, rows)
            copied = cursor.rowcount
        if table.key:
            self.add_key(table)
        return Merged(inserted=copied)

    def alter(self, changes: Alterations) -> None:
        # Others may read, and nobody else may write.
        self._do(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(self._name))
        steps: list[sql.Composable] = []
        if changes.drop_key:
            [(key,)] = self._ask(
                "SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = to_regclass(%s)",
                (self._name.as_string(self._connection),),
            )
            steps.append(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(key)))
            existing = self.existing()
            assert existing is not None
            # What was a part of the key is not to be required for ever.
            steps += [
                sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(name))
                for name in existing.key
                if name not in changes.table.key
            ]
        steps += [
            sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(one.name), _type(one)) for one in changes.add
        ]
        steps += [
            sql.SQL("ALTER COLUMN {0} TYPE {1} USING {0}::{1}").format(sql.Identifier(one.name), _type(one))
            for one in changes.widen
        ]
        if steps:
            self._do(sql.SQL("ALTER TABLE {} {}").format(self._name, sql.SQL(", ").join(steps)))
        commented = self._ask(
            "SELECT coalesce(a.attname, ''), d.description FROM pg_description d LEFT JOIN pg_attribute a "
            "ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0 "
            "WHERE d.classoid = 'pg_class'::regclass AND d.objoid = to_regclass(%s)",
            (self._name.as_string(self._connection),),
        )
        self._comment(changes.table, commented)

    def merge_changes(self, table: WantedTable) -> Merged:
        gone = self._do(
            sql.SQL("DELETE FROM {} AS t USING {} AS g WHERE {}").format(
                self._name, _GONE, _same_key(table, "t", "g")
            )
        )
        return self._upserted(table, gone)

    def merge_all(self, table: WantedTable) -> Merged:
        gone = self._do(
            sql.SQL("DELETE FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
                self._name, _STAGED, _same_key(table, "t", "s")
            )
        )
        return self._upserted(table, gone)

    def replace_all(self, table: WantedTable) -> Merged:
        columns = _names([*table.columns, _row_hash()])
        [(differs,)] = self._ask(
            sql.SQL(
                "SELECT EXISTS ((SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2}) UNION ALL "
                "(SELECT {0} FROM {2} EXCEPT ALL SELECT {0} FROM {1}))"
            ).format(columns, self._name, _STAGED)
        )
        if not differs:
            return Merged()
        deleted = self._do(sql.SQL("DELETE FROM {}").format(self._name))
        inserted = self._do(
            sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2}").format(self._name, columns, _STAGED)
        )
        return Merged(inserted=inserted, deleted=deleted)

    def add_key(self, table: WantedTable) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, table.key))
        self._do(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(self._name, names))

    def totals(self, table: WantedTable) -> Totals:
        [(rows, combined)] = self._ask(
            sql.SQL("SELECT count(*), coalesce(sum({}), 0) FROM {}").format(
                sql.Identifier(ROW_HASH), self._name
            )
        )
        return Totals(rows, int(combined))

    def note(self, table: WantedTable, note: Note) -> None:
        self._do(
            sql.SQL(
                "INSERT INTO {} (table_name, version, rows, combined_hash, published_at, compared_at) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (table_name) DO UPDATE SET "
                "(version, rows, combined_hash, published_at, compared_at) = (excluded.version, "
                "excluded.rows, excluded.combined_hash, excluded.published_at, excluded.compared_at)"
            ).format(self._notes),
            (
                table.name,
                note.version,
                note.totals.rows,
                note.totals.combined_hash,
                note.published_at,
                note.compared_at,
            ),
        )

    def _upserted(self, table: WantedTable, gone: int) -> Merged:
        every = [*table.columns, _row_hash()]
        others = [one for one in every if one.name not in table.key]
        names, same = _names(every), _same_key(table, "t", "s")
        updated = self._do(
            sql.SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE {} AND ({}) IS DISTINCT FROM ({})").format(
                self._name,
                sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(one.name)) for one in others),
                _STAGED,
                same,
                _names(others, "t"),
                _names(others, "s"),
            )
        )
        inserted = self._do(
            sql.SQL(
                "INSERT INTO {0} ({1}) SELECT {1} FROM {2} AS s "
                "WHERE NOT EXISTS (SELECT FROM {0} AS t WHERE {3})"
            ).format(self._name, names, _STAGED, same)
        )
        return Merged(inserted, updated, gone)

    def _stage(self, into: sql.Identifier, columns: Sequence[Column], rows: Rows, key: Sequence[str]) -> None:
        self._do(sql.SQL("DROP TABLE IF EXISTS {}").format(into))
        self._do(
            sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(
                sql.Identifier(into._obj[-1]), _declared(columns)
            )
        )
        with self._connection.cursor() as cursor:
            self.bytes_sent += copy_rows(cursor, into, rows)
        # Nobody else does it for a temporary table, and the plan of a merge depends on its keys.
        looked_at = [sql.Identifier(name) for name in key or [columns[0].name]]
        self._do(sql.SQL("ANALYZE {} ({})").format(into, sql.SQL(", ").join(looked_at)))

    def _comment(self, table: WantedTable, known: Sequence[tuple[str, str]]) -> None:
        """`known`: what is said of each column now, and of the table as of the column without a name."""
        said = dict(known)
        wanted = {"": table.about, **{one.name: one.about for one in [*table.columns, _row_hash()]}}
        for name, about in wanted.items():
            if (about or None) == said.get(name):
                continue
            of = (
                sql.SQL("COLUMN {}").format(sql.Identifier(table.schema, table.name, name))
                if name
                else sql.SQL("TABLE {}").format(self._name)
            )
            self._do(sql.SQL("COMMENT ON {} IS {}").format(of, sql.Literal(about or None)))

    @property
    def _name(self) -> sql.Identifier:
        return sql.Identifier(self._table.schema, self._table.name)

    @property
    def _notes(self) -> sql.Identifier:
        return sql.Identifier(self._table.schema, NOTES)

    def _do(self, statement: sql.Composed | sql.SQL, values: Sequence[Any] | None = None) -> int:
        return self._connection.execute(statement, values).rowcount

    def _ask(
        self, statement: LiteralString | sql.Composed, values: Sequence[Any] | None = None
    ) -> list[TupleRow]:
        return self._connection.execute(statement, values).fetchall()


def _row_hash() -> Column:
    return Column(ROW_HASH, ROW_HASH, BIGINT, ROW_HASH_ABOUT)


def _type(column: Column) -> sql.SQL:
    return sql.SQL(spelled(column.type))  # a fixed word, with numbers at most


def _declared(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), _type(column)) for column in columns
    )


def _names(columns: Sequence[Column], of: str | None = None) -> sql.Composed:
    parts = [of] if of else []
    return sql.SQL(", ").join(sql.Identifier(*parts, column.name) for column in columns)


def _same_key(table: WantedTable, one: str, other: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name))
        for name in table.key
    )
