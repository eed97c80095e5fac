"""What PostgreSQL calls the types of columns, and what it cannot hold.

Belongs here: spelling. Does not belong here: what types there are (`publish/types.py`). Pure.
"""

import re

from health_pipelines.publish.types import ColumnType, Kind

_SPELLED = {
    Kind.TEXT: "text",
    Kind.BOOLEAN: "boolean",
    Kind.DOUBLE: "double precision",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.INSTANT: "timestamp with time zone",
}
_INTEGERS = {16: "smallint", 32: "integer", 64: "bigint"}
_KINDS = {spelled: kind for kind, spelled in _SPELLED.items()}
_SIZES = {spelled: size for size, spelled in _INTEGERS.items()}
# DuckDB knows days that PostgreSQL, or whoever reads from it, does not.
_FIRST, _LAST = "0001-01-01", "9999-12-31"
_DAYS = {Kind.DATE: "DATE", Kind.TIMESTAMP: "TIMESTAMP", Kind.INSTANT: "TIMESTAMPTZ"}


def spelled(type_: ColumnType) -> str:
    if type_.kind is Kind.INTEGER:
        return _INTEGERS[type_.size]
    if type_.kind is Kind.DECIMAL:
        return f"numeric({type_.size},{type_.scale})"
    return _SPELLED[type_.kind]


def of_spelled(text: str) -> ColumnType | None:
    """`text`: as `format_type` says it. None for a type that no published column has."""
    if text in _SIZES:
        return ColumnType(Kind.INTEGER, _SIZES[text])
    if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", text):
        return ColumnType(Kind.DECIMAL, int(found[1]), int(found[2]))
    return ColumnType(_KINDS[text]) if text in _KINDS else None


def value(type_: ColumnType, sql: str) -> str:
    """SQL for DuckDB: U+0000, which no text of PostgreSQL holds, becomes U+FFFD; a day before the year 1 or
    after 9999 becomes NULL.
    """
    if type_.kind is Kind.TEXT:
        # The cast is for types that are published as their text.
        return f"replace({sql}::VARCHAR, chr(0), chr(65533))"
    if type_.kind in _DAYS:
        return f"CASE WHEN NOT {_out_of_range(type_, sql)} THEN {sql} END"
    return sql


def alters(type_: ColumnType, sql: str) -> str | None:
    """SQL for DuckDB: whether `value` makes another value of it; None if it never does."""
    if type_.kind is Kind.TEXT:
        return f"contains({sql}::VARCHAR, chr(0))"
    return _out_of_range(type_, sql) if type_.kind in _DAYS else None


def _out_of_range(type_: ColumnType, sql: str) -> str:
    cast = _DAYS[type_.kind]
    last = _LAST if type_.kind is Kind.DATE else f"{_LAST} 23:59:59.999999"
    zone = "+00" if type_.kind is Kind.INSTANT else ""
    first = _FIRST if type_.kind is Kind.DATE else f"{_FIRST} 00:00:00"
    return f"({sql} NOT BETWEEN {cast} '{first}{zone}' AND {cast} '{last}{zone}')"
