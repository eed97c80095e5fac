"""Whatever is wrong with lake or disk: one sentence that names it, and the old warehouse as it was."""

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from health_pipelines.lake.csv_partition import quoted
from health_pipelines.lake.locks import locked
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import Settings, VisitColumns
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.lake_tables import TABLES
from health_pipelines.warehouse.making import Making
from health_pipelines.warehouse.problems import NoRoomError, UnusableError
from health_pipelines.warehouse.published import BuildReport
from health_pipelines.warehouse.work_file import STORAGE_VERSION
from health_pipelines_tests.support.child_process import child
from health_pipelines_tests.support.waiting import wait_for
from health_pipelines_tests.support.warehouse_trouble import TROUBLES
from health_pipelines_tests.warehouse.hospital import NAMED, ZONE, Hospital

VIRTUAL, RETAIL = Table("dexcare", "avr_virtual"), Table("dexcare", "avr_retail")
COUNT = "SELECT count(*), count(DISTINCT visit_id) FROM marts.visits"

# Builds the warehouse of a folder while no file may be larger than so many bytes; says what went wrong.
CRAMPED = """
import resource, sys
from pathlib import Path
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines_tests.warehouse.hospital import Hospital

hospital = Hospital(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    hospital.build()
except WarehouseError as error:
    print(type(error).__name__, flush=True)
    print(error, flush=True)
"""

READER = """
import sys
import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print("open", flush=True)
    for line in sys.stdin:
        counts = connection.execute("SELECT count(*), sum(visits) FROM marts.daily_visits").fetchone()
        print(*counts, flush=True)
"""


def visits(day: str, numbers: range) -> list[dict[str, str | None]]:
    return [
        {"visit_id": f"{day} {number}", "scheduled_at": f"{day} 10:00:00", "state": "completed"}
        for number in numbers
    ]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    hospital = Hospital(tmp_path)
    for day in range(1, 6):
        hospital.land_visits("virtual", f"2026-10-0{day}", visits(f"2026-10-0{day}", range(40)))
    hospital.build()
    return hospital


def test_a_truncated_partition_is_named(hospital: Hospital) -> None:
    file = hospital.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(50)), extracted=2)
    file.write_bytes(file.read_bytes()[:-9])

    assert_problem(hospital.build(), r"dexcare/avr_virtual 2026-10-03 cannot be read")

    assert_as_it_was(hospital)
    hospital.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(41)), extracted=2)
    hospital.build()
    assert hospital.query(COUNT) == [(201, 201)]


def assert_problem(report: BuildReport, sentence: str) -> None:
    [problem] = report.problems
    assert re.search(sentence, problem)
    assert "Traceback" not in problem


def assert_as_it_was(hospital: Hospital) -> None:
    assert hospital.query(COUNT) == [(200, 200)]
    assert [path.name for path in (hospital.folder / ".warehouse").iterdir() if path.is_file()] == []


def test_a_partition_whose_rows_are_damaged_behind_a_sound_footer_is_named(hospital: Hospital) -> None:
    file = hospital.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(50)), extracted=2)
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    file.write_bytes(content)

    assert_problem(hospital.build(), r"2026-10-03 cannot be read .* not a whole Parquet file")

    assert_as_it_was(hospital)


def test_a_partition_that_is_gone_from_the_lake_is_named_and_can_be_given_up(hospital: Hospital) -> None:
    hospital.lake.partition_file(VIRTUAL, "2026-10-02").unlink()

    assert_problem(hospital.build(), r"dexcare/avr_virtual 2026-10-02 .* file is gone")
    assert_as_it_was(hospital)

    hospital.warehouse.file.unlink()
    hospital.build()
    assert hospital.query(COUNT) == [(160, 160)]


class SwallowingLake(Lake):
    """A lake from which somebody deletes a partition once all of them have been listed and looked at."""

    def pattern(self, table: Table) -> str:
        if table == VIRTUAL:
            self.partition_file(VIRTUAL, "2026-10-04").unlink(missing_ok=True)
        return super().pattern(table)


def test_a_partition_that_goes_between_listing_and_reading_is_named(hospital: Hospital) -> None:
    hospital.land_visits("virtual", "2026-10-04", visits("2026-10-04", range(50)), extracted=2)
    lake = SwallowingLake(hospital.lake.root)
    warehouse = Warehouse(hospital.folder, lake, TABLES, Making(ZONE, {"virtual": NAMED}))

    assert_problem(warehouse.build(), r"2026-10-04 cannot be read .* was deleted meanwhile")

    assert_as_it_was(hospital)


@pytest.mark.parametrize("room", [100_000, 1_000_000])
def test_a_disk_without_room_is_named(hospital: Hospital, room: int) -> None:
    size = hospital.warehouse.file.stat().st_size
    limit = size // 2 if room == 100_000 else size + room
    hospital.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(150_000)), extracted=2)

    with child(CRAMPED, hospital.folder, limit) as builder:
        assert builder.line() == NoRoomError.__name__
        said = builder.line()
        assert "make room there" in said
        assert builder.ended() == 0

    assert_as_it_was(hospital)


def test_a_day_that_lands_again_with_other_keys_leaves_no_row_of_the_old_ones(hospital: Hospital) -> None:
    hospital.land_visits("virtual", "2026-10-03", visits("other", range(10)), extracted=2)
    hospital.build()

    assert hospital.query(COUNT) == [(170, 170)]
    assert hospital.one("SELECT count(*) FROM marts.visits WHERE visit_id LIKE '2026-10-03%'") == 0


def test_a_day_that_lands_again_with_another_key_column_is_told(hospital: Hospital) -> None:
    rows: list[dict[str, str | None]] = [{"visitId": "1", "scheduled_at": None, "state": "x"}]
    hospital.land_visits("virtual", "2026-10-03", rows, extracted=2)

    report = {model.name: model for model in hospital.build().models}

    assert report["current.avr_virtual"].rows_without_key == 1
    assert hospital.query(COUNT) == [(160, 160)]


def test_an_empty_lake_makes_models_without_rows(tmp_path: Path) -> None:
    empty = Hospital(tmp_path)

    report = empty.build()

    assert {model.rows for model in report.models} == {0}
    for model in empty.warehouse.models():
        assert empty.query(f"FROM {model.full_name}") == []


def test_a_reader_keeps_the_marts_through_many_builds_and_holds_none_up(hospital: Hospital) -> None:
    with child(READER, hospital.warehouse.file) as reader:
        assert reader.line() == "open"
        for number in range(20):
            hospital.land_visits(
                "virtual", "2026-10-05", visits("2026-10-05", range(number + 1)), extracted=2
            )
            assert hospital.build().published
            if number % 5 == 0:
                reader.tell()
                assert reader.line() == "5 200"
        assert reader.is_running
    assert hospital.query(COUNT) == [(180, 180)]


def test_what_lands_during_a_build_is_shown_at_once_and_not_lost_by_it(hospital: Hospital) -> None:
    hospital.land_visits("virtual", "2026-10-05", visits("2026-10-05", range(7)), extracted=2)
    errors: list[BaseException] = []

    def build() -> None:
        try:
            hospital.build()
        except BaseException as error:
            errors.append(error)

    building = threading.Thread(target=build)
    work = hospital.folder / ".warehouse"
    with locked(hospital.folder, wait=True):
        building.start()
        wait_for((work / "building.duckdb").exists, "a build under way")
        other = Hospital(hospital.folder)
        retail = other.land_visits("retail", "2026-10-01", visits("r", range(3)))
    hospital.show(RETAIL, retail)
    building.join(60)

    assert not building.is_alive()
    assert errors == []
    assert hospital.query("SELECT count(*), count(state) FROM dexcare.avr_retail") == [(3, 3)]
    # The models have them as well if they landed before the build looked for files.
    assert hospital.query(COUNT) in ([(167, 167)], [(170, 170)])
    assert not hospital.warehouse.is_current()


def test_showing_a_new_column_keeps_the_models(hospital: Hospital) -> None:
    rows: list[dict[str, str | None]] = [{**row, "new": "x"} for row in visits("2026-10-06", range(3))]
    file = hospital.land_visits("virtual", "2026-10-06", rows)

    assert hospital.show(VIRTUAL, file)

    assert hospital.one("SELECT count(new) FROM dexcare.avr_virtual") == 3
    assert hospital.query(COUNT) == [(200, 200)]
    hospital.build()
    assert hospital.one("SELECT count(new) FROM current.avr_virtual") == 3


def test_a_build_takes_nothing_over_from_a_file_that_somebody_wrote_into(hospital: Hospital) -> None:
    with duckdb.connect(str(hospital.warehouse.file)) as connection:
        connection.execute("UPDATE current.avr_virtual SET status = 'scribbled'")
    assert not hospital.warehouse.is_current()

    report = hospital.build()

    assert {model.made for model in report.models} == {"whole", "view"}
    assert hospital.query("SELECT DISTINCT status FROM marts.visits") == [("completed",)]


def test_a_table_that_cannot_be_made_stops_no_other(hospital: Hospital) -> None:
    hospital.land_visits("retail", "2026-10-01", visits("r", range(3)))
    damaged = hospital.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(50)), extracted=2)
    damaged.write_bytes(b"PAR1 no longer")

    for _ in range(2):  # and is tried again by the next build
        report = hospital.build()

        assert_problem(report, r"dexcare/avr_virtual 2026-10-03 cannot be read")
        assert hospital.query("SELECT count(*) FROM current.avr_retail") == [(3,)]
        assert hospital.query("SELECT count(*) FROM current.avr_virtual") == [(200,)]
        assert hospital.query(COUNT) == [(203, 203)]
        assert not hospital.warehouse.is_current()

    hospital.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(41)), extracted=2)
    assert hospital.build().problems == ()
    assert hospital.query(COUNT) == [(204, 204)]
    assert hospital.warehouse.is_current()


def test_a_table_that_never_could_be_made_is_absent_and_stops_no_other(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_visits("retail", "2026-10-01", visits("r", range(3)))
    hospital.land_visits("virtual", "2026-10-01", visits("v", range(3))).write_bytes(b"PAR1 no longer")

    assert_problem(hospital.build(), r"dexcare/avr_virtual 2026-10-01 cannot be read")

    assert hospital.query("SELECT count(*) FROM current.avr_retail") == [(3,)]


def test_a_damaged_table_is_kept_when_settings_or_code_have_changed_and_the_others_are_made_anew(
    hospital: Hospital,
) -> None:
    hospital.land_visits("retail", "2026-10-01", visits("r", range(3)))
    every = len(hospital.build().models)
    hospital.lake.partition_file(VIRTUAL, "2026-10-03").write_bytes(b"PAR1 no longer")
    other = Hospital(hospital.folder, {"retail": NAMED, "virtual": NAMED, "provider_booking": VisitColumns()})
    other.land_visits("retail", "2026-10-02", visits("r2", range(4)))

    for _ in range(2):
        report = other.build()

        assert_problem(report, r"dexcare/avr_virtual 2026-10-03 cannot be read")
        assert len(report.models) == every
        assert other.query("SELECT count(*) FROM current.avr_retail") == [(7,)]
        assert other.query("SELECT count(*) FROM current.avr_virtual") == [(200,)]
        assert other.query(COUNT) == [(207, 207)]
    other.land_visits("virtual", "2026-10-03", visits("2026-10-03", range(41)), extracted=2)
    assert other.build().problems == ()
    assert other.query(COUNT) == [(208, 208)]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_file_or_folder_that_cannot_be_used_is_a_sentence(tmp_path: Path, trouble: str) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_visits("virtual", "2026-10-01", visits("2026-10-01", range(3)))
    TROUBLES[trouble](tmp_path)

    with pytest.raises(UnusableError, match=r"cannot use .*(\.warehouse|warehouse\.duckdb).* build it again"):
        hospital.build()


NOTES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda note: [],
    "nothing": lambda note: None,
    "no files": lambda note: {**note, "files": [1]},
    "of a later version": lambda note: _each(note, lambda file: {**file, "added": 1}),
    "without what was added": lambda note: _each(note, lambda file: {"columns": file["columns"]}),
    "with another report": lambda note: _each(note, lambda file: {**file, "report": {"models": [{}]}}),
    "without columns": lambda note: _each(note, lambda file: {**file, "columns": None}),
    "with a text for a file": lambda note: _each(note, lambda file: "x"),
}


def _each(note: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    return {**note, "files": {name: change(file) for name, file in note["files"].items()}}


@pytest.mark.parametrize("change", NOTES)
def test_a_note_that_this_version_did_not_write_has_everything_made_anew(
    hospital: Hospital, change: str
) -> None:
    note = hospital.folder / "warehouse.json"
    note.write_text(json.dumps(NOTES[change](json.loads(note.read_text()))))

    assert not hospital.warehouse.is_current()
    assert {model.made for model in hospital.build().models} == {"whole", "view"}

    assert hospital.query(COUNT) == [(200, 200)]


@pytest.mark.parametrize("change", NOTES)
def test_a_landing_is_shown_whatever_the_note_says(hospital: Hospital, change: str) -> None:
    note = hospital.folder / "warehouse.json"
    note.write_text(json.dumps(NOTES[change](json.loads(note.read_text()))))
    file = hospital.land_visits("virtual", "2026-10-06", visits("2026-10-06", range(3)))

    hospital.show(VIRTUAL, file)

    assert hospital.query("SELECT count(*) FROM dexcare.avr_virtual") == [(203,)]


def test_a_landing_is_shown_though_a_partition_of_another_table_is_damaged(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_visits("retail", "2026-10-01", visits("r", range(3))).write_bytes(b"PAR1 no longer")
    file = hospital.land_visits("virtual", "2026-10-01", visits("v", range(3)))

    assert hospital.show(VIRTUAL, file)

    assert hospital.query("SELECT count(*) FROM dexcare.avr_virtual") == [(3,)]


def test_a_file_of_views_in_a_newer_format_is_made_anew_by_the_next_landing(tmp_path: Path) -> None:
    """As an older version of this project left it where nobody builds the models."""
    hospital = Hospital(tmp_path)
    first = hospital.land_visits("virtual", "2026-10-01", visits("v", range(3)))
    hospital.show(VIRTUAL, first)
    file, note = hospital.warehouse.file, hospital.folder / "warehouse.json"
    old = json.loads(note.read_text())
    [state] = old["files"].values()
    file.unlink()
    with duckdb.connect(str(file), config={"storage_compatibility_version": "latest"}) as connection:
        connection.execute("CREATE SCHEMA dexcare; CREATE VIEW dexcare.avr_virtual AS SELECT 1 AS visit_id")
    found = file.stat()
    state["storage_version"] = ""
    old["files"] = {f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}": state}
    note.write_text(json.dumps(old))

    retail = hospital.land_visits("retail", "2026-10-01", visits("r", range(3)))
    hospital.show(RETAIL, retail)

    assert hospital.query("SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal") == [
        (f"{STORAGE_VERSION}+",)
    ]
    assert hospital.query("SELECT count(*) FROM dexcare.avr_virtual") == [(3,)]


def test_a_file_that_cannot_be_read_any_more_is_made_anew(hospital: Hospital) -> None:
    file = hospital.warehouse.file
    before = file.stat()
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * 8192)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    hospital.land_visits("virtual", "2026-10-06", visits("2026-10-06", range(3)))

    assert hospital.build().problems == ()

    assert hospital.query(COUNT) == [(203, 203)]


# Names that are ours, DuckDB's or SQL's, however they are spelled.
NAMES = (
    "filename", "FileName", "file_row_number", "FILE_ROW_NUMBER", "is_deleted", "Is_Deleted",
    "is_deleted_landed", "date", "visit_day", "visit_time", "visit_time_text", "status", "status_landed",
    "key", "rows", "landed", "text of visit_time", "_extra", "_as_sent", "count", "select", "a'b", "order by",
    "rowid", "_row", "hash",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_vendors_column_may_be_called_as_ours_are(tmp_path: Path, name: str) -> None:
    hospital = Hospital(tmp_path)
    for report_type in ("virtual", "retail"):
        for day in range(1, 6):
            rows = [
                {**row, name: f"{name} {number}"} for number, row in enumerate(visits(f"{day}", range(3)))
            ]
            hospital.land_visits(report_type, f"2026-10-0{day}", rows)
    assert hospital.build().problems == ()
    # In part, too.
    rows = [{**row, name: "again"} for row in visits("3", range(3))]
    hospital.land_visits("virtual", "2026-10-03", rows, extracted=2)

    assert hospital.build().problems == ()

    held = [one for one in hospital.columns("current.avr_virtual") if one.lower().startswith(name.lower())]
    sent = {
        value
        for column in held
        for (value,) in hospital.query(f"SELECT {quoted(column)}::VARCHAR FROM current.avr_virtual")
    }
    assert {f"{name} 0", f"{name} 1", f"{name} 2", "again"} <= sent
    assert hospital.query("SELECT count(*) FROM current.avr_virtual") == [(15,)]


@pytest.mark.parametrize(
    "name", ["a b", "100%", "#1", "it's", 'a "quoted" one', "ünï", "a;b", "{x}", "$HOME", "date=2026"]
)
def test_a_data_folder_may_be_called_anything_that_is_not_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    Settings({"HEALTH_DATA_DIR": str(folder)}).data_dir.mkdir()
    hospital = Hospital(folder)
    file = hospital.land_visits("virtual", "2026-10-01", visits("1", range(3)))
    hospital.show(VIRTUAL, file)
    hospital.land_records("line_items", "2026-10-01", [{"id": 1, "updated_at": "2026-10-01T10:00:00"}])

    assert hospital.build().problems == ()

    assert hospital.query("SELECT count(*) FROM dexcare.avr_virtual") == [(3,)]
    assert hospital.query("SELECT count(*) FROM current.line_items") == [(1,)]
