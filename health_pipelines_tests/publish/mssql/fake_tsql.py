"""T-SQL carried out on tables that a DuckDB database really has.

Belongs here: what a statement does to tables and catalog, by sqlglot's reading of it. Does not belong here:
the same in DuckDB's words (`fake_translation.py`), and connections, transactions and failures
(`fake_server.py`).

It is as SQL Server is where that matters: `=`, EXCEPT and keys pay no heed to blanks at the end of a text, a
key lets in no NULL, no repetition and no long text, and a column that is part of a key cannot be altered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
from sqlglot import exp

from health_pipelines.publish.mssql import statements
from health_pipelines_tests.publish.mssql.fake_translation import (
    Declared,
    described,
    duckdb_type,
    in_duckdb,
    in_quotes,
    parsed_as_tsql,
    written,
)

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
        parsed = parsed_as_tsql(statement)
        if isinstance(parsed, exp.Execute):
            return self._comment(parsed, values)
        if isinstance(parsed, (exp.Create, exp.Alter, exp.Drop)):
            return self._defined(parsed)
        if isinstance(parsed, exp.Select):
            return Answer(self._ask(in_duckdb(statement), values))
        assert isinstance(parsed, (exp.Insert, exp.Update, exp.Delete)), statement
        [(count,)] = self._ask(in_duckdb(statement), values)
        if not parsed.find(exp.Placeholder):
            self._check(written(parsed))
        return Answer(None, count)

    def _defined(self, parsed: exp.Create | exp.Alter | exp.Drop) -> Answer:
        if isinstance(parsed, exp.Drop):
            return self._done(parsed.sql("duckdb"))
        return self._create(parsed) if isinstance(parsed, exp.Create) else self._alter(parsed)

    def fill(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self._duckdb.executemany(in_duckdb(statement), [list(row) for row in rows])

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
            (name, *described(type_), collation, int(not nullable))
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
        columns = [Declared.of(one) for one in parsed.this.expressions]
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

    def _declare(self, number: int, column: "Declared") -> None:
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
            column = Declared.of(action)
            self._declare(number, column)
            return self._done(f"ALTER TABLE {name} ADD COLUMN {in_quotes(column.name)} {column.duckdb}")
        if isinstance(action, exp.AddConstraint):
            assert not self._key(number)
            parts = [one.this.name for one in action.expressions[0].expressions]
            required = {name for name, *_, is_required in self._columns(number) if is_required}
            if not required.issuperset(parts):
                raise of_server("Cannot define PRIMARY KEY constraint on nullable column in table 'x'.")
            self._put_key(number, parts)
            self._check(table)
            return Answer(None)
        assert isinstance(action, exp.AlterColumn)
        column = Declared.of_alteration(action)
        if column.name in [part for _, part in self._key(number)]:
            raise of_server("The object 'PK' is dependent on column 'x'.")
        [(before,)] = self._ask(
            "SELECT type FROM catalog.columns WHERE number = ? AND name = ?", [number, column.name]
        )
        self._duckdb.execute(
            "UPDATE catalog.columns SET type = ?, sorting = ?, nullable = ? WHERE number = ? AND name = ?",
            [column.type, column.collation, column.nullable, number, column.name],
        )
        if duckdb_type(before) != column.duckdb:
            to = f"ALTER COLUMN {in_quotes(column.name)} TYPE {column.duckdb}"
            self._duckdb.execute(f"ALTER TABLE {name} {to}")
        self._check(table)
        return Answer(None)

    def _check(self, table: exp.Expr) -> None:
        number, name = self._number(table), table.sql("duckdb")
        for column, type_, size, _, _, _, required in self._columns(number):
            if required and self._ask(f"SELECT 1 FROM {name} WHERE {in_quotes(column)} IS NULL LIMIT 1"):
                raise of_server("Cannot insert the value NULL into column 'x'.")
            longest = f"SELECT 1 FROM {name} WHERE length({in_quotes(column)}) > {size // 2} LIMIT 1"
            if type_ == "nvarchar" and size > 0 and self._ask(longest):
                raise of_server("String or binary data would be truncated in table 'x'.")
        self._unique(name, [part for _, part in self._key(number)])

    def _unique(self, name: str, parts: Sequence[str]) -> None:
        padded = ", ".join(f"rtrim({in_quotes(part)}::VARCHAR, ' ')" for part in parts)
        if parts and self._ask(f"SELECT 1 FROM {name} GROUP BY {padded} HAVING count(*) > 1 LIMIT 1"):
            raise of_server("Violation of PRIMARY KEY constraint 'PK'. The duplicate key value is (secret).")
