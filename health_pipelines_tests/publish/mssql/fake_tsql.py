"""T-SQL carried out on tables that a DuckDB database really has.

Belongs here: what a statement does to tables and catalog, by sqlglot's reading of it. Does not belong here:
connections, transactions and failures (`fake_server.py`).

It is as SQL Server is where that matters: `=`, EXCEPT and keys pay no heed to blanks at the end of a text, a
key lets in no NULL, no repetition and no long text, and a column that is part of a key cannot be altered.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from health_pipelines.publish.mssql import statements
from health_pipelines.publish.mssql.types import COLLATION

CATALOG = """
CREATE SCHEMA catalog;
CREATE SEQUENCE catalog.numbers START 100;
CREATE TABLE catalog.objects (schema TEXT, name TEXT, number BIGINT, kind TEXT, owner TEXT, is_ours INT);
CREATE TABLE catalog.columns (number BIGINT, name TEXT, type TEXT, sorting TEXT, nullable BOOLEAN);
CREATE TABLE catalog.keys (number BIGINT, name TEXT, place INT, part TEXT);
CREATE TABLE catalog.comments (number BIGINT, part TEXT, said TEXT);
CREATE TABLE catalog.holders (name TEXT, number INT, login TEXT, program TEXT, since TIMESTAMP);
CREATE TABLE catalog.server (version TEXT, edition INT, updateability TEXT, schemas INT, tables INT);
INSERT INTO catalog.server VALUES ('16.0.4175.1', 3, 'READ_WRITE', 1, 1);
CREATE TABLE catalog.locked_schemas (name TEXT);
"""
_IN_DUCKDB = {
    "bit": "BOOLEAN",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "DOUBLE",
    "date": "DATE",
    "datetime2": "TIMESTAMP",
    "datetimeoffset": "TIMESTAMPTZ",
    "nvarchar": "VARCHAR",
}


class TsqlError(Exception):
    """What the server says. `driver_error` and `ddbc_error` are as mssql-python has them."""

    def __init__(self, driver_error: str, message: str) -> None:
        super().__init__(f"Driver Error: {driver_error}; DDBC Error: {message}")
        self.driver_error = driver_error
        self.ddbc_error = message


def of_server(message: str) -> TsqlError:
    return TsqlError("Integrity constraint violation", f"[Microsoft][SQL Server]{message}")


@dataclass(frozen=True)
class Answer:
    """`rows`: None of a statement that gives none. `before`: how many counts come before the rows."""

    rows: list[tuple[Any, ...]] | None
    count: int = -1
    before: int = 0


class Tsql:
    """One session's statements, but for those about transactions."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._duckdb = connection

    def run(self, statement: str, values: Sequence[Any]) -> Answer:
        answers: dict[str, Callable[..., list[tuple[Any, ...]]]] = {
            statements.SERVER: self._server,
            statements.SCHEMA: self._schema,
            statements.OBJECT: self._object,
            statements.COLUMNS: self._columns,
            statements.KEY: self._key,
            statements.COMMENTS: self._comments,
            statements.HOLDER: self._holder,
        }
        if statement in answers:
            return Answer(answers[statement](*values))
        parsed = _parsed(statement)
        if isinstance(parsed, exp.Execute):
            return self._comment(parsed, values)
        if isinstance(parsed, (exp.Create, exp.Alter, exp.Drop)):
            return self._defined(parsed)
        if isinstance(parsed, exp.Select):
            return Answer(self._ask(_in_duckdb(statement), values))
        assert isinstance(parsed, (exp.Insert, exp.Update, exp.Delete)), statement
        [(count,)] = self._ask(_in_duckdb(statement), values)
        if not parsed.find(exp.Placeholder):
            self._check(_written(parsed))
        return Answer(None, count)

    def _defined(self, parsed: exp.Create | exp.Alter | exp.Drop) -> Answer:
        if isinstance(parsed, exp.Drop):
            return self._done(parsed.sql("duckdb"))
        return self._create(parsed) if isinstance(parsed, exp.Create) else self._alter(parsed)

    def fill(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self._duckdb.executemany(_in_duckdb(statement), [list(row) for row in rows])

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._duckdb.execute(sql, list(values)).fetchall()

    def _done(self, sql: str) -> Answer:
        self._duckdb.execute(sql)
        return Answer(None)

    def _server(self) -> list[tuple[Any, ...]]:
        return self._ask("SELECT * FROM catalog.server")

    def _holder(self, name: str) -> list[tuple[Any, ...]]:
        return self._ask("SELECT number, login, program, since FROM catalog.holders WHERE name = ?", [name])

    def _schema(self, name: str) -> list[tuple[Any, ...]]:
        may = "schema_name NOT IN (SELECT name FROM catalog.locked_schemas)"
        return self._ask(f"SELECT oid, ({may})::INT FROM duckdb_schemas() WHERE schema_name = ?", [name])

    def _object(self, schema: str, name: str) -> list[tuple[Any, ...]]:
        asked = "SELECT number, kind, owner, is_ours FROM catalog.objects WHERE schema = ? AND name = ?"
        return self._ask(asked, [schema, name])

    def _columns(self, number: int) -> list[tuple[Any, ...]]:
        asked = "SELECT name, type, sorting, nullable FROM catalog.columns WHERE number = ? ORDER BY rowid"
        return [
            (name, *_described(type_), collation, int(not nullable))
            for name, type_, collation, nullable in self._ask(asked, [number])
        ]

    def _key(self, number: int) -> list[tuple[Any, ...]]:
        return self._ask("SELECT name, part FROM catalog.keys WHERE number = ? ORDER BY place", [number])

    def _comments(self, number: int) -> list[tuple[Any, ...]]:
        return self._ask("SELECT part, said FROM catalog.comments WHERE number = ?", [number])

    def _number(self, table: exp.Expr) -> int:
        [(number,)] = self._ask(
            "SELECT number FROM catalog.objects WHERE schema = ? AND name = ?", [table.text("db"), table.name]
        )
        return int(number)

    def _comment(self, parsed: exp.Execute, values: Sequence[Any]) -> Answer:
        what = parsed.this.name
        named = {one.this.name for one in parsed.expressions}
        said, of = (values[0], values[1:]) if "value" in named else (None, values)
        assert said is None or len(said) <= statements.LONGEST_COMMENT
        [(number,)] = self._ask(
            "SELECT number FROM catalog.objects WHERE schema = ? AND name = ?", list(of[:2])
        )
        part = of[2] if "level2name" in named else ""
        there = self._ask("DELETE FROM catalog.comments WHERE number = ? AND part = ?", [number, part])
        # To add what is there, and to change what is not, is an error.
        assert there == [(0 if what == "sp_addextendedproperty" else 1,)]
        if said is not None:
            self._duckdb.execute("INSERT INTO catalog.comments VALUES (?, ?, ?)", [number, part, said])
        return Answer(None)

    def _create(self, parsed: exp.Create) -> Answer:
        if parsed.kind == "SCHEMA":
            return self._done(parsed.sql("duckdb"))
        if isinstance(parsed.this, exp.Index):
            parts = [one.this.name for one in parsed.this.args["params"].args["columns"]]
            self._unique(parsed.this.args["table"].sql("duckdb"), parts)
            return Answer(None)
        table = parsed.this.this
        columns = [_Declared.of(one) for one in parsed.this.expressions]
        declared = ", ".join(
            f"{exp.to_identifier(one.name, quoted=True).sql('duckdb')} {one.duckdb}" for one in columns
        )
        if table.this.args.get("temporary"):
            return self._done(f"CREATE TEMP TABLE {table.sql('duckdb')} ({declared})")
        if self._object(table.text("db"), table.name):
            raise of_server(f"There is already an object named '{table.name}' in the database.")
        self._duckdb.execute(f"CREATE TABLE {table.sql('duckdb')} ({declared})")
        self._duckdb.execute(
            "INSERT INTO catalog.objects VALUES (?, ?, nextval('catalog.numbers'), 'U ', 'dbo', 1)",
            [table.text("db"), table.name],
        )
        number = self._number(table)
        for one in columns:
            self._declare(number, one)
        self._put_key(number, [one.name for one in columns if one.is_key])
        return Answer(None)

    def _declare(self, number: int, column: "_Declared") -> None:
        self._duckdb.execute(
            "INSERT INTO catalog.columns VALUES (?, ?, ?, ?, ?)",
            [number, column.name, column.type, column.collation, column.nullable],
        )

    def _put_key(self, number: int, parts: Sequence[str]) -> None:
        for place, part in enumerate(parts):
            self._duckdb.execute(
                "INSERT INTO catalog.keys VALUES (?, ?, ?, ?)", [number, f"PK_]{number}", place, part]
            )

    def _alter(self, parsed: exp.Alter) -> Answer:
        table, number = parsed.this, self._number(parsed.this)
        name = table.sql("duckdb")
        [action] = parsed.args["actions"]
        if isinstance(action, exp.Drop):
            [(constraint, _), *_] = self._key(number)
            assert action.args["tables"][0].name == constraint
            return self._done(f"DELETE FROM catalog.keys WHERE number = {number}")
        if isinstance(action, exp.ColumnDef):
            column = _Declared.of(action)
            self._declare(number, column)
            return self._done(f"ALTER TABLE {name} ADD COLUMN {_quoted(column.name)} {column.duckdb}")
        if isinstance(action, exp.AddConstraint):
            assert not self._key(number)
            parts = [one.this.name for one in action.expressions[0].expressions]
            self._put_key(number, parts)
            self._check(table)
            return Answer(None)
        assert isinstance(action, exp.AlterColumn)
        column = _Declared.of_alteration(action)
        if column.name in [part for _, part in self._key(number)]:
            raise of_server("The object 'PK' is dependent on column 'x'.")
        [(before,)] = self._ask(
            "SELECT type FROM catalog.columns WHERE number = ? AND name = ?", [number, column.name]
        )
        self._duckdb.execute(
            "UPDATE catalog.columns SET type = ?, sorting = ?, nullable = ? WHERE number = ? AND name = ?",
            [column.type, column.collation, column.nullable, number, column.name],
        )
        if _duckdb_type(before) != column.duckdb:
            to = f"ALTER COLUMN {_quoted(column.name)} TYPE {column.duckdb}"
            self._duckdb.execute(f"ALTER TABLE {name} {to}")
        self._check(table)
        return Answer(None)

    def _check(self, table: exp.Expr) -> None:
        number, name = self._number(table), table.sql("duckdb")
        for column, type_, size, _, _, _, required in self._columns(number):
            if required and self._ask(f"SELECT 1 FROM {name} WHERE {_quoted(column)} IS NULL LIMIT 1"):
                raise of_server("Cannot insert the value NULL into column 'x'.")
            longest = f"SELECT 1 FROM {name} WHERE length({_quoted(column)}) > {size // 2} LIMIT 1"
            if type_ == "nvarchar" and size > 0 and self._ask(longest):
                raise of_server("String or binary data would be truncated in table 'x'.")
        self._unique(name, [part for _, part in self._key(number)])

    def _unique(self, name: str, parts: Sequence[str]) -> None:
        padded = ", ".join(f"rtrim({_quoted(part)}::VARCHAR, ' ')" for part in parts)
        if parts and self._ask(f"SELECT 1 FROM {name} GROUP BY {padded} HAVING count(*) > 1 LIMIT 1"):
            raise of_server("Violation of PRIMARY KEY constraint 'PK'. The duplicate key value is (secret).")


@dataclass(frozen=True)
class _Declared:
    name: str
    type: str
    collation: str | None
    nullable: bool
    is_key: bool = False

    @classmethod
    def of(cls, column: exp.ColumnDef) -> "_Declared":
        kinds = [one.kind for one in column.args["constraints"]]
        collations = [
            one.name or one.this.name for one in kinds if isinstance(one, exp.CollateColumnConstraint)
        ]
        nulls = [one for one in kinds if isinstance(one, exp.NotNullColumnConstraint)]
        is_key = any(isinstance(one, exp.PrimaryKeyColumnConstraint) for one in kinds)
        nullable = not nulls or bool(nulls[0].args.get("allow_null"))
        type_ = _tsql_type(column.args["kind"])
        return cls(column.name, type_, collations[0] if collations else None, nullable, is_key)

    @classmethod
    def of_alteration(cls, action: exp.AlterColumn) -> "_Declared":
        collation = action.args.get("collate")
        name = action.this.name
        type_ = _tsql_type(action.args["dtype"])
        return cls(name, type_, collation.name if collation else None, action.args["allow_null"] is not False)

    @property
    def duckdb(self) -> str:
        return _duckdb_type(self.type)


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def _tsql_type(kind: exp.Expr) -> str:
    text = kind.sql("tsql").lower().replace(" ", "").replace("numeric", "decimal")
    return {"float": "float(53)", "integer": "int"}.get(text, text)


def _duckdb_type(type_: str) -> str:
    name = type_.partition("(")[0]
    return type_ if name == "decimal" else _IN_DUCKDB[name]


def _described(type_: str) -> tuple[str, int, int, int]:
    """Name, bytes, precision and scale, as `sys.columns` says them."""
    name = type_.partition("(")[0]
    numbers = [int(one) for one in re.findall(r"\d+", type_.removeprefix("datetime2"))]
    if name == "nvarchar":
        return name, 2 * numbers[0] if numbers else -1, 0, 0
    if name == "decimal":
        return name, 17, numbers[0], numbers[1]
    if name == "float":
        return name, 8, 53, 0
    return name, 8, 0, numbers[-1] if numbers else 0


@cache
def _parsed(statement: str) -> exp.Expr:
    [parsed] = sqlglot.parse(statement, dialect="tsql")
    assert parsed is not None
    return parsed


@cache
def _in_duckdb(statement: str) -> str:
    return _as_compared(_rearranged(_parsed(statement))).sql("duckdb")


def _written(parsed: exp.Expr) -> exp.Expr:
    if isinstance(parsed, exp.Update) and parsed.args.get("from_"):
        table = parsed.args["from_"].this
    else:
        table = parsed.this.this if isinstance(parsed.this, exp.Schema) else parsed.this
    return exp.Table(this=table.this.copy(), db=table.args["db"].copy())


def _rearranged(parsed: exp.Expr) -> exp.Expr:
    """UPDATE and DELETE of a table by its other name, as DuckDB writes them."""
    changed = parsed.copy()
    if isinstance(changed, exp.Delete):
        changed.set("tables", None)
    elif isinstance(changed, exp.Update) and changed.args.get("from_"):
        table = changed.args["from_"].this.pop()
        [join] = table.args.pop("joins")
        changed.set("this", table)
        changed.set("from_", exp.From(this=join.this))
        changed.set("where", exp.Where(this=exp.and_(join.args["on"], changed.args["where"].this)))
    return changed


def _as_compared(parsed: exp.Expr) -> exp.Expr:
    """With texts compared as SQL Server does: without blanks at their end."""
    changed = parsed.copy()
    for collate in list(changed.find_all(exp.Collate)):
        assert collate.expression.name == COLLATION
        collate.replace(
            exp.DPipe(this=collate.this.this, expression=exp.Literal.string(collate.this.expression.name))
        )
    for text in list(changed.find_all(exp.National)):
        text.replace(exp.Literal.string(text.name))
    for equal in list(changed.find_all(exp.EQ)):
        if isinstance(equal.expression, exp.Column) and equal.this.args.get("table"):
            for side in (equal.this, equal.expression):
                side.replace(_padded(side))
    for minus in list(changed.find_all(exp.Except)):
        for side in (minus.this, minus.expression):
            for one in list(side.expressions):
                one.replace(_padded(one))
    return changed


def _padded(sql: exp.Expr) -> exp.Expr:
    text = exp.cast(sql.copy(), "TEXT")
    return exp.Anonymous(this="rtrim", expressions=[text, exp.Literal.string(" ")])
