"""T-SQL in DuckDB's words.

Belongs here: reading a statement, its types, and writing it for DuckDB. Does not belong here: carrying it out
(`fake_tsql.py`).
"""

import re
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp

from health_pipelines.publish.mssql.types import COLLATION

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


@dataclass(frozen=True)
class Declared:
    name: str
    type: str
    collation: str | None
    nullable: bool
    is_key: bool = False

    @classmethod
    def of(cls, column: exp.ColumnDef) -> "Declared":
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
    def of_alteration(cls, action: exp.AlterColumn) -> "Declared":
        collation = action.args.get("collate")
        name = action.this.name
        type_ = _tsql_type(action.args["dtype"])
        return cls(name, type_, collation.name if collation else None, action.args["allow_null"] is not False)

    @property
    def duckdb(self) -> str:
        return duckdb_type(self.type)


def in_quotes(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def _tsql_type(kind: exp.Expr) -> str:
    text = kind.sql("tsql").lower().replace(" ", "").replace("numeric", "decimal")
    return {"float": "float(53)", "integer": "int"}.get(text, text)


def duckdb_type(type_: str) -> str:
    name = type_.partition("(")[0]
    return type_ if name == "decimal" else _IN_DUCKDB[name]


def described(type_: str) -> tuple[str, int, int, int]:
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
def parsed_as_tsql(statement: str) -> exp.Expr:
    [parsed] = sqlglot.parse(statement, dialect="tsql")
    assert parsed is not None
    return parsed


@cache
def in_duckdb(statement: str) -> str:
    return _as_compared(_rearranged(parsed_as_tsql(statement))).sql("duckdb")


def written(parsed: exp.Expr) -> exp.Expr:
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
