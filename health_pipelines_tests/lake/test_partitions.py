"""A partition is the old one or the new one, whole: through crashes, beside readers, with one writer."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from health_pipelines.lake.partitions import Lake, PartitionBusyError, Table
from health_pipelines_tests.support.child_process import CRASHER, Child, child, crashes
from health_pipelines_tests.support.waiting import wait_for

VISITS = Table("clinic", "visits")
DAY = "2026-03-08"
OLD, NEW = b"old" * 1_000, b"new" * 2_000

# Replaces the partition with NEW in small pieces.
WRITER = """
from pathlib import Path
from health_pipelines.lake.manifests import code_version
from health_pipelines.lake.partitions import Lake, Table

code_version()  # once, and not in every fork
TRACED = ("partitions.py", "replacing.py", "locks.py", "<string>")

def work(root):
    with Lake(Path(root)).writing(Table("clinic", "visits"), "2026-03-08") as writer:
        writer.download.write_bytes(b"csv")
        with writer.candidate.open("wb", buffering=0) as file:
            for _ in range(4):
                file.write(b"new" * 500)
        writer.replace()
"""

# Says "writing" once it is the writer, and dies or ends when told so.
HOLDER = """
import sys
from pathlib import Path
from health_pipelines.lake.partitions import Lake, Table

with Lake(Path(sys.argv[1])).writing(Table("clinic", "visits"), "2026-03-08") as writer:
    writer.download.write_bytes(b"half a download")
    writer.candidate.write_bytes(b"half a candidate")
    print("writing", flush=True)
    sys.stdin.readline()
"""

# Reads until it is told to stop (its standard input ends), then says what it saw.
READER = """
import json, select, sys
import duckdb

QUERY = "SELECT count(*), min(version), max(version) FROM read_parquet(?)"
reads, versions = 0, set()
with duckdb.connect() as kept:
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        if reads % 2:
            found = kept.execute(QUERY, [sys.argv[1]]).fetchall()
        else:
            with duckdb.connect() as fresh:
                found = fresh.execute(QUERY, [sys.argv[1]]).fetchall()
        count, lowest, highest = found[0]
        if lowest != highest or count != 1000 + 100 * (lowest % 7):
            print(f"a mix: {found}", flush=True)
            sys.exit(1)
        reads += 1
        versions.add(lowest)
print(json.dumps([reads, len(versions)]), flush=True)
"""


def land(lake: Lake, content: bytes, day: str = DAY) -> Path:
    with lake.writing(VISITS, day) as writer:
        writer.candidate.write_bytes(content)
        writer.replace()
        return writer.target


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def files_below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_partition_lives_in_a_hive_style_folder_named_after_its_day(lake: Lake) -> None:
    file = land(lake, NEW)

    assert file == lake.partition_file(VISITS, DAY)
    assert files_below(lake.root) == [
        "clinic/visits/_chain",
        "clinic/visits/date=2026-03-08/_manifest.json",
        "clinic/visits/date=2026-03-08/visits.parquet",
    ]
    assert file.read_bytes() == NEW


def test_the_files_of_a_table_are_its_partitions_oldest_first_and_nothing_else(lake: Lake) -> None:
    for day in ("2026-03-10", "2025-12-31", "2026-03-09"):
        land(lake, NEW, day)
    with lake.writing(Table("clinic", "visits_report"), DAY) as other:
        other.candidate.write_bytes(NEW)
        other.replace()

    with lake.writing(VISITS, "2026-03-11") as writer:
        writer.download.write_bytes(b"csv")
        writer.candidate.write_bytes(b"not yet")
        found = lake.partition_files(VISITS)
        matched = sorted(Path("/").glob(lake.pattern(VISITS).removeprefix("/")))

    days = [file.parent.name for file in found]
    assert days == ["date=2025-12-31", "date=2026-03-09", "date=2026-03-10"]
    assert matched == found


def test_a_lake_that_does_not_exist_has_no_partitions(lake: Lake) -> None:
    assert lake.partition_files(VISITS) == []
    assert not lake.root.exists()


def test_a_writer_knows_the_partition_that_it_would_replace(lake: Lake) -> None:
    with lake.writing(VISITS, DAY) as writer:
        assert writer.current is None
    file = land(lake, OLD)
    with lake.writing(VISITS, DAY) as writer:
        assert writer.current == file


def test_a_partition_that_is_not_replaced_stays_and_the_work_files_go(lake: Lake) -> None:
    file = land(lake, OLD)

    def fail_in_the_middle() -> None:
        with lake.writing(VISITS, DAY) as writer:
            writer.download.write_bytes(b"csv")
            writer.candidate.write_bytes(NEW)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle()

    assert file.read_bytes() == OLD
    assert set_below(file.parent) == {"visits.parquet", "_manifest.json"}


def test_a_crash_before_any_line_leaves_the_old_partition_or_the_new_one_and_nothing_in_the_way(
    tmp_path: Path,
) -> None:
    contents: list[bytes] = []
    leftovers: set[str] = set()
    crashed = True
    with child(WRITER + CRASHER) as crasher:
        while crashed:
            lake = Lake(tmp_path / str(len(contents)))
            file = land(lake, OLD)
            crashed = crashes(crasher, len(contents) + 1, lake.root)
            contents.append(file.read_bytes())
            leftovers |= set_below(file.parent)
            assert lake.partition_files(VISITS) == [file]
            with lake.writing(VISITS, DAY):  # not PartitionBusyError: the dead hold no lock
                assert set_below(file.parent) == {"visits.parquet", "_manifest.json"}

    assert len(contents) > 20
    assert contents == sorted(contents, reverse=True), "once new, never old again"
    assert set(contents) == {OLD, NEW}
    assert leftovers == {"visits.parquet", "_manifest.json", ".download", ".candidate", ".manifest"}


def test_a_candidate_is_on_the_disk_before_it_is_the_partition_and_its_name_before_replace_returns(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = land(lake, OLD)
    synced: list[tuple[str, bytes]] = []
    really_sync = os.fsync

    def sync(handle: int) -> None:
        really_sync(handle)
        synced.append((path_of(handle, file.parents[1]), file.read_bytes()))

    monkeypatch.setattr(os, "fsync", sync)
    land(lake, NEW)

    folder = file.parent.name
    assert synced == [
        (f"{folder}/.candidate", OLD),
        (f"{folder}/.manifest", OLD),
        (folder, OLD),
        ("_chain", OLD),
        (folder, NEW),
    ]


def test_the_first_partition_is_as_durable_as_every_folder_above_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new folder is lost with the power, and all in it, unless the folder that names it is synced.
    there = lake.root.parent
    synced: set[str] = set()
    really_sync = os.fsync

    def sync(handle: int) -> None:
        really_sync(handle)
        synced.add(path_of(handle, there))

    monkeypatch.setattr(os, "fsync", sync)
    land(lake, NEW)

    folder = "lake/clinic/visits/date=2026-03-08"
    assert {".", "lake", "lake/clinic", "lake/clinic/visits", folder} <= synced


def path_of(handle: int, folder: Path) -> str:
    """Which file below the folder an open handle belongs to."""
    opened = os.fstat(handle)
    for path in (folder, *folder.rglob("*")):
        found = path.stat()
        if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino):
            return str(path.relative_to(folder))
    raise AssertionError("not below the folder")


def test_a_second_writer_in_another_process_is_refused_and_harms_nothing(lake: Lake) -> None:
    file = land(lake, OLD)
    with child(HOLDER, lake.root) as holder:
        assert holder.line() == "writing"

        with pytest.raises(PartitionBusyError, match=r"^clinic/visits 2026-03-08 is being written"):
            land(lake, NEW)

        found = files_of(file.parent)
        assert found.pop("_manifest.json")
        assert found == {
            "visits.parquet": OLD,
            ".download": b"half a download",
            ".candidate": b"half a candidate",
        }


def test_a_second_writer_in_the_same_process_is_refused(lake: Lake) -> None:
    with lake.writing(VISITS, DAY), pytest.raises(PartitionBusyError):
        land(lake, NEW)


def test_other_days_and_other_tables_can_be_written_meanwhile(lake: Lake) -> None:
    with child(HOLDER, lake.root) as holder:
        assert holder.line() == "writing"
        land(lake, NEW, "2026-03-09")
        with lake.writing(Table("clinic", "patients"), DAY):
            pass


def test_a_partition_is_free_when_its_writer_is_done(lake: Lake) -> None:
    with child(HOLDER, lake.root) as holder:
        assert holder.line() == "writing"
        holder.tell()
        assert holder.ended() == 0
    assert land(lake, NEW).read_bytes() == NEW


def test_a_killed_writer_holds_no_lock_and_what_it_left_is_removed(lake: Lake) -> None:
    file = land(lake, OLD)
    with child(HOLDER, lake.root) as holder:
        assert holder.line() == "writing"
        holder.kill()
    assert set_below(file.parent) == {"visits.parquet", "_manifest.json", ".download", ".candidate"}

    with lake.writing(VISITS, DAY) as writer:
        assert set_below(file.parent) == {"visits.parquet", "_manifest.json"}
        assert file.read_bytes() == OLD
        assert writer.current == file


# Compares two versions of a day that are too large for the memory of a comparison.
COMPARER = """
import sys
from pathlib import Path
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.csv_partition import row_changes

with Lake(Path(sys.argv[1])).writing(Table("clinic", "visits"), "2026-03-08") as writer:
    Path(sys.argv[2]).rename(writer.candidate)
    row_changes(writer.target, writer.candidate)
"""


def test_what_a_killed_comparison_spilled_is_removed_by_the_next_writer(lake: Lake, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        for name in ("old", "new"):
            connection.execute(
                "COPY (SELECT (i * 7919)::VARCHAR AS id FROM range(5000000) t(i)) "
                f"TO '{tmp_path / name}' (FORMAT parquet)"
            )
    file = land(lake, (tmp_path / "old").read_bytes())
    ours = {"visits.parquet", "_manifest.json", ".candidate"}

    with child(COMPARER, lake.root, tmp_path / "new") as comparer:
        spilled = wait_for(
            lambda: not comparer.is_running or any(set_below(file.parent) - ours), "the comparison spills"
        )
        assert spilled
        assert comparer.is_running, "the comparison ended before it could be killed"
        comparer.kill()

    with lake.writing(VISITS, DAY):
        assert set_below(file.parent) == {"visits.parquet", "_manifest.json"}


def set_below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_readers_never_fail_and_never_see_a_mix_while_the_partition_is_replaced(lake: Lake) -> None:
    with duckdb.connect() as connection:

        def write(version: int) -> None:
            with lake.writing(VISITS, DAY) as writer:
                connection.execute(
                    f"COPY (SELECT {version} AS version, repeat('x', {version % 50}) AS ballast "
                    f"FROM range({1_000 + 100 * (version % 7)})) TO '{writer.candidate}' (FORMAT parquet)"
                )
                writer.replace()

        write(0)
        with child(READER, lake.pattern(VISITS)) as reader:
            assert reader.line() == "ready"
            for version in range(1, 201):
                write(version)
            saw = stop(reader)

    reads, versions = saw
    assert reads >= 10
    assert versions >= 3


def stop(reader: Child) -> list[int]:
    """Its last words: how often it read and how many versions it saw."""
    reader.tell()
    words = reader.line()
    assert reader.ended() == 0, words
    return [int(word) for word in words.strip("[]").split(",")]


def test_a_reader_that_opened_the_old_partition_goes_on_reading_it(lake: Lake) -> None:
    file = land(lake, OLD)
    with file.open("rb") as reader:
        half = reader.read(1_500)
        land(lake, NEW)
        assert half + reader.read() == OLD


def test_the_lake_needs_neither_dagster_nor_an_engine() -> None:
    code = (
        "import sys, health_pipelines.lake.partitions; "
        "print({'dagster', 'duckdb', 'polars'} & set(sys.modules))"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said == "set()\n"
