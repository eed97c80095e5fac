"""A partition file says what the CSV said, in DuckDB and in Polars; two of them differ where rows do."""

import csv
import io
import random
import string
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from health_pipelines.lake.csv_partition import (
    LINEAGE_COLUMNS,
    Lineage,
    RowChanges,
    column_names,
    columns_of,
    content_hash_of,
    matching_column,
    quoted,
    row_changes,
    row_count,
    write_partition,
)
from health_pipelines.lake.csv_shape import CsvError, CsvShape, CsvSummary

LINEAGE = Lineage(date(2026, 3, 8), "3b690e39", datetime(2026, 3, 9, 5, 30, 1, 234567, tzinfo=UTC))
Row = tuple[str | None, ...]


def csv_line(values: Sequence[str | None]) -> str:
    return ",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in values) + "\n"


def csv_body(header: Sequence[str], rows: Sequence[Sequence[str | None]]) -> bytes:
    return "".join(map(csv_line, [header, *rows])).encode()


def write_body(body: bytes, file: Path, lineage: Lineage = LINEAGE) -> Path:
    shape = CsvShape()
    shape.feed(body)
    download = file.with_name(f"{file.name}.csv")
    download.write_bytes(body)
    write_partition(download, shape.summary(end_is_proven=True), file, lineage, "sha256:0123")
    return file


def write(
    header: Sequence[str], rows: Sequence[Sequence[str | None]], file: Path, lineage: Lineage = LINEAGE
) -> Path:
    return write_body(csv_body(header, rows), file, lineage)


def read_with_duckdb(file: Path) -> list[Row]:
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT * EXCLUDE ({', '.join(LINEAGE_COLUMNS)}) "
            "FROM read_parquet(?, hive_partitioning = false)",
            [str(file)],
        ).fetchall()


def read_with_polars(file: Path) -> list[Row]:
    return pl.read_parquet(file, hive_partitioning=False).drop(*LINEAGE_COLUMNS).rows()


TELLING_VALUES = [
    None,
    "",
    " ",
    "NA",
    "N/A",
    "null",
    "NULL",
    "None",
    "nan",
    "\\N",
    "007",
    "7",
    "7.0",
    "1e3",
    "-0",
    "true",
    "2026-03-08",
    "000000001",
    "99999999999999999999999999",
    "\0",
    "a\0b",
    "a",
    "a ",
    " a",
    "#a",
    "é",
    "e\u0301",
    "漢字",
    "😀",
    "\ufeff",
    "\u200b",
    '"',
    '""',
    ",",
    "\n",
    "\r",
    "\r\n",
    "x" * 12,
    "x" * 13,
    "x" * 100_000,
]


def test_values_that_look_alike_stay_different_things_in_duckdb_and_in_polars(tmp_path: Path) -> None:
    rows = [(str(number), value) for number, value in enumerate(TELLING_VALUES)]

    file = write(["number", "value"], rows, tmp_path / "p.parquet")

    assert Counter(read_with_duckdb(file)) == Counter(rows)
    assert read_with_polars(file) == rows


VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text(',"\n\r \0a')


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(VALUES, VALUES), max_size=10))
def test_every_text_comes_back_as_it_was(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write(["a", "b"], rows, Path(folder) / "p.parquet")

        assert read_with_polars(file) == rows
        assert Counter(read_with_duckdb(file)) == Counter(rows)
        assert row_count(file) == len(rows)


def test_rows_hidden_in_the_values_of_a_large_body_are_not_taken_for_rows(tmp_path: Path) -> None:
    # Polars reads a body in parts and has to find where a row begins: values that look like rows mislead.
    chance = random.Random(7)
    traps = ['"1","2","3"\n', '\n"4","5","6"\n"', '","', '"\n"', "\r\n", "a,b\nc,d\n", '""\n""', "\n\n\n"]
    rows = [
        (
            str(number),
            "".join(chance.choices(traps, k=chance.randint(0, 12))),
            chance.choice([None, "", "\n"]),
        )
        for number in range(60_000)
    ]
    body = csv_body(["id", "note", "tail"], rows)
    assert len(body) > 4_000_000

    assert read_with_polars(write_body(body, tmp_path / "p.parquet")) == rows


def test_a_table_of_one_column_keeps_its_nulls(tmp_path: Path) -> None:
    rows = [(None,), (None,), ("x",), (None,), ("",), (None,)]

    file = write(["only"], rows, tmp_path / "p.parquet")

    assert read_with_polars(file) == rows


@pytest.mark.parametrize(
    "body",
    [
        b'"a","b"\n"1","2"\n"","x"\n,\n',
        b'"a","b"\r\n"1","2"\r\n"","x"\r\n,\r\n',
        b'"a","b"\r\n"1","2"\r\n"","x"\r\n,',
        b'\xef\xbb\xbf"a","b"\n"1","2"\n"","x"\n,\n',
        b'\xef\xbb\xbfa,b\n1,2\n"",x\n,\n',
    ],
)
def test_line_ends_and_byte_order_marks_are_not_part_of_the_data(body: bytes, tmp_path: Path) -> None:
    file = write_body(body, tmp_path / "p.parquet")

    assert read_with_polars(file) == [("1", "2"), ("", "x"), (None, None)]
    assert columns_of(file) == ("a", "b", *LINEAGE_COLUMNS)


@pytest.mark.parametrize("body", [b'"a","b"', b'"a","b"\n', b'"a","b"\r\n'])
def test_a_table_without_rows_is_a_file_with_all_columns(body: bytes, tmp_path: Path) -> None:
    file = write_body(body, tmp_path / "p.parquet")

    assert row_count(file) == 0
    assert columns_of(file) == ("a", "b", "_partition_date", "_report_id", "_extracted_at")
    assert read_with_duckdb(file) == []


def test_ten_thousand_columns_are_written(tmp_path: Path) -> None:
    header = [f"column {number}" for number in range(10_000)]
    row = (*map(str, range(9_999)), None)

    assert read_with_polars(write(header, [row], tmp_path / "p.parquet")) == [row]


@pytest.mark.long
def test_a_day_of_ninety_megabytes_is_compared(tmp_path: Path) -> None:
    # 45,000 rows of 100 columns of some 20 bytes: no unusual day, and more than fits the comparison at once.
    number = pl.int_range(45_000).cast(pl.String)
    frame = pl.select(
        [number.alias("id"), *(number.hash(seed).cast(pl.String).alias(f"c{seed}") for seed in range(99))]
    )
    files = []
    for name, rows in (("old", frame), ("new", frame.with_columns(pl.col("c0").str.replace("^1", "2")))):
        body = tmp_path / f"{name}.csv"
        rows.write_csv(body, quote_style="always")
        summary = CsvSummary(tuple(rows.columns), rows.height)
        write_partition(body, summary, tmp_path / f"{name}.parquet", LINEAGE, "sha256:0")
        files.append(tmp_path / f"{name}.parquet")
    changed = frame["c0"].str.starts_with("1").to_list().count(True)
    assert 0 < changed < 45_000

    assert row_changes(files[0], files[1]) == RowChanges(added=changed, removed=changed)
    assert row_changes(files[0], files[1], key="id") == RowChanges(0, 0, changed=changed)


def test_every_row_says_where_it_came_from_in_types_that_all_engines_know(tmp_path: Path) -> None:
    file = write(["a"], [["1"], ["2"]], tmp_path / "p.parquet")

    with duckdb.connect() as connection:
        types = connection.execute("DESCRIBE FROM read_parquet(?)", [str(file)]).fetchall()
        lineage = connection.execute(
            "SELECT _partition_date, _report_id, epoch_us(_extracted_at) FROM read_parquet(?)", [str(file)]
        ).fetchall()
    assert [(name, kind) for name, kind, *_ in types] == [
        ("a", "VARCHAR"),
        ("_partition_date", "DATE"),
        ("_report_id", "VARCHAR"),
        ("_extracted_at", "TIMESTAMP WITH TIME ZONE"),
    ]
    # 2026-03-09T05:30:01.234567Z: 20521 days after 1970-01-01, and 5 h 30 min 1.234567 s.
    microseconds = (20_521 * 86_400 + 5 * 3_600 + 30 * 60 + 1) * 1_000_000 + 234_567
    assert lineage == [(date(2026, 3, 8), "3b690e39", microseconds)] * 2
    assert pl.read_parquet_schema(file)["_extracted_at"] == pl.Datetime("us", "UTC")


def test_an_extraction_time_in_another_zone_is_the_same_instant_in_utc(tmp_path: Path) -> None:
    chicago = timezone(timedelta(hours=-5))
    lineage = Lineage(LINEAGE.partition_date, "r", datetime(2026, 3, 9, 0, 30, tzinfo=chicago))

    file = write(["a"], [["1"]], tmp_path / "p.parquet", lineage)

    assert pl.read_parquet(file)["_extracted_at"].dt.convert_time_zone("UTC").to_list() == [
        datetime(2026, 3, 9, 5, 30, tzinfo=UTC)
    ]


def test_every_column_is_compressed_with_zstd(tmp_path: Path) -> None:
    file = write(["a", "b"], [["1", None]] * 100, tmp_path / "p.parquet")

    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT path_in_schema, compression FROM parquet_metadata(?)", [str(file)]
        ).fetchall()
    assert dict(found) == dict.fromkeys(["a", "b", *LINEAGE_COLUMNS], "ZSTD")


def test_the_footer_says_what_the_file_was_written_from(tmp_path: Path) -> None:
    file = write(["a"], [["1"]], tmp_path / "p.parquet")

    assert content_hash_of(file) == "sha256:0123"
    with duckdb.connect() as connection:
        footer = connection.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(file)]).fetchall()
    assert {(b"content_hash", b"sha256:0123"), (b"report_id", b"3b690e39")} <= set(footer)


def test_a_file_of_somebody_else_has_no_content_hash(tmp_path: Path) -> None:
    pl.DataFrame({"a": ["1"]}).write_parquet(tmp_path / "p.parquet")

    assert content_hash_of(tmp_path / "p.parquet") is None


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["id", "ID", "Id"], ["id", "ID_2", "Id_3"]),
        (["a", "a", "a_2"], ["a", "a_2", "a_2_2"]),
        (["a_2", "a", "A"], ["a_2", "a", "A_3"]),
        (["", "b", ""], ["column_1", "b", "column_3"]),
        (["column_2", ""], ["column_2", "column_2_2"]),
        ([" a", "a", "a "], [" a", "a", "a "]),
        (["_id", "report_id"], ["_id", "report_id"]),
    ],
)
def test_names_that_sql_cannot_tell_apart_get_a_number(header: list[str], names: list[str]) -> None:
    assert column_names(header) == names


@given(header=st.lists(st.text("aA_2é", max_size=3), max_size=8))
def test_column_names_are_different_in_sql_not_empty_and_the_vendors_where_they_can_be(
    header: list[str],
) -> None:
    names = column_names(header)

    assert len(names) == len({name.lower() for name in names}) == len(header)
    assert all(names)
    for position, (name, sent) in enumerate(zip(names, header, strict=True)):
        if sent and sent.lower() not in {earlier.lower() for earlier in names[:position]}:
            assert name == sent


@pytest.mark.parametrize("name", ["_partition_date", "_Report_ID", "_EXTRACTED_AT"])
def test_a_vendor_column_with_the_name_of_a_lineage_column_gets_a_number(name: str) -> None:
    assert column_names(["id", name, f"{name}_2"]) == ["id", f"{name}_2", f"{name}_2_2"]


@pytest.mark.parametrize(
    "header",
    [
        ["id", "ID"],
        ["a", "a", "a"],
        ["", "b", ""],
        ["a", "A", "", "a_2"],
        ['say "hi"', "b"],
        ["two\nlines", "a,b"],
        ["é\0", " padded "],
        [""],
    ],
)
def test_any_header_can_be_written_and_keeps_each_value_in_its_column(
    header: list[str], tmp_path: Path
) -> None:
    width = len(header)
    rows: list[Row] = [tuple(map(str, range(width))), (None,) * width, ("",) * width]

    file = write(header, rows, tmp_path / "p.parquet")

    assert read_with_polars(file) == rows
    assert columns_of(file) == (*column_names(header), *LINEAGE_COLUMNS)
    assert Counter(read_with_duckdb(file)) == Counter(rows)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"a","b"\n"Eve\xff","x"\n', "record 1 has a value that is not UTF-8"),
        (
            b'"a","b"\n"Eve, a long value \xc3\x28 with a bad byte","x"\n',
            "record 1 has a value that is not UTF-8",
        ),
        (b'"a","b"\n"x","Eve \xed\xa0\x80"\n', "record 1 has a value that is not UTF-8"),
        (b'"a","b"\n"1","x\ny\n"\n"2","\n"\n"Eve","\n\xff"\n', "record 3 has a value that is not UTF-8"),
        (b'"a","b"\n"Eve" and more,"x"\n', "record 1 has a quote where no value begins or ends"),
        (b'"a","b"\n"1","2"\n"x","Eve"and\n', "record 2 has a quote where no value begins or ends"),
        (b'a,b\nEve"y,z"w,v\n', "record 1 has a quote where no value begins or ends"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_without_being_shown(
    body: bytes, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CsvError) as refused:
        write_body(body, tmp_path / "p.parquet")

    assert str(refused.value) == reason
    shown = "".join(traceback.format_exception(refused.value))
    assert "Eve" not in shown


def test_what_the_engine_refuses_on_its_own_is_refused_without_being_shown(tmp_path: Path) -> None:
    source = tmp_path / "visits.csv"
    source.write_bytes(b'"a","b"\n"Eve" and more,"x"\n')
    sentence = "the body cannot be read as CSV: a value is not well quoted"
    with pytest.raises(CsvError, match=sentence) as refused:
        write_partition(source, CsvSummary(("a", "b"), 1), tmp_path / "p.parquet", LINEAGE, "hash")
    assert "Eve" not in "".join(traceback.format_exception(refused.value))


@settings(max_examples=150)
@example(body='"",""x""')
@given(
    body=st.lists(st.sampled_from(["x", '"', ",", "\n", "\r\n", "é", '""', '","']), max_size=12).map("".join)
)
def test_what_is_not_refused_is_not_altered(body: str) -> None:
    """Bodies that keep to the rules in part: either refused or read as Python's csv module reads them."""
    body += "\n"
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = write_body(b'"a","b"\n' + body.encode(), Path(folder) / "p.parquet")
        except CsvError:
            return
        found = read_with_polars(file)
    assert [[value or "" for value in row] for row in found] == list(
        csv.reader(io.StringIO(body, newline=""))
    )


def test_a_file_with_another_number_of_rows_than_came_in_is_refused(tmp_path: Path) -> None:
    (tmp_path / "body.csv").write_bytes(csv_body(["a"], [["1"], ["2"]]))

    with pytest.raises(CsvError, match=r"^3 records came in but 2 rows were written$"):
        write_partition(
            tmp_path / "body.csv", CsvSummary(("a",), 3), tmp_path / "p.parquet", LINEAGE, "sha256:0"
        )


def test_rows_are_counted_by_hand(tmp_path: Path) -> None:
    old = write(
        ["id", "state"], [["1", "new"], ["2", "new"], ["3", None], ["4", ""]], tmp_path / "old.parquet"
    )
    # 1 stays; 2 changes; 3 goes from NULL to empty; 4 is gone; 5 and 6 are new.
    new = write(
        ["id", "state"],
        [["6", "new"], ["5", "new"], ["3", ""], ["2", "done"], ["1", "new"]],
        tmp_path / "new.parquet",
    )

    assert row_changes(old, new) == RowChanges(added=4, removed=3)
    assert row_changes(new, old) == RowChanges(added=3, removed=4)


def test_with_a_key_a_row_that_differs_is_one_change(tmp_path: Path) -> None:
    old = write(
        ["id", "state"], [["1", "new"], ["2", "new"], ["3", None], ["4", ""]], tmp_path / "old.parquet"
    )
    # 1 stays; 2 changes; 3 goes from NULL to empty; 4 is gone; 5 and 6 are new.
    new = write(
        ["id", "state"],
        [["6", "new"], ["5", "new"], ["3", ""], ["2", "done"], ["1", "new"]],
        tmp_path / "new.parquet",
    )

    assert row_changes(old, new, key="id") == RowChanges(added=2, removed=1, changed=2)
    assert row_changes(new, old, key="ID") == RowChanges(added=1, removed=2, changed=2)
    assert row_changes(old, old, key="id") == RowChanges(0, 0, changed=0)
    assert not row_changes(old, old, key="id")


def test_with_a_key_only_changed_rows_are_changes_too(tmp_path: Path) -> None:
    old = write(["id", "a"], [["1", "x"]], tmp_path / "old.parquet")
    new = write(["id", "a"], [["1", "y"]], tmp_path / "new.parquet")

    assert row_changes(old, new, key="id") == RowChanges(0, 0, changed=1)
    assert row_changes(old, new, key="id")


@pytest.mark.parametrize(
    "rows",
    [
        [["1", "x"], ["1", "y"]],
        [[None, "x"], ["2", "y"]],
        [["", "x"], ["2", "y"]],
    ],
    ids=["repeated", "NULL", "empty"],
)
@pytest.mark.parametrize("where", ["old", "new"])
def test_a_key_that_does_not_tell_rows_apart_leaves_whole_rows_to_compare(
    rows: list[list[str | None]], where: str, tmp_path: Path
) -> None:
    bad = write(["id", "a"], rows, tmp_path / "bad.parquet")
    good = write(["id", "a"], [["1", "x"], ["2", "z"]], tmp_path / "good.parquet")
    common = 1 if rows[0][0] == "1" else 0

    changes = row_changes(bad, good, key="id") if where == "old" else row_changes(good, bad, key="id")

    assert changes == RowChanges(added=2 - common, removed=2 - common, changed=None)


def test_a_key_that_a_file_does_not_have_leaves_whole_rows_to_compare(tmp_path: Path) -> None:
    old = write(["id", "a"], [["1", "x"]], tmp_path / "old.parquet")
    new = write(["a", "id"], [["y", "1"]], tmp_path / "new.parquet")

    assert row_changes(old, new, key="visit_id") == RowChanges(1, 1, changed=None)


def test_with_a_key_every_row_of_a_file_with_other_columns_has_changed(tmp_path: Path) -> None:
    old = write(["id", "a"], [["1", "x"], ["2", "x"]], tmp_path / "old.parquet")
    new = write(["id", "b"], [["2", "x"], ["3", "x"]], tmp_path / "new.parquet")

    assert row_changes(old, new, key="id") == RowChanges(added=1, removed=1, changed=1)


@pytest.mark.parametrize("column", ["row", "copies", "key", "new"])
def test_columns_may_have_the_names_that_a_comparison_uses(column: str, tmp_path: Path) -> None:
    old = write(["id", column], [["1", "x"], ["2", "x"]], tmp_path / "old.parquet")
    new = write(["id", column], [["1", "x"], ["2", "y"]], tmp_path / "new.parquet")

    assert row_changes(old, new) == RowChanges(1, 1)
    assert row_changes(old, new, key="id") == RowChanges(0, 0, changed=1)


KEYED_TABLES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([None, "", "x"]))


@settings(max_examples=30)
@given(old_rows=KEYED_TABLES, new_rows=KEYED_TABLES)
def test_changes_by_key_are_those_of_two_dictionaries(
    old_rows: dict[str, str | None], new_rows: dict[str, str | None]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old = write(["id", "a"], list(old_rows.items()), Path(folder) / "old.parquet")
        new = write(["id", "a"], list(new_rows.items()), Path(folder) / "new.parquet")
        changes = row_changes(old, new, key="id")

    both = old_rows.keys() & new_rows.keys()
    assert changes == RowChanges(
        added=len(new_rows.keys() - both),
        removed=len(old_rows.keys() - both),
        changed=sum(old_rows[key] != new_rows[key] for key in both),
    )


@pytest.mark.parametrize(
    ("name", "found"), [("id", "id"), ("ID", "Id"), ("Visit", "VISIT"), ("i", None), ("", None)]
)
def test_a_column_is_found_by_its_exact_name_or_else_whatever_its_case(name: str, found: str | None) -> None:
    assert matching_column(["id", "Id", "VISIT"], name) == found


def test_the_order_of_rows_is_no_change(tmp_path: Path) -> None:
    rows = [[str(number), "x"] for number in range(5_000)]
    old = write(["id", "x"], rows, tmp_path / "old.parquet")
    new = write(["id", "x"], rows[::-1], tmp_path / "new.parquet")

    assert row_changes(old, new) == RowChanges(0, 0)
    assert not row_changes(old, new)


def test_the_order_of_columns_is_no_change_but_swapped_values_are(tmp_path: Path) -> None:
    old = write(["a", "b"], [["1", "2"]], tmp_path / "old.parquet")
    same = write(["b", "a"], [["2", "1"]], tmp_path / "same.parquet")
    swapped = write(["a", "b"], [["2", "1"]], tmp_path / "swapped.parquet")

    assert row_changes(old, same) == RowChanges(0, 0)
    assert row_changes(old, swapped) == RowChanges(added=1, removed=1)


def test_each_copy_of_a_row_counts(tmp_path: Path) -> None:
    old = write(["a"], [["x"], ["x"], ["x"], ["y"]], tmp_path / "old.parquet")
    new = write(["a"], [["x"], ["y"], ["y"]], tmp_path / "new.parquet")

    assert row_changes(old, new) == RowChanges(added=1, removed=2)


def test_where_rows_came_from_is_no_change(tmp_path: Path) -> None:
    other = Lineage(date(2026, 3, 8), "another", datetime(2027, 1, 1, tzinfo=UTC))
    old = write(["a"], [["x"]], tmp_path / "old.parquet")
    new = write(["a"], [["x"]], tmp_path / "new.parquet", other)

    assert not row_changes(old, new)


@pytest.mark.parametrize("header", [["a", "b"], ["b"], ["A"]])
def test_files_with_different_columns_have_no_row_in_common(header: list[str], tmp_path: Path) -> None:
    old = write(["a"], [[None], [None]], tmp_path / "old.parquet")
    new = write(header, [[None] * len(header)] * 3, tmp_path / "new.parquet")

    assert row_changes(old, new) == RowChanges(added=3, removed=2)


@pytest.mark.parametrize("column", ["date", "Date"])
def test_a_change_in_a_column_named_as_the_lakes_folders_are_is_seen(column: str, tmp_path: Path) -> None:
    # `date=…` in a path makes DuckDB put that value in place of the column, unless it is told not to.
    folder = tmp_path / "date=2026-03-08"
    folder.mkdir()
    old = write(["id", column], [["1", "2026-01-01"]], folder / "t.parquet")
    new = write(["id", column], [["1", "2027-02-02"]], folder / ".candidate")

    assert row_changes(old, new) == RowChanges(added=1, removed=1)
    assert not row_changes(old, old)


def test_a_quote_in_the_path_is_part_of_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "it's; DROP"
    folder.mkdir()
    old = write(["a"], [["x"]], folder / "old.parquet")
    new = write(["a"], [["y"]], folder / "new.parquet")

    assert row_changes(old, new) == RowChanges(added=1, removed=1)


SMALL_VALUES = st.sampled_from([None, "", "a", "b", "a\0", "\0", "NULL"])
TABLES = st.lists(st.tuples(SMALL_VALUES, SMALL_VALUES), max_size=6)


@settings(max_examples=40)
@given(old_rows=TABLES, new_rows=TABLES)
def test_rows_added_and_removed_are_those_of_the_multisets(old_rows: list[Row], new_rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old = write(["a", "b"], old_rows, Path(folder) / "old.parquet")
        new = write(["a", "b"], new_rows, Path(folder) / "new.parquet")
        changes = row_changes(old, new)

    before, after = Counter(old_rows), Counter(new_rows)
    assert changes == RowChanges(added=(after - before).total(), removed=(before - after).total())
    assert bool(changes) == (before != after)


def test_many_different_rows_have_no_hash_in_common(tmp_path: Path) -> None:
    # Neighbours that a weak hash would mix up: values moved between columns, NULL and empty in every place.
    pool = [None, "", *string.ascii_lowercase[:8]]
    rows = [(a, b, c) for a in pool for b in pool for c in pool]
    old = write(["a", "b", "c"], rows, tmp_path / "old.parquet")
    new = write(["a", "b", "c"], rows[:500], tmp_path / "new.parquet")

    assert row_changes(old, new) == RowChanges(added=0, removed=500)


@pytest.mark.parametrize("name", ["plain", 'with "quotes"', "'", "two words", "select", ""])
def test_a_quoted_name_is_that_name_in_sql(name: str) -> None:
    if not name:
        assert quoted(name) == '""'
        return
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT 1 AS {quoted(name)}").description
    assert result is not None
    assert result[0][0] == name
