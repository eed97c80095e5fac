"""CSV bodies that break careless readers, through the whole landing: sandbox, HTTP, steps, lake, warehouse.

What is expected is written by hand, as the reader of a table must find it. What holds of the parts is tested
with them (`lake/test_csv_shape.py`, `lake/test_csv_partition.py`).
"""

import base64
import codecs
from pathlib import Path

import duckdb
import polars as pl
import pytest

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.dexcare.project import VIRTUAL, Project, failure_of
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess

DAY = "2026-03-10"
Row = tuple[str | None, ...]


# What is sent, and the columns and rows that it means. Each is a day: one run lands them all.
HARD: dict[str, tuple[bytes, list[str], list[Row]]] = {
    "quotes": (
        b'"id","note"\n"1","she said ""no"" twice"\n"2",""""\n"3",""""""\n"4",""\n',
        ["id", "note"],
        [("1", 'she said "no" twice'), ("2", '"'), ("3", '""'), ("4", "")],
    ),
    "newlines in quotes": (
        b'"id","note"\n"1","one\ntwo\r\nthree\rfour"\n"2","\n"\n"3","\n\n"",\n"""\n',
        ["id", "note"],
        [("1", "one\ntwo\r\nthree\rfour"), ("2", "\n"), ("3", '\n\n",\n"')],
    ),
    "values without quotes": (
        b'id,note\n1,"a,b"\n2,plain\n3, spaces kept \n4,\n',
        ["id", "note"],
        [("1", "a,b"), ("2", "plain"), ("3", " spaces kept "), ("4", None)],
    ),
    "byte order mark": (codecs.BOM_UTF8 + b'"id","note"\n"1","x"\n', ["id", "note"], [("1", "x")]),
    "byte order mark, nothing quoted": (
        codecs.BOM_UTF8 + b"id,note\r\n1,x\r\n",
        ["id", "note"],
        [("1", "x")],
    ),
    "byte order marks that are data": (
        '"id","note"\n"1","\ufeffx"\n"\ufeff2","y"\n'.encode(),
        ["id", "note"],
        [("1", "\ufeffx"), ("\ufeff2", "y")],
    ),
    "CRLF": (
        b'"id","note"\r\n"1","x"\r\n"2",\r\n"3",""\r\n',
        ["id", "note"],
        [("1", "x"), ("2", None), ("3", "")],
    ),
    "CRLF and LF": (b'"id","note"\r\n"1","x"\n"2","y"\r\n', ["id", "note"], [("1", "x"), ("2", "y")]),
    "NUL bytes": (
        b'"id","note"\n"1","a\0b"\n"2","\0"\n3,\0\0\n',
        ["id", "note"],
        [("1", "a\0b"), ("2", "\0"), ("3", "\0\0")],
    ),
    "what only Unicode takes for line ends": (
        '"id","note"\n"1","a\u2028b\u0085c\x0bd\x0ce\x1cf"\n2,\u2028\n'.encode(),
        ["id", "note"],
        [("1", "a\u2028b\u0085c\x0bd\x0ce\x1cf"), ("2", "\u2028")],
    ),
    "characters of one to four bytes": (
        '"id","note"\n"1","é"\n"2","e\u0301"\n"3","漢字"\n"4","😀"\n'.encode(),
        ["id", "note"],
        [("1", "é"), ("2", "e\u0301"), ("3", "漢字"), ("4", "😀")],
    ),
    "names that are hard to keep apart": (
        b'"a,b","c ""d""","e\nf","ID","id",""\n"1","2","3","4","5","6"\n',
        ["a,b", 'c "d"', "e\nf", "ID", "id_2", "column_6"],
        [("1", "2", "3", "4", "5", "6")],
    ),
    "header only": (b'"id","note"\n', ["id", "note"], []),
    "header only, CRLF": (b'"id","note"\r\n', ["id", "note"], []),
    "header only, no line end": (b'"id","note"', ["id", "note"], []),
    "no line end at the end": (b'"id","note"\n"1","x"\n"2","y"', ["id", "note"], [("1", "x"), ("2", "y")]),
    "no line end after a NULL": (b'"id","note"\n"1","x"\n"2",', ["id", "note"], [("1", "x"), ("2", None)]),
}

# What is sent, and what the failure says of it.
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "the body has no header"),
    "byte order mark alone": (codecs.BOM_UTF8, "the body has no header"),
    "line end alone": (b"\r\n", "the body has no header"),
    "header in Latin-1": (b'"id","n\xe9"\n"1","Zoltan"\n', "the header is not UTF-8"),
    "all of it in UTF-16": ('"id","note"\n"1","Zoltan"\n'.encode("utf-16"), "the header is not UTF-8"),
    "a value in Latin-1": (b'"id","note"\n"1","Zoltan \xe9"\n', "record 1 has a value that is not UTF-8"),
    "half a surrogate, after newlines in quotes": (
        b'"id","note"\n"1","Zoltan"\n"2","a\nb\n\nc"\n"3","""\n"""\n"4","Zoltan \xed\xa0\x80"\n"5","x"\n',
        "record 4 has a value that is not UTF-8",
    ),
    "a bad byte in the last record, which has no line end": (
        b'"id","note"\r\n' + b'"1","ok\r\n"\r\n' * 70_000 + b'"2","Zoltan \xff"',
        "record 70001 has a value that is not UTF-8",
    ),
    "a field too many, after a newline in quotes": (
        b'"id","note"\n"1","x\n"\n"2","Zoltan","y"\n',
        "record 2 has 3 fields where the header has 2",
    ),
    "text between quotes and comma": (
        b'"id","note"\n"1","Zoltan" "2"\n',
        "record 1 has a quote where no value begins or ends",
    ),
    "a quote that is never closed": (
        b'"id","note"\n"1","Zoltan\n"2","x"\n"3","y"\n',
        "record 1 has a quote where no value begins or ends",
    ),
}


def test_hard_bodies_land_as_they_are_meant(project: Project, vendor: SandboxProcess, data: Path) -> None:
    named = dict(zip(days_from(DAY, len(HARD)), HARD, strict=True))
    for day, name in named.items():
        send(vendor, HARD[name][0], day)
    land(project, min(named), max(named))
    assert {name: in_the_lake(data, day) for day, name in named.items()} == {
        name: (columns, rows) for name, (_, columns, rows) in HARD.items()
    }
    assert {named[day]: count for day, count in rows_said(project).items()} == {
        name: len(rows) for name, (_, _, rows) in HARD.items()
    }


def test_bodies_that_cannot_be_kept_as_they_are_fail_with_the_record_and_leave_the_old_partitions(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    named = dict(zip(days_from(DAY, len(REFUSED)), REFUSED, strict=True))
    first, last = min(named), max(named)
    vendor.add_fault("data", {"kind": "body", "text": '"id","note"\n"old","old"\n'})
    land(project, first, last)
    vendor.clear_faults()
    for day, name in named.items():
        send(vendor, REFUSED[name][0], day)
    project.materialize([VIRTUAL.request_key], first, last)
    result = project.materialize([VIRTUAL.asset_key], first, last)
    assert f"{len(named)} of {len(named)} days could not be landed, {first} the first" in failure_of(result)
    open_tickets = project.ledger().open_tickets()
    reasons = {named[day]: one.failure.reason for day, one in open_tickets.items() if one.failure}
    assert {name: reason for name, reason in reasons.items() if REFUSED[name][1] not in reason} == {}
    assert reasons.keys() == REFUSED.keys()
    # `Zoltan` is in each of them that has a value.
    assert "Zoltan" not in "".join(repr(entry) for entry in project.instance.all_logs(result.run_id))
    for day in named:
        assert in_the_lake(data, day) == (["id", "note"], [("old", "old")])


def test_ten_thousand_columns_land(project: Project, vendor: SandboxProcess, data: Path) -> None:
    names = [f"c{number}" for number in range(10_000)]
    first = [f'"{number}"' for number in range(10_000)]
    second = [""] * 9_999 + ['"the last"']
    send(vendor, "\n".join(",".join(line) for line in (names, first, second)).encode())
    land(project)
    file = Lake(data / "lake").partition_file(VIRTUAL.table, DAY)
    frame = pl.read_parquet(file, hive_partitioning=False)
    assert frame.columns == [*names, *LINEAGE_COLUMNS]
    assert frame.row(0)[:10_000] == tuple(str(number) for number in range(10_000))
    assert frame.row(1)[:10_000] == (*[None] * 9_999, "the last")
    assert rows_said(project) == {DAY: 2}


def test_a_cell_of_five_megabytes_lands(project: Project, vendor: SandboxProcess, data: Path) -> None:
    # Full of what would end the value, or the record, if it stood outside of quotes.
    cell = 'line, with ""quotes""\r\n' * 250_000
    assert len(cell) > 5_000_000
    send(vendor, f'"id","note"\n"1","{cell}"\n"2","short"\n'.encode())
    land(project)
    _, rows = in_the_lake(data, DAY)
    assert [(key, len(note or "")) for key, note in rows] == [("1", 21 * 250_000), ("2", 5)]
    assert rows[0][1] == 'line, with "quotes"\r\n' * 250_000


@pytest.mark.parametrize(
    ("end", "lands"), [(b'\n"2","y"\n', True), (b'\n"2","y"', False), (b'\n"2",', False), (b"\n", True)]
)
def test_where_only_the_closed_connection_tells_the_end_a_line_end_has_to_prove_it(
    project: Project, vendor: SandboxProcess, data: Path, end: bytes, lands: bool
) -> None:
    vendor.change_settings(framing="close")
    send(vendor, b'"id","note"\n"1","x"' + end)
    project.materialize([VIRTUAL.request_key], DAY)
    result = project.materialize([VIRTUAL.asset_key], DAY)
    assert result.success is lands
    assert project.landed(VIRTUAL.asset_key) == ([DAY] if lands else [])
    if not lands:
        assert "the body ends without a line end after record 2" in failure_of(result)


def send(vendor: SandboxProcess, body: bytes, day: str = DAY) -> None:
    """From now on every report of the day has this body."""
    vendor.add_fault("data", {"kind": "body", "base64": base64.b64encode(body).decode()}, day=day)


def land(project: Project, first: str = DAY, last: str = DAY) -> None:
    assert project.materialize([VIRTUAL.request_key], first, last).success
    assert project.materialize([VIRTUAL.asset_key], first, last).success


def in_the_lake(data: Path, day: str) -> tuple[list[str], list[Row]]:
    """The vendor's columns and the rows of a day, both in their order."""
    file = Lake(data / "lake").partition_file(VIRTUAL.table, day)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT * EXCLUDE ({', '.join(LINEAGE_COLUMNS)}) "
            "FROM read_parquet(?, hive_partitioning = false)",
            [str(file)],
        )
        return [str(column[0]) for column in found.description or ()], found.fetchall()


def rows_said(project: Project) -> dict[str, object]:
    """The number of rows that each day's materialization shows."""
    records = project.instance.fetch_materializations(VIRTUAL.asset_key, limit=100).records
    return {
        str(record.partition_key): record.asset_materialization.metadata["dagster/partition_row_count"].value
        for record in records
        if record.asset_materialization is not None
    }
