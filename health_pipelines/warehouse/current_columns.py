"""Columns of a current table: what is selected for each, and what is told of it.

Belongs here: a column of one landed column. Does not belong here: which columns a table has (`current.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from health_pipelines.drchrono.landing.columns import EXTRA, text_column
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, matching_column, quoted, text_literal
from health_pipelines.lake.local_time import latest_of_local


@dataclass(frozen=True)
class Column:
    """`sql` reads the view `landed` of what landed. `failed`: SQL that says whether a value did not fit."""

    name: str
    sql: str
    about: str
    failed: str | None = None


def typed(landed: Mapping[str, str], name: str, kind: str, about: str) -> list[Column]:
    """A documented column, whatever type it landed with."""
    found = matching_column(landed, name)
    if found is None:
        return [Column(name, f"NULL::{kind}", f"{about} Never landed so far.")]
    value = f"landed.{quoted(found)}"
    if landed[found] == kind:
        return [Column(name, value, about)]
    if kind == "VARCHAR":
        return [Column(name, f"{value}::VARCHAR", about)]
    text = text_column(name)
    cast = f"TRY_CAST({value}::VARCHAR AS {kind})"
    cast_column = Column(name, cast, about, failed=f"{quoted(text)} IS NOT NULL")
    if matching_column(landed, text) is not None:
        return [cast_column]
    kept = f"CASE WHEN {cast} IS NULL THEN nullif({value}::VARCHAR, '') END"
    return [cast_column, Column(text, kept, f"The text of {name} where it is no {kind}.")]


def as_landed(landed: Mapping[str, str], but: Sequence[str]) -> list[Column]:
    """The other columns, as they are. One whose name is taken gets `_landed` behind it, until it is free."""
    own = [name.lower() for name in (*but, "is_deleted", *LINEAGE_COLUMNS)]
    theirs = [name for name in landed if name not in LINEAGE_COLUMNS]
    taken = {*own, *(name.lower() for name in theirs)}
    columns = []
    for name in theirs:
        free = name
        while free.lower() in (own if free == name else taken):
            free += "_landed"
        taken.add(free.lower())
        columns.append(Column(free, f"landed.{quoted(name)}", "As the vendor sends it; not documented."))
    return columns


def sql_of(columns: Sequence[Column], name: str) -> str:
    return next(column.sql for column in columns if column.name == name)


def with_failures(column: Column, field_kind: str | None) -> Column:
    """Where the text of a value that does not fit is, for a field of that kind."""
    if column.failed or field_kind in (None, "text", "json") or column.sql.startswith("NULL::"):
        return column
    if field_kind == "time":
        failed = f"{quoted(column.name)} IS NULL AND {quoted(text_column(column.name))} <> ''"
    else:
        # An empty text is how this vendor says nothing.
        path = text_literal(f'$."{column.name}"')
        failed = f"CASE WHEN json_valid({EXTRA}) THEN json_extract_string({EXTRA}, {path}) END <> ''"
    return Column(column.name, column.sql, column.about, failed)


def not_before_it_began(columns: Sequence[Column], *, began: str | None, text: str) -> list[Column]:
    """Of two instants that the end of a wait may be, the one that makes it no negative one."""
    until, *others = columns
    if began is None or until.failed is None:
        return list(columns)
    later = latest_of_local(until.sql, text, rules="")
    read = f"CASE WHEN {until.sql} < {began} AND {later} >= {began} THEN {later} ELSE {until.sql} END"
    return [replace(until, sql=read), *others]


def text_of(column: str | None) -> str:
    return f"landed.{quoted(column)}::VARCHAR" if column else "NULL::VARCHAR"


# Each a step of its own, so that a text is read once and not once for every rule of the zone.
