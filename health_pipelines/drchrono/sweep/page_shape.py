"""What the records of one page look like, told from the records as they were parsed on arrival.

Belongs here: which fields a page has and which JSON types their values are of. Does not belong here: what
follows from it for reading the page (`drchrono/landing/page_reading.py`, `drchrono/landing/columns.py`). No
value is part of a shape.

A page is parsed when it arrives, while the vendor prepares the next one; telling its shape then saves reading
all pages twice when they become days. A shape is a promise, except for one thing that parsed records cannot
tell: whether a name came twice in a record. Who relies on a shape has to look for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from health_pipelines.http.json_text import JsonNumber

# For DuckDB: a number that it would write otherwise than it came. That is one with more digits than a float
# keeps, with an exponent, with a zero too many at its end, far below one, or -0. A text that looks
# like one costs time.
HAZARDOUS_NUMBER = (
    r'(?:"[ \t\n\r]*:|[,\[])[ \t\n\r]*'
    r"(?:-?(?:[0-9][0-9.]{15,}|[0-9.]+[eE][-+]?[0-9]|[0-9]+\.[0-9]+0[^0-9.eE]|0\.0000)|-0[^0-9.])"
)
_DIGITS_OF_A_FLOAT, _LONGEST_WHOLE = 16, 300

STRING, NUMBER, BOOLEAN, CONTAINER = "string", "number", "boolean", "container"
_JSON_TYPES: dict[type, str] = {
    str: STRING,
    int: NUMBER,
    JsonNumber: NUMBER,
    bool: BOOLEAN,
    dict: CONTAINER,
    list: CONTAINER,
}


@dataclass(frozen=True)
class PageShape:
    """`types`: every field of the page, each of which is in every record, with the JSON types of its values.

    A null is of no type, so that a field that is always null has none. A page without records has no fields.
    """

    types: Mapping[str, frozenset[str]]


def shape_of(records: Sequence[Mapping[str, Any]]) -> PageShape | None:
    """The shape of a page with these records, as `read_json` reads them.

    None if the page is irregular: its records do not have the same fields in the same order, or have none,
    DuckDB would spell a number otherwise, or a value is none of JSON's (NaN).
    """
    if not records:
        return PageShape({})
    names = list(records[0])
    if not names or any(list(record) != names for record in records):
        return None
    # Few different rows of types, so that most of the work is done by what is written in C.
    rows = {tuple(map(type, record.values())) for record in records}
    found = {
        name: set(types) - {NoneType} for name, types in zip(names, zip(*rows, strict=True), strict=True)
    }
    if not all(types <= _JSON_TYPES.keys() for types in found.values()):
        return None
    with_numbers = [name for name, types in found.items() if types & {JsonNumber, dict, list}]
    if not all(is_spelled_by_duckdb(record[name]) for name in with_numbers for record in records):
        return None
    return PageShape({name: frozenset(map(_JSON_TYPES.__getitem__, types)) for name, types in found.items()})


def is_spelled_by_duckdb(value: Any) -> bool:
    """Whether DuckDB writes every number in a value as it came."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one
        elif isinstance(one, JsonNumber) and not number_stays(one.spelling):
            return False
    return True


def number_stays(spelling: str) -> bool:
    """Whether DuckDB, which reads whole numbers whole and all others as 64-bit floats, writes it the same.

    One with an exponent never does: `1e+22`, which is how Python writes it too, is `1e22` in DuckDB.
    """
    if set(spelling) & set("eE"):
        return False
    if "." not in spelling:
        return spelling != "-0" and len(spelling) < _LONGEST_WHOLE
    return repr(float(spelling)) == spelling and len(spelling) <= _DIGITS_OF_A_FLOAT
