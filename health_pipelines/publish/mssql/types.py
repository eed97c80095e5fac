"""What SQL Server calls the types of columns, what it cannot hold, and how values are bound.

Belongs here: spelling. Does not belong here: what types there are (`publish/types.py`). Pure.

- Text is nvarchar(max), and nvarchar(450) in a key, all of it in one binary collation: case, accents and
  width tell texts apart and order them as they do in the warehouse, and columns of two published tables can
  be compared without a word about collations.
- Even there SQL Server pads with blanks what it compares, so that 'a' and 'a ' would be one key. A key that
  ends in a blank is refused (`streams.py`), and other texts are compared with a sign behind them
  (`statements.py`).
- A key is clustered, which lets it have 900 bytes; a longer one is refused (`streams.py`).
- A row may have 8,060 bytes. A long text is kept elsewhere and leaves 24 bytes, so that some hundreds of
  columns fit; what does not is refused by the server, which `errors.py` makes a sentence of.
- U+0000 could be held, but the driver ends a text there. It becomes U+FFFD, as in PostgreSQL.
"""

import re

from health_pipelines.publish import conversions
from health_pipelines.publish.types import ColumnType, Kind

COLLATION = "Latin1_General_100_BIN2"
KEY_CHARACTERS, KEY_BYTES = 450, 900
# As many UTF-16 code units can be bound in an array; what is longer is streamed, one row at a time.
LONGEST_IN_AN_ARRAY = 4000
_SPELLED = {
    Kind.TEXT: "nvarchar(max)",
    Kind.BOOLEAN: "bit",
    Kind.DOUBLE: "float(53)",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "datetime2(6)",
    Kind.INSTANT: "datetimeoffset(6)",
}
_KEY_TEXT = f"nvarchar({KEY_CHARACTERS})"
_INTEGERS = {16: "smallint", 32: "int", 64: "bigint"}
_KINDS = {spelled: kind for kind, spelled in _SPELLED.items()}
_SIZES = {spelled: size for size, spelled in _INTEGERS.items()}
# A smaller one is no value of float.
_LEAST_DOUBLE = "2.2250738585072014e-308"
# ODBC's numbers of types, each with size and digits. A decimal is bound as its text: arrays of the driver for
# decimals have no room for sign and point. An instant is bound in UTC without its zone, which
# makes it +00:00.
_WVARCHAR, _DECIMAL_CHARACTERS = -9, 42
_MOMENT = (93, 26, 6)
_BOUND = {
    Kind.BOOLEAN: (-7, 1, 0),
    Kind.DECIMAL: (_WVARCHAR, _DECIMAL_CHARACTERS, 0),
    Kind.DOUBLE: (8, 15, 0),
    Kind.DATE: (91, 10, 0),
    Kind.TIMESTAMP: _MOMENT,
    Kind.INSTANT: _MOMENT,
}
_BOUND_INTEGERS = {16: (5, 5, 0), 32: (4, 10, 0), 64: (-5, 19, 0)}
_BYTES = {
    Kind.BOOLEAN: 1,
    Kind.DECIMAL: 17,
    Kind.DOUBLE: 8,
    Kind.DATE: 3,
    Kind.TIMESTAMP: 8,
    Kind.INSTANT: 10,
}


def spelled(type_: ColumnType, *, in_key: bool = False) -> str:
    if type_.kind is Kind.TEXT and in_key:
        return _KEY_TEXT
    if type_.kind is Kind.INTEGER:
        return _INTEGERS[type_.size]
    if type_.kind is Kind.DECIMAL:
        return f"decimal({type_.size},{type_.scale})"
    return _SPELLED[type_.kind]


def of_spelled(text: str, *, in_key: bool) -> ColumnType | None:
    """`text`: as `as_spelled` says it. None for a type that no published column has."""
    if text in _SIZES:
        return ColumnType(Kind.INTEGER, _SIZES[text])
    if found := re.fullmatch(r"decimal\((\d+),(\d+)\)", text):
        return ColumnType(Kind.DECIMAL, int(found[1]), int(found[2]))
    if in_key:
        return ColumnType(Kind.TEXT) if text == _KEY_TEXT else _other_than_text(text)
    return ColumnType(_KINDS[text]) if text in _KINDS else None


def _other_than_text(text: str) -> ColumnType | None:
    kind = _KINDS.get(text)
    return None if kind in (None, Kind.TEXT) else ColumnType(kind)


def as_spelled(name: str, size: int, precision: int, scale: int, collation: str | None) -> str:
    """The type of a column as `sys.columns` describes it. `size`: its bytes, or -1.

    A text in another collation than ours says so, and is no type of ours.
    """
    if name in ("nvarchar", "nchar", "varchar", "char", "varbinary", "binary"):
        characters = size // 2 if name.startswith("n") else size
        name = f"{name}({'max' if size < 0 else characters})"
    elif name in ("decimal", "numeric"):
        # Two names of one type.
        name = f"decimal({precision},{scale})"
    elif name in ("datetime2", "datetimeoffset", "time"):
        name = f"{name}({scale})"
    elif name == "float":
        name = f"float({precision})"
    return name if collation in (None, COLLATION) else f"{name} COLLATE {collation}"


def value(type_: ColumnType, sql: str) -> str:
    """SQL for DuckDB: U+0000 becomes U+FFFD; NaN, infinity and numbers nearer to 0 than a float can be become
    NULL, and so does a day before the year 1 or after 9999.
    """
    if type_.kind is Kind.DOUBLE:
        # The cast is for FLOAT, whose values are published as doubles.
        return f"CASE WHEN NOT {_no_float(sql)} THEN {sql}::DOUBLE END"
    return conversions.value(type_, sql)


def alters(type_: ColumnType, sql: str) -> str | None:
    """SQL for DuckDB: whether `value` makes another value of it; None if it never does."""
    return _no_float(sql) if type_.kind is Kind.DOUBLE else conversions.alters(type_, sql)


def carried(type_: ColumnType, sql: str) -> str:
    """SQL for DuckDB: the value as Python gets it to bind it."""
    if type_.kind is Kind.DECIMAL:
        return f"{sql}::VARCHAR"
    return f"timezone('UTC', {sql})" if type_.kind is Kind.INSTANT else sql


def bound(type_: ColumnType, longest: int) -> tuple[int, int, int]:
    """How ODBC binds it. `longest`: UTF-16 code units of the longest text."""
    if type_.kind is Kind.TEXT:
        return _WVARCHAR, max(longest, 1), 0
    return _BOUND_INTEGERS[type_.size] if type_.kind is Kind.INTEGER else _BOUND[type_.kind]


def fixed_bytes(type_: ColumnType) -> int:
    """The most bytes that a value which is no text has in a row or a key; 0 of a text."""
    return type_.size // 8 if type_.kind is Kind.INTEGER else _BYTES.get(type_.kind, 0)


def _no_float(sql: str) -> str:
    return f"(NOT isfinite({sql}) OR ({sql} <> 0 AND abs({sql}::DOUBLE) < {_LEAST_DOUBLE}))"
