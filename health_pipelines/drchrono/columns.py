"""The columns of a DrChrono partition file, and the SQL that makes them from a vendor's record.

Belongs here: which column a documented field becomes, which value fits it, and what `_extra` and `_as_sent`
keep. Does not belong here: the documented fields (`records.py`), reading pages and writing files
(`day_files.py`).

Nothing of a record is lost. A value that fits its field's kind is in its column; any other value, and every
undocumented field, is in `_extra` as it came. `_as_sent` tells the rest: which documented fields were not
there at all (null is a NULL, missing is a NULL that is named there), which text fields came as numbers, and
which numbers came as text.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from health_pipelines.drchrono.local_time import LOCAL_TIME, OFFSET_TIME, utc_of_local
from health_pipelines.drchrono.records import RecordType
from health_pipelines.partition_file import quoted

EXTRA, AS_SENT = "_extra", "_as_sent"
# The field in which `odd_pages.py` hands over what it took out of a record, as the members of a JSON object.
CARRIED = "carried by odd_pages.py"
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
    equal when case is ignored, and the documented fields that some record lacks."""

    undocumented: Collection[str]
    sometimes_missing: Collection[str]

    @property
    def keys_are_needed(self) -> bool:
        return bool(self.undocumented or self.sometimes_missing)


def read_times(record_type: RecordType) -> str:
    """The select list of what `select_columns` needs of every time, beside `v`, `j` and `keys`.

    Apart from it, so that a text is read once and not once for every rule of the zone.
    """
    times = [field for field, kind in record_type.columns.items() if kind == "time"]
    return "".join(
        f", {reading.format(value=_v(field))} AS {quoted(f'{prefix} {field}')}"
        for field in times
        for prefix, reading in (("local", LOCAL_TIME), ("offset", OFFSET_TIME))
    )


def select_columns(record_type: RecordType, shapes: Shapes) -> str:
    """The select list that makes every vendor column of a row with `v`, `j`, `keys` and `read_times`.

    `v` is a struct of all fields as VARCHAR, `j` one of all fields as JSON text, `keys` the list of the
    record's own fields, which may be absent if the shapes do not need it. The connection has to know the
    zone (`local_time.zone_variables`).
    """
    columns, left_over = [], []
    for field, kind in record_type.columns.items():
        value, fits = _value_and_fit(field, kind)
        if kind == "time":
            local, offset = quoted(f"local {field}"), quoted(f"offset {field}")
            value = f"coalesce({utc_of_local(local)}, {offset})"
        columns.append(f"CASE WHEN {fits} THEN {value} END AS {quoted(field)}")
        if kind == "time":
            columns.append(
                f"CASE WHEN {_j(field)} < '#' THEN {_v(field)} END AS {quoted(text_column(field))}"
            )
            fits = f"{_j(field)} < '#'"
        if kind != "json":
            # NULL is fine (null or missing), so only a comparison that is false counts.
            left_over.append((field, f"NOT coalesce({fits}, {_j(field)} IS NULL)"))
    columns.append(f"{_extra(left_over, shapes.undocumented)} AS {EXTRA}")
    columns.append(f"{_as_sent(record_type, shapes.sometimes_missing)} AS {AS_SENT}")
    return ",\n".join(columns)


def structures(record_type: RecordType, shapes: Shapes) -> tuple[str, str]:
    """What `from_json` has to read from a page for `v` and for `j`, as SQL text literals."""
    kinds = record_type.columns
    texts = [field for field, kind in kinds.items() if kind not in ("json", "boolean")]
    return (
        literal(json.dumps({"results": [dict.fromkeys([*texts, CARRIED], "VARCHAR")]})),
        literal(json.dumps({"results": [dict.fromkeys([*kinds, *shapes.undocumented], "JSON")]})),
    )


def _v(field: str) -> str:
    return f"v.{quoted(field)}"


def _j(field: str) -> str:
    return f"j.{quoted(field)}::VARCHAR"


# A JSON text begins with " (0x22) if it is a string, with - or a digit (0x2d to 0x39) if it is a number, and
# with something greater if it is anything else: a comparison is far cheaper than asking for its type.
def _value_and_fit(field: str, kind: str) -> tuple[str, str]:  # noqa: PLR0911 - one for each kind
    v, j = _v(field), _j(field)
    match kind:
        case "text":
            return v, f"{j} < ':'"
        case "json":
            return j, f"{j} IS NOT NULL"
        case "boolean":
            return f"{j} = 'true'", f"{j} IN ('true', 'false')"
        case "integer":
            # Lossless because it is written back as it came.
            return f"TRY_CAST({v} AS BIGINT)", f"{j} < ':' AND TRY_CAST({v} AS BIGINT)::VARCHAR = {v}"
        case "decimal":
            # A number of 20 characters has no more than 19 digits behind the point: the longer type holds
            # it whole, and being equal to it says that the shorter one does too.
            exact = f"TRY_CAST({v} AS DECIMAL(18,4)) = TRY_CAST({v} AS DECIMAL(38,19)) AND strlen({v}) <= 20"
            plain = (
                f"CASE WHEN {j} < '#' THEN regexp_full_match({v}, '{_PLAIN_NUMBER}') "
                f"ELSE NOT contains({v}, 'e') END"
            )
            return f"TRY_CAST({v} AS DECIMAL(18,4))", f"{j} < ':' AND {exact} AND {plain}"
        case "date":
            same = f"strlen({v}) = 10 AND TRY_CAST({v} AS DATE)::VARCHAR = {v}"
            return f"TRY_CAST({v} AS DATE)", f"{j} < '#' AND {same}"
        case "time":
            return v, f"{j} < '#'"
        case _:
            raise ValueError(f"{kind!r} is no kind of a field")


def _extra(left_over: Sequence[tuple[str, str]], undocumented: Collection[str]) -> str:
    pieces = [
        f"CASE WHEN {condition} THEN {_member(field)} || {_j(field)} END" for field, condition in left_over
    ]
    pieces += [
        f"CASE WHEN list_contains(keys, {literal(name)}) "
        f"THEN {_member(name)} || coalesce({_j(name)}, 'null') END"
        for name in undocumented
    ]
    # concat passes over NULLs; every piece begins with a comma.
    carried = f"',' || {_v(CARRIED)}"
    return f"nullif('{{' || substr(concat({', '.join([*pieces, carried])}), 2) || '}}', '{{}}')"


def _as_sent(record_type: RecordType, sometimes_missing: Collection[str]) -> str:
    fields = record_type.columns
    missing = [f"CASE WHEN NOT list_contains(keys, {literal(name)}) THEN {_item(name)} END" for name in fields
               if name in sometimes_missing]  # fmt: skip
    numbers, strings = [], []
    for field, kind in fields.items():
        j = _j(field)
        if kind == "text":
            numbers.append(f"CASE WHEN {j} >= '-' AND {j} < ':' THEN {_item(field)} END")
        elif kind in ("integer", "decimal"):
            strings.append(
                f"CASE WHEN {j} < '#' AND {_value_and_fit(field, kind)[1]} THEN {_item(field)} END"
            )
    parts = [
        f"""',"{name}":[' || nullif(substr(concat({", ".join(items)}), 2), '') || ']'"""
        for name, items in (("missing", missing), ("numbers", numbers), ("strings", strings))
        if items
    ]
    return f"nullif('{{' || substr(concat({', '.join(parts)}), 2) || '}}', '{{}}')"


def _member(name: str) -> str:
    return literal("," + json.dumps(name, ensure_ascii=False) + ":")


def _item(name: str) -> str:
    return literal("," + json.dumps(name, ensure_ascii=False))


def literal(text: str) -> str:
    """A text for SQL."""
    return "'" + text.replace("'", "''") + "'"
