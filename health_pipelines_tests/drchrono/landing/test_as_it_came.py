"""What the vendor sent stands in the lake in its own characters, however odd it is, and fails nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipelines.drchrono.landing.day_files import write_day
from health_pipelines.drchrono.landing.page_reading import PageFile
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.page_shape import shape_of
from health_pipelines.http.json_text import read_json
from health_pipelines_tests.drchrono.landing.test_day_files import (
    BY_NAME,
    DAY,
    TRANSACTIONS,
    landed,
    page,
    rows_of,
    staged,
)

PATIENTS = BY_NAME["patients"]
NUMBERS = (
    "250.10", "1.10", "1E5", "1e5", "-0", "-0.0", "10000000000000000000000.0", "0.00001", "1.0", "7",
    "12345678901234567890", "1e400", "1e9999999999999999999", "0.1", "9" * 5000,
)  # fmt: skip


def landed_as_seen(record_type: RecordType, records: str, folder: Path) -> list[dict[str, Any]]:
    """As `landed`, for a page whose shape was told on arrival."""
    file = page(folder, records)
    body = file.path.read_bytes()
    seen = PageFile(file.path, file.uuid, file.order, shape_of(read_json(body)["results"]))
    target = folder / "seen.parquet"
    write_day(staged(record_type, [seen], folder), None, DAY, target, report_id="sweep")
    return rows_of(target)


@pytest.mark.parametrize("read", [landed, landed_as_seen])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_in_a_text_column_is_the_vendors_own_text(number: str, read: Any, tmp_path: Path) -> None:
    [row] = read(TRANSACTIONS, f'[{{"id": 1, "adjustment_reason": {number}}}]', tmp_path)

    assert row["adjustment_reason"] == number
    assert json.loads(row["_as_sent"])["numbers"] == ["id", "adjustment_reason"]
    assert row["_extra"] is None


@pytest.mark.parametrize("read", [landed, landed_as_seen])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_no_column_holds_is_in_extra_as_it_came(number: str, read: Any, tmp_path: Path) -> None:
    record = f'{{"id":1,"new":{number},"deep":{{"codes":[{number},"a"]}},"posted_date":{number}}}'

    [row] = read(TRANSACTIONS, f"[{record}]", tmp_path)

    assert f'"new":{number}' in row["_extra"]
    assert f'"deep":{{"codes":[{number},"a"]}}' in row["_extra"]
    assert f'"posted_date":{number}' in row["_extra"]
    assert row["posted_date"] is None


@pytest.mark.parametrize("read", [landed, landed_as_seen])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_inside_of_a_json_column_is_as_it_came(number: str, read: Any, tmp_path: Path) -> None:
    [row] = read(PATIENTS, f'[{{"id": 1, "offices": [{{"code":{number}}}, 3]}}]', tmp_path)

    assert row["offices"] == f'[{{"code":{number}}},3]'


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-07:00", "0000-00-00", "24:00", "\x00"]
)
def test_a_time_that_no_reader_has_is_null_beside_its_text(text: str, tmp_path: Path) -> None:
    [row] = landed(TRANSACTIONS, [{"id": 1, "updated_at": text, "created_at": text}], tmp_path)

    assert (row["updated_at"], row["updated_at_text"]) == (None, text)
    assert (row["created_at"], row["created_at_text"]) == (None, text)


def test_values_nested_as_deep_as_can_be_read_are_kept_beside_an_odd_number(tmp_path: Path) -> None:
    deep = "[" * 700 + "1.10" + "]" * 700

    [row] = landed(TRANSACTIONS, f'[{{"id": 1, "new": {deep}}}]', tmp_path)

    assert row["_extra"] == f'{{"new":{deep}}}'


@pytest.mark.parametrize("text", [r"\ud800", "\udc80"])
def test_half_a_surrogate_pair_lands_as_an_escape_whether_it_came_as_one_or_as_bytes(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "page-0.json"
    body = f'{{"results": [{{"id": 1, "adjustment_reason": "a{text}"}}, {{"id": 2}}]}}'
    file.write_bytes(body.encode(errors="surrogatepass"))
    target = tmp_path / "all.parquet"

    write_day(
        staged(TRANSACTIONS, [PageFile(file, "list", 0)], tmp_path), None, DAY, target, report_id="sweep"
    )

    first, second = rows_of(target)
    half = r"\ud800" if text == r"\ud800" else r"\udc80"
    assert first["_extra"] == f'{{"adjustment_reason":"a{half}"}}'
    assert second["id"] == "2"


ODD = st.one_of(
    st.sampled_from(NUMBERS),
    st.text(max_size=12).map(json.dumps),
    st.sampled_from(
        [
            *("null", "true", "[]", "{}", '"NaN"', '"Infinity"', '"1e999999999"', '"0001-01-01T00:00:00Z"'),
            *('"9999-12-31T23:59:59-07:00"', '"2026-02-30"', '"-5877642-06-25"', '"99999-01-01"', '"1.2.3"'),
        ]
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda one: f"{one:f}"),
)


@pytest.mark.slow
@settings(max_examples=10)
@given(field=st.sampled_from(sorted(PATIENTS.columns)), value=ODD)
def test_one_odd_value_never_fails_a_day(
    field: str, value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if field == PATIENTS.key:
        return
    folder = tmp_path_factory.mktemp("odd")

    rows = landed(PATIENTS, f'[{{"id": 1, "{field}": {value}}}, {{"id": 2}}]', folder)

    assert sorted(row["id"] for row in rows) == ["1", "2"]
