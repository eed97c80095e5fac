"""How fast a CSV becomes a partition, beside the bare engines doing the same conversion.

Every row is the same work: one CSV file of synthetic visits, all columns as text, NULL and "" kept apart, to
one Parquet file (zstd). `this project` also has what landing adds: the SHA-256 and the proof of every
record's shape, which in a landing happen while the bytes arrive, and the lineage columns and the count of
what was written. It is shown with the pass over the bytes before the conversion, as if they arrived
infinitely fast, and as the conversion alone, which is what is left to do when the last byte has come. Each
measurement is a process of its own; medians and ratios are of one run.

    make benchmark-csv            # 1 GB and 2 GB, 3 rounds each
    python benchmarks/csv_to_parquet.py --gigabytes 5 --rounds 1
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl

from health_pipelines.lake.csv_partition import Lineage, write_partition
from health_pipelines.lake.csv_shape import CsvShape

COLUMNS = 40
ROWS_IN_BLOCK = 20_000
READ_BYTES = 1 << 18


def bare_polars(source: Path, target: Path) -> float:
    began = time.perf_counter()
    pl.scan_csv(source, infer_schema=False).sink_parquet(target, compression="zstd")
    return time.perf_counter() - began


def bare_duckdb(source: Path, target: Path) -> float:
    began = time.perf_counter()
    columns = ", ".join(f"'column_{number}': 'VARCHAR'" for number in range(COLUMNS))
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM read_csv('{source}', header = true, auto_detect = false, delim = ',', quote = '\"', "
            f"escape = '\"', nullstr = '', allow_quoted_nulls = false, columns = {{{columns}}})) "
            f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return time.perf_counter() - began


def whole_landing(source: Path, target: Path) -> float:
    began = time.perf_counter()
    _land(source, target)
    return time.perf_counter() - began


def after_the_last_byte(source: Path, target: Path) -> float:
    return _land(source, target)


def _land(source: Path, target: Path) -> float:
    """Returns the seconds of the conversion, after the pass over the bytes."""
    shape, content = CsvShape(), hashlib.sha256()
    with source.open("rb") as body:
        while chunk := body.read(READ_BYTES):
            content.update(chunk)
            shape.feed(chunk)
    summary = shape.summary(end_is_proven=True)
    arrived = time.perf_counter()
    lineage = Lineage(date(2026, 3, 10), "report", datetime.now(UTC))
    write_partition(source, summary, target, lineage, content.hexdigest())
    return time.perf_counter() - arrived


WAYS: dict[str, Callable[[Path, Path], float]] = {
    "bare Polars sink_parquet": bare_polars,
    "bare DuckDB COPY": bare_duckdb,
    "this project, after the last byte": after_the_last_byte,
    "this project, pass over the bytes included": whole_landing,
}


def write_visits(target: Path, size_bytes: int) -> None:
    """Synthetic visits as Athena writes them: quoted values, NULLs, empty strings, quotes inside."""
    chance = random.Random(1)

    def values(row: int) -> list[str]:
        kinds = [
            f'"{hashlib.md5(str(row).encode(), usedforsecurity=False).hexdigest()}"',
            f'"2026-03-{row % 28 + 1:02d} {row % 24:02d}:{row * 7 % 60:02d}:{row * 13 % 60:02d}.000"',
            chance.choice(['"completed"', '"cancelled"', '"no_show"', ""]),
            f'"{row * 31 % 10007:06d}"',
            "",
            f'"Clinic ""{row % 50}"" North, Suite 7"',
            '"true"' if row % 3 else '"false"',
            '""',
        ]
        return [kinds[column % len(kinds)] for column in range(COLUMNS)]

    lines = [",".join(values(row)) for row in range(ROWS_IN_BLOCK)]
    block = ("\n".join(lines) + "\n").encode()
    with target.open("wb") as file:
        file.write((",".join(f'"column_{number}"' for number in range(COLUMNS)) + "\n").encode())
        while file.tell() < size_bytes:
            file.write(block)


def measure(way: str, source: Path, target: Path) -> None:
    """Run in a process of its own; prints seconds, CPU seconds and peak memory as JSON."""
    seconds = WAYS[way](source, target)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("WAY", "CSV", "PARQUET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, source, target = arguments.measure
        measure(way, Path(source), Path(target))
        return
    for gigabytes in arguments.gigabytes:
        compare(int(gigabytes * 1e9), arguments.rounds)


def compare(size_bytes: int, rounds: int) -> None:
    """Print the table for a CSV of that size, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        # The CSV and, at its worst, a Parquet file of the same size.
        if shutil.disk_usage(folder).free < 2 * size_bytes:
            raise SystemExit(f"{folder} has no room for two files of {size_bytes:,} bytes; set TMPDIR.")
        source, target = Path(folder) / "visits.csv", Path(folder) / "visits.parquet"
        write_visits(source, size_bytes)
        megabytes = source.stat().st_size / 1e6
        results: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:  # interleaved, so that a slow minute of the machine meets all of them
                command = [sys.executable, __file__, "--measure", way, str(source), str(target)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                results[way].append(json.loads(done.stdout))
    print(f"{megabytes:,.0f} MB, {COLUMNS} columns, {os.cpu_count()} cores, median of {rounds}\n")
    print("| | MB/s | of bare Polars | CPU s | peak MB |\n| --- | --- | --- | --- | --- |")
    medians = {
        way: [statistics.median(column) for column in zip(*runs, strict=True)]
        for way, runs in results.items()
    }
    best = medians["bare Polars sink_parquet"][0]
    for way, (seconds, cpu, peak) in medians.items():
        print(f"| {way} | {megabytes / seconds:.0f} | {best / seconds:.2f} | {cpu:.1f} | {peak:.0f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
