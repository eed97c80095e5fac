"""Pages that DuckDB cannot read without loss, rewritten so that it can.

Belongs here: what DuckDB's JSON reader loses or refuses, and how a record is spelled instead. Does not belong
here: finding such pages and reading pages (`day_files.py`). This is slow (Python's own parser), and hardly
any page needs it.

What is taken out of a record is carried along as text (`columns.CARRIED`) and lands in `_extra` as it came:

- a field with a number that a 64-bit float would change (17 and more digits, 1e-400);
- a field with half a surrogate pair, which is no Unicode text;
- a field whose name comes twice in one record, every time it comes. JSON does not say which one counts; the
  last does for Python, and so it is in the column too if the records are told apart or ordered by it;
- an undocumented field.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from health_pipelines.drchrono.landing.columns import CARRIED
from health_pipelines.drchrono.records import RecordType


class _Object(list[tuple[str, Any]]):
    """A JSON object as it came: every field in order, also one that comes twice."""


class _Number(str):
    """A JSON number as it came."""

    __slots__ = ()


def rewrite_page(record_type: RecordType, page: Path, target: Path) -> None:
    """Write the page's records to `target` so that nothing is lost when DuckDB reads them."""
    content = json.loads(
        page.read_bytes(),
        object_pairs_hook=_Object,
        parse_float=_Number,
        parse_int=_Number,
        parse_constant=_Number,
    )
    records = next(value for name, value in reversed(content) if name == "results")
    rewritten = ",".join(_rewritten(record_type, record) for record in records)
    target.write_text(f'{{"results":[{rewritten}]}}', encoding="utf-8")


def _rewritten(record_type: RecordType, record: _Object) -> str:
    names = [name for name, _ in record]
    kept: dict[str, str] = {}
    carried: list[str] = []
    for name, value in record:
        text = _text(value)
        if name not in record_type.columns or names.count(name) > 1 or not _survives(value):
            carried.append(f"{_text(name)}:{text}")
            # Not missing: null and named in `_extra` is not the same as not there.
            text = text if name in (record_type.key, record_type.changed) and _survives(value) else "null"
        if name in record_type.columns:
            kept[name] = text
    if carried:
        # Text inside of text: ASCII only, so that half a surrogate pair stays the escape it came as.
        kept[CARRIED] = json.dumps(",".join(carried))
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in kept.items()) + "}"


def _survives(value: Any) -> bool:
    if isinstance(value, _Number):
        return _number_survives(value)
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, _Object):
        return all(_is_unicode(name) and _survives(inner) for name, inner in value)
    if isinstance(value, list):
        return all(map(_survives, value))
    return True


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _number_survives(number: str) -> bool:
    if not set(number) & set(".eE"):
        return True  # DuckDB keeps a whole number of any length
    # The same float again is not enough: 0.10000000000000000555 is the float 0.1 and another number.
    return Decimal(repr(float(number))) == Decimal(number)


def _text(value: Any) -> str:
    """Compact JSON, ASCII only, numbers as they came."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Object):
        return "{" + ",".join(f"{json.dumps(name)}:{_text(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)
