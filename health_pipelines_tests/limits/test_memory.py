"""How much memory the landing of a report takes, however large it is, and what too little of it does."""

from pathlib import Path

import pytest

from health_pipelines.lake.partitions import Lake, Table
from health_pipelines_tests.limits.large_report import LargeReport, large_report

TABLE = Table("dexcare", "avr_virtual")
SMALL_MB, LARGE_MB = 100, 600
# As threads come to it, Polars has some row groups under way, and in a small report there are none to have.
# If it grew with the size, it would be the difference of the sizes.
SPREAD_MB = 300


def landed(report: LargeReport, lake: Path) -> int:
    """Land it; returns the peak of the process's own memory in MB."""
    ended = report.land(lake)
    assert ended.returncode == 0, ended.stderr[-2000:]
    rows, *_, peak = ended.stdout.split("\n")[-2].split()
    assert int(rows.rpartition("\r")[2]) == report.rows
    return int(peak)


@pytest.mark.long
def test_the_memory_of_a_landing_does_not_follow_the_size_of_its_report(tmp_path: Path) -> None:
    peaks = {}
    for size in (SMALL_MB, LARGE_MB):
        with large_report(size) as report:
            peaks[size] = landed(report, tmp_path / f"{size}")
    assert peaks[LARGE_MB] < peaks[SMALL_MB] + SPREAD_MB


@pytest.mark.long
def test_a_landing_that_runs_out_of_memory_leaves_the_old_day_and_the_next_one_lands(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    file = lake.partition_file(TABLE, "2026-03-10")
    with large_report(4) as report:
        landed(report, tmp_path)
        before = file.read_bytes()
    with large_report(60) as report:
        for most_mb in (150, 250):
            ended = report.land(tmp_path, most_mb=most_mb)
            # Python says it; a library in another language ends the process as the kernel would.
            assert ended.returncode != 0
            assert "Cannot allocate memory: give this service more" in ended.stderr or ended.returncode < 0
            assert file.read_bytes() == before
        landed(report, tmp_path)
    assert file.read_bytes() != before
    assert {one.name for one in file.parent.iterdir()} == {file.name, "_manifest.json"}


@pytest.mark.long
def test_a_report_of_two_gigabytes_lands_within_half_a_gigabyte(tmp_path: Path) -> None:
    with large_report(2048) as report:
        assert landed(report, tmp_path) < 512
        # All rows of the day that stands are other ones: a comparison of two large files.
        report.version = "b"
        assert landed(report, tmp_path) < 512
