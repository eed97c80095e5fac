"""What the records of one page look like, told from the records as they were parsed on arrival.

Belongs here: which fields a page has and which JSON types their values are of. Does not belong here: what
follows from it for reading the page (`drchrono/landing/day_files.py`, `drchrono/landing/columns.py`). No
value is part of a shape.

A page is parsed when it arrives, while the vendor prepares the next one; telling its shape then saves reading
all pages twice when they become days. A shape is a promise, except for one thing that parsed records cannot
tell: whether a name came twice in a record. Who relies on a shape has to look for that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from types import NoneType
from typing import Any

from health_pipelines.http.json_text import JsonNumber

# For DuckDB: a number that it would write otherwise than it came. That is one with more digits than a float
# keeps, with an exponent, with a zero at the end of its fraction, far below one, or -0. A text that looks
# like one costs time.
HAZARDOUS_NUMBER = (
    r"[:,\[][ \t\n\r]*(?:-?(?:[0-9][0-9.]{15,}|[0-9.]+[eE][-+]?[0-9]|[0-9]+\.[0-9]*0[^0-9.eE]|0\.0000)"
    r"|-0[^0-9.])"
)
_HAZARDOUS_NUMBER = re.compile(HAZARDOUS_NUMBER.encode())
# The same for Python, whose patterns are slow: with all digits alike, few places are worth a look.
_DIGITS_ALIKE = bytes.maketrans(b".123456789E", b"0000000000e")
_MANY_DIGITS, _EXPONENT = b"0" * 16, b"0e"
_WITH_POINTS = bytes.maketrans(b"123456789", b"000000000")
_FRACTION = b"0.0"
_MINUS_ZERO = tuple(before + b"-0" for before in (b":", b",", b"[", b" ", b"\t", b"\n", b"\r"))

STRING, NUMBER, BOOLEAN, CONTAINER = "string", "number", "boolean", "container"
_JSON_TYPES: dict[type, str] = {
    str: STRING,
    int: NUMBER,
    Decimal: NUMBER,
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


def shape_of(body: bytes, records: Sequence[Mapping[str, Any]]) -> PageShape | None:
    """The shape of a page that came as `body`, a JSON text in UTF-8 with `records` in it.

    `records` were parsed by `read_json`. None if the page is irregular: its records do not have
    the same fields in the same order, or have none, a number (or a text that looks like one) is spelled in a
    way that DuckDB would not keep, or a value is none of JSON's (NaN).
    """
    if not records:
        return PageShape({})
    names = list(records[0])
    if not names or any(list(record) != names for record in records) or _has_hazardous_number(body):
        return None
    # Few different rows of types, so that most of the work is done by what is written in C.
    rows = {tuple(map(type, record.values())) for record in records}
    found = {
        name: set(types) - {NoneType} for name, types in zip(names, zip(*rows, strict=True), strict=True)
    }
    if not all(types <= _JSON_TYPES.keys() for types in found.values()):
        return None
    return PageShape({name: frozenset(map(_JSON_TYPES.__getitem__, types)) for name, types in found.items()})


def _has_hazardous_number(body: bytes) -> bool:
    """Whether a number like `HAZARDOUS_NUMBER` is in the JSON, or a text that looks like one."""
    alike = body.translate(_DIGITS_ALIKE)
    if any(map(_ends_in_a_number, alike.split(_MANY_DIGITS)[:-1])):
        return True
    if any(
        after.startswith((b"0", b"+", b"-")) and _ends_in_a_number(before)
        for before, after in pairwise(alike.split(_EXPONENT))
    ):
        return True
    may_be = any(text in body for text in _MINUS_ZERO) or any(
        map(_ends_in_a_number, body.translate(_WITH_POINTS).split(_FRACTION)[:-1])
    )
    return may_be and bool(_HAZARDOUS_NUMBER.search(body))


def _ends_in_a_number(text: bytes) -> bool:
    """Whether what follows this text is a number, or more of it."""
    return text.rstrip(b"0").removesuffix(b"-").rstrip(b" \t\n\r").endswith((b":", b",", b"["))
