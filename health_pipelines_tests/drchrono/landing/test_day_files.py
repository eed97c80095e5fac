"""Pages become one file per day: nothing is lost, one row per key, and times are the account's."""

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from health_pipelines.drchrono.landing.columns import CARRIED, vendor_columns
from health_pipelines.drchrono.landing.day_files import Kept, Standing, write_day
from health_pipelines.drchrono.landing.page_reading import PageFile
from health_pipelines.drchrono.landing.staging import Staged, stage
from health_pipelines.drchrono.records import RECORD_TYPES, RecordType
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, columns_of, content_hash_of, row_count

BY_NAME = {record_type.name: record_type for record_type in RECORD_TYPES}
TRANSACTIONS, APPOINTMENTS, NOTES = (
    BY_NAME["transactions"], BY_NAME["appointments"], BY_NAME["clinical_notes"],
)  # fmt: skip
PACIFIC = ZoneInfo("America/Los_Angeles")
# Later than every change here: what a record says of the future is the subject of others.
EXTRACTED = datetime(2027, 3, 9, 5, 30, 1, 234567, tzinfo=UTC)
DAY = date(2026, 3, 8)


def page(folder: Path, records: str | Sequence[Any], order: int = 0) -> PageFile:
    """A page on disk. `records` may be the JSON text itself."""
    file = folder / f"page-{order}.json"
    text = records if isinstance(records, str) else json.dumps(records)
    file.write_text(
        f'{{"status": "Complete", "pagination": {{"count": 1, "pages": 1, "page_size": 1000, "page": 1}}, '
        f'"uuid": "list-{order}", "results": {text}}}'
    )
    return PageFile(file, f"list-{order}", order)


def staged(
    record_type: RecordType, pages: Sequence[PageFile], folder: Path, zone: ZoneInfo = PACIFIC
) -> Staged:
    work = Path(tempfile.mkdtemp(dir=folder))
    return stage(record_type, pages, zone, work, extracted_at=EXTRACTED)


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Times as microseconds since 1970, which need no further package."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        source = f"read_parquet('{file}', hive_partitioning = false)"
        types = connection.execute(f"DESCRIBE FROM {source}").fetchall()
        names = [name for name, *_ in types]
        wanted = ", ".join(
            f'epoch_us("{name}")' if kind == "TIMESTAMP WITH TIME ZONE" else f'"{name}"'
            for name, kind, *_ in types
        )
        found = connection.execute(f"SELECT {wanted} FROM {source}").fetchall()
    return [dict(zip(names, row, strict=True)) for row in found]


def landed(record_type: RecordType, records: str | Sequence[Any], folder: Path) -> list[dict[str, Any]]:
    target = folder / "all.parquet"
    write_day(staged(record_type, [page(folder, records)], folder), None, DAY, target, report_id="sweep")
    return rows_of(target)


def microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def told_again(record_type: RecordType, row: dict[str, Any]) -> dict[str, Any]:
    """The vendor's record, from the columns of its row."""
    sent = json.loads(row["_as_sent"] or "{}")
    record: dict[str, Any] = {}
    for field, kind in record_type.columns.items():
        value = row[f"{field}_text"] if kind == "time" else row[field]
        if field in sent.get("missing", []):
            assert value is None
        elif value is None or isinstance(value, bool):
            record[field] = value
        elif kind == "json":
            record[field] = parsed(value)
        elif kind in ("integer", "decimal"):
            number = Decimal(value)
            record[field] = ("text", number) if field in sent.get("strings", []) else number
        elif kind == "text" and field in sent.get("numbers", []):
            record[field] = Decimal(value)
        else:
            record[field] = str(value)
    return {**record, **parsed(row["_extra"] or "{}")}


def as_told(record_type: RecordType, record: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The record that was sent, with numbers written as text as what they are."""
    strings = json.loads(row["_as_sent"] or "{}").get("strings", [])
    return {
        name: ("text", Decimal(value)) if name in strings else value
        for name, value in parsed(json.dumps(record)).items()
    }


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-1000, 1000, places=2).map(float)
    | st.text(max_size=8)
    | st.sampled_from(
        ["", "null", "007", "20.00", "-0", "1e2", "5.", " 5", "2026-03-08", "2026-03-08T02:30:00", "\0"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [*TRANSACTIONS.columns, "new", "ID", "Id", "_extra", "_report_id", "a'\"b", "", CARRIED]
)
RECORDS = st.lists(st.dictionaries(NAMES | st.text(max_size=3), JSON, max_size=12), max_size=6)


@pytest.mark.slow
@settings(max_examples=20)
@given(records=RECORDS)
@example(records=[{"new": None}, {"new": "\ud800"}, {"\udfff": 1}])
@example(records=[{"adjustment": 0.1}, {"adjustment": "0.1"}, {"adjustment": 1e-7}, {"adjustment": 1e22}])
def test_the_record_can_be_told_again_from_the_columns_of_its_row(records: list[dict[str, Any]]) -> None:
    sent = [{**record, "id": str(number)} for number, record in enumerate(records)]
    with tempfile.TemporaryDirectory() as folder:
        rows = landed(TRANSACTIONS, sent, Path(folder))
    by_key = {row["id"]: row for row in rows}
    assert len(rows) == len(sent)
    for record in sent:
        row = by_key[record["id"]]
        assert told_again(TRANSACTIONS, row) == as_told(TRANSACTIONS, record, row)


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        ("0.1", "0.1000"),
        ("19.99", "19.9900"),
        ("-7", "-7.0000"),
        ("1.10", "1.1000"),
        ("123456789012.3456", "123456789012.3456"),
        ('"123456789012.3456"', "123456789012.3456"),
        ('"20.00"', "20.0000"),
        ("99999999999999.9999", None),
        ("1e400", None),
        ("1e-400", None),
        ("0.10000000000000000555", None),
        ("12345678901234567.5", None),
        ("20.12345", None),
        ("999999999999999", None),
        ('"1e2"', None),
        ('" 5"', None),
        ('"007"', None),
        ('""', None),
        ('"0.00000000000000000001"', None),
        ('"n/a"', None),
        ("true", None),
        ("[1.50]", None),
    ],
)
def test_money_is_exact_or_kept_as_it_came(tmp_path: Path, spelled: str, value: str | None) -> None:
    [row] = landed(TRANSACTIONS, f'[{{"id": 1, "adjustment": {spelled}}}]', tmp_path)
    if value is not None:
        assert row["adjustment"] == Decimal(value)
        assert row["_extra"] is None
    elif row["adjustment"] is not None:
        assert row["adjustment"] == Decimal(spelled)  # exact, so nothing had to be kept aside
    else:
        assert parsed(row["_extra"]) == {"adjustment": parsed(spelled)}


def test_each_kind_has_its_type_and_what_does_not_fit_is_kept(tmp_path: Path) -> None:
    rows = landed(
        APPOINTMENTS,
        [
            {
                "id": "1", "doctor": 5, "duration": 30, "deleted_flag": False, "recur_end_date": "2026-03-08",
                "vitals": {"height": None, "pain": "ñ"}, "icd10_codes": [], "notes": None, "reason": "",
            },
            {
                "id": 2, "doctor": "5", "duration": 30.5, "deleted_flag": "no", "recur_end_date": "",
                "vitals": "none", "notes": {"a": 1}, "reason": True, "status": "null",
            },
        ],
        tmp_path,
    )  # fmt: skip
    first, second = sorted(rows, key=lambda row: str(row["id"]))
    assert (first["id"], first["doctor"], first["duration"], first["deleted_flag"]) == ("1", "5", 30, False)
    assert (first["recur_end_date"], first["icd10_codes"]) == (date(2026, 3, 8), "[]")
    assert (first["vitals"], first["notes"], first["reason"]) == ('{"height":null,"pain":"ñ"}', None, "")
    assert first["_extra"] is None
    assert (second["id"], second["doctor"], second["status"], second["vitals"]) == (
        "2",
        "5",
        "null",
        '"none"',
    )
    nothing = ("duration", "deleted_flag", "recur_end_date", "notes", "reason")
    assert {second[name] for name in nothing} == {None}
    assert json.loads(second["_extra"]) == {
        "duration": 30.5, "deleted_flag": "no", "recur_end_date": "", "notes": {"a": 1}, "reason": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "utc", "day"),
    [
        ("2026-03-08T01:59:59", "2026-03-08T09:59:59+00:00", date(2026, 3, 8)),
        # Clocks jump from 2:00 to 3:00: a time between moves forward.
        ("2026-03-08T02:30:00", "2026-03-08T10:30:00+00:00", date(2026, 3, 8)),
        ("2026-03-08T03:00:00", "2026-03-08T10:00:00+00:00", date(2026, 3, 8)),
        # 1:30 comes twice: the first.
        ("2026-11-01T01:30:00", "2026-11-01T08:30:00+00:00", date(2026, 11, 1)),
        ("2026-11-01T02:00:00", "2026-11-01T10:00:00+00:00", date(2026, 11, 1)),
        ("2026-07-01T23:30:00.123456", "2026-07-02T06:30:00.123456+00:00", date(2026, 7, 1)),
        ("2026-07-02T06:30:00Z", "2026-07-02T06:30:00+00:00", date(2026, 7, 1)),
        ("2026-07-02T08:30:00+02:00", "2026-07-02T06:30:00+00:00", date(2026, 7, 1)),
        ("2026-07-02 08:30", "2026-07-02T15:30:00+00:00", date(2026, 7, 2)),
        ("2026-07-02", "2026-07-02T07:00:00+00:00", date(2026, 7, 2)),
        ("", None, None),
        ("soon", None, None),
        # DuckDB would take the space for a 0.
        ("2026-03-08T01:02: 5", None, None),
        ("infinity", None, None),
        ("2026-02-30T00:00:00", None, None),
        ("0001-01-01T00:00:00", None, None),
    ],
)
def test_times_are_read_in_the_zone_of_the_account(
    tmp_path: Path, text: str, utc: str | None, day: date | None
) -> None:
    one = staged(TRANSACTIONS, [page(tmp_path, [{"id": 1, "updated_at": text}])], tmp_path)
    assert one.rows_by_day == {day: 1}
    write_day(one, {day}, DAY, tmp_path / "day.parquet", report_id="sweep")
    [row] = rows_of(tmp_path / "day.parquet")
    assert row["updated_at"] == (utc and microseconds(utc))
    assert row["updated_at_text"] == text


ZONES = st.sampled_from(
    ["America/Los_Angeles", "Australia/Lord_Howe", "Africa/Casablanca", "UTC", "America/Havana"]
)


@settings(max_examples=15)
@given(
    zone=ZONES.map(ZoneInfo),
    times=st.lists(st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)), min_size=1, max_size=60),  # noqa: DTZ001
)
def test_every_local_time_is_the_instant_that_python_makes_of_it(
    zone: ZoneInfo, times: list[datetime]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = [{"id": number, "created_at": at.isoformat()} for number, at in enumerate(times)]
        write_day(
            staged(TRANSACTIONS, [page(folder, records)], folder, zone),
            None,
            DAY,
            folder / "p",
            report_id="s",
        )
        found = {int(row["id"]): row["created_at"] for row in rows_of(folder / "p")}
    for number, at in enumerate(times):
        # A text does not say which of two it is: the first.
        assert found[number] == microseconds(at.replace(tzinfo=zone, fold=0).astimezone(UTC).isoformat())


def test_of_each_key_the_newest_change_stays_and_then_the_later_page(tmp_path: Path) -> None:
    def one(key: Any, at: str | None, reason: str) -> dict[str, Any]:
        return {"id": key, "updated_at": at, "claim_status": reason}

    pages = [
        page(tmp_path, [one(1, "2026-03-09T00:00:00", "newer"), one(2, "2026-03-08T00:00:00", "early")], 1),
        page(
            tmp_path, [one("1", "2026-03-08T00:00:00", "older"), one("2", "2026-03-08T00:00:00", "late")], 2
        ),
        page(tmp_path, [one(3, None, "no time"), one(3, "2026-03-07T00:00:00", "time")], 0),
    ]
    one_per_key = staged(TRANSACTIONS, pages, tmp_path)
    assert one_per_key.rows_by_day == {date(2026, 3, 7): 1, date(2026, 3, 8): 1, date(2026, 3, 9): 1}
    write_day(one_per_key, None, DAY, tmp_path / "all", report_id="sweep")
    found = [(row["id"], row["claim_status"], row["_report_id"]) for row in rows_of(tmp_path / "all")]
    assert found == [("1", "newer", "list-1"), ("2", "late", "list-2"), ("3", "time", "list-0")]


def test_days_are_told_apart_and_say_where_their_rows_came_from(tmp_path: Path) -> None:
    records = [{"id": key, "updated_at": f"2026-03-0{7 + key % 2}T12:00:00"} for key in (10, 9, 3, 2)]
    both = staged(TRANSACTIONS, [page(tmp_path, records)], tmp_path)
    write_day(both, {DAY}, DAY, tmp_path / "p", report_id="sweep")
    rows = rows_of(tmp_path / "p")
    assert [row["id"] for row in rows] == ["3", "9"]
    lineage = {(row["_partition_date"], row["_report_id"], row["_extracted_at"]) for row in rows}
    assert lineage == {(DAY, "list-0", microseconds(EXTRACTED.isoformat()))}
    assert columns_of(tmp_path / "p") == (*vendor_columns(TRANSACTIONS), *LINEAGE_COLUMNS)


@pytest.mark.parametrize("pages", [[], ["[]"]])
def test_a_day_without_rows_is_a_file_with_all_columns_in_their_types(
    tmp_path: Path, pages: list[str]
) -> None:
    nothing = staged(TRANSACTIONS, [page(tmp_path, text) for text in pages], tmp_path)
    write_day(nothing, {DAY}, DAY, tmp_path / "p", report_id="sweep")
    assert row_count(tmp_path / "p") == 0
    with duckdb.connect() as connection:
        types = dict(
            connection.execute(
                f"SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet('{tmp_path / 'p'}'))"
            ).fetchall()
        )
    assert (types["id"], types["adjustment"], types["ins_name"]) == ("VARCHAR", "DECIMAL(18,4)", "BIGINT")
    assert (types["updated_at"], types["posted_date"]) == ("TIMESTAMP WITH TIME ZONE", "DATE")


def test_the_hash_is_blind_to_order_and_lineage_but_not_to_a_value(tmp_path: Path) -> None:
    def hash_of(records: list[dict[str, Any]], name: str, day: date, order: int) -> str | None:
        write_day(
            staged(NOTES, [page(tmp_path, records, order)], tmp_path),
            None,
            day,
            tmp_path / name,
            report_id=name,
        )
        return content_hash_of(tmp_path / name)

    records = [{"appointment": str(key), "patient": 7, "archived": False} for key in range(5)]
    first = hash_of(records, "a", DAY, 0)
    assert hash_of(records[::-1], "b", date(2026, 3, 9), 1) == first
    changed = [*records[:-1], {**records[-1], "archived": True}]
    assert hash_of(changed, "c", DAY, 2) != first
    assert hash_of(records[:-1], "d", DAY, 3) != first


def test_undocumented_and_ill_typed_fields_are_reported_by_name_and_number(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"id": 1, "yellow": 1, "adjustment": "x", "posted_date": "", "updated_at": "2026-03-08T00:00:00"},
        {"id": 2, "yellow": None, "ID": 3, "created_at": "soon", "updated_at": "2026-03-08T00:00:00"},
        {"id": 3, "posted_date": 5},
    ]
    found = staged(TRANSACTIONS, [page(tmp_path, records)], tmp_path)
    assert found.drift == {"ID": 1, "adjustment": 1, "created_at": 1, "posted_date": 1, "yellow": 2}


def test_a_field_that_comes_twice_is_kept_twice(tmp_path: Path) -> None:
    [row] = landed(TRANSACTIONS, '[{"id": 1, "adjustment": 1, "adjustment": 2, "id": 7}]', tmp_path)
    assert row["id"] == "7"
    assert row["adjustment"] is None
    assert json.loads(row["_extra"], object_pairs_hook=list) == [
        ["id", 1], ["adjustment", 1], ["adjustment", 2], ["id", 7],
    ] or row["_extra"] == '{"id":1,"adjustment":1,"adjustment":2,"id":7}'  # fmt: skip


def test_what_a_page_can_hold_at_worst_comes_back(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    record = {
        "id": 1,
        "insurance": deep,
        "claim_status": "y" * 5_000_000,
        "adjustment_reason": "a\0b\u2028😀",
    }
    [row] = landed(
        TRANSACTIONS,
        [
            record,
        ],
        tmp_path,
    )
    assert row["claim_status"] == record["claim_status"]
    assert row["adjustment_reason"] == record["adjustment_reason"]
    assert json.loads(row["insurance"]) == deep


def test_a_row_that_changed_after_the_range_stays_in_its_old_partition(tmp_path: Path) -> None:
    def one(key: int, at: str, status: str) -> dict[str, Any]:
        return {"id": key, "updated_at": at, "claim_status": status}

    old = [one(key, "2026-03-08T01:00:00", "old") for key in (1, 2, 3, 4)]
    before = tmp_path / "before"
    write_day(staged(TRANSACTIONS, [page(tmp_path, old)], tmp_path), {DAY}, DAY, before, report_id="old")
    with duckdb.connect() as connection:  # as an older version of this project wrote it
        older = tmp_path / "older"
        connection.execute(
            f"COPY (SELECT * EXCLUDE (trace_number, _as_sent), 'x' AS gone FROM read_parquet('{before}')) "
            f"TO '{older}' (FORMAT parquet)"
        )
    now = [
        one(1, "2026-03-08T02:00:00", "same day"),
        one(2, "2026-03-10T00:00:00", "after the range"),
        one(3, "2026-03-09T00:00:00", "within the range"),
    ]
    newer = staged(TRANSACTIONS, [page(tmp_path, now, 5)], tmp_path)
    target = tmp_path / "target"

    def standing(file: Path) -> Standing:
        return Standing(file, elsewhere={date(2026, 3, 9)}, others=(), undated_in=DAY)

    kept = write_day(newer, {DAY}, DAY, target, report_id="new", keep=standing(older))
    assert kept == Kept(on_the_move=1, not_sent=1)
    rows = rows_of(target)
    assert [(row["id"], row["claim_status"], row["_report_id"], row["gone"]) for row in rows] == [
        ("1", "same day", "list-5", None),
        ("2", "old", "list-0", "x"),
        ("4", "old", "list-0", "x"),
    ]
    # The old partition as it is written today keeps the row too, and hashes alike when nothing changed.
    write_day(newer, {DAY}, DAY, tmp_path / "again", report_id="n", keep=standing(before))
    again = tmp_path / "once more"
    write_day(newer, {DAY}, DAY, again, report_id="m", keep=standing(tmp_path / "again"))
    assert content_hash_of(again) == content_hash_of(tmp_path / "again")


def test_days_scattered_over_all_pages_are_written_right(tmp_path: Path) -> None:
    records = [
        {"id": key, "updated_at": f"2026-03-{1 + key * 5 % 28:02}T00:00:00", "ins_name": key}
        for key in range(9000)
    ]
    many = staged(TRANSACTIONS, [page(tmp_path, records[n::3], n) for n in range(3)], tmp_path)
    assert len(many.rows_by_day) == 28
    for day, rows in list(many.rows_by_day.items())[:3]:
        write_day(many, {day}, DAY, tmp_path / "p", report_id="sweep")
        assert day is not None
        found = [row["ins_name"] for row in rows_of(tmp_path / "p")]
        assert found == [key for key in range(9000) if 1 + key * 5 % 28 == day.day]
        assert len(found) == rows
