"""Every file that this project keeps, where no file may grow: named, as it was, and written the next time.

With a limit on the size of files, which every machine has. Partitions and real disks: `test_full_disk.py`.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterInstance

from health_pipelines.alerts.memory import Memory as AlertMemory
from health_pipelines.alerts.memory import Told
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile
from health_pipelines.drchrono.api.quota import Quota
from health_pipelines.drchrono.api.quota_store import FileStore, QuotaFileError
from health_pipelines.drchrono.api.token_file import TokenFile, TokenFileError
from health_pipelines.drchrono.api.token_store import KeptTokens
from health_pipelines.drchrono.sweep.journal import Question, opened
from health_pipelines.drchrono.sweep.pages import Page
from health_pipelines.lake.csv_partition import Lineage, write_partition
from health_pipelines.lake.csv_shape import CsvShape
from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.json_partition import write_json_partition
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.run_claims import RunClaims, claim_run
from health_pipelines.privacy.partition_file import write_without
from health_pipelines.privacy.rules import Rules
from health_pipelines.probe.questions import Probed
from health_pipelines.probe.record import ProbeFileError, keep
from health_pipelines.publish.memory import Memory, Remembered
from health_pipelines.publish.target import Totals
from health_pipelines.settings import Secret, SettingError
from health_pipelines.settings.env_file import add_settings
from health_pipelines_tests.support.small_disk import few_open_files, files_of_at_most

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TABLE = Table("dexcare", "avr_virtual")
LINEAGE = Lineage(date(2026, 3, 10), "report", NOW)
QUESTION = Question("vendor", "patients", date(2026, 3, 1), verbose=False)
ROOM = "make room"
BODY = b"visit_id,state\n1,completed\n"


def origin(folder: Path) -> None:
    lake = Lake(folder)
    with naming_the_disk(), lake.writing(TABLE, "2026-03-10"):
        lake.remember_origin(TABLE, "https://vendor.example.org")
        lake.refuse_other_origin(TABLE, "https://vendor.example.org")


def zones(folder: Path) -> None:
    lake = Lake(folder)
    with naming_the_disk(), lake.writing(TABLE, "2026-03-10"):
        lake.remember_zone(TABLE, "2026-03-10", "America/Chicago")
    assert lake.days_of_other_zones(TABLE, "America/Chicago") == {}


def partition_of_csv(folder: Path) -> None:
    body, shape = folder.with_name("body.csv"), CsvShape()
    shape.feed(BODY)
    with naming_the_disk(), Lake(folder).writing(TABLE, "2026-03-10") as writer:
        write_partition(body, shape.summary(end_is_proven=True), writer.candidate, LINEAGE, "hash")
        writer.replace()


def partition_of_json(folder: Path) -> None:
    with naming_the_disk(), Lake(folder).writing(TABLE, "2026-03-10") as writer:
        write_json_partition([{"id": "1"}], "id", writer.candidate, LINEAGE)
        writer.replace()


def partition_without_a_column(folder: Path) -> None:
    whole = folder.with_name("whole.parquet")
    with naming_the_disk(), Lake(folder).writing(TABLE, "2026-03-10") as writer:
        write_without(whole, writer.candidate, Rules(frozenset({"ssn"})), None, metadata={})
        writer.replace()


def pace(folder: Path) -> None:
    learned = Pace(PaceFile(folder / "pace.json"))
    learned.was_done("patients", 100)
    with naming_the_disk():
        learned.save()


def tokens(folder: Path) -> None:
    file = TokenFile(folder / "tokens.json")

    async def write() -> None:
        async with file.writing():
            await file.write("chain", KeptTokens(Secret("refresh")))

    asyncio.run(write())
    kept = file.read("chain")
    assert kept is not None
    assert kept.refresh_token.reveal() == "refresh"


def quota(folder: Path) -> None:
    async def call() -> None:
        with closing(FileStore(folder / "calls.sqlite")) as store:
            await Quota(store, per_hour=100, per_second=10, now=lambda: NOW, say=lambda _: None).acquire()

    asyncio.run(call())


def journal(folder: Path) -> None:
    with naming_the_disk(), opened(folder / "sweep", QUESTION, NOW) as notes:
        notes.note_posted(Page(1, 100), "uuid", NOW)
        notes.keep(Page(1, 100), "uuid", b'{"results": []}', NOW)


def publishing(folder: Path) -> None:
    remembered = Remembered("version", "made of", Totals(1, 2), NOW, NOW)
    with naming_the_disk():
        Memory(folder / "publish").keep("current.patients", remembered, None)
    assert Memory(folder / "publish").of("current.patients") == remembered


def probe(folder: Path) -> None:
    keep(folder, Probed("DexCare", "https://vendor.example.org", NOW, 1, 1, "", ()))


def env_file(folder: Path) -> None:
    add_settings(folder / ".env", {"DEXCARE_AVR_VIRTUAL_KEY": "visit_id"}, "Found.")


WRITES: dict[str, tuple[Callable[[Path], None], type[Exception]]] = {
    "which host filled a table": (origin, UnusableDiskError),
    "whose days they are": (zones, UnusableDiskError),
    "a partition of a CSV": (partition_of_csv, UnusableDiskError),
    "a partition of JSON": (partition_of_json, UnusableDiskError),
    "a partition without what is left out": (partition_without_a_column, UnusableDiskError),
    "DrChrono's pace": (pace, UnusableDiskError),
    "DrChrono's tokens": (tokens, TokenFileError),
    "the quota": (quota, QuotaFileError),
    "a sweep's journal": (journal, UnusableDiskError),
    "what was published": (publishing, UnusableDiskError),
    "what a probe found": (probe, ProbeFileError),
    "the settings that were found": (env_file, SettingError),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "body.csv").write_bytes(BODY)
    pl.DataFrame({"id": ["1"], "ssn": ["2"]}).write_parquet(tmp_path / "whole.parquet")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("size", [0, 10])
def test_what_finds_no_room_says_so_leaves_nothing_and_is_written_when_there_is_some(
    folder: Path, write: str, size: int
) -> None:
    work, error = WRITES[write]
    with files_of_at_most(size), pytest.raises(error, match=ROOM):
        work(folder)
    assert work_files(folder) == []
    work(folder)
    assert work_files(folder) == []
    work(folder)  # and once more over what is there


def work_files(folder: Path) -> list[str]:
    """What nobody will ever need: locks are kept, and folders are."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != ".env"]
    return [file.name for file in files if file.name.startswith(".") and not file.name.endswith(".lock")]


@pytest.mark.parametrize("write", WRITES)
def test_what_stands_is_as_it_was_when_there_is_no_room_for_its_successor(folder: Path, write: str) -> None:
    work, error = WRITES[write]
    work(folder)
    before = {file: file.read_bytes() for file in folder.rglob("*.json") if file.is_file()}
    # Some have nothing to write when all is said already.
    with files_of_at_most(0), suppress(error):
        work(folder)
    assert {file: file.read_bytes() for file in before} == before
    work(folder)


def test_a_note_that_was_cut_off_hides_none_of_those_after_it(folder: Path) -> None:
    with opened(folder / "sweep", QUESTION, NOW) as notes:
        notes.note_posted(Page(1, 100), "first", NOW)
        size = (folder / "sweep" / "notes.jsonl").stat().st_size
        with files_of_at_most(size + 20), pytest.raises(OSError, match="File too large"):
            notes.note_posted(Page(2, 100), "no room for it", NOW)
    with opened(folder / "sweep", QUESTION, NOW + timedelta(seconds=1)) as notes:
        notes.note_posted(Page(3, 100), "third", NOW + timedelta(seconds=1))
    with opened(folder / "sweep", QUESTION, NOW + timedelta(seconds=2)) as notes:
        assert [one.uuid for one in notes.open_lists.values()] == ["first", "third"]


def test_a_run_that_cannot_be_claimed_fails_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(Exception, match="check the disk of HEALTH_DATA_DIR") as failure:
        claim_run(RunClaims(tmp_path / "runs"), "a-run")
    assert type(failure.value).__name__ == "Failure"


@pytest.mark.parametrize("more", range(3))
# The other two need handles for an event loop first.
@pytest.mark.parametrize("write", [one for one in WRITES if one not in ("DrChrono's tokens", "the quota")])
def test_too_few_open_files_are_named_and_nothing_is_left(folder: Path, write: str, more: int) -> None:
    work, error = WRITES[write]
    work(folder)  # whatever is opened once is open
    told = ""
    with few_open_files(more):
        try:
            work(folder)
        except error as problem:
            told = str(problem)
    assert told or more > 0
    assert not told or "oo many open files" in told or "unable to open" in told
    # By the chain, which could not be read, it may be the version that landed: the next writer looks.
    assert work_files(folder) in ([], [".candidate"] if write.startswith("a partition") else [])
    work(folder)
    assert work_files(folder) == []


def test_a_report_that_the_disk_did_not_hold_is_not_called_broken(folder: Path) -> None:
    """With any room: the header, rows or the footer of the file may be what found none."""
    told = []
    for size in range(0, 4000, 40):
        with files_of_at_most(size):
            try:
                partition_of_csv(folder)
            except UnusableDiskError as problem:
                told.append(str(problem))
            else:
                break
    assert len(told) > 10
    assert all(ROOM in one for one in told)


def test_what_alerts_were_told_in_dagsters_storage_is_as_it_was_when_that_has_no_room(tmp_path: Path) -> None:
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        told = AlertMemory(instance, "a place", "webhook")
        told.write(Told(read_to=1))
        with files_of_at_most(0), pytest.raises(Exception, match=r"disk is full|disk I/O error"):
            told.write(Told(read_to=2))
        assert told.read() == Told(read_to=1)
        told.write(Told(read_to=3))
        assert told.read() == Told(read_to=3)


def test_what_was_learned_is_read_back(folder: Path) -> None:
    pace(folder)
    assert list(json.loads((folder / "pace.json").read_text())) == ["patients, up to 128 records"]
