"""Erasing from a lake while others write it, and dying in the middle of it."""

import os
import threading
from datetime import date
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from health_pipelines.commands import erase as command
from health_pipelines.commands.erase import Wish
from health_pipelines.commands.erasing import Erasing, Patient
from health_pipelines.commands.problem import ProblemError
from health_pipelines.lake.manifests import Manifest
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.replacing import PartitionWriter
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines.landing.holes import holes_in
from health_pipelines.landing.landed_partition import put_in_place
from health_pipelines.privacy.erased import Erased
from health_pipelines.privacy.keeping_out import NotKeptError, keep_out
from health_pipelines.settings import Settings, use_settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.vendors.known import landing_tables
from health_pipelines_tests.support.child_process import CRASHER, child, crashes
from health_pipelines_tests.support.everywhere import files_with
from health_pipelines_tests.support.waiting import wait_for

VISITS, RETAIL = Table("dexcare", "avr_virtual"), Table("dexcare", "avr_retail")
DAYS = ("2026-03-09", "2026-03-10", "2026-03-11")
ID = "PLANTED-77-PATIENT"

# Erases the patient from the lake in the folder.
ERASER = f"""
import os
from pathlib import Path
import duckdb, polars
from health_pipelines.commands.erasing import Erasing, Patient
from health_pipelines.settings import Settings, use_settings
from health_pipelines.settings.clock import utc_now

TRACED = ("purge.py", "erased.py", "erasing.py", "replacing.py", "keyed_hash.py", "<string>")

def work(folder):
    settings = Settings({{"HEALTH_DATA_DIR": folder, "HEALTH_PATIENT_COLUMNS": "dexcare/*.patient"}})
    Erasing(settings, utc_now, lambda _: None, 0).patients([Patient("dexcare", "{ID}")], "request")
"""


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEALTH_PATIENT_COLUMNS", "dexcare/*.patient")
    monkeypatch.chdir(tmp_path)
    return Lake(tmp_path / "lake")


def write(writer: PartitionWriter, *patients: str) -> None:
    rows = [
        {
            "id": str(number),
            "patient": patient,
            "_partition_date": date.fromisoformat(writer.day),
            "_report_id": "r",
            "_extracted_at": utc_now(),
        }
        for number, patient in enumerate(patients)
    ]
    pl.DataFrame(rows).write_parquet(writer.candidate, metadata={"content_hash": str(hash(patients))})


def land(lake: Lake, *patients: str, day: str = DAYS[0], table: Table = VISITS) -> None:
    with lake.writing(table, day) as writer:
        write(writer, *patients)
        put_in_place(writer, rows_sent=len(patients), key="id")


def patients_of(lake: Lake, day: str = DAYS[0], table: Table = VISITS) -> list[str]:
    # One version of it: Polars opens a path more than once, and it may be replaced in between.
    file = BytesIO(lake.partition_file(table, day).read_bytes())
    return pl.read_parquet(file, hive_partitioning=False)["patient"].to_list()


def erase(wish: Wish) -> int:
    try:
        return command.erase(wish)
    finally:
        use_settings(os.environ)  # a command is a process of its own


def erasing(wait_seconds: float = 60) -> Erasing:
    return Erasing(Settings.of_this_process(), utc_now, lambda _: None, wait_seconds)


def in_background(erasure: Erasing) -> threading.Thread:
    thread = threading.Thread(target=erasure.patients, args=([Patient("dexcare", ID)], "request"))
    thread.start()
    return thread


@pytest.mark.parametrize("stood", [("P-2",), (ID, "P-2"), ()], ids=["without", "with", "nothing"])
@pytest.mark.parametrize("has_asked", [False, True], ids=["before it asked", "after it asked"])
def test_a_landing_that_was_under_way_brings_nobody_back(
    lake: Lake, has_asked: bool, stood: tuple[str, ...]
) -> None:
    land(lake, ID, "P-1")
    if stood:
        land(lake, *stood, day=DAYS[1])
    known = Erased.beside(lake.root)
    with lake.writing(VISITS, DAYS[1]) as writer:
        write(writer, ID, "P-2", "P-3")
        if has_asked:  # nobody was erased by then
            keep_out(writer, Settings.of_this_process())
        thread = in_background(erasing())
        # The day before is done, so that the erasure has looked at all days, and waits for this one.
        wait_for(lambda: patients_of(lake) == ["P-1"], "the day before")
        if not has_asked:
            keep_out(writer, Settings.of_this_process())
        writer.replace()
    thread.join(60)

    assert not thread.is_alive()
    assert patients_of(lake, DAYS[1]) == ["P-2", "P-3"]
    assert known.pending("dexcare") == []
    assert files_with(lake.root.parent, ID) == []


def test_what_an_erasure_took_out_is_no_tampering_and_the_manifests_say_why(lake: Lake) -> None:
    for day, *patients in ((DAYS[0], ID, "P-1"), (DAYS[1], "P-1"), (DAYS[2], ID, "P-2")):
        land(lake, *patients, day=day)
    erase(Wish(patients=(f"dexcare:{ID}",), reason="request", is_agreed=True))
    erase(Wish(before=date.fromisoformat(DAYS[1]), reason="retention", is_agreed=True))

    found = TableVerification(lake, VISITS)
    facts = {
        day: Manifest.of_text(lake.partition_file(VISITS, day).with_name("_manifest.json").read_text()).facts
        for day in DAYS
    }
    assert [found.of_day(day).state for day in DAYS[1:]] == [State.AS_LANDED] * 2
    assert found.removed(DAYS[0])
    assert [facts[day].reason for day in DAYS] == ["not kept", "landed", "erased"]
    assert (facts[DAYS[2]].rows, facts[DAYS[2]].report_ids) == (1, ["r"])
    assert all(finding.state.is_well for finding in found.of_table())
    assert files_with(lake.root.parent, ID) == []


def test_who_waits_too_long_for_a_landing_says_so_and_goes_on_the_next_time(lake: Lake) -> None:
    land(lake, ID, "P-2")
    land(lake, ID, day=DAYS[1])
    wish = Wish(patients=(f"dexcare:{ID}",), reason="request", is_agreed=True, wait_seconds=0)
    with lake.writing(VISITS, DAYS[1]), pytest.raises(ProblemError, match="run the same again"):
        erase(wish)
    assert Erased.beside(lake.root).pending("dexcare") != []

    assert erase(wish) == 0
    assert files_with(lake.root.parent, ID) == []
    assert Erased.beside(lake.root).pending("dexcare") == []


def test_an_erasure_that_is_killed_before_any_line_is_carried_on_and_nobody_comes_back_meanwhile(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, deaths, was_written, was_pending = 1, 0, 0, 0
    crashed = True
    with child(ERASER + CRASHER) as crasher:
        while crashed:
            folder = tmp_path / str(number)
            monkeypatch.setenv("HEALTH_DATA_DIR", str(folder))
            one = Lake(folder / "lake")
            for day in DAYS[:2]:
                land(one, ID, "P-2", day=day)
            crashed = crashes(crasher, number, folder)
            for day in DAYS[:2]:
                assert patients_of(one, day) in ([ID, "P-2"], ["P-2"])
            known = Erased.beside(one.root)
            is_written = bool(known.hashes("dexcare"))
            # Another day lands before anybody carries on.
            land(one, ID, "P-3", day=DAYS[2])
            assert patients_of(one, DAYS[2]) == (["P-3"] if is_written else [ID, "P-3"])

            if crashed:
                deaths += 1
                was_written += is_written
                was_pending += bool(known.pending("dexcare"))
                erasing().patients([Patient("dexcare", ID)], "request")
            assert [patients_of(one, day) for day in DAYS] == [["P-2"], ["P-2"], ["P-3"]]
            assert files_with(folder, ID) == []
            assert known.pending("dexcare") == []
            number += STEP
    assert deaths > 10
    assert was_written > 5
    assert was_pending > 5


STEP = 41


def test_once_more_for_all_is_for_a_lake_that_was_restored(lake: Lake) -> None:
    land(lake, ID, "P-2")
    file = lake.partition_file(VISITS, DAYS[0])
    backup = file.read_bytes()
    erasing().patients([Patient("dexcare", ID)], "request")
    file.write_bytes(backup)
    assert patients_of(lake) == [ID, "P-2"]

    assert erase(Wish(again=True, is_agreed=True)) == 0

    assert patients_of(lake) == ["P-2"]


def test_days_before_a_date_are_gone_are_not_missing_and_do_not_come_back(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in DAYS:
        land(lake, ID, "P-2", day=day)
        land(lake, "P-9", day=day, table=RETAIL)

    wish = Wish(before=date(2026, 3, 11), tables=("dexcare/avr_virtual",), reason="retention", is_agreed=True)
    assert erase(wish) == 0

    assert lake.days(VISITS) == [DAYS[2]]
    assert lake.days(RETAIL) == list(DAYS)
    [checked] = [one for one in landing_tables(Settings.of_this_process()) if one.table == VISITS]
    holes = holes_in(lake, checked, Settings.of_this_process(), before=date(2026, 3, 13), once_there=DAYS)
    assert holes.missing == ["2026-03-12"]
    with pytest.raises(NotKeptError, match="before 2026-03-11"):
        land(lake, "P-2", day=DAYS[1])
    assert lake.days(VISITS) == [DAYS[2]]
    record = Erased.beside(lake.root).record()
    assert [(one["day"], one["rows"]) for one in record if "day" in one] == [(DAYS[0], 2), (DAYS[1], 2)]
    # An earlier date brings nothing back, and asks for nothing.
    assert erase(Wish(before=date(2026, 3, 9), reason="retention", is_agreed=True)) == 0
    assert lake.kept_from(VISITS) == "2026-03-11"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(), "Say --patient"),
        (Wish(patients=("dexcare:P-1",)), "Say --reason"),
        (Wish(patients=("P-1",), reason="r"), "SOURCE:ID"),
        (Wish(patients=("dexcare:",), reason="r"), "SOURCE:ID"),
        (Wish(patients=("nobody:P-1",), reason="r"), "one of dexcare, drchrono"),
        (Wish(patients=("dexcare:P-1",), reason="r"), "say --yes"),
        (Wish(before=date(2999, 1, 1), reason="r"), "in the future"),
        (Wish(before=date(2026, 1, 1), tables=("dexcare/nothing",), reason="r"), "no table of the lake"),
        (Wish(tables=("dexcare/avr_virtual",), patients=("dexcare:P-1",), reason="r"), "--before alone"),
        (Wish(again=True, before=date(2026, 1, 1)), "neither"),
        (Wish(again=True, is_agreed=True), "Nobody was erased here"),
    ],
)
def test_what_is_not_clear_removes_nothing_and_is_one_sentence(
    lake: Lake, wish: Wish, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(lake, "P-1")
    with pytest.raises(ProblemError) as problem:
        erase(wish)

    assert says in str(problem.value)
    assert "P-1" not in str(problem.value)
    assert patients_of(lake) == ["P-1"]
    assert Erased.beside(lake.root).sources == []
