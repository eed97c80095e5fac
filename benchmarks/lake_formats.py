"""How the lake should lie in object storage: plain Parquet, Iceberg and Delta, doing the same.

One day of synthetic visits (20,000 rows, 41 columns) is overwritten in a table that has 1, 100 or 3,000 days,
the others of 20 rows each; also in one whose 100 days were landed one after the other, as days are. The S3
server is a process of its own on loopback and counts the calls (`counting_s3.py`); how each format does it is
in `lake_tables.py`. `local disk` is the plain overwrite without a server.

An overwrite opens the table anew and ends when readers see the new day. After it every reader reads the day,
which must be the new one. Formats take turns in each round, so that a slow minute of the machine meets all of
them; one round before the first is not counted. Then two processes write at once, and tiny objects show what
a listing of ten years costs.

    pip install -e ".[benchmarks]"
    make benchmark-lake-formats      # 3 rounds, a quarter of an hour
    PYTHONPATH=. python benchmarks/lake_formats.py --days 1 100 --rounds 9 --races 10
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from benchmarks.counting_s3 import Counts, Server, running_server

if TYPE_CHECKING:
    from benchmarks.lake_tables import Table

NEEDED = ("obstore", "pyiceberg", "deltalake", "pyarrow", "moto", "flask")
BUCKET = "lake"
ROWS, ROWS_OF_OTHERS = 20_000, 20
DAY = date(2017, 1, 1)
TEN_YEARS, TABLES = 3_652, 13
# It asks for the head of every object: half a minute each time for thousands.
FOR_FEW_DAYS = ("plain Parquet", "DuckDB")
# Which days the two writers write, of a table that has two.
SITUATIONS = {
    "one day that is there": (DAY, DAY),
    "one new day": (DAY + timedelta(2), DAY + timedelta(2)),
    "a day each": (DAY, DAY + timedelta(1)),
}


class Step(NamedTuple):
    """What one step took."""

    seconds: float
    counts: Counts


def days_from(first: date, number: int) -> list[date]:
    return [first + timedelta(after) for after in range(number)]


def median(steps: Sequence[Step]) -> Step:
    """The median of the seconds, and the calls of the step that had the median number of them."""
    by_calls = sorted((step.counts for step in steps), key=lambda counts: counts.calls.total())
    return Step(statistics.median(step.seconds for step in steps), by_calls[len(by_calls) // 2])


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(
    wrote: Mapping[str, date], refused: Mapping[str, str], found: Mapping[date, Mapping[str, int]]
) -> str:
    """What came of two writers, in words.

    `wrote`: which day each wrote. `refused`: the error of those that were told so. `found`: each day's rows
    by their writer, afterwards.
    """
    said = [f"{len(wrote) - len(refused)} accepted"]
    said += [f"{number} refused ({name})" for name, number in sorted(Counter(refused.values()).items())]
    for writer, day in wrote.items():
        rows = found.get(day, {}).get(writer, 0)
        if writer in refused and rows:
            said.append("ROWS OF A REFUSED WRITER")
        elif writer not in refused and rows == 0:
            said.append("OVERWRITTEN UNSEEN")
        elif writer not in refused and rows != ROWS:
            said.append("TORN")
    said += ["DOUBLED" for rows in found.values() if len(rows) > 1]
    return ", ".join(said)


def timed(server: Server, step: Callable[[], Any]) -> tuple[Step, Any]:
    server.counts()
    begun = time.perf_counter()
    result = step()
    return Step(time.perf_counter() - begun, server.counts()), result


def overwrites(days: int, rounds: int, *, grown: bool) -> None:
    """Overwrite a day in tables of so many days, read it, clean up; print what it took."""
    from benchmarks.lake_tables import FORMATS, Place, visits  # noqa: PLC0415 - needs the extra

    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        server.fill(BUCKET, [])
        tables = {
            name: made(Place(server.url, folder, name.replace(" ", "_"))) for name, made in FORMATS.items()
        }
        others = visits(days_from(DAY, days), ROWS_OF_OTHERS)
        for table in tables.values():
            for part in others.partition_by("date") if grown else [others]:
                table.land(part)
        wrote: dict[str, list[Step]] = {name: [] for name in tables}
        read: dict[tuple[str, str], list[Step]] = {}
        sizes: dict[str, list[tuple[int, int]]] = {}
        for number in range(rounds + 1):
            rows = visits([DAY], ROWS, str(number))
            for name, table in tables.items():
                wrote[name].append(timed(server, lambda: replace(table, rows))[0])  # noqa: B023 - called at once
                step, there = timed(server, table.days)
                assert there == days, f"{name} lists {there} days"
                read.setdefault((name, "the list of days"), []).append(step)
                for reader, ask in table.readers().items():
                    if (name, reader) == FOR_FEW_DAYS and days > 100:
                        continue
                    step, day = timed(server, lambda: ask(DAY))  # noqa: B023 - called at once
                    assert day["writer"].to_list() == [str(number)] * ROWS, (
                        f"{name} does not read the new day"
                    )
                    read.setdefault((name, reader), []).append(step)
                # After the first overwrite, which makes the day as large as it is from then on, and the last.
                if number in (0, rounds):
                    sizes.setdefault(name, []).append(table.files())
        for name, table in tables.items():
            table.clean()
            sizes[name].append(table.files())
    print(f"\n### {days:,} days{', landed one by one' if grown else ''}\n\nOne day overwritten:\n")
    print(overwrites_text(wrote, sizes), "\n\nWhat a reader needs:\n")
    print(readers_text(read), flush=True)


def overwrites_text(
    wrote: Mapping[str, Sequence[Step]], sizes: Mapping[str, Sequence[tuple[int, int]]]
) -> str:
    """A line for each format. `sizes`: objects, bytes after the first overwrite, the last, and cleaning."""
    plain = median(wrote["plain Parquet"][1:]).seconds
    lines = []
    for name, steps in wrote.items():
        seconds, counts = median(steps[1:])
        first = steps[0].counts
        (objects, size), (objects_now, size_now), (kept, kept_size) = sizes[name]
        more, more_size = (objects_now - objects) / (len(steps) - 1), (size_now - size) / (len(steps) - 1)
        lines.append(
            [
                name,
                f"{seconds:.3f}",
                f"{seconds / plain:.1f}",
                str(counts.calls.total()),
                str(counts),
                f"{counts.sent / 1e3:,.0f}",
                f"{counts.received / 1e3:,.0f}",
                f"{first.calls.total()} calls, {first.sent / 1e3:,.0f} and {first.received / 1e3:,.0f} kB",
                f"{more:.0f}, {more_size / 1e3:,.0f} kB",
                f"{kept - objects}, {(kept_size - size) / 1e3:,.0f} kB",
            ]
        )
    header = ["", "s", "of plain", "calls", "by kind", "kB sent", "kB received", "the first time"]
    return table_text([*header, "left by each", "left when cleaned"], lines)


def readers_text(read: Mapping[tuple[str, str], Sequence[Step]]) -> str:
    """A line for each format and reader."""
    lines = []
    for (name, what), steps in sorted(read.items(), key=lambda one: one[0][0]):
        seconds, counts = median(steps[1:])
        calls, received = str(counts.calls.total()), f"{counts.received / 1e3:,.0f}"
        lines.append([name, what, f"{seconds:.3f}", calls, str(counts), received])
    return table_text(["", "", "s", "calls", "by kind", "kB received"], lines)


def replace(table: "Table", rows: Any) -> None:
    """As a run does that has a new version of the day."""
    table.look(DAY)
    table.overwrite(rows, DAY)


class Writer:
    """A process that writes when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, __file__, "--writer"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """The name of the error that the last step ended with; empty if none."""
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("A writing process has ended.")
        return str(json.loads(line))

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve_as_writer() -> None:
    """What a `Writer` does: look at a table, or write the day by what was seen."""
    from benchmarks.lake_tables import FORMATS, Place, visits  # noqa: PLC0415 - needs the extra

    for line in sys.stdin:
        told, error = json.loads(line), ""
        day = date.fromisoformat(told["day"])
        if told["do"] == "look":
            table = FORMATS[told["format"]](Place(**told["place"]))
            rows = visits([day], ROWS, told["writer"])
            table.look(day)
        else:
            try:
                table.overwrite(rows, day)
            except Exception as failed:
                error = type(failed).__name__
        print(json.dumps(error), flush=True)


def races(number: int) -> None:
    """Two processes write, both having looked before either wrote; print what came of it."""
    from benchmarks.lake_tables import FORMATS, Place, visits  # noqa: PLC0415 - needs the extra

    lines = []
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        server.fill(BUCKET, [])
        writers = [Writer("A"), Writer("B")]
        for format_name in ("plain Parquet", "Iceberg", "Delta"):
            for situation, days in SITUATIONS.items():
                for at_once in (False, True):
                    seen: Counter[str] = Counter()
                    for _ in range(number):
                        place = Place(server.url, folder, f"race_{uuid4().hex}")
                        table = FORMATS[format_name](place)
                        table.land(visits(days_from(DAY, 2), ROWS_OF_OTHERS))
                        seen[race(writers, format_name, table, days, at_once=at_once)] += 1
                    how = "at once" if at_once else "one after the other"
                    said = "; ".join(f"{times} x {what}" for what, times in seen.most_common())
                    lines.append([format_name, situation, how, said])
        for writer in writers:
            writer.stop()
    print(f"\n### Two writers, {number} times each\n")
    print(table_text(["", "of", "", "came of it"], lines), flush=True)


def race(
    writers: list[Writer], format_name: str, table: "Table", days: tuple[date, date], *, at_once: bool
) -> str:
    wrote = {writer.name: day for writer, day in zip(writers, days, strict=True)}
    for writer in writers:
        writer.tell(
            do="look",
            format=format_name,
            place=table.place.json,
            day=str(wrote[writer.name]),
            writer=writer.name,
        )
    assert [writer.answer() for writer in writers] == ["", ""]
    refused: dict[str, str] = {}
    for step in [writers] if at_once else [[writer] for writer in writers]:
        for writer in step:
            writer.tell(do="write", day=str(wrote[writer.name]))
        refused |= {writer.name: error for writer in step if (error := writer.answer())}
    found = {day: dict(table.readers()["Polars"](day)["writer"].value_counts().iter_rows()) for day in days}
    return verdict(wrote, refused, found)


def listings() -> None:
    """What it takes to list ten years of all tables, of one, and of what is new; print it."""
    import obstore  # noqa: PLC0415 - needs the extra

    from benchmarks.lake_tables import Place  # noqa: PLC0415 - needs the extra

    with running_server() as server:
        tables = [f"lake/source/table_{number}" for number in range(TABLES)]
        days = days_from(DAY, TEN_YEARS)
        server.fill(BUCKET, [f"{table}/date={day}/visits.parquet" for table in tables for day in days])
        store = Place(server.url, "", "").store

        def listed(*prefixes: str, offset: str | None = None) -> int:
            return sum(len(part) for one in prefixes for part in obstore.list(store, one, offset=offset))

        last_ten = f"{tables[0]}/date={days[-11]}/~"
        ways: dict[str, Callable[[], int]] = {
            f"all {TABLES} tables in one listing": lambda: listed("lake"),
            f"{TABLES} tables, a listing each": lambda: listed(*tables),
            "one table": lambda: listed(tables[0]),
            "the newest ten days of one table": lambda: listed(tables[0], offset=last_ten),
        }
        lines = []
        for what, way in ways.items():
            step, keys = timed(server, way)
            lines.append([what, f"{keys:,}", str(step.counts), f"{step.counts.received / 1e3:,.0f}"])
    print(f"\n### Listing {TABLES} tables of {TEN_YEARS:,} days\n")
    print(table_text(["", "keys", "calls", "kB received"], lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--days", type=int, nargs="*", default=[1, 100, 3000])
    parser.add_argument("--grown", type=int, default=100, help="days landed one by one; 0: no such table")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--races", type=int, default=5)
    parser.add_argument("--writer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SystemExit(
            f"This benchmark needs {', '.join(missing)}; install what it compares with "
            'pip install -e ".[benchmarks]".'
        )
    warnings.simplefilter("ignore")
    if options.writer:
        serve_as_writer()
        return
    begun = time.monotonic()
    print(f"{os.cpu_count()} cores, {options.rounds} rounds, medians")
    for days in options.days:
        overwrites(days, options.rounds, grown=False)
    if options.grown:
        overwrites(options.grown, options.rounds, grown=True)
    if options.races:
        races(options.races)
    listings()
    print(f"\n{time.monotonic() - begun:,.0f} s")


if __name__ == "__main__":
    main()
