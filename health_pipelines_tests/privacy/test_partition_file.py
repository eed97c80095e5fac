"""A partition file without what may not be in it."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from health_pipelines.lake.csv_partition import Lineage, write_partition
from health_pipelines.lake.csv_shape import CsvShape
from health_pipelines.lake.partitions import Table
from health_pipelines.privacy.keyed_hash import keyed_hash, prepare_sql
from health_pipelines.privacy.partition_file import ErasedRows, erased_in, rows_erased, write_without
from health_pipelines.privacy.patients import References, name_of
from health_pipelines.privacy.rules import Rules

KEY = b"a key of thirty-two characters!!"
VISITS = Table("dexcare", "avr_virtual")
LINEAGE = Lineage(date(2026, 3, 10), "report", datetime(2026, 3, 11, tzinfo=UTC))


def landed(folder: Path, csv: str) -> Path:
    """The partition file of a CSV, as a landing writes it."""
    body, file = folder / "body.csv", folder / "landed.parquet"
    body.write_text(csv)
    shape = CsvShape()
    shape.feed(body.read_bytes())
    write_partition(body, shape.summary(end_is_proven=True), file, LINEAGE, "sha256:body")
    return file


def rows(file: Path) -> list[dict[str, Any]]:
    own = pl.read_parquet(file, glob=False, hive_partitioning=False)
    return own.drop("_partition_date", "_report_id", "_extracted_at").to_dicts()


def minimised(folder: Path, csv: str, rules: Rules, **more: Any) -> list[dict[str, Any]]:
    target = folder / "minimised.parquet"
    write_without(landed(folder, csv), target, rules, None, metadata={}, **more)
    return rows(target)


def rules(*left_out: str, hashed: tuple[str, ...] = ()) -> Rules:
    return Rules(frozenset(left_out), frozenset(hashed), KEY if hashed else b"")


def hashed(text: str) -> str:
    return "hmac:" + hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("key", [b"k", b"k" * 64, b"k" * 65, bytes(range(256))])
@pytest.mark.parametrize("text", ["", "123", "Zoë", "x" * 200])
def test_the_hash_in_sql_is_the_hmac_of_the_standard(key: bytes, text: str) -> None:
    with duckdb.connect() as connection:
        prepare_sql(connection, "keyed", key)
        [(found,)] = connection.execute("SELECT keyed(?)", [text]).fetchall()

    assert found == hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == keyed_hash(key, text)


def test_a_column_is_left_out_whatever_its_case_and_however_often_it_comes(tmp_path: Path) -> None:
    csv = '"id","SSN","ssn","SSN_2","name"\n"1","a","b","c","Ada"\n'

    # The third is called SSN_2 here, so that what the vendor calls so is called otherwise, and stays.
    assert minimised(tmp_path, csv, rules("ssn")) == [{"id": "1", "SSN_2_2": "c", "name": "Ada"}]


def test_a_hash_keeps_null_and_empty_apart_and_joins(tmp_path: Path) -> None:
    csv = '"id","mrn"\n"1","A7"\n"2",\n"3",""\n"4","A7"\n'

    assert [row["mrn"] for row in minimised(tmp_path, csv, rules(hashed=("mrn",)))] == [
        hashed("A7"),
        None,
        "",
        hashed("A7"),
    ]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"ssn":"123","n":1.10}', '{"n":1.10}'),
        ('{"a":[{"b":{"SSN":7,"c":null}}],"ssn":1}', '{"a":[{"b":{"c":null}}]}'),
        ('{"\\u0073sn":"123"}', "{}"),
        ('[{"ssn":1},{"x":1E5}]', '[{},{"x":1E5}]'),
        ('{"ssn":1,"ssn":2,"a":1}', '{"a":1}'),
        # Not a member of that name.
        ('{"missing":["ssn"]}', '{"missing":["ssn"]}'),
        ('{"a": "the ssn"}', '{"a": "the ssn"}'),
        ("[see ssn]", "[see ssn]"),
        ("ssn", "ssn"),
        ("[" * 100_000 + "ssn", None),
    ],
)
def test_a_name_is_left_out_of_json_texts_at_any_depth_and_all_else_stays(
    tmp_path: Path, text: str, kept: str | None
) -> None:
    quoted = text.replace('"', '""')

    assert minimised(tmp_path, f'"id","more"\n"1","{quoted}"\n', rules("ssn")) == [{"id": "1", "more": kept}]


@pytest.mark.parametrize(
    ("text", "value"), [('{"mrn":12}', "12"), ('{"mrn":"12"}', "12"), ('{"mrn":[1]}', "[1]")]
)
def test_a_member_is_hashed_as_its_column_is(tmp_path: Path, text: str, value: str) -> None:
    quoted = text.replace('"', '""')
    [row] = minimised(tmp_path, f'"more"\n"{quoted}"\n', rules(hashed=("mrn",)))

    assert json.loads(row["more"]) == {"mrn": hashed(value)}


@pytest.mark.parametrize("text", ['{"mrn":null}', '{"mrn":""}'])
def test_a_member_that_says_nothing_stays(tmp_path: Path, text: str) -> None:
    quoted = text.replace('"', '""')

    assert minimised(tmp_path, f'"more"\n"{quoted}"\n', rules(hashed=("mrn",))) == [{"more": text}]


def test_where_columns_have_to_stay_they_are_null_and_a_time_loses_its_text(tmp_path: Path) -> None:
    source, target = tmp_path / "typed.parquet", tmp_path / "target.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT '1' AS id, DATE '1980-02-03' AS born, TIMESTAMPTZ '2026-03-10 10:00+00' AS seen, "
            f"'2026-03-10 10:00' AS seen_text, 1.5::DECIMAL(18,4) AS money) TO '{source}' (FORMAT parquet)"
        )
    write_without(source, target, rules("born", "seen"), None, metadata={}, keep_columns=True)

    before, after = pl.read_parquet_schema(source), pl.read_parquet_schema(target)
    assert after == before
    [row] = pl.read_parquet(target).to_dicts()
    assert {name for name, value in row.items() if value is None} == {"born", "seen", "seen_text"}


def erased(references: References, *names: str) -> ErasedRows:
    return ErasedRows(references, [keyed_hash(KEY, name) for name in names], KEY)


CHARGES = References(
    Table("drchrono", "line_items"), ("patient",), (("id", "'line_items'"), ("visit", "'appointments'")), "id"
)


@pytest.mark.parametrize(
    ("row", "is_erased"),
    [
        ({"id": "1", "patient": "7", "visit": "20"}, True),
        # Whoever a row names is whose it is, whatever it refers to.
        ({"id": "1", "patient": "8", "visit": "10"}, False),
        ({"id": "1", "patient": None, "visit": "10"}, True),
        ({"id": "1", "patient": "", "visit": "10"}, True),
        ({"id": "5", "patient": None, "visit": None}, True),
        ({"id": "1", "patient": None, "visit": "20"}, False),
        ({"id": "1", "patient": None, "visit": None}, False),
        # Ids of other tables are other ids.
        ({"id": "10", "patient": None, "visit": "7"}, False),
    ],
)
def test_whose_a_row_is(tmp_path: Path, row: Mapping[str, str | None], is_erased: bool) -> None:
    file, target = tmp_path / "rows.parquet", tmp_path / "target.parquet"
    pl.DataFrame([row], schema=dict.fromkeys(row, pl.String)).write_parquet(file)
    who = erased(
        CHARGES,
        name_of("drchrono", "patients", "7"),
        name_of("drchrono", "appointments", "10"),
        name_of("drchrono", "line_items", "5"),
        # The same numbers, of another source.
        name_of("dexcare", "patients", "8"),
    )

    taken = erased_in([file], who, tmp_path)
    write_without(file, target, Rules(), who, metadata={"rows_erased": "1"})

    assert {one.keys for one in taken.values()} == ({frozenset({row["id"]})} if is_erased else set())
    assert len(pl.read_parquet(target)) == (0 if is_erased else 1)
    assert rows_erased(target) == 1


def test_what_the_footer_said_and_the_order_of_rows_stay(tmp_path: Path) -> None:
    csv = '"id","patient"\n' + "".join(f'"{number}","{number % 7}"\n' for number in range(5000))
    file, target = landed(tmp_path, csv), tmp_path / "target.parquet"
    who = erased(References(VISITS, ("patient",)), name_of("dexcare", "patients", "3"))

    write_without(file, target, Rules(), who, metadata={})

    assert [row["id"] for row in rows(target)] == [str(number) for number in range(5000) if number % 7 != 3]
    said = pl.read_parquet_metadata(target)
    assert (said["content_hash"], said["report_id"]) == ("sha256:body", "report")
