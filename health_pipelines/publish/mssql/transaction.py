"""One table in one transaction of SQL Server.

Belongs here: which statements, and what their answers are. Does not belong here: their text
(`statements.py`), their order (`publish/publisher.py`), and connections and turns (`target.py`).

Rows are staged before anything of the table is locked. From `alter` on the whole table is locked, so that
nobody sees some rows as they were and others as they are: under READ COMMITTED whoever reads waits for the
merge, and a database with READ_COMMITTED_SNAPSHOT lets them read the table as it was, which is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from health_pipelines.publish.mssql import statements
from health_pipelines.publish.mssql.session import Session
from health_pipelines.publish.mssql.statements import GONE, LONGEST_COMMENT, STAGED
from health_pipelines.publish.mssql.streams import copy_rows
from health_pipelines.publish.mssql.types import as_spelled, of_spelled
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

_TABLE = "U"


@dataclass(frozen=True)
class _Found:
    """The table in the catalog. `constraint`: the name of its key."""

    number: int
    constraint: str
    table: ExistingTable


class MssqlTransaction:
    """`table`: the one that the transaction is about."""

    def __init__(self, session: Session, table: WantedTable) -> None:
        self._session = session
        self._table = table
        self._notes = statements.quoted(table.schema, NOTES)
        self.bytes_sent = 0

    def existing(self) -> ExistingTable | None:
        found = self._find()
        return found.table if found else None

    def noted(self) -> Note | None:
        found = self._session.ask(statements.noted(self._notes), [self._table.name])
        return next((Note(one[0], Totals(one[1], int(one[2])), one[3], one[4]) for one in found), None)

    def stage(self, table: WantedTable, rows: Rows) -> None:
        self._stage(STAGED, table, _every(table), rows)

    def stage_gone(self, table: WantedTable, rows: Rows) -> None:
        self._stage(GONE, table, [table.column(name) for name in table.key], rows)

    def create(self, table: WantedTable, rows: Rows) -> Merged:
        self.stage(table, rows)
        columns = _every(table)
        self._session.do(statements.create(statements.of(table), columns, table.key))
        self._comment(table, [])
        inserted = self._session.do(statements.insert_all(table, columns))
        if table.key:
            self._session.do(statements.add_key(table))
        return Merged(inserted=inserted)

    def alter(self, changes: Alterations) -> None:
        self._session.ask(statements.lock(self._table))
        found = self._find()
        assert found is not None
        table, old = changes.table, found.table
        # A column of a key cannot be widened while it is one.
        is_widened = any(column.name in old.key for column in changes.widen)
        if changes.drop_key or is_widened:
            self._session.do(statements.drop_key(table, found.constraint))
        kept = [name for name in old.key if name in table.key]
        widened = {column.name: column for column in changes.widen}
        # What was a part of the key is not to be required, or short, for ever.
        for name in old.key:
            if name not in table.key and (column := _now(name, table, old)) is not None:
                widened[name] = column
        for column in changes.add:
            self._session.do(statements.add(table, column))
        for column in widened.values():
            self._session.do(statements.alter(table, column, kept))
        if is_widened and not changes.drop_key:
            self._session.do(statements.add_key(table))
        self._comment(table, self._session.ask(statements.COMMENTS, [found.number]))

    def merge_changes(self, table: WantedTable) -> Merged:
        return self._upserted(table, self._session.do(statements.delete_gone(table)))

    def merge_all(self, table: WantedTable) -> Merged:
        return self._upserted(table, self._session.do(statements.delete_others(table)))

    def replace_all(self, table: WantedTable) -> Merged:
        columns = _every(table)
        [(differs,)] = self._session.ask(statements.differs(table, columns, ROW_HASH))
        if not differs:
            return Merged()
        deleted = self._session.do(statements.delete_all(table))
        inserted = self._session.do(statements.insert_all(table, columns))
        return Merged(inserted=inserted, deleted=deleted)

    def add_key(self, table: WantedTable) -> None:
        for name in table.key:
            self._session.do(statements.alter(table, table.column(name), table.key))
        self._session.do(statements.add_key(table))

    def totals(self, table: WantedTable) -> Totals:
        [(rows, combined)] = self._session.ask(statements.totals(table, ROW_HASH))
        return Totals(rows, int(combined))

    def note(self, table: WantedTable, note: Note) -> None:
        values = [
            note.version,
            note.totals.rows,
            str(note.totals.combined_hash),
            note.published_at,
            note.compared_at,
            table.name,
        ]
        if not self._session.do(statements.note_again(self._notes), values):
            self._session.do(statements.note_first(self._notes), values)

    def _upserted(self, table: WantedTable, gone: int) -> Merged:
        columns = _every(table)
        updated = self._session.do(statements.update(table, columns))
        return Merged(self._session.do(statements.insert_missing(table, columns)), updated, gone)

    def _stage(self, into: str, table: WantedTable, columns: Sequence[Column], rows: Rows) -> None:
        self._session.do(statements.drop(into))
        self._session.do(statements.create(into, columns, table.key))
        self.bytes_sent += copy_rows(self._session, into, table, columns, rows)
        if table.key:
            self._session.do(statements.index(into, table.key))

    def _find(self) -> _Found | None:
        found = self._session.ask(statements.OBJECT, [self._table.schema, self._table.name])
        if not found:
            return None
        [(number, kind, owner, is_ours)] = found
        if kind.strip() != _TABLE:
            raise PublishError(
                f"{self._table.full_name} is no table in the target, but something else of that name, "
                "such as a view: rename it, or choose another PUBLISH_SCHEMA."
            )
        key = self._session.ask(statements.KEY, [number])
        names = tuple(name for _, name in key)
        columns = [
            (name, as_spelled(*type_), required)
            for name, *type_, required in self._session.ask(statements.COLUMNS, [number])
        ]
        table = ExistingTable(
            {name: of_spelled(kind, in_key=name in names) for name, kind, _ in columns},
            {name: kind for name, kind, _ in columns},
            names,
            bool(is_ours),
            owner,
            [name for name, _, required in columns if required and name not in names],
        )
        return _Found(number, key[0][0] if key else "", table)

    def _comment(self, table: WantedTable, known: Sequence[tuple[str, str]]) -> None:
        """`known`: what is said of each column now, and of the table as of the column without a name."""
        said = dict(known)
        wanted = {"": table.about, **{one.name: one.about for one in _every(table)}}
        for name, whole in wanted.items():
            about = _cut(whole)
            if (about or None) == said.get(name):
                continue
            of = [table.schema, table.name, *([name] if name else [])]
            statement = statements.comment(known=name in said, wanted=bool(about), on_column=bool(name))
            self._session.do(statement, [about, *of] if about else of)


def _every(table: WantedTable) -> list[Column]:
    return [*table.columns, Column(ROW_HASH, ROW_HASH, BIGINT, ROW_HASH_ABOUT)]


def _now(name: str, table: WantedTable, existing: ExistingTable) -> Column | None:
    """A column with the type that it has afterwards, whether the warehouse still has it or not."""
    wanted = next((column for column in table.columns if column.name == name), None)
    there = existing.columns[name]
    return wanted or (Column(name, name, there, "") if there else None)


def _cut(about: str) -> str:
    return about.encode("utf-16-le")[: 2 * LONGEST_COMMENT].decode("utf-16-le", "ignore")
