"""What PostgreSQL calls the types of columns.

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
