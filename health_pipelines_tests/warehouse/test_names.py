"""Whatever a vendor calls its columns: the warehouse is built, and every value is found under its name."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from health_pipelines.lake.csv_partition import quoted
from health_pipelines_tests.warehouse.hospital import NAMED, Hospital

FIRST, SECOND = "2026-10-01", "2026-10-02"
# Ours, DuckDB's or SQL's; empty and blank; alike but for case, blanks, or the form of their letters.
NASTY = (
    "filename", "File_Row_Number", "hive_partition", "date", "Date", "is_deleted", "is_deleted_landed",
    "_partition_date", "_Report_ID", "_report_id_2", "_EXTRACTED_AT", "_extra", "_as_sent", "_row",
    "visit_day", "visit_time", "visit_time_text", "wait_from", "visit_id_landed", "status", "Status_landed",
    "key", "rows", "landed", "candidates", "beaten", "count", "max(1)", "select", "*", "rowid", "hash", "v",
    "\x01file", "\x01PLACE", "\x01\x01file", "\x01text of visit_time", "a\0b", "", " ", "  ", "column_1",
    "a", "A", "a ", " a", "a_2", "a\n", "é", "É", "e\u0301", "E\u0301", "K", "k", "\u212a", "İ", "i\u0307",
    "\u0131", "ß", "ẞ", "SS", "ﬁ", "a'b", 'a"b', "a,b", "a;b", "--", "/*", "$1", "?", "%", "{}", "\ufeffid",
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(NASTY).map(str.swapcase),
)
# What the settings name is in `current` under a name of ours as well.
SHOWN_AS = {
    NAMED.time: "visit_time_text",
    NAMED.status: "status",
    NAMED.wait_from: "wait_from_text",
    NAMED.wait_until: "wait_until_text",
}
HEADERS = st.lists(NAMES, max_size=6, unique=True)


@given(first=HEADERS, second=HEADERS)
@example(first=[], second=["STATE", "left_at"])
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_names_of_a_vendors_columns_are_built_and_keep_their_values(
    first: Sequence[str], second: Sequence[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hospital = Hospital(Path(folder))
        for day, names in ((FIRST, first), (SECOND, second)):
            sent = {name: said(day, name) for name in names if name not in ("visit_id", "id")}
            hospital.land_visits("virtual", day, [{"visit_id": day, **sent}])
            hospital.land_histories(day, [{**sent, "id": day}])

        assert hospital.build().problems == ()

        for table, key in (("avr_virtual", "visit_id"), ("provider_histories", "id")):
            for day, names in ((FIRST, first), (SECOND, second)):
                for schema in ("dexcare", "current"):
                    row = read(hospital, f"{schema}.{table}", key, day)
                    for name in names:
                        if name not in ("visit_id", "id"):
                            assert_is_there(row, name, said(day, name))


def said(day: str, name: str) -> str:
    return f"{day} says {name!r}"


def read(hospital: Hospital, table: str, key: str, day: str) -> dict[str, str | None]:
    columns = hospital.columns(table)
    texts = ", ".join(f"{quoted(column)}::VARCHAR" for column in columns)
    [row] = hospital.query(f"SELECT {texts} FROM {table} WHERE {quoted(key)} = '{day}'")
    return dict(zip(columns, row, strict=True))


def assert_is_there(row: dict[str, str | None], name: str, value: str) -> None:
    """Under the vendor's name, or, where another column has it, with `_2` or `_landed` behind it."""
    shown_as = SHOWN_AS.get(name.lower())
    [column] = [column for column, found in row.items() if found == value and column != shown_as]
    if name:
        assert column.lower().startswith(name.lower())
        assert column.lower().removeprefix(name.lower()).replace("_landed", "").strip("_0123456789") == ""
    else:
        assert column.startswith("column_")


@pytest.mark.parametrize(("one", "other"), [("É", "é"), ("k", "\u212a"), ("İ", "i\u0307"), ("É", "E\u0301")])
def test_names_that_only_unicode_takes_for_one_are_two_columns(tmp_path: Path, one: str, other: str) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_visits("virtual", FIRST, [{"visit_id": "1", one: "A"}])
    hospital.land_visits("virtual", SECOND, [{"visit_id": "2", other: "B"}])

    assert hospital.build().problems == ()

    for table in ("dexcare.avr_virtual", "current.avr_virtual"):
        assert hospital.query(f"SELECT {quoted(one)}, {quoted(other)} FROM {table} ORDER BY visit_id") == [
            ("A", None),
            (None, "B"),
        ]


def test_an_event_is_known_by_its_id_though_another_field_is_called_so_but_for_case(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_histories(FIRST, [{"ID": "same", "id": "1"}, {"ID": "same", "id": "2"}])

    assert hospital.build().problems == ()

    assert hospital.query("SELECT id FROM current.provider_histories ORDER BY id") == [("1",), ("2",)]
