"""Which rows a day of a range gets, which it keeps, and what becomes of a day that cannot be written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipelines.drchrono.landing.range_landing import (
    LandedDay,
    SweptRange,
    UncoveredDayError,
    UnusablePagesError,
    stage_sweep,
)
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.journal import KeptPage
from health_pipelines.lake.disk import UnusableDiskError
from health_pipelines.lake.partitions import Lake, PartitionBusyError
from health_pipelines_tests.drchrono.project import BY_NAME
from health_pipelines_tests.support.waiting import wait_for

CHECKS, NOTES = BY_NAME["eligibility_checks"], BY_NAME["clinical_notes"]
HONOLULU = ZoneInfo("Pacific/Honolulu")
BEGUN = datetime(2026, 3, 20, 8, 0, tzinfo=UTC)
MONDAY, TUESDAY, WEDNESDAY, THURSDAY = "2026-03-09", "2026-03-10", "2026-03-11", "2026-03-12"

Record = dict[str, Any]


def check(key: int, day: str | None, time: str = "12:00:00", **more: Any) -> Record:
    return {"id": key, "updated_at": None if day is None else f"{day}T{time}", **more}


@dataclass
class Landings:
    """A lake that sweeps land in, an hour after each other."""

    folder: Path
    sweeps: int = 0

    def __post_init__(self) -> None:
        self.lake = Lake(self.folder / "lake")

    def sweep(self, records: Sequence[Record], *days: str, record_type: RecordType = CHECKS) -> SweptRange:
        self.sweeps += 1
        work = self.folder / f"sweep-{self.sweeps}"
        work.mkdir()
        page = work / "page.json"
        page.write_text(json.dumps({"results": records}))
        begun = BEGUN + timedelta(hours=self.sweeps)
        staged = stage_sweep(record_type, [KeptPage(page, "uuid", 1)], HONOLULU, work, begun)
        return SweptRange(self.lake, record_type, staged, days, work)

    def land(
        self, records: Sequence[Record], *days: str, record_type: RecordType = CHECKS
    ) -> dict[str, LandedDay]:
        swept = self.sweep(records, *days, record_type=record_type)
        return {day: swept.land(day, "uuid") for day in swept.days}

    def file(self, day: str, record_type: RecordType = CHECKS) -> Path:
        return self.lake.partition_file(record_type.table, day)

    def keys(self, day: str, record_type: RecordType = CHECKS) -> list[str]:
        frame = pl.read_parquet(self.file(day, record_type), glob=False, hive_partitioning=False)
        return sorted(frame[record_type.key])


@pytest.fixture
def landings(tmp_path: Path) -> Landings:
    return Landings(tmp_path)


@pytest.fixture
def damaged(landings: Landings) -> Path:
    landings.land([check(1, MONDAY)], MONDAY)
    landings.file(MONDAY).write_bytes(b"PAR1 no longer")
    return landings.file(MONDAY)


def test_a_record_belongs_to_the_day_of_its_change_by_the_accounts_clock(landings: Landings) -> None:
    # In UTC the last second of Monday and the first of Tuesday are both Tuesday, ten hours in.
    landings.land(
        [
            check(1, MONDAY, "23:59:59"),
            check(2, TUESDAY, "00:00:00"),
            check(3, TUESDAY, "23:59:59"),
            {"id": 4, "updated_at": f"{TUESDAY}T09:59:59+00:00"},
            {"id": 5, "updated_at": f"{TUESDAY}T10:00:00Z"},
        ],
        MONDAY,
        TUESDAY,
    )
    assert landings.keys(MONDAY) == ["1", "4"]
    assert landings.keys(TUESDAY) == ["2", "3", "5"]


def test_what_changed_before_or_after_the_range_is_in_none_of_its_days(landings: Landings) -> None:
    records = [check(1, MONDAY), check(2, TUESDAY), check(3, WEDNESDAY), check(4, THURSDAY)]
    swept = landings.sweep(records, TUESDAY, WEDNESDAY)
    for day in swept.days:
        swept.land(day, "uuid")
    assert (landings.keys(TUESDAY), landings.keys(WEDNESDAY)) == (["2"], ["3"])
    assert swept.rows_after_the_range == 1


@pytest.mark.parametrize("unreadable", [None, "", "soon", "2026-13-01T00:00:00"])
def test_a_record_without_a_time_that_can_be_read_lands_in_the_first_day(
    landings: Landings, unreadable: str | None
) -> None:
    landings.land([{"id": 1, "updated_at": unreadable}, check(2, TUESDAY)], MONDAY, TUESDAY)
    assert (landings.keys(MONDAY), landings.keys(TUESDAY)) == (["1"], ["2"])


def test_a_record_that_changed_within_the_range_moves_to_its_new_day(landings: Landings) -> None:
    landings.land([check(1, MONDAY), check(2, MONDAY)], MONDAY, TUESDAY)
    came = landings.land([check(1, TUESDAY), check(2, MONDAY)], MONDAY, TUESDAY)
    assert (landings.keys(MONDAY), landings.keys(TUESDAY)) == (["2"], ["1"])
    assert [day.kept.rows for day in came.values()] == [0, 0]


def test_a_record_on_the_move_is_never_nowhere(landings: Landings) -> None:
    landings.land([check(1, MONDAY)], MONDAY, TUESDAY, WEDNESDAY)
    swept = landings.sweep([check(1, TUESDAY)], MONDAY, TUESDAY, WEDNESDAY)
    for day in swept.days:
        swept.land(day, "uuid")
        assert "1" in landings.keys(MONDAY) + landings.keys(TUESDAY), f"gone when {day} had landed"
    assert landings.keys(MONDAY) == []


def test_a_record_whose_new_day_cannot_land_stays_in_its_old_day(landings: Landings) -> None:
    landings.land([check(1, MONDAY), check(2, MONDAY)], MONDAY, TUESDAY, WEDNESDAY)
    swept = landings.sweep([check(1, TUESDAY), check(2, WEDNESDAY)], MONDAY, TUESDAY, WEDNESDAY)
    swept.land(WEDNESDAY, "uuid")
    with landings.lake.writing(CHECKS.table, TUESDAY), pytest.raises(PartitionBusyError):
        swept.land(TUESDAY, "uuid")
    monday = swept.land(MONDAY, "uuid")
    # The other one has moved, because its day did land.
    assert (landings.keys(MONDAY), landings.keys(WEDNESDAY)) == (["1"], ["2"])
    assert (monday.kept.rows, monday.landed.rows_sent, monday.landed.rows) == (1, 1, 1)


def test_a_record_that_changed_after_the_range_stays_until_its_new_day_has_landed(
    landings: Landings,
) -> None:
    landings.land([check(1, MONDAY, eligibility="old"), check(2, MONDAY)], MONDAY)
    before = landings.file(MONDAY).stat()
    later = [check(1, WEDNESDAY, eligibility="new"), check(2, MONDAY)]

    monday = landings.land(later, MONDAY)[MONDAY]
    assert landings.keys(MONDAY) == ["1", "2"]
    assert (monday.kept.rows, monday.landed.rows_sent, monday.landed.replaced) == (1, 2, False)
    assert landings.file(MONDAY).stat() == before

    assert landings.land(later, WEDNESDAY)[WEDNESDAY].kept.rows == 0
    assert (landings.keys(MONDAY), landings.keys(WEDNESDAY)) == (["1", "2"], ["1"])

    monday = landings.land(later, MONDAY)[MONDAY]
    assert landings.keys(MONDAY) == ["2"]
    assert (monday.kept.rows, monday.landed.rows_sent, monday.landed.changes.removed) == (0, 1, 1)


def test_a_kept_row_says_what_it_said_with_the_lineage_it_had(landings: Landings) -> None:
    landings.land([check(1, MONDAY, eligibility="old")], MONDAY)
    old = pl.read_parquet(landings.file(MONDAY), glob=False, hive_partitioning=False)
    landings.land([check(1, WEDNESDAY, eligibility="new"), check(2, MONDAY)], MONDAY)
    now = pl.read_parquet(landings.file(MONDAY), glob=False, hive_partitioning=False)
    assert now.filter(pl.col("id") == "1").to_dicts() == old.to_dicts()
    assert now["_extracted_at"].n_unique() == 2


def test_a_kept_row_is_counted_once_however_often_its_day_lands_again(landings: Landings) -> None:
    landings.land([check(1, MONDAY)], MONDAY)
    for _ in range(2):
        monday = landings.land([check(1, WEDNESDAY)], MONDAY)[MONDAY]
        assert (monday.kept.rows, monday.landed.rows_sent, monday.landed.rows) == (1, 1, 1)


def test_a_record_that_is_no_longer_sent_stays_and_is_counted(landings: Landings) -> None:
    landings.land([check(1, MONDAY), check(2, MONDAY)], MONDAY)
    before = landings.file(MONDAY).stat()
    monday = landings.land([check(2, MONDAY)], MONDAY)[MONDAY]
    assert landings.keys(MONDAY) == ["1", "2"]
    assert (monday.kept.not_sent, monday.kept.on_the_move, monday.landed.rows_sent) == (1, 0, 2)
    assert landings.file(MONDAY).stat() == before


def test_a_note_that_is_no_longer_sent_stays_and_is_counted(landings: Landings) -> None:
    landings.land([{"appointment": "7"}, {"appointment": "8"}], MONDAY, record_type=NOTES)
    monday = landings.land([{"appointment": "8"}], MONDAY, record_type=NOTES)[MONDAY]
    assert landings.keys(MONDAY, NOTES) == ["7", "8"]
    assert monday.kept.not_sent == 1


def test_a_record_that_moves_to_a_day_before_the_range_stays_until_that_day_has_it(
    landings: Landings,
) -> None:
    landings.land([check(1, TUESDAY), check(2, TUESDAY)], TUESDAY)
    moved = [check(1, MONDAY, eligibility="corrected"), check(2, TUESDAY)]

    tuesday = landings.land(moved, TUESDAY)[TUESDAY]
    assert landings.keys(TUESDAY) == ["1", "2"]
    assert (tuesday.kept.on_the_move, tuesday.kept.not_sent) == (1, 0)

    landings.land(moved, MONDAY)
    tuesday = landings.land(moved, TUESDAY)[TUESDAY]
    assert (landings.keys(MONDAY), landings.keys(TUESDAY)) == (["1"], ["2"])
    assert tuesday.kept.rows == 0


def test_a_record_that_moves_to_an_earlier_day_of_the_range_is_never_nowhere(landings: Landings) -> None:
    landings.land([check(1, WEDNESDAY)], MONDAY, TUESDAY, WEDNESDAY)
    swept = landings.sweep([check(1, MONDAY)], MONDAY, TUESDAY, WEDNESDAY)
    for day in swept.days:
        swept.land(day, "uuid")
        assert "1" in landings.keys(MONDAY) + landings.keys(WEDNESDAY), f"gone when {day} had landed"
    assert landings.keys(MONDAY) == ["1"]
    # Both have it; the next sweep takes it out of the old one.
    landings.land([check(1, MONDAY)], MONDAY, TUESDAY, WEDNESDAY)
    assert (landings.keys(MONDAY), landings.keys(WEDNESDAY)) == (["1"], [])


@pytest.mark.parametrize("time", ["2031-05-05T10:00:00", "2026-03-22T10:00:00Z", "2098-12-31T23:59:59-07:00"])
def test_a_record_of_the_future_is_in_the_newest_day_until_its_time_is_put_right(
    landings: Landings, time: str
) -> None:
    # The sweep begins on the 19th in Honolulu, late in the evening.
    days = [f"2026-03-{day}" for day in (17, 18, 19)]
    odd = {"id": 1, "updated_at": time}
    landings.land([odd, check(2, days[1])], *days[:2])
    assert (landings.keys(days[0]), landings.keys(days[1])) == ([], ["1", "2"])
    again = landings.land([odd, check(2, days[1])], *days[:2])
    assert not any(landed.landed.replaced for landed in again.values())

    landings.sweeps = 24  # the next evening
    landings.land([odd, check(2, days[1])], *days[1:])
    assert (landings.keys(days[1]), landings.keys(days[2])) == (["2"], ["1"])

    landings.land([check(1, days[1]), check(2, days[1])], *days[1:])
    landings.land([check(1, days[1]), check(2, days[1])], *days[1:])
    assert (landings.keys(days[1]), landings.keys(days[2])) == (["1", "2"], [])


@pytest.mark.parametrize("day", ["2026-03-19", "2026-03-20"])
def test_what_changed_today_or_by_a_clock_that_is_ahead_lands_with_its_day(
    landings: Landings, day: str
) -> None:
    landings.land([check(1, day)], "2026-03-17", "2026-03-18")

    assert landings.keys("2026-03-17") == landings.keys("2026-03-18") == []


def test_a_record_whose_time_can_no_longer_be_read_moves_to_the_first_day(landings: Landings) -> None:
    landings.land([check(1, TUESDAY)], MONDAY, TUESDAY)
    for _ in range(2):
        landings.land([{"id": 1, "updated_at": "soon"}], MONDAY, TUESDAY)
    assert (landings.keys(MONDAY), landings.keys(TUESDAY)) == (["1"], [])


def test_of_two_versions_in_the_hour_that_comes_twice_the_one_of_the_later_page_counts(
    tmp_path: Path,
) -> None:
    night = "2025-11-02"
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"results": [check(1, night, "01:50:00", eligibility="old")]}))
    second.write_text(json.dumps({"results": [check(1, night, "01:10:00", eligibility="new")]}))
    pages = [KeptPage(first, "one", 1), KeptPage(second, "two", 2)]
    work = tmp_path / "work"
    work.mkdir()

    staged = stage_sweep(CHECKS, pages, ZoneInfo("America/Denver"), work, BEGUN)
    lake = Lake(tmp_path / "lake")
    with SweptRange(lake, CHECKS, staged, [night], work) as swept:
        swept.land(night, "one")

    frame = pl.read_parquet(lake.partition_file(CHECKS.table, night), glob=False, hive_partitioning=False)
    assert frame["eligibility"].to_list() == ["new"]


WEEK = [f"2026-03-{day:02}" for day in range(9, 14)]


@pytest.mark.slow
@settings(max_examples=10)
@given(
    steps=st.lists(
        st.tuples(
            st.dictionaries(st.integers(1, 6), st.sampled_from(WEEK), max_size=3),  # who moves where
            st.integers(0, 4),
            st.integers(1, 3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_moves_where_and_lands_in_whichever_order_nothing_that_landed_is_lost(
    steps: list[tuple[dict[int, str], int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    landings = Landings(tmp_path_factory.mktemp("moves"))
    changed = dict.fromkeys(range(1, 7), WEEK[0])
    landed: set[str] = set()
    for moves, start, length in [({}, 0, 5), *steps]:
        changed |= moves
        days = WEEK[start : start + length]
        since = min(days)
        sent = [check(key, day, eligibility=day) for key, day in changed.items() if day >= since]
        landings.land(sent, *days)
        landed |= {str(key) for key, day in changed.items() if day in days}
        everywhere = [key for day in WEEK if landings.file(day).exists() for key in landings.keys(day)]
        assert landed <= set(everywhere)


def test_the_first_day_holds_all_of_a_type_without_change_times_and_covers_the_others(
    landings: Landings,
) -> None:
    notes = [{"appointment": "7"}, {"appointment": "8"}]
    landings.land(notes, MONDAY, TUESDAY, record_type=NOTES)
    assert (landings.keys(MONDAY, NOTES), landings.keys(TUESDAY, NOTES)) == (["7", "8"], [])


def test_a_covered_day_keeps_the_rows_that_it_has(landings: Landings) -> None:
    landings.land([{"appointment": "7"}], TUESDAY, record_type=NOTES)
    before = landings.file(TUESDAY, NOTES).stat()
    came = landings.land([{"appointment": "8"}], MONDAY, TUESDAY, record_type=NOTES)
    assert (landings.keys(MONDAY, NOTES), landings.keys(TUESDAY, NOTES)) == (["8"], ["7"])
    assert landings.file(TUESDAY, NOTES).stat() == before
    tuesday = came[TUESDAY].landed
    assert (tuesday.replaced, tuesday.rows_sent, tuesday.rows) == (False, 1, 1)


def test_no_day_counts_as_covered_by_a_first_day_that_did_not_land(landings: Landings) -> None:
    swept = landings.sweep([{"appointment": "7"}], MONDAY, TUESDAY, record_type=NOTES)
    assert swept.days == [MONDAY, TUESDAY]
    with landings.lake.writing(NOTES.table, MONDAY), pytest.raises(PartitionBusyError):
        swept.land(MONDAY, "uuid")
    with pytest.raises(UncoveredDayError, match=f"lands in {MONDAY}, which could not be landed"):
        swept.land(TUESDAY, "uuid")
    assert not landings.file(TUESDAY, NOTES).exists()


def test_a_damaged_partition_is_replaced(damaged: Path, landings: Landings) -> None:
    landings.land([check(1, MONDAY), check(2, TUESDAY)], MONDAY)
    assert landings.keys(MONDAY) == ["1"]


def test_a_damaged_partition_of_a_later_day_holds_nothing_that_may_leave_its_old_day(
    damaged: Path, landings: Landings
) -> None:
    yesterday = "2026-03-08"
    landings.land([check(1, yesterday)], yesterday)
    assert landings.land([check(1, MONDAY)], yesterday)[yesterday].kept.rows == 1


def test_a_damaged_covered_day_is_replaced(landings: Landings) -> None:
    landings.land([], TUESDAY, record_type=NOTES)
    landings.file(TUESDAY, NOTES).write_bytes(b"PAR1 no longer")
    landings.land([{"appointment": "7"}], MONDAY, TUESDAY, record_type=NOTES)
    assert landings.keys(TUESDAY, NOTES) == []


def test_a_day_that_cannot_be_written_says_where_and_leaves_the_other_days_alone(landings: Landings) -> None:
    landings.land([check(1, MONDAY)], MONDAY)
    swept = landings.sweep([check(1, TUESDAY), check(2, MONDAY)], MONDAY, TUESDAY)
    landings.file(TUESDAY).parent.write_text("a file where the day's folder should be")
    with pytest.raises(UnusableDiskError, match=f"date={TUESDAY}.*; check the disk of HEALTH_DATA_DIR"):
        swept.land(TUESDAY, "uuid")
    assert swept.land(MONDAY, "uuid").kept.rows == 1
    assert landings.keys(MONDAY) == ["1", "2"]


def test_staged_rows_that_cannot_be_read_fail_the_day_without_a_value(landings: Landings) -> None:
    landings.land([check(1, MONDAY)], MONDAY)
    swept = landings.sweep([check(1, MONDAY, eligibility="Zebulon")], MONDAY)
    for staged in (landings.folder / "sweep-2").glob("staged-*.parquet"):
        staged.write_bytes(staged.read_bytes().replace(b"Zebulon", b"Zebul\xff\xff")[:-8] + b"\0\0\0\0PAR1")
    with pytest.raises(UnusablePagesError) as failure:
        swept.land(MONDAY, "uuid")
    assert "Zebul" not in str(failure.value)
    assert landings.keys(MONDAY) == ["1"]


def test_the_files_of_the_next_days_are_written_while_a_day_lands(landings: Landings) -> None:
    days = [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
    with landings.sweep([check(key, day) for key, day in enumerate(days)], *days) as swept:
        (landings.folder / "sweep-1" / f"day-{TUESDAY}.parquet").mkdir()
        swept.land(THURSDAY, "uuid")
        beside = landings.folder / "sweep-1" / f"day-{WEDNESDAY}.parquet"
        wait_for(beside.exists, "the file of Wednesday")
        assert not landings.file(WEDNESDAY).exists()
        swept.land(WEDNESDAY, "uuid")
        assert not beside.exists()
        # A day whose file could not be written fails by itself, when its turn has come.
        with pytest.raises(UnusableDiskError):
            swept.land(TUESDAY, "uuid")
        swept.land(MONDAY, "uuid")
    assert [landings.file(day).exists() for day in days] == [True, False, True, True]
    assert [landings.keys(day) for day in (MONDAY, WEDNESDAY, THURSDAY)] == [["0"], ["2"], ["3"]]


def test_a_day_that_somebody_else_landed_meanwhile_keeps_its_rows_until_they_have_moved(
    landings: Landings,
) -> None:
    other = landings.sweep([check(1, MONDAY)], MONDAY)
    with landings.sweep([check(1, WEDNESDAY), check(2, MONDAY)], MONDAY, TUESDAY) as swept:
        swept.land(TUESDAY, "uuid")  # and begins to write Monday
        other.land(MONDAY, "uuid")
        assert swept.land(MONDAY, "uuid").kept.rows == 1
    assert landings.keys(MONDAY) == ["1", "2"]
