"""The types of published columns, without any database's words.

Belongs here: what a DuckDB type is called here, and which type holds all that two types hold. Does not belong
here: how a database spells a type (`postgres/`). Pure.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

# Of a decimal in DuckDB; PostgreSQL's numeric has many more, SQL Server's decimal as many.
MOST_DIGITS = 38
_DIGITS_OF_BITS = {16: 5, 32: 10, 64: 19}
# Whole numbers up to this many bits are exact in a double.
_EXACT_IN_A_DOUBLE = 32


class Kind(StrEnum):
    """What a value is. INSTANT is a time with a zone, kept in UTC."""

    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DOUBLE = "double"
    DATE = "date"
    TIMESTAMP = "timestamp"
    INSTANT = "timestamp with time zone"


@dataclass(frozen=True)
class ColumnType:
    """`size`: bits (16, 32, 64) of an integer, digits of a decimal. `scale`: those behind its point."""

    kind: Kind
    size: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.kind is Kind.INTEGER:
            return f"integer of {self.size} bits"
        return f"decimal({self.size},{self.scale})" if self.kind is Kind.DECIMAL else self.kind.value

    @property
    def duckdb(self) -> str:
        """The type in DuckDB that has exactly these values."""
        if self.kind is Kind.INTEGER:
            return {16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}[self.size]
        if self.kind is Kind.DECIMAL:
            return f"DECIMAL({self.size},{self.scale})"
        return _IN_DUCKDB[self.kind]


TEXT = ColumnType(Kind.TEXT)
BIGINT = ColumnType(Kind.INTEGER, 64)

_IN_DUCKDB = {
    Kind.TEXT: "VARCHAR",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DOUBLE: "DOUBLE",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.INSTANT: "TIMESTAMP WITH TIME ZONE",
}
_OF_DUCKDB = {
    **{name: ColumnType(kind) for kind, name in _IN_DUCKDB.items()},
    "FLOAT": ColumnType(Kind.DOUBLE),
    "TINYINT": ColumnType(Kind.INTEGER, 16),
    "UTINYINT": ColumnType(Kind.INTEGER, 16),
    "SMALLINT": ColumnType(Kind.INTEGER, 16),
    "USMALLINT": ColumnType(Kind.INTEGER, 32),
    "INTEGER": ColumnType(Kind.INTEGER, 32),
    "UINTEGER": ColumnType(Kind.INTEGER, 64),
    "BIGINT": BIGINT,
    "UBIGINT": ColumnType(Kind.DECIMAL, 20, 0),
    "TIMESTAMP_S": ColumnType(Kind.TIMESTAMP),
    "TIMESTAMP_MS": ColumnType(Kind.TIMESTAMP),
}


def of_duckdb(name: str) -> ColumnType:
    """What a DuckDB type is here.

    A type that the databases do not share becomes its text: 128-bit integers, lists, structs, JSON.
    """
    if found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name):
        return ColumnType(Kind.DECIMAL, int(found[1]), int(found[2]))
    return _OF_DUCKDB.get(name, TEXT)


def holding_both(one: ColumnType, other: ColumnType) -> ColumnType | None:
    """The narrowest type that holds every value of both unaltered; None if none does but by accident.

    Text holds whatever has one way of being written. A date is not a number, and neither becomes the other.
    """
    if one == other:
        return one
    kinds = {one.kind, other.kind}
    if kinds == {Kind.INTEGER}:
        return max(one, other, key=lambda type_: type_.size)
    if kinds <= {Kind.INTEGER, Kind.DECIMAL}:
        scale = max(one.scale, other.scale)
        size = max(_whole_digits(one), _whole_digits(other)) + scale
        return ColumnType(Kind.DECIMAL, size, scale) if size <= MOST_DIGITS else None
    if kinds == {Kind.INTEGER, Kind.DOUBLE}:
        whole = one if one.kind is Kind.INTEGER else other
        return ColumnType(Kind.DOUBLE) if whole.size <= _EXACT_IN_A_DOUBLE else None
    if Kind.TEXT in kinds and Kind.DOUBLE not in kinds:
        return TEXT
    return None


def _whole_digits(type_: ColumnType) -> int:
    return _DIGITS_OF_BITS[type_.size] if type_.kind is Kind.INTEGER else type_.size - type_.scale
