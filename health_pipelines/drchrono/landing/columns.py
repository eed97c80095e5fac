"""The columns of a DrChrono partition file, and the SQL that makes them from a vendor's record.

Belongs here: which column a documented field becomes, which value fits it, and what `_extra` and `_as_sent`
keep. Does not belong here: the documented fields (`drchrono/records.py`), reading pages and writing files
(`page_reading.py`).

Nothing of a record is lost. A value that fits its field's kind is in its column; any other value, and every
undocumented field, is in `_extra` as it came. `_as_sent` tells the rest: which documented fields were not
there at all (null is a NULL, missing is a NULL that is named there), which text fields came as numbers, and
which numbers came as text.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.page_shape import BOOLEAN, CONTAINER, NUMBER, STRING
from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.lake.local_time import LOCAL_TIME, OFFSET_TIME, USUAL_TIME, in_range, utc_of_local

EXTRA, AS_SENT = "_extra", "_as_sent"
# The field in which `odd_pages.py` hands over what it took out of a record, as the members of a JSON object.
CARRIED = "carried by odd_pages.py"
# The field in which it hands over how the values of text and JSON columns came, as a JSON object of texts.
SPELLED = "spelled by odd_pages.py"
# What reading a record needs beside its columns.
_TYPES = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DECIMAL(18,4)",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "time": "TIMESTAMPTZ",
    "json": "VARCHAR",
}
_PLAIN_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"


def text_column(field: str) -> str:
    """The column beside a time with the text as it came."""
    return f"{field}_text"


def vendor_columns(record_type: RecordType) -> dict[str, str]:
    """Every column that says something the vendor said, with its SQL type, in the order of the file."""
    columns: dict[str, str] = {}
    for field, kind in record_type.columns.items():
        columns[field] = _TYPES[kind]
        if kind == "time":
            columns[text_column(field)] = "VARCHAR"
    return columns | {EXTRA: "VARCHAR", AS_SENT: "VARCHAR"}


@dataclass(frozen=True)
class Shapes:
    """What a number of pages need beside the documented fields: `undocumented` names, no two of which are
    equal when case is ignored, and the documented fields that some record lacks.

    `types`: of every field that is there, the JSON types that its values have
    (`drchrono/sweep/page_shape.py`). None: not known. If known, no record lacks a field that another one
    has, and what cannot come is not looked for.
    """

    undocumented: Collection[str]
    sometimes_missing: Collection[str]
    types: Mapping[str, frozenset[str]] | None = None

    @property
    def keys_are_needed(self) -> bool:
        return self.types is None and bool(self.undocumented or self.sometimes_missing)


def with_times(record_type: RecordType, shapes: Shapes, records: str) -> str:
    """A SELECT of the rows of `records` (SQL) and beside them what `select_columns` needs of every time.

    Apart from it, so that a text is read once and not once for every rule of the zone.
    """
    usual, times = "", ""
    for field in _fields(record_type, shapes):
        if field.kind != "time":
            continue
        names = {name: quoted(f"{name} {field.name}") for name in ("usual", "local", "offset")}
        if field.types == frozenset():
            times += f", NULL::TIMESTAMP AS {names['local']}, NULL::TIMESTAMPTZ AS {names['offset']}"
            continue
        usual += f", {USUAL_TIME.format(value=field.v)} AS {names['usual']}"
        for name, reading in (("local", LOCAL_TIME), ("offset", OFFSET_TIME)):
            times += f", {reading.format(value=field.v, usual=names['usual'])} AS {names[name]}"
    return f"SELECT * {times} FROM (SELECT * {usual} FROM ({records}))"


def select_columns(record_type: RecordType, shapes: Shapes) -> str:
    """The select list that makes every vendor column of a row of `with_times`, with `v`, `j` and `keys`.

    `v` and `j` are structs as in `structures`, `keys` is the list of the record's own fields, which may be
    absent if the shapes do not need it. The connection has to know the zone (`local_time.zone_variables`).
    """
    columns = []
    fields = _fields(record_type, shapes)
    for field in fields:
        value, fits = field.value, field.fits
        if field.types == frozenset():
            value = f"NULL::{_TYPES[field.kind]}"
        elif field.kind == "time":
            local, offset = quoted(f"local {field.name}"), quoted(f"offset {field.name}")
            value = f"coalesce({utc_of_local(local)}, {in_range(offset)})"
        columns.append(f"{_when(fits, value)} AS {quoted(field.name)}")
        if field.kind == "time":
            columns.append(f"{_when(fits, field.v)} AS {quoted(text_column(field.name))}")
    columns.append(f"{_extra(fields, shapes)} AS {EXTRA}")
    columns.append(f"{_as_sent(fields, shapes)} AS {AS_SENT}")
    return ",\n".join(columns)


def structures(record_type: RecordType, shapes: Shapes) -> tuple[str, str | None]:
    """What `from_json` has to read from a page for `v` and for `j`, as SQL text literals; None for nothing.

    `v` has each value in the form that its column is made from, `j` the JSON text of those that may be of
    several JSON types. If the types are known, no record lacks anything of it.
    """
    fields = _fields(record_type, shapes)
    read = {field.name: field.read_as for field in fields if field.is_there and field.read_as}
    read |= dict.fromkeys(shapes.undocumented, "JSON")
    if shapes.types is None:
        read[CARRIED] = read[SPELLED] = "VARCHAR"
    several = {field.name: "JSON" for field in fields if field.may_be_of_several_types}
    return (
        text_literal(json.dumps({"results": [read]})),
        text_literal(json.dumps({"results": [several]})) if several else None,
    )


def columns_without_values(record_type: RecordType, shapes: Shapes) -> set[str]:
    """The columns of documented fields that are NULL for every record of such pages."""
    empty = [field for field in _fields(record_type, shapes) if field.types == frozenset()]
    return {field.name for field in empty} | {
        text_column(field.name) for field in empty if field.kind == "time"
    }


def _fields(record_type: RecordType, shapes: Shapes) -> list["_Field"]:
    types = shapes.types
    return [
        _Field(
            name,
            kind,
            None if types is None else types.get(name, frozenset()),
            types is None or name in types,
        )
        for name, kind in record_type.columns.items()
    ]


_TRUE, _FALSE = "true", "false"
_USUAL_TYPES = {
    "text": [{STRING}, {NUMBER}],
    "integer": [{STRING}, {NUMBER}],
    "decimal": [{STRING}, {NUMBER}],
    "date": [{STRING}],
    "time": [{STRING}],
    "boolean": [{BOOLEAN}],
    "json": [{STRING, NUMBER, BOOLEAN, CONTAINER}],
}


@dataclass(frozen=True)
class _Field:
    """A documented field, the JSON types that its values may have (None: any), and whether records have it.

    A JSON text begins with " (0x22) if it is a string, with - or a digit (0x2d to 0x39) if it is a number,
    and with something greater if it is anything else: a comparison is far cheaper than asking for its type.
    """

    name: str
    kind: str
    types: frozenset[str] | None
    is_there: bool

    @property
    def may_be_of_several_types(self) -> bool:
        """Whether the JSON text is needed to tell what came."""
        if self.kind == "json":
            return False
        return self.types is None or not any(self.types <= usual for usual in _USUAL_TYPES[self.kind])

    @property
    def read_as(self) -> str | None:
        match self.kind:
            case "json":
                return "JSON"
            case "boolean":
                return None if self.may_be_of_several_types else "BOOLEAN"
            case _:
                return "VARCHAR"

    @property
    def v(self) -> str:
        # A field without any value is read, since its name may come twice, but nothing is made of it.
        read = "NULL::VARCHAR" if self.types == frozenset() else f"v.{quoted(self.name)}"
        if self.types is not None or self.kind not in ("text", "decimal", "json"):
            return read
        # DuckDB writes a number anew: 1.10 would become 1.1, and a code another one.
        spelled = f"json_extract_string(v.{quoted(SPELLED)}, {text_literal(f'$.{self.name}')})"
        return (
            f"CASE WHEN v.{quoted(SPELLED)} IS NULL THEN {read}::VARCHAR "
            f"ELSE coalesce({spelled}, {read}::VARCHAR) END"
        )

    @property
    def j(self) -> str:
        """SQL: the value as JSON text."""
        if self.may_be_of_several_types:
            return f"j.{quoted(self.name)}::VARCHAR"
        return f"to_json({self.v})::VARCHAR" if self.types == frozenset({STRING}) else f"{self.v}::VARCHAR"

    @property
    def is_string(self) -> str:
        """SQL, as all conditions here: false or NULL for a null."""
        if self.may_be_of_several_types:
            return f"{self.j} < '#'"
        return _TRUE if self.types == frozenset({STRING}) else _FALSE

    @property
    def is_string_or_number(self) -> str:
        return f"{self.j} < ':'" if self.may_be_of_several_types else _TRUE

    @property
    def value(self) -> str:
        match self.kind:
            case "integer":
                return f"TRY_CAST({self.v} AS BIGINT)"
            case "decimal":
                return f"TRY_CAST({self.v} AS DECIMAL(18,4))"
            case "date":
                return f"TRY_CAST({self.v} AS DATE)"
            case "json":
                return f"{self.v}::VARCHAR"
            case "boolean":
                return f"{self.j} = 'true'" if self.may_be_of_several_types else f"{self.v}::BOOLEAN"
            case _:
                return self.v

    @property
    def fits(self) -> str:  # noqa: PLR0911 - one for each kind
        """SQL: whether the column has the value. Says nothing of a null."""
        v = self.v
        match self.kind:
            case _ if self.types == frozenset():
                return _TRUE
            case "text":
                return self.is_string_or_number
            case "time":
                return self.is_string if self.may_be_of_several_types else _TRUE
            case "json":
                return _TRUE
            case "boolean":
                return f"{self.j} IN ('true', 'false')" if self.may_be_of_several_types else _TRUE
            case "integer":
                # Lossless because it is written back as it came.
                return _and(self.is_string_or_number, f"TRY_CAST({v} AS BIGINT)::VARCHAR = {v}")
            case "decimal":
                # A number of 20 characters has no more than 19 digits behind the point: the longer type
                # holds it whole, and being equal to it says that the shorter one does too.
                exact = (
                    f"TRY_CAST({v} AS DECIMAL(18,4)) = TRY_CAST({v} AS DECIMAL(38,19)) AND strlen({v}) <= 20"
                )
                number, text = f"NOT contains({v}, 'e')", f"regexp_full_match({v}, '{_PLAIN_NUMBER}')"
                plain = {_TRUE: text, _FALSE: number}.get(
                    self.is_string, f"CASE WHEN {self.is_string} THEN {text} ELSE {number} END"
                )
                return _and(self.is_string_or_number, f"{exact} AND {plain}")
            case "date":
                same = f"strlen({v}) = 10 AND TRY_CAST({v} AS DATE)::VARCHAR = {v}"
                return _and(self.is_string, same)
            case _:
                raise ValueError(f"{self.kind!r} is no kind of a field")


def _and(condition: str, other: str) -> str:
    return other if condition == _TRUE else f"{condition} AND {other}"


def _when(condition: str, value: str) -> str:
    return value if condition == _TRUE else f"CASE WHEN {condition} THEN {value} END"


def _extra(fields: Sequence[_Field], shapes: Shapes) -> str:
    # NULL is fine (null or missing), so only a comparison that is false counts.
    pieces = [
        f"CASE WHEN NOT coalesce({field.fits}, {field.j} IS NULL) THEN {_member(field.name)} || {field.j} END"
        for field in fields
        if field.fits != _TRUE
    ]
    pieces += [
        _when(
            f"list_contains(keys, {text_literal(name)})" if shapes.types is None else _TRUE,
            f"{_member(name)} || coalesce(v.{quoted(name)}::VARCHAR, 'null')",
        )
        for name in shapes.undocumented
    ]
    if shapes.types is None:
        pieces.append(f"',' || v.{quoted(CARRIED)}")
    # concat passes over NULLs; every piece begins with a comma.
    return _joined(pieces, "'{' || ", " || '}'")


def _as_sent(fields: Sequence[_Field], shapes: Shapes) -> str:
    missing, numbers, strings = [], [], []
    for field in fields:
        item = _item(field.name)
        if not field.is_there:
            missing.append(item)
        elif field.name in shapes.sometimes_missing:
            missing.append(f"CASE WHEN NOT list_contains(keys, {text_literal(field.name)}) THEN {item} END")
        if field.kind == "text" and field.may_be_of_several_types:
            numbers.append(f"CASE WHEN {field.j} >= '-' AND {field.j} < ':' THEN {item} END")
        elif field.kind == "text" and field.types == frozenset({NUMBER}):
            numbers.append(f"CASE WHEN {field.v} IS NOT NULL THEN {item} END")
        elif field.kind in ("integer", "decimal") and field.is_string != _FALSE:
            strings.append(f"CASE WHEN {_and(field.is_string, field.fits)} THEN {item} END")
    parts = [
        _joined(items, f"""',"{name}":[' || """, " || ']'")
        for name, items in (("missing", missing), ("numbers", numbers), ("strings", strings))
        if items
    ]
    return _joined(parts, "'{' || ", " || '}'")


def _joined(pieces: Sequence[str], before: str, after: str) -> str:
    """SQL: the pieces that are not NULL, without the comma that the first one begins with; NULL if none."""
    if not pieces:
        return "NULL::VARCHAR"
    return f"{before}nullif(substr(concat({', '.join(pieces)}), 2), ''){after}"


def _member(name: str) -> str:
    return text_literal("," + json.dumps(name, ensure_ascii=False) + ":")


def _item(name: str) -> str:
    return text_literal("," + json.dumps(name, ensure_ascii=False))
