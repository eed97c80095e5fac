"""One partition as a Parquet file, written from JSON rows: what `partition_file` is for a CSV.

Belongs here: how a JSON row becomes a row of text columns, and the hash of what such rows say. Does not
belong here: the columns that tell where a row came from and the comparison of two files
(`csv_partition.py`), where files live (`partitions.py`), and where rows come from. No error says a value.

Every top-level field is one text column: a string is its own text, null or a missing field is NULL, and a
number, a truth value, an object or an array is its compact JSON text, so that 7 stays `7`. A number that came
as a `Decimal` keeps all its digits, so that 1.10 stays `1.10`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from health_pipelines.lake.csv_partition import Lineage, column_names, renamed_columns, sink
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import polars as pl
else:
    pl = loaded_when_used("polars")

JsonRow = Mapping[str, Any]


class JsonRowsError(Exception):
    """The rows cannot become a partition file. One sentence, without values."""


def value_text(value: Any) -> str | None:
    """A JSON value as the text of its column."""
    if value is None or isinstance(value, str):
        return value
    return _compact(value, ensure_ascii=False, sort_keys=False)


def in_order(rows: Sequence[JsonRow], key: str) -> list[JsonRow]:
    """The rows by the text of their field `key`, the same whatever order they came in."""
    return sorted(rows, key=lambda row: (value_text(row[key]) or "", _canonical(row)))


def content_hash(ordered_rows: Sequence[JsonRow]) -> str:
    """The hash of what the rows say; blind to the order of an object's fields."""
    found = hashlib.sha256()
    for row in ordered_rows:
        found.update(_canonical(row).encode())
        found.update(b"\n")
    return f"sha256:{found.hexdigest()}"


def write_json_partition(ordered_rows: Sequence[JsonRow], key: str, file: Path, lineage: Lineage) -> None:
    """Write the rows as Parquet (zstd), with the lineage columns and the footer of every partition.

    The columns are the fields of all rows in the order of their first appearance, made unique as
    `column_names` does; `key` is among them even if there is no row, and is called so. `lineage.report_id` is
    the id of whatever brought the rows here. A source without reports gives an id that it made up for its
    query: the column is called `_report_id` all the same, so that every table of the lake has the same
    lineage columns.

    Raises `JsonRowsError` for text that is not Unicode.
    """
    fields = list(dict.fromkeys([*(field for row in ordered_rows for field in row), key]))
    columns = column_names(fields, key=key)
    try:
        frame = pl.LazyFrame(
            {
                column: pl.Series([value_text(row.get(field)) for row in ordered_rows], dtype=pl.String)
                for field, column in zip(fields, columns, strict=True)
            }
        )
        renamed = renamed_columns(fields, columns)
        sink(frame, file, lineage, content_hash(ordered_rows), columns=len(columns), metadata=renamed)
    except UnicodeEncodeError:  # `from None`: it holds the text. JSON may escape half a surrogate pair.
        raise JsonRowsError("a value or a field's name is not Unicode text") from None


def _canonical(row: JsonRow) -> str:
    return _compact(row, ensure_ascii=True, sort_keys=True)


def _compact(value: Any, *, ensure_ascii: bool, sort_keys: bool) -> str:
    """As `json.dumps` without spaces, which cannot write a Decimal as the number it is."""

    def text(inner: Any) -> str:
        if isinstance(inner, Decimal):
            return str(inner)
        if isinstance(inner, Mapping):
            items = sorted(inner.items()) if sort_keys else inner.items()
            return "{" + ",".join(f"{text(name)}:{text(item)}" for name, item in items) + "}"
        if isinstance(inner, list):
            return "[" + ",".join(map(text, inner)) + "]"
        return json.dumps(inner, ensure_ascii=ensure_ascii)

    try:
        return json.dumps(value, ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=(",", ":"))
    except TypeError:  # a Decimal somewhere in it; without one, the above is many times faster
        return text(value)
