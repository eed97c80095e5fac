"""What the records of one page look like, told from the records as they were parsed on arrival.

Belongs here: which fields a page has and which JSON types their values are of. Does not belong here: what
follows from it for reading the page (`day_files.py`, `columns.py`). No value is part of a shape.

A page is parsed when it arrives, while the vendor prepares the next one; telling its shape then saves reading
all pages twice when they become days. A shape is a promise, except for one thing that parsed records cannot
tell: whether a name came twice in a record. Who relies on a shape has to look for that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType
from typing import Any

# A number with more digits than a float keeps, or with an exponent. A text that looks like one costs time.
# It means the same to Python and to DuckDB.
HAZARDOUS_NUMBER = r"[:,\[][ \t\n\r]*-?(?:[0-9][0-9.]{15,}|[0-9.]+[eE][-+]?[0-9])"
_HAZARDOUS_NUMBER = re.compile(HAZARDOUS_NUMBER.encode())

STRING, NUMBER, BOOLEAN, CONTAINER = "string", "number", "boolean", "container"
_JSON_TYPES: dict[type, str] = {
    str: STRING,
    int: NUMBER,
    Decimal: NUMBER,
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


def shape_of(body: bytes, records: Sequence[Mapping[str, Any]]) -> PageShape | None:
    """The shape of a page that came as `body`, a JSON text in UTF-8 with `records` in it.

    `records` were parsed with `parse_float=Decimal`. None if the page is irregular: its records do not have
    the same fields in the same order, a number (or a text that looks like one) is spelled in a way that a
    64-bit float may not keep, or a value is none of JSON's (NaN).
    """
    if not records:
        return PageShape({})
    if len(set(map(tuple, records))) > 1 or _HAZARDOUS_NUMBER.search(body):
        return None
    # Few different rows of types, so that most of the work is done by what is written in C.
    rows = {tuple(map(type, record.values())) for record in records}
    found = {
        name: set(types) - {NoneType} for name, types in zip(records[0], zip(*rows, strict=True), strict=True)
    }
    if not all(types <= _JSON_TYPES.keys() for types in found.values()):
        return None
    return PageShape({name: frozenset(map(_JSON_TYPES.__getitem__, types)) for name, types in found.items()})
