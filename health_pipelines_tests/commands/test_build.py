"""`health-pipelines build`, started as a person starts it."""

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.csv_partition import Lineage, sink
from health_pipelines.lake.partitions import Lake

LINEAGE = Lineage(date(2026, 3, 10), "report-1", datetime(2026, 3, 11, tzinfo=UTC))


def run_build(data: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", "build"],
        env={**os.environ, "HEALTH_DATA_DIR": str(data), "DEXCARE_AVR_RETAIL_KEY": "visit"},
        capture_output=True,
        text=True,
        check=False,
    )


def land(data: Path, visits: list[str]) -> Path:
    table = next(report.table for report in VISIT_REPORTS if report.type.value == "retail")
    with Lake(data / "lake").writing(table, "2026-03-10") as writer:
        sink(pl.LazyFrame({"visit": visits}), writer.candidate, LINEAGE, "hash", columns=1)
        writer.replace()
        return writer.target


def test_it_builds_what_has_landed_and_says_so_and_again_that_nothing_has_changed(tmp_path: Path) -> None:
    land(tmp_path, ["7", "8"])

    first = run_build(tmp_path)
    again = run_build(tmp_path)

    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "current.avr_retail" in first.stdout
    # What there is to say meanwhile is no part of the answer.
    [*_, progress] = [line for line in first.stderr.splitlines() if "tables and marts" in line]
    assert re.search(r"\d+ of \d+ tables and marts; [\d,]+ rows, the last of marts\.\w+$", progress)
    assert "tables and marts" not in first.stdout
    assert "Nothing has changed" not in first.stdout
    assert "Nothing has changed" in again.stdout
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as reader:
        assert reader.sql("SELECT visit_id FROM current.avr_retail ORDER BY 1").fetchall() == [("7",), ("8",)]


def test_a_damaged_partition_is_named_in_one_sentence(tmp_path: Path) -> None:
    file = land(tmp_path, ["7"])
    file.write_bytes(file.read_bytes()[:40])

    failed = run_build(tmp_path)

    assert failed.returncode == 1
    assert "dexcare/avr_retail 2026-03-10 cannot be read" in failed.stderr
    assert "Traceback" not in failed.stderr
