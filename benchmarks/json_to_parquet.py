"""How fast pages of a bulk list become partition files, beside bare DuckDB doing the same conversion.

Every row is the same work: the same pages of synthetic appointments (JSON as the vendor sends it, verbose) to
Parquet (zstd), with two threads. Bare `read_json` infers types from the pages and writes one file, or files
for each day; bare `from_json` is the fastest way of DuckDB that we know, with all fields as text. `this
project` also keeps one row per key, reads times in a zone, keeps what is undocumented or ill-typed, hashes
every row, and writes one file, or lands a partition for each day of change: durable, and put in place when it
is whole. Each measurement is a process of its own; medians and ratios are of one run.

`after the last page` is what a run does when its sweep is proven. It relies on a look at every page when it
came, while the run waited for the vendor: `+ looking` is that look's own CPU time, which MB/s and CPU s do
not contain. Parsing a page on arrival, which the proof needs anyway, is in no row. Pages that were never
looked at, or look irregular, take the longer way of the last rows.

    make benchmark-json           # 300 MB of pages, 3 rounds
    python benchmarks/json_to_parquet.py --megabytes 1500 --days 400 --rounds 1
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.drchrono.landing.day_files import write_day
from health_pipelines.drchrono.landing.page_reading import PageFile
from health_pipelines.drchrono.landing.range_landing import SweptRange
from health_pipelines.drchrono.landing.staging import stage
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.sweep.page_shape import shape_of
from health_pipelines.http.json_text import read_json
from health_pipelines.lake.partitions import Lake

APPOINTMENTS = next(record_type for record_type in RECORD_TYPES if record_type.name == "appointments")
PAGE_SIZE = 1000
FIRST_DAY = datetime(2026, 1, 1)  # noqa: DTZ001 - the vendor's times have no zone


def bare_read_json(pages: Path, target: Path) -> None:
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(
            f"COPY (SELECT unnest(results, recursive := true) FROM read_json('{pages}/*.json')) "
            f"TO '{target}/all.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )


def bare_from_json(pages: Path, target: Path) -> None:
    fields = json.dumps({"results": [dict.fromkeys(APPOINTMENTS.columns, "VARCHAR")]})
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(
            f"COPY (SELECT unnest(r) FROM (SELECT unnest(from_json(content, '{fields}').results) AS r "
            f"FROM read_text('{pages}/*.json'))) "
            f"TO '{target}/all.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )


def seen(pages: Path) -> tuple[list[PageFile], float]:
    """The pages as a sweep leaves them, each looked at when it came, and the CPU seconds of that."""
    files, looking = [], 0.0
    for order, file in enumerate(sorted(pages.iterdir())):
        records = read_json(file.read_bytes())["results"]
        began = time.process_time()
        shape = shape_of(records)
        looking += time.process_time() - began
        files.append(PageFile(file, file.stem, order, shape))
    return files, looking


def unseen(pages: Path) -> list[PageFile]:
    return [PageFile(file, file.stem, order) for order, file in enumerate(sorted(pages.iterdir()))]


def land(files: Sequence[PageFile], target: Path, *, split: bool) -> None:
    work = target / "work"
    work.mkdir()
    staged = stage(APPOINTMENTS, files, ZoneInfo("America/Los_Angeles"), work, extracted_at=datetime.now(UTC))
    if not split:
        write_day(staged, None, date(2026, 1, 1), target / "all.parquet", report_id="sweep")
        return
    days = [day.isoformat() for day in staged.rows_by_day if day is not None]
    with SweptRange(Lake(target), APPOINTMENTS, staged, days, work) as swept:
        for day in swept.days:
            swept.land(day, "sweep")


def bare_read_json_by_day(pages: Path, target: Path) -> None:
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(
            f"COPY (SELECT *, updated_at::DATE AS date FROM (SELECT unnest(results, recursive := true) "
            f"FROM read_json('{pages}/*.json'))) "
            f"TO '{target}/days' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date))"
        )


BARE: dict[str, Callable[[Path, Path], None]] = {
    "bare DuckDB, read_json": bare_read_json,
    "bare DuckDB, read_json, one file a day": bare_read_json_by_day,
    "bare DuckDB, from_json": bare_from_json,
}
# Whether pages were looked at when they came, and whether there is a file for each day.
OURS = {
    "this project, after the last page, one partition": (True, False),
    "this project, after the last page, one partition a day": (True, True),
    "this project, pages never looked at, one partition": (False, False),
    "this project, pages never looked at, one partition a day": (False, True),
}
WAYS = [*BARE, *OURS]


def appointment(number: int, at: datetime, chance: random.Random) -> dict[str, Any]:
    """A synthetic record with all documented fields."""
    key, scheduled = str(200_000_000 + number), at + timedelta(days=chance.randint(0, 30))
    known = {
        "id": key, "doctor": 1000 + number % 37, "patient": 80_000_000 + chance.randrange(60_000),
        "office": 500 + number % 9, "exam_room": number % 7, "scheduled_time": scheduled.isoformat(),
        "duration": chance.choice([15, 20, 30, 60]), "deleted_flag": False, "is_walk_in": number % 11 == 0,
        "reason": chance.choice(["Follow-up", "Annual physical, fasting", "Knee pain \u2013 left"]),
        "notes": chance.choice(["", 'Bring "old" records\nand pills', f"Call {chance.getrandbits(40)}"]),
        "status": chance.choice(["", "Arrived", "Complete", "Confirmed", "Cancelled"]), "color": "#00C1CF",
        "created_by": f"desk{number % 5}@example.com",
        "icd10_codes": chance.sample(["E11.9", "I10", "Z00.00"], 2),
        "created_at": (at - timedelta(days=chance.randint(1, 40))).isoformat(), "updated_at": at.isoformat(),
        "extended_updated_at": at.isoformat(), "first_billed_date": None if number % 3 else at.isoformat(),
        "primary_insurer_name": chance.choice(["Insurer A", "Insurer B of Somewhere", ""]),
        "primary_insurance_id_number": f"W{chance.randrange(10**9):09}", "recurring_days": [],
        "vitals": {"height": None, "weight": chance.randrange(400, 1200) / 10, "bmi": "23.1", "pulse": 61},
        "clinical_note": {"locked": True, "pdf": f"https://notes.example.com/{chance.getrandbits(64):016x}"},
        "reminders": [{"id": number, "type": "sms", "scheduled_time": scheduled.isoformat()}],
        "status_transitions": [
            {"appointment": key, "from_status": "", "to_status": to, "datetime": scheduled.isoformat()}
            for to in ("Arrived", "Complete")
        ],
    }  # fmt: skip
    return dict.fromkeys(APPOINTMENTS.columns) | known


def write_pages(folder: Path, size_bytes: int, days: int) -> None:
    chance = random.Random(1)
    sample = [appointment(number, FIRST_DAY, chance) for number in range(PAGE_SIZE)]
    pages = max(1, round(size_bytes / len(json.dumps(sample, separators=(",", ":")))))
    second = days * 86_400 / (pages * PAGE_SIZE)
    for page in range(pages):
        numbers = range(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)
        records = [appointment(n, FIRST_DAY + timedelta(seconds=int(n * second)), chance) for n in numbers]
        answer = {
            "status": "Complete",
            "pagination": {
                "count": pages * PAGE_SIZE,
                "pages": pages,
                "page_size": PAGE_SIZE,
                "page": page + 1,
            },
            "uuid": f"{page:032x}",
            "results": records,
        }
        text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
        (folder / f"{page:05}.json").write_text(text, encoding="utf-8")


def measure(way: str, pages: Path) -> None:
    """Run in a process of its own; prints seconds, CPU seconds, peak memory and looking's as JSON."""
    looking = 0.0
    with tempfile.TemporaryDirectory(dir=pages.parent) as target:
        if way in OURS:
            was_seen, split = OURS[way]
            files, looking = seen(pages) if was_seen else (unseen(pages), 0.0)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        if way in OURS:
            land(files, Path(target), split=split)
        else:
            BARE[way](pages, Path(target))
        seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([seconds, cpu, used.ru_maxrss / 1024, looking]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "PAGES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, pages = arguments.measure
        measure(way, Path(pages))
        return
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        pages.mkdir()
        write_pages(pages, arguments.megabytes * 1_000_000, arguments.days)
        megabytes = sum(file.stat().st_size for file in pages.iterdir()) / 1e6
        results: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:  # interleaved, so that a slow minute of the machine meets all of them
                command = [sys.executable, __file__, "--measure", way, str(pages)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                results[way].append(json.loads(done.stdout))
    print(
        f"{megabytes:,.0f} MB of pages, {arguments.days} days, {os.cpu_count()} cores, "
        f"median of {arguments.rounds}\n"
    )
    print("| | MB/s | of bare read_json | CPU s | + looking | peak MB |\n" + "| --- " * 6 + "|")
    medians = {
        way: [statistics.median(column) for column in zip(*runs, strict=True)]
        for way, runs in results.items()
    }
    best = medians["bare DuckDB, read_json"][0]
    for way, (seconds, cpu, peak, looking) in medians.items():
        print(
            f"| {way} | {megabytes / seconds:.0f} | {best / seconds:.2f} | {cpu:.1f} | {looking:.1f} "
            f"| {peak:.0f} |"
        )


if __name__ == "__main__":
    main()
