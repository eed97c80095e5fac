"""SQL for DuckDB that makes of a value what every target can hold, and says whether that is another value.

Belongs here: texts and days, which all targets hold alike. Does not belong here: what one target alone cannot
hold (its module `types`). Pure.
"""

from health_pipelines.publish.types import ColumnType, Kind

# DuckDB knows days that a target, or whoever reads from it, does not.
_FIRST, _LAST = "0001-01-01", "9999-12-31"
_DAYS = {Kind.DATE: "DATE", Kind.TIMESTAMP: "TIMESTAMP", Kind.INSTANT: "TIMESTAMPTZ"}


def value(type_: ColumnType, sql: str) -> str:
    """U+0000, which ends a text for databases and drivers, becomes U+FFFD; a day before the year 1 or after
    9999 becomes NULL.
    """
    if type_.kind is Kind.TEXT:
        # The cast is for types that are published as their text.
        return f"replace({sql}::VARCHAR, chr(0), chr(65533))"
    return f"CASE WHEN NOT {_out_of_range(type_, sql)} THEN {sql} END" if type_.kind in _DAYS else sql


def alters(type_: ColumnType, sql: str) -> str | None:
    """Whether `value` makes another value of it; None if it never does."""
    if type_.kind is Kind.TEXT:
        return f"contains({sql}::VARCHAR, chr(0))"
    return _out_of_range(type_, sql) if type_.kind in _DAYS else None


def _out_of_range(type_: ColumnType, sql: str) -> str:
    cast = _DAYS[type_.kind]
    last = _LAST if type_.kind is Kind.DATE else f"{_LAST} 23:59:59.999999"
    zone = "+00" if type_.kind is Kind.INSTANT else ""
    first = _FIRST if type_.kind is Kind.DATE else f"{_FIRST} 00:00:00"
    return f"({sql} NOT BETWEEN {cast} '{first}{zone}' AND {cast} '{last}{zone}')"
