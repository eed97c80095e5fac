"""Every statement is T-SQL, whatever the names in it are."""

import inspect

import pytest
import sqlglot
from sqlglot import exp

from health_pipelines.publish.mssql import statements
from health_pipelines.publish.tables import ROW_HASH, ROW_HASH_ABOUT, Column, WantedTable
from health_pipelines.publish.types import BIGINT, TEXT, ColumnType, Kind

HOSTILE = (
    "]; DROP TABLE x; --",
    "a]b",
    "a]]b",
    "'",
    '"',
    "/*",
    "*/ x",
    "--",
    "?",
    "@x",
    "#x",
    ".",
    " ",
    "a b ",
    "SELECT",
    "x\n\\\ny",
    "\U0001f600\u0301",
    "[",
    "{}",
    "%s",
    "x" * 128,
)
TYPES = (
    TEXT,
    BIGINT,
    ColumnType(Kind.INTEGER, 16),
    ColumnType(Kind.INTEGER, 32),
    ColumnType(Kind.BOOLEAN),
    ColumnType(Kind.DECIMAL, 38, 10),
    ColumnType(Kind.DOUBLE),
    ColumnType(Kind.DATE),
    ColumnType(Kind.TIMESTAMP),
    ColumnType(Kind.INSTANT),
)


def table(name: str) -> WantedTable:
    columns = [Column("", f"{number}{name}"[:128], type_, "") for number, type_ in enumerate(TYPES)]
    columns.append(Column("", name, TEXT, ""))
    return WantedTable("current.x", name, name, tuple(columns), (name, columns[2].name), name)


def every(name: str) -> dict[str, list[str]]:
    """What the module says, by the name of what says it."""
    of = table(name)
    columns = [*of.columns, Column(ROW_HASH, ROW_HASH, BIGINT, ROW_HASH_ABOUT)]
    full, notes = statements.of(of), statements.quoted(name, "_published")
    flags = [(True, True), (True, False), (False, True)]
    said: dict[str, list[str]] = {
        "of": [f"SELECT 1 FROM {full}"],
        "quoted": [f"SELECT {statements.quoted(name)} FROM {statements.quoted(name, name)}"],
        "turn": [statements.turn(name, 900_000)],
        "lock_timeout": [statements.lock_timeout(30_000)],
        "lock": [statements.lock(of)],
        "create_schema": [statements.create_schema(name)],
        "create_notes": [statements.create_notes(notes)],
        "noted": [statements.noted(notes)],
        "note_again": [statements.note_again(notes)],
        "note_first": [statements.note_first(notes)],
        "create": [statements.create(one, columns, of.key) for one in (full, statements.STAGED)],
        "drop": [statements.drop(statements.STAGED), statements.drop(statements.GONE)],
        "index": [statements.index(statements.STAGED, of.key)],
        "fill": [statements.fill(statements.STAGED, columns)],
        "add": [statements.add(of, one) for one in columns],
        "alter": [statements.alter(of, one, of.key) for one in columns],
        "drop_key": [statements.drop_key(of, name)],
        "add_key": [statements.add_key(of)],
        "delete_gone": [statements.delete_gone(of)],
        "delete_others": [statements.delete_others(of)],
        "update": [statements.update(of, columns)],
        "insert_missing": [statements.insert_missing(of, columns)],
        "differs": [statements.differs(of, columns, ROW_HASH)],
        "delete_all": [statements.delete_all(of)],
        "insert_all": [statements.insert_all(of, columns)],
        "totals": [statements.totals(of, ROW_HASH)],
        "comment": [
            statements.comment(known=known, wanted=wanted, on_column=on_column)
            for known, wanted in flags
            for on_column in (True, False)
        ],
    }
    constants = {
        one: text for one, text in vars(statements).items() if one.isupper() and isinstance(text, str)
    }
    for no_statement in ("STAGED", "GONE", "COLLATION"):
        constants.pop(no_statement)
    return {**said, **{one: [text] for one, text in constants.items()}}


def test_every_statement_of_the_module_is_among_those_that_are_read_here() -> None:
    made = {
        name
        for name, _ in inspect.getmembers(statements, inspect.isfunction)
        if inspect.getmodule(getattr(statements, name)) is statements and not name.startswith("_")
    }
    assert made <= set(every("x"))


@pytest.mark.parametrize("name", HOSTILE)
def test_every_statement_is_read_as_tsql_and_does_the_same_with_any_name(name: str) -> None:
    for what, said in every(name).items():
        for statement, tame in zip(said, every("x")[what], strict=True):
            parsed = sqlglot.parse(statement, dialect="tsql")
            assert not any(one is None or one.find(exp.Command) for one in parsed), statement
            kinds = [type(one).__name__ for one in parsed]
            assert kinds == [type(one).__name__ for one in sqlglot.parse(tame, dialect="tsql")], statement


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_read_as_it_is(name: str) -> None:
    [parsed] = sqlglot.parse(f"SELECT {statements.quoted(name)} FROM {statements.quoted(name, 'x')}", "tsql")
    assert parsed is not None
    column, of = parsed.find(exp.Column), parsed.find(exp.Table)
    assert column is not None
    assert of is not None
    assert (column.name, of.db, of.name) == (name, name, "x")


def test_the_name_of_a_turn_tells_tables_apart_and_is_short() -> None:
    names = {statements.turn(name, 1) for name in (*HOSTILE, "x" * 300)}
    assert len(names) == len(HOSTILE) + 1
    assert all(len(one) < 255 for one in names)


def test_there_is_no_merge_statement() -> None:
    assert not any("MERGE" in one for said in every("x").values() for one in said)


def test_texts_are_compared_with_a_sign_behind_them_in_the_binary_collation() -> None:
    of = table("x")
    assert statements.update(of, of.columns).count("+ N'.' COLLATE Latin1_General_100_BIN2") == 4
