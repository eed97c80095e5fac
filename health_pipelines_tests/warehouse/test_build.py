"""What people find in `warehouse.duckdb`, and that neither they nor a crash get in the next one's way."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from health_pipelines.lake.csv_partition import Lineage, column_types, write_partition
from health_pipelines.lake.csv_shape import CsvShape
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.warehouse.build import Warehouse
from health_pipelines_tests.support.child_process import CRASHER, child, crashes

VISITS = Table("clinic", "visits")
PATIENTS = Table("clinic", "patients")
BOOKINGS = Table("other source", "book-ings")
TABLES = (VISITS, PATIENTS, BOOKINGS)
LINEAGE = ["_partition_date", "_report_id", "_extracted_at"]
EXTRACTED_AT = datetime(2026, 3, 9, tzinfo=UTC)

BUILDER = """
import sys
from pathlib import Path
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.warehouse.build import Warehouse

folder = Path(sys.argv[1])
tables = [Table("clinic", "visits"), Table("clinic", "patients"), Table("other source", "book-ings")]
for _ in range(15):
    Warehouse(folder, Lake(folder / "lake"), tables).build()
"""

READER = """
import sys
import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(connection.execute("SELECT count(*) FROM clinic.visits").fetchone()[0], flush=True)
    for line in sys.stdin:
        views = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        names = [name for name, in connection.execute(views).fetchall()]
        columns = connection.execute("SELECT count(*) FROM (DESCRIBE clinic.visits)").fetchone()[0]
        print(*names, columns, flush=True)
"""

# Opens the file for writing and writes when it is told to; ends when its standard input does.
USER = """
import sys
import duckdb

connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    if line.strip() == "close":
        connection.close()
    else:
        connection.execute(f"CREATE TABLE {line.strip()} AS SELECT 1 AS mine")
    print("done", flush=True)
"""


class Clinic:
    """A data folder with a lake and its warehouse."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(folder / "lake")
        self.warehouse = Warehouse(folder, self.lake, TABLES)
        self.file = self.warehouse.file

    def land(self, table: Table, day: str, rows: Sequence[Mapping[str, str | None]]) -> bool:
        """Land rows that have the same columns, and show them."""
        lines: list[list[str | None]] = [list(rows[0]), *(list(row.values()) for row in rows)]
        quoted = (",".join("" if value is None else f'"{value}"' for value in line) for line in lines)
        body = "".join(f"{line}\n" for line in quoted).encode()
        shape = CsvShape()
        shape.feed(body)
        with self.lake.writing(table, day) as writer:
            writer.download.write_bytes(body)
            lineage = Lineage(date.fromisoformat(day), f"report of {day}", EXTRACTED_AT)
            write_partition(
                writer.download, shape.summary(end_is_proven=True), writer.candidate, lineage, "sha256:0"
            )
            writer.replace()
        return self.warehouse.show(table, column_types(writer.target))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """As a person would."""
        with duckdb.connect(str(self.file), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def columns(self, view: str) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self.query(f"DESCRIBE {view}")}


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def test_the_first_partition_of_a_table_is_shown_at_once(clinic: Clinic) -> None:
    assert clinic.land(VISITS, "2026-03-08", [{"id": "007", "note": None}, {"id": "8", "note": ""}])

    assert clinic.query("SELECT id, note, _partition_date, _report_id FROM clinic.visits ORDER BY id") == [
        ("007", None, date(2026, 3, 8), "report of 2026-03-08"),
        ("8", "", date(2026, 3, 8), "report of 2026-03-08"),
    ]
    assert list(clinic.columns("clinic.visits").items()) == [
        ("id", "VARCHAR"),
        ("note", "VARCHAR"),
        ("_partition_date", "DATE"),
        ("_report_id", "VARCHAR"),
        ("_extracted_at", "TIMESTAMP WITH TIME ZONE"),
    ]


def test_a_table_that_never_landed_answers_with_no_rows(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])

    assert clinic.query("SELECT * FROM clinic.patients") == []
    assert clinic.columns("clinic.patients") == {
        "_partition_date": "DATE",
        "_report_id": "VARCHAR",
        "_extracted_at": "TIMESTAMP WITH TIME ZONE",
    }
    assert clinic.query('SELECT * FROM "other source"."book-ings"') == []


def test_an_empty_lake_makes_a_warehouse_that_answers(clinic: Clinic) -> None:
    clinic.warehouse.build()

    assert clinic.query("SELECT * FROM clinic.visits") == []


def test_a_partition_without_rows_shows_its_columns(clinic: Clinic) -> None:
    with clinic.lake.writing(VISITS, "2026-03-08") as writer:
        writer.download.write_bytes(b'"id","note"\n')
        shape = CsvShape()
        shape.feed(b'"id","note"\n')
        lineage = Lineage(date(2026, 3, 8), "r", EXTRACTED_AT)
        write_partition(writer.download, shape.summary(end_is_proven=True), writer.candidate, lineage, "h")
        writer.replace()
    assert clinic.warehouse.show(VISITS, column_types(writer.target))

    assert clinic.query("SELECT id, note FROM clinic.visits") == []


def test_later_partitions_are_seen_without_a_new_file(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    before = clinic.file.stat().st_ino

    assert not clinic.land(VISITS, "2026-03-09", [{"id": "2"}])
    assert not clinic.land(VISITS, "2026-03-08", [{"id": "3"}])

    assert clinic.file.stat().st_ino == before
    assert clinic.query("SELECT id FROM clinic.visits ORDER BY id") == [("2",), ("3",)]


def test_a_new_column_is_shown_for_every_day(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    assert clinic.land(VISITS, "2026-03-09", [{"id": "2", "room": "b"}])

    assert clinic.query("SELECT id, room FROM clinic.visits ORDER BY id") == [("1", None), ("2", "b")]
    assert list(clinic.columns("clinic.visits")) == ["id", "room", *LINEAGE]


def test_columns_stand_in_the_order_of_the_newest_partition_with_lineage_last(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"a": "1", "gone": "x", "b": "2"}])
    clinic.land(VISITS, "2026-03-09", [{"new": "0", "b": "2", "a": "1"}])

    assert list(clinic.columns("clinic.visits")) == ["new", "b", "a", "gone", *LINEAGE]


def test_a_view_still_answers_after_the_last_partition_with_a_column_was_replaced(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1", "room": "b"}])
    assert not clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    assert clinic.query("SELECT id, room FROM clinic.visits") == [("1", None)]

    clinic.warehouse.build()
    assert list(clinic.columns("clinic.visits")) == ["id", *LINEAGE]


def test_a_view_still_answers_between_the_landing_of_a_new_column_and_its_showing(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    land_unseen(clinic, "2026-03-09", [{"room": "b", "id": "2"}])

    assert clinic.query("SELECT * EXCLUDE (_extracted_at) FROM clinic.visits ORDER BY id") == [
        ("1", date(2026, 3, 8), "report of 2026-03-08"),
        ("2", date(2026, 3, 9), "report of 2026-03-09"),
    ]


def test_a_column_whose_case_was_changed_is_one_column(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"ID": "1", "x": "a"}])
    assert not clinic.land(VISITS, "2026-03-09", [{"id": "2", "X": "b"}])
    assert clinic.query("SELECT id, x FROM clinic.visits ORDER BY id") == [("1", "a"), ("2", "b")]

    clinic.warehouse.build()
    assert clinic.query("SELECT Id, x FROM clinic.visits ORDER BY id") == [("1", "a"), ("2", "b")]
    assert list(clinic.columns("clinic.visits")) == ["id", "X", *LINEAGE]


def test_a_column_named_date_is_the_vendors_and_not_the_folders(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1", "date": "1999-12-31"}])

    assert clinic.query("SELECT date FROM clinic.visits") == [("1999-12-31",)]


def test_strange_names_of_columns_and_tables_can_be_queried(clinic: Clinic) -> None:
    clinic.land(BOOKINGS, "2026-03-08", [{"two words": "1", "it's": "2", "select": "3", "é": "4"}])

    assert clinic.query('SELECT "two words", "it\'s", "select", "é" FROM "other source"."book-ings"') == [
        ("1", "2", "3", "4")
    ]


def test_a_quote_in_the_path_of_the_lake_is_part_of_the_path(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "St. Mary's; DROP")
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    clinic.land(VISITS, "2026-03-09", [{"id": "2"}])

    assert clinic.query("SELECT id FROM clinic.visits ORDER BY id") == [("1",), ("2",)]


@pytest.mark.parametrize("damage", ["no file", "no note", "half a note", "another lake"])
def test_a_file_that_is_not_what_its_note_says_is_built_anew(clinic: Clinic, damage: str) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    note = clinic.file.with_name("warehouse.json")
    if damage == "no file":
        clinic.file.unlink()
    elif damage == "no note":
        note.unlink()
    elif damage == "half a note":
        note.write_text(note.read_text()[:20])
    else:
        note.write_text(note.read_text().replace(str(clinic.lake.root), "/another/lake"))

    assert clinic.land(VISITS, "2026-03-09", [{"id": "2"}])
    assert clinic.query("SELECT count(*) FROM clinic.visits") == [(2,)]
    assert not clinic.land(VISITS, "2026-03-09", [{"id": "2"}])


def test_a_reader_keeps_its_snapshot_through_fifty_builds_and_holds_none_up(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}, {"id": "2"}])
    with child(READER, clinic.file) as reader:
        assert reader.line() == "2"
        for number in range(50):
            clinic.warehouse.build()
            if number % 10 == 0:
                clinic.land(VISITS, "2026-03-09", [{"id": "1", f"column {number}": "x"}])
                reader.tell()
                # Three views; the id and three lineage columns, as when it opened the file.
                assert reader.line() == "book-ings patients visits 4"
        assert reader.is_running
    # The last landing replaced the day that had the earlier ones' columns.
    assert list(clinic.columns("clinic.visits")) == ["id", "column 40", *LINEAGE]


def test_a_user_who_writes_into_the_file_neither_stops_a_build_nor_reaches_the_next_file(
    clinic: Clinic,
) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    with child(USER, clinic.file) as user:
        assert user.line() == "open"
        user.tell("scribble")
        assert user.line() == "done"
        log = clinic.file.with_name("warehouse.duckdb.wal")
        assert log.exists(), "DuckDB wrote no log: this test shows nothing"

        clinic.land(VISITS, "2026-03-08", [{"id": "2"}])
        assert clinic.land(VISITS, "2026-03-09", [{"id": "3", "room": "b"}])

        assert not log.exists()
        assert tables_and_views(clinic) == ["book-ings", "patients", "visits"]
        user.tell("more")
        assert user.line() == "done"
        user.tell("close")
        assert user.line() == "done"
    assert tables_and_views(clinic) == ["book-ings", "patients", "visits"]
    assert clinic.query("SELECT id, room FROM clinic.visits ORDER BY id") == [("2", None), ("3", "b")]


def test_the_log_of_a_user_who_was_killed_is_not_replayed_into_the_next_file(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    with child(USER, clinic.file) as user:
        assert user.line() == "open"
        user.tell("scribble")
        assert user.line() == "done"
        user.kill()
    assert clinic.file.with_name("warehouse.duckdb.wal").exists()

    clinic.warehouse.build()

    assert not clinic.file.with_name("warehouse.duckdb.wal").exists()
    assert tables_and_views(clinic) == ["book-ings", "patients", "visits"]


def test_the_next_landing_heals_a_file_beside_which_a_late_writer_of_the_old_one_left_its_log(
    clinic: Clinic,
) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    with child(USER, clinic.file) as user:
        assert user.line() == "open"
        clinic.warehouse.build()
        # Into the file that was replaced, but DuckDB makes its log by name: beside the new one.
        user.tell("scribble")
        assert user.line() == "done"
        user.kill()

    clinic.land(VISITS, "2026-03-09", [{"id": "2"}])

    assert clinic.query("SELECT id FROM clinic.visits ORDER BY id") == [("1",), ("2",)]


def tables_and_views(clinic: Clinic) -> list[str]:
    found = clinic.query(
        "SELECT table_name FROM duckdb_tables() UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    )
    return [name for (name,) in found]


def test_two_processes_that_build_at_once_leave_a_whole_file(clinic: Clinic) -> None:
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])

    with child(BUILDER, clinic.file.parent) as one, child(BUILDER, clinic.file.parent) as two:
        reads = 0
        while one.is_running or two.is_running:
            assert clinic.query("SELECT id FROM clinic.visits") == [("1",)]
            reads += 1
        assert (one.ended(), two.ended()) == (0, 0)

    assert reads > 5
    assert names_in(clinic.file.parent) == [".warehouse", "lake", "warehouse.duckdb", "warehouse.json"]


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 - hidden files count


SHOWER = """
from pathlib import Path
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.warehouse.build import Warehouse

TRACED = ("warehouse/build.py",)
visits = Table("clinic", "visits")

def work(folder):
    Warehouse(Path(folder), Lake(Path(folder, "lake")), [visits]).show(
        visits, {"id": "VARCHAR", "room": "VARCHAR"}
    )
"""


def test_a_crash_before_any_line_of_a_build_leaves_a_file_that_answers_and_the_next_landing_completes_it(
    clinic: Clinic,
) -> None:
    folder = clinic.file.parent
    clinic.land(VISITS, "2026-03-08", [{"id": "1"}])
    land_unseen(clinic, "2026-03-09", [{"id": "2", "room": "b"}])
    new_day = clinic.lake.partition_file(VISITS, "2026-03-09")
    new_bytes = new_day.read_bytes()
    lines = 0
    crashed = True
    with child(SHOWER + CRASHER) as crasher:
        while crashed:
            # As after a landing that nobody has shown yet: the file does not have the new column.
            new_day.unlink()
            clinic.warehouse.build()
            assert names_in(folder) == [
                ".warehouse",
                "elsewhere",
                "lake",
                "warehouse.duckdb",
                "warehouse.json",
            ]
            new_day.write_bytes(new_bytes)

            crashed = crashes(crasher, lines + 1, folder)

            lines += 1
            assert clinic.query("SELECT id FROM clinic.visits ORDER BY id") == [("1",), ("2",)]
            clinic.warehouse.show(VISITS, column_types(new_day))
            assert clinic.query("SELECT id, room FROM clinic.visits ORDER BY id") == [("1", None), ("2", "b")]

    assert lines > 20


def land_unseen(clinic: Clinic, day: str, rows: Sequence[Mapping[str, str | None]]) -> None:
    """Land rows that the warehouse has not been told of."""
    folder = clinic.file.parent
    other = Clinic(folder)
    other.warehouse = Warehouse(folder / "elsewhere", clinic.lake, TABLES)
    other.land(VISITS, day, rows)
