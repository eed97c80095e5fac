"""A partition file says what the JSON rows said, and the same rows in another order say the same."""

import json
import random
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipelines.lake.csv_partition import (
    LINEAGE_COLUMNS,
    Lineage,
    columns_of,
    content_hash_of,
    row_changes,
    row_count,
)
from health_pipelines.lake.json_partition import (
    JsonRow,
    JsonRowsError,
    content_hash,
    in_order,
    value_text,
    write_json_partition,
)

LINEAGE = Lineage(date(2026, 3, 8), "3b690e39", datetime(2026, 3, 9, 5, 30, 1, 234567, tzinfo=UTC))


def write(rows: Sequence[JsonRow], file: Path) -> Path:
    write_json_partition(in_order(rows, "id"), "id", file, LINEAGE)
    return file


def read(file: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(file, hive_partitioning=False).drop(*LINEAGE_COLUMNS).to_dicts()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        ("null", "null"),
        ("007", "007"),
        ("a\0b\n\r\"',é😀", "a\0b\n\r\"',é😀"),
        (7, "7"),
        (-0.5, "-0.5"),
        (1.0, "1.0"),
        (99999999999999999999999999, "99999999999999999999999999"),
        (Decimal("1.10"), "1.10"),
        (Decimal("123456789012345678901234567890.10"), "123456789012345678901234567890.10"),
        (True, "true"),
        (False, "false"),
        ([], "[]"),
        (["NA", None, 1, "ñ"], '["NA",null,1,"ñ"]'),
        ({"b": {"c": 1.5}, "a": "x y"}, '{"b":{"c":1.5},"a":"x y"}'),
        ({"b": [Decimal("1.10"), {"ñ": Decimal("-0.00")}]}, '{"b":[1.10,{"ñ":-0.00}]}'),
    ],
)
def test_a_value_of_each_kind_has_its_own_text(tmp_path: Path, value: Any, text: str | None) -> None:
    file = write([{"id": "1", "value": value}, {"id": "2", "value": 1.5}, {"id": "3"}], tmp_path / "p")

    assert read(file)[0] == {"id": "1", "value": text}
    assert read(file)[1:] == [{"id": "2", "value": "1.5"}, {"id": "3", "value": None}]
    with duckdb.connect() as connection:
        first = connection.execute(
            "SELECT value FROM read_parquet(?, hive_partitioning = false) WHERE id = '1'", [str(file)]
        ).fetchall()
    assert first == [(text,)]


def test_numbers_beside_missing_values_stay_whole(tmp_path: Path) -> None:
    file = write([{"id": 1, "n": 5}, {"id": 2}, {"id": 10, "n": 6.5}], tmp_path / "p")
    assert read(file) == [{"id": "1", "n": "5"}, {"id": "10", "n": "6.5"}, {"id": "2", "n": None}]


def test_the_columns_are_all_fields_of_all_rows_made_unique(tmp_path: Path) -> None:
    rows = [{"id": "1", "b": "x"}, {"id": "2", "a": "y", "ID": "z", "": "w"}, {"id": "3", "b": "v"}]
    file = write(rows, tmp_path / "p")
    assert columns_of(file) == ("id", "b", "a", "ID_2", "column_5", *LINEAGE_COLUMNS)
    assert read(file)[1] == {"id": "2", "b": None, "a": "y", "ID_2": "z", "column_5": "w"}


def test_no_rows_are_a_file_with_the_key_and_the_lineage(tmp_path: Path) -> None:
    file = write([], tmp_path / "p")
    assert columns_of(file) == ("id", *LINEAGE_COLUMNS)
    assert row_count(file) == 0
    assert content_hash_of(file) == content_hash([])


def test_every_row_says_where_it_came_from_in_the_types_of_every_partition(tmp_path: Path) -> None:
    file = write([{"id": "1"}], tmp_path / "p")
    types_of = ", ".join(f"typeof({name})" for name in LINEAGE_COLUMNS)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {types_of}, _partition_date, _report_id, epoch_us(_extracted_at) "
            "FROM read_parquet(?, hive_partitioning = false)",
            [str(file)],
        ).fetchone()
    types = [
        "TIMESTAMP WITH TIME ZONE" if name == "TIMESTAMPTZ" else name for name in LINEAGE_COLUMNS.values()
    ]
    extracted = int(LINEAGE.extracted_at.timestamp()) * 1_000_000 + 234567
    assert found == (*types, LINEAGE.partition_date, LINEAGE.report_id, extracted)


@pytest.mark.parametrize("name", ["_report_id", "_Partition_Date"])
def test_a_field_with_the_name_of_a_lineage_column_gets_a_number(tmp_path: Path, name: str) -> None:
    write([{"id": "1", name: "x"}], tmp_path / "p")

    assert pl.read_parquet(tmp_path / "p")[f"{name}_2"].to_list() == ["x"]


@pytest.mark.parametrize("row", ['{"id": "Zebulon \\ud800"}', '{"id": "1", "Zebulon": ["\\udfff"]}'])
def test_text_that_is_not_unicode_is_refused_and_not_shown(tmp_path: Path, row: str) -> None:
    with pytest.raises(JsonRowsError, match="not Unicode") as caught:
        write([json.loads(row)], tmp_path / "p")
    assert "Zebulon" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(max_size=4) | st.integers()}, optional={"a": JSON, "A": JSON, "b": JSON}
    ),
    max_size=8,
)


@settings(max_examples=60)
@given(rows=ROWS, seed=st.integers())
def test_the_order_of_rows_and_fields_changes_neither_the_hash_nor_a_row(
    rows: list[JsonRow], seed: int
) -> None:
    shuffled = [dict(reversed(list(row.items()))) for row in rows]
    random.Random(seed).shuffle(shuffled)
    assert content_hash(in_order(rows, "id")) == content_hash(in_order(shuffled, "id"))
    # The columns are in the order of their first appearance, so only the order of rows is another here.
    reordered = [rows[i] for i in random.Random(seed).sample(range(len(rows)), len(rows))]
    with tempfile.TemporaryDirectory() as folder:
        one, other = write(rows, Path(folder) / "one"), write(reordered, Path(folder) / "other")
        assert not row_changes(one, other)
        assert content_hash_of(one) == content_hash_of(other)
        assert [row["id"] for row in read(one)] == sorted(value_text(row["id"]) or "" for row in rows)


@settings(max_examples=60)
@given(rows=ROWS)
def test_every_value_comes_back_as_its_text(rows: list[JsonRow]) -> None:
    plain = [{name: value for name, value in row.items() if name != "A"} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        came = read(write(plain, Path(folder) / "p"))
    fields = ["id", *(name for name in ("a", "b") if any(name in row for row in plain))]
    expected = [{name: value_text(row.get(name)) for name in fields} for row in in_order(plain, "id")]
    assert came == expected


def test_every_digit_of_a_number_counts_for_the_hash() -> None:
    rows = [[{"id": "1", "a": Decimal(text)}] for text in ("1.1", "1.10")]
    assert content_hash(rows[0]) != content_hash(rows[1])
    # Partitions that landed before numbers were read as Decimal are not rewritten for it.
    assert content_hash([{"id": "1", "a": {"c": [1.5, 2]}}]) == content_hash(
        [{"a": {"c": [Decimal("1.5"), 2]}, "id": "1"}]
    )


@pytest.mark.parametrize("changed", [{"id": "1", "a": "y"}, {"id": "2", "a": "x"}, {"id": "1", "b": "x"}])
def test_another_value_id_or_field_is_another_hash(changed: dict[str, str]) -> None:
    assert content_hash([changed]) != content_hash([{"id": "1", "a": "x"}])
