"""Pages that DuckDB cannot read without loss, rewritten so that it can.

Belongs here: what DuckDB's JSON reader loses or refuses, and how a record is spelled instead. Does not belong
here: finding such pages and reading pages (`page_reading.py`). This is slow (Python's own parser), and hardly
any page needs it.

What is taken out of a record is carried along as text (`columns.CARRIED`) and lands in `_extra` as it came:

- a field with half a surrogate pair, which is no Unicode text;
- a field whose name comes twice in one record, every time it comes. JSON does not say which one counts; the
  last does for Python, and so it is in the column too if the records are told apart or ordered by it;
- an undocumented field;
- a number that DuckDB would spell otherwise, where it does not fit its column.

Where such a number fits, or is inside of a JSON column, the column gets the vendor's own characters
(`columns.SPELLED`): 1.10, 1E5, -0 and numbers of 17 and more digits.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from health_pipelines.drchrono.landing.columns import CARRIED, SPELLED
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.page_shape import number_stays
from health_pipelines.http.json_text import JsonNumber
from health_pipelines.lake.json_as_it_came import JsonObject, JsonSpelling, read_as_it_came, text_of

# What the type of a decimal column holds (`columns.py`).
_SMALLEST, _MOST, _LEAST_EXPONENT = Decimal("0.0001"), Decimal(10) ** 14, -4


def rewrite_page(record_type: RecordType, page: Path, target: Path) -> None:
    """Write the page's records to `target` so that nothing is lost when DuckDB reads them."""
    content = read_as_it_came(page.read_bytes())
    records = next(value for name, value in reversed(content) if name == "results")
    rewritten = ",".join(_rewritten(record_type, record) for record in records)
    target.write_text(f'{{"results":[{rewritten}]}}', encoding="utf-8")


def _rewritten(record_type: RecordType, record: JsonObject) -> str:
    names = [name for name, _ in record]
    kept: dict[str, str] = {}
    spelled: dict[str, str] = {}
    carried: list[str] = []
    for name, value in record:
        text, kind = text_of(value), record_type.columns.get(name)
        if kind is None or names.count(name) > 1 or not _is_unicode(value):
            carried.append(f"{text_of(name)}:{text}")
            # Not missing: null and named in `_extra` is not the same as not there.
            text = text if name in (record_type.key, record_type.changed) and _is_unicode(value) else "null"
        elif not _is_spelled_by_duckdb(value):
            if as_column := _as_column(kind, value, text):
                spelled[name] = as_column
                # A number all the same, which `_as_sent` tells.
                text = "null" if kind == "json" else "0"
            else:
                carried.append(f"{text_of(name)}:{text}")
                text = "null"
        if kind is not None:
            kept[name] = text
    # Text inside of text: ASCII only, so that half a surrogate pair stays the escape it came as.
    if carried:
        kept[CARRIED] = json.dumps(",".join(carried))
    if spelled:
        kept[SPELLED] = json.dumps(json.dumps(spelled))
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in kept.items()) + "}"


def _as_column(kind: str, value: Any, text: str) -> str | None:
    """What the field's column says of a value that DuckDB would spell otherwise; None if it does not fit."""
    if kind == "json" or (kind == "text" and isinstance(value, JsonSpelling)):
        return text
    return _exact(value) if kind == "decimal" and isinstance(value, JsonSpelling) else None


def _is_unicode(value: Any) -> bool:
    """Whether no text in it, and no name, has half a surrogate pair."""
    return not any(
        "\ud800" <= letter <= "\udfff"
        for text in _scalars(value, with_names=True)
        if isinstance(text, str)
        for letter in text
    )


def _is_spelled_by_duckdb(value: Any) -> bool:
    """Whether DuckDB writes every number in it as it came."""
    return all(number_stays(one) for one in _scalars(value) if isinstance(one, JsonSpelling))


def _exact(number: str) -> str | None:
    """The same number without an exponent, if a column of money or quantities holds it exactly."""
    value = JsonNumber(number)
    if value.is_nan() or not abs(value) < _MOST or value.adjusted() < _LEAST_EXPONENT:
        return None
    rounded = value.quantize(_SMALLEST)
    return f"{rounded:f}" if rounded == value else None


def _scalars(value: Any, *, with_names: bool = False) -> Iterator[Any]:
    """Every value in it that is no list and no object. Not by recursion: values may be nested deeply."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, JsonObject):
            if with_names:
                yield from (name for name, _ in one)
            todo += [inner for _, inner in one]
        elif isinstance(one, list):
            todo += one
        else:
            yield one
