"""Every write of a landing, on a disk that is full there: one sentence, the old version, and no repair.

Room is given in steps: with none the first write fails, with a page more perhaps the next, until all fits. So
each write of the story is once the one that fails, whichever these are.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult

from health_pipelines.alerts.memory import Memory, Told
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.lake.csv_partition import Lineage, row_count
from health_pipelines.lake.json_partition import write_json_partition
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import Settings
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.storage import build_warehouse
from health_pipelines_tests.dexcare.histories.test_provider_histories import Histories
from health_pipelines_tests.dexcare.project import VIRTUAL, failure_of
from health_pipelines_tests.dexcare.project import Project as DexCare
from health_pipelines_tests.drchrono.project import Project as DrChrono
from health_pipelines_tests.drchrono.project import drchrono_settings, lists_are_quick, set_variables
from health_pipelines_tests.support.sandbox_process import SandboxProcess
from health_pipelines_tests.support.small_disk import SmallDisk, files_of_at_most, on_a_small_disk

DAY = "2026-03-10"
NOTES = next(one for one in RECORD_TYPES if one.name == "clinical_notes")
ROOM = "make room on "
NO_ROOM_FOR_DAGSTER = r"disk is full|disk I/O error|No space left"
# In pages of 4 KiB: every write at the beginning, and then fewer of them.
ROOMS = (0, 1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 60, 100, 200, 400, 800)


@dataclass
class Story:
    """`land` carries out what writes; `table` has what it lands."""

    data: Path
    table: Table
    land: Callable[[], ExecuteInProcessResult]

    @property
    def file(self) -> Path:
        return Lake(self.data / "lake").partition_file(self.table, DAY)

    def plant(self) -> bytes:
        """A version of the day that another answer brought."""
        lake = Lake(self.data / "lake")
        with lake.writing(self.table, DAY) as writer:
            lineage = Lineage(date.fromisoformat(DAY), "before", datetime(2026, 3, 11, tzinfo=UTC))
            write_json_partition([{"id": "before"}], "id", writer.candidate, lineage)
            writer.replace()
        return self.file.read_bytes()


def dexcare(instance: DagsterInstance, data: Path) -> Story:
    project = DexCare(instance)
    project.materialize([VIRTUAL.request_key], DAY)
    return Story(data, VIRTUAL.table, lambda: project.materialize([VIRTUAL.asset_key], DAY))


def histories(instance: DagsterInstance, data: Path) -> Story:
    project = Histories(instance)
    return Story(data, PROVIDER_HISTORIES, lambda: project.pull(DAY))


def drchrono(instance: DagsterInstance, data: Path) -> Story:
    lists_are_quick(data)
    project = DrChrono(instance, data)
    return Story(data, NOTES.table, lambda: project.materialize(NOTES, DAY))


Begin = Callable[[DagsterInstance, Path], Story]
STORIES: dict[str, Begin] = {"dexcare": dexcare, "histories": histories, "drchrono": drchrono}


@pytest.fixture
def settings(data: Path, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all vendors at once."""
    vendor.change_settings(drchrono_list_seconds="0", drchrono_calls_per_hour=0, drchrono_calls_per_second=0)
    set_variables(monkeypatch, drchrono_settings(vendor, data))


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "story", [pytest.param(one, marks=pytest.mark.long) if one == "drchrono" else one for one in STORIES]
)
def test_a_disk_that_is_full_at_any_write_is_named_and_the_next_run_lands(story: str, tmp_path: Path) -> None:
    on_a_small_disk(on_the_disk, tmp_path / "disk", 64, story)


def on_the_disk(disk: SmallDisk, story: str) -> None:
    """In a process of its own."""
    os.environ["HEALTH_DATA_DIR"] = str(disk.folder / "data")
    assert fails_until_there_is_room(STORIES[story], disk.folder / "data", disk.with_room_for) >= 3


def fails_until_there_is_room(
    begin: Begin,
    data: Path,
    room_for: Callable[[int], AbstractContextManager[None]],
    rooms: Sequence[int] = ROOMS,
) -> int:
    """How often it failed before there was room for everything."""
    for failed, pages in enumerate(rooms):
        shutil.rmtree(data, ignore_errors=True)
        with DagsterInstance.ephemeral() as instance:
            story = begin(instance, data)
            before = story.plant()
            with room_for(pages):
                result = story.land()
            if result.success:
                return failed
            assert ROOM in failure_of(result), failure_of(result)
            # The notes beside the partition come after it.
            assert story.file.read_bytes() == before or row_count(story.file) > 1
            assert_at_rest(data)
            again = story.land()
            assert again.success, failure_of(again)
            assert row_count(story.file) > 1
            assert_at_rest(data)
    raise AssertionError("there is never room")


def assert_at_rest(data: Path) -> None:
    """No work file is left."""
    assert [file for file in data.rglob(".*") if file.is_file()] == []


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("story", STORIES)
def test_a_landing_in_which_no_file_may_grow_is_named_and_the_next_run_lands(story: str, data: Path) -> None:
    """On any machine."""
    failed = fails_until_there_is_room(
        STORIES[story], data, lambda pages: files_of_at_most(pages * 300), rooms=(0, 1, 5, 50, 5000)
    )
    assert failed >= 3


@pytest.mark.usefixtures("data")
def test_a_report_that_found_no_room_is_not_given_up_and_the_sensor_lands_it_later() -> None:
    """On any machine: with a limit on the size of files."""
    with DagsterInstance.ephemeral() as instance:
        project = DexCare(instance)
        project.materialize([VIRTUAL.request_key], DAY)
        with files_of_at_most(100):
            [result] = project.tick_and_run()
        assert ROOM in failure_of(result)
        assert project.landed(VIRTUAL.asset_key) == []
        assert project.ledger().open_tickets()[DAY].failure is None
        [result] = project.tick_and_run(after=timedelta(hours=2))
        assert result.success
        assert project.landed(VIRTUAL.asset_key) == [DAY]


@pytest.mark.usefixtures("settings")
def test_a_disk_that_is_only_read_is_named_and_all_goes_on_when_it_can_be_written(
    tmp_path: Path,
) -> None:
    on_a_small_disk(on_a_disk_that_is_only_read, tmp_path / "disk", 64)


def on_a_disk_that_is_only_read(disk: SmallDisk) -> None:
    """In a process of its own."""
    data = disk.folder / "data"
    os.environ["HEALTH_DATA_DIR"] = str(data)
    with DagsterInstance.ephemeral() as instance:
        story = dexcare(instance, data)
        before = story.plant()
        with disk.only_read():
            sentence = failure_of(story.land())
        assert "Read-only file system: let this user write into HEALTH_DATA_DIR" in sentence
        assert story.file.read_bytes() == before
        again = story.land()
        assert again.success, failure_of(again)
        assert row_count(story.file) > 1
        assert build_warehouse(Settings.of_this_process()).problems == ()
        (data / "warehouse.duckdb").unlink()
        with disk.only_read(), pytest.raises(WarehouseError, match="this user may read and write"):
            build_warehouse(Settings.of_this_process())
        assert build_warehouse(Settings.of_this_process()).problems == ()
        assert_at_rest(data)


@pytest.mark.usefixtures("settings")
def test_dagsters_own_storage_may_be_full_and_goes_on_when_it_is_not(tmp_path: Path) -> None:
    on_a_small_disk(with_dagster_on_the_disk, tmp_path / "disk", 64, tmp_path / "data")


def with_dagster_on_the_disk(disk: SmallDisk, data: str) -> None:
    """In a process of its own. Dagster's home is on the disk, the data are not."""
    os.environ["HEALTH_DATA_DIR"] = data
    with DagsterInstance.local_temp(str(disk.folder)) as instance:
        project = DexCare(instance)
        told = Memory(instance, "a place", "webhook")
        told.write(Told(read_to=1))
        assert project.materialize([VIRTUAL.request_key], DAY).success
        for pages in (0, 2, 8):
            with disk.with_room_for(pages):
                with pytest.raises(Exception, match=NO_ROOM_FOR_DAGSTER):
                    project.materialize([VIRTUAL.asset_key], DAY)
                with pytest.raises(Exception, match=NO_ROOM_FOR_DAGSTER):
                    told.write(Told(read_to=7, missing={"asset": "x" * 100_000}))
            assert told.read() == Told(read_to=1)
        assert project.materialize([VIRTUAL.asset_key], DAY).success
        assert project.landed(VIRTUAL.asset_key) == [DAY]
        assert row_count(Lake(Path(data) / "lake").partition_file(VIRTUAL.table, DAY)) > 1
        told.write(Told(read_to=2))
        assert told.read() == Told(read_to=2)
        assert_at_rest(Path(data))
