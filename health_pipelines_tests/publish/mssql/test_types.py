"""What SQL Server calls a type, and which values it gets otherwise than the warehouse has them."""

from typing import Any

import duckdb
import pytest

from health_pipelines.publish.mssql import types
from health_pipelines.publish.types import TEXT, ColumnType, Kind
from health_pipelines_tests.publish.mssql.test_statements import TYPES

DOUBLE, DATE, TIMESTAMP, INSTANT = (
    ColumnType(kind) for kind in (Kind.DOUBLE, Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT)
)
# As `sys.columns` has them.
DESCRIBED = {
    "nvarchar(max)": ("nvarchar", -1, 0, 0, types.COLLATION),
    "nvarchar(450)": ("nvarchar", 900, 0, 0, types.COLLATION),
    "bit": ("bit", 1, 1, 0, None),
    "smallint": ("smallint", 2, 5, 0, None),
    "int": ("int", 4, 10, 0, None),
    "bigint": ("bigint", 8, 19, 0, None),
    "decimal(38,10)": ("decimal", 17, 38, 10, None),
    "float(53)": ("float", 8, 53, 0, None),
    "date": ("date", 3, 10, 0, None),
    "datetime2(6)": ("datetime2", 8, 26, 6, None),
    "datetimeoffset(6)": ("datetimeoffset", 10, 33, 6, None),
}


@pytest.mark.parametrize("in_key", [True, False])
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_type_is_read_as_it_was_written(type_: ColumnType, in_key: bool) -> None:
    spelled = types.spelled(type_, in_key=in_key)
    assert types.as_spelled(*DESCRIBED[spelled]) == spelled
    assert types.of_spelled(spelled, in_key=in_key) == type_


def test_numeric_is_decimal() -> None:
    assert types.as_spelled("numeric", 9, 18, 2, None) == "decimal(18,2)"


@pytest.mark.parametrize(
    ("described", "in_key"),
    [
        (("nvarchar", -1, 0, 0, "Latin1_General_CI_AS"), False),
        (("nvarchar", 900, 0, 0, types.COLLATION), False),
        (("nvarchar", 100, 0, 0, types.COLLATION), True),
        (("nvarchar", 900, 0, 0, "Latin1_General_CI_AS"), True),
        (("varchar", -1, 0, 0, types.COLLATION), False),
        (("datetime2", 8, 27, 7, None), False),
        (("datetimeoffset", 10, 34, 7, None), False),
        (("float", 4, 24, 0, None), False),
        (("datetime", 8, 23, 3, None), False),
        (("tinyint", 1, 3, 0, None), False),
        (("money", 8, 19, 4, None), False),
    ],
)
def test_a_type_that_no_published_column_has_is_none_of_ours(
    described: tuple[str, int, int, int, str | None], in_key: bool
) -> None:
    assert types.of_spelled(types.as_spelled(*described), in_key=in_key) is None


@pytest.mark.parametrize(
    ("type_", "given", "held"),
    [
        (TEXT, "chr(0) || 'a' || chr(0)", "\ufffda\ufffd"),
        (DOUBLE, "'nan'::DOUBLE", None),
        (DOUBLE, "'inf'::FLOAT", None),
        (DOUBLE, "'-inf'::DOUBLE", None),
        (DOUBLE, "5e-324::DOUBLE", None),
        (DOUBLE, "-2.2250738585072009e-308::DOUBLE", None),
        (DATE, "'0001-01-01 (BC)'::DATE", None),
        (DATE, "'10000-01-01'::DATE", None),
        (DATE, "'infinity'::DATE", None),
        (TIMESTAMP, "'0001-12-31 (BC) 23:59:59'::TIMESTAMP", None),
        (TIMESTAMP, "'10000-01-01'::TIMESTAMP", None),
        (INSTANT, "'-infinity'::TIMESTAMPTZ", None),
        (INSTANT, "'10000-01-01 00:00:00+00'::TIMESTAMPTZ", None),
    ],
)
def test_a_value_that_cannot_be_held_is_counted(type_: ColumnType, given: str, held: Any) -> None:
    asked = types.alters(type_, "x")
    assert asked is not None
    assert answer(asked, given) is True
    assert answer(types.value(type_, "x"), given) == held


@pytest.mark.parametrize(
    ("type_", "given"),
    [
        (TEXT, "''"),
        (DOUBLE, "2.2250738585072014e-308::DOUBLE"),
        (DOUBLE, "-1.7976931348623157e308::DOUBLE"),
        (DOUBLE, "0.0::DOUBLE"),
        (DATE, "'0001-01-01'::DATE"),
        (DATE, "'9999-12-31'::DATE"),
        (TIMESTAMP, "'9999-12-31 23:59:59.999999'::TIMESTAMP"),
        (INSTANT, "'0001-01-01 00:00:00+00'::TIMESTAMPTZ"),
        (INSTANT, "'9999-12-31 23:59:59.999999+00'::TIMESTAMPTZ"),
    ],
)
def test_the_last_value_that_can_be_held_stays_as_it_is(type_: ColumnType, given: str) -> None:
    asked = types.alters(type_, "x")
    assert asked is not None
    assert answer(asked, given) is False
    assert answer(f"{types.value(type_, 'x')} = x", given) is True
    assert answer(asked, "NULL") is not True


def answer(sql: str, given: str) -> Any:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        [(found,)] = connection.execute(f"SELECT {sql} FROM (SELECT {given} AS x)").fetchall()
    return found


def test_a_decimal_of_38_digits_has_room_with_sign_and_point() -> None:
    most = ColumnType(Kind.DECIMAL, 38, 38)
    text = answer(types.carried(most, "x"), f"'-0.{'9' * 38}'::DECIMAL(38,38)")
    assert len(text) <= types.bound(most, 0)[1]


def test_the_driver_knows_every_number_of_a_type() -> None:
    driver = pytest.importorskip("mssql_python.constants", reason="the extra mssql is not installed")
    assert {types.bound(type_, 1)[0] for type_ in TYPES} <= driver.SQLTypes.get_valid_types()
