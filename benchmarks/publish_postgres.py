"""What publishing into PostgreSQL costs, beside the bare server doing the same.

The same synthetic visits (40 columns), the same server (PostgreSQL 18 from the wheel that tests use, on this
machine, reached by a socket). `bare` is the server alone: a server-side COPY of a ready CSV file into a
temporary table, an INSERT into the table and its key. Publishing also reads the warehouse, converts, hashes
every row and proves the sums. `dlt` is its merge of the same rows, read as Arrow from DuckDB, if it is
installed (`pip install "dlt[postgres]" pyarrow`). Each measurement of this project is a process of its own,
whose peak memory is shown; medians and ratios are of one run.

    make benchmark-publish                # 1 million visits, 3 rounds
    PYTHONPATH=. python benchmarks/publish_postgres.py --millions 10 --rounds 1
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import duckdb
import psycopg

from health_pipelines_tests.publish.clinic import Clinic
from health_pipelines_tests.support.postgres_server import running_postgres

TABLE = "current.visits"
BY_WAY = {
    "first": "made",
    "nothing": "unchanged",
    "newest": "changes",
    "one_percent": "changes",
    "one_percent_untold": "changes",
    "compare": "compared",
}


def visits(rows: int, *, changed: str = "false", where: str = "true") -> str:
    """SQL of the rows. `changed`: which have another status. `where`: which are there."""
    words = ", ".join(
        f"CASE (hash(id + {number}) % 10) WHEN 0 THEN NULL WHEN 1 THEN '' "
        f"ELSE 'value ' || hash(id * {number + 1}) % 1000000 END AS c{number}"
        for number in range(33)
    )
    status = f"CASE WHEN {changed} THEN 'changed' ELSE 'done' END"
    return (
        f"SELECT md5(id::VARCHAR) AS id, {words}, {status} AS status, "
        "TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(id % 10000000) AS at, "
        "DATE '2026-01-01' + (id % 300)::INTEGER AS day, (id % 100000)::DECIMAL(18,4) / 100 AS money, "
        f"id % 2 = 0 AS is_new, id / 7.0 AS score FROM range({rows}) AS rows(id) WHERE {where}"
    )


def publish(folder: Path, url: str, step: str) -> None:
    """In a process of its own: one publishing, and what it took."""
    clinic = Clinic(folder, url)
    clinic.know(TABLE)
    begun = time.monotonic()
    published = clinic.publish(TABLE, compare=step == "compare")
    assert published.way == BY_WAY[step], published.way
    took = time.monotonic() - begun
    # Not `getrusage`, whose peak is also that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": took, "megabytes": peak, "sent": published.bytes_sent}))


def bare(url: str, folder: Path) -> float:
    """The server alone, from a file that is ready."""
    with psycopg.connect(url) as connection:
        [(declared,)] = connection.execute(
            "SELECT string_agg(column_said, ', ' ORDER BY attnum) FROM (SELECT attnum, "
            "format('%I %s', attname, format_type(atttypid, atttypmod)) AS column_said FROM pg_attribute "
            "WHERE attrelid = 'health_current.visits'::regclass AND attnum > 0) AS declared"
        ).fetchall()
        file = folder / "visits.csv"
        columns = "*, (hash(id) >> 1)::BIGINT"
        with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
            warehouse.execute("SET TimeZone = 'UTC'")
            names = [*(name for name, *_ in warehouse.execute(f"DESCRIBE {TABLE}").fetchall()), "_row_hash"]
            warehouse.execute(
                f"COPY (SELECT {columns} FROM {TABLE}) TO '{file}' (HEADER false, NULLSTR '\\N')"
            )
        begun = time.monotonic()
        connection.execute(f"CREATE TEMP TABLE staged ({declared}) ON COMMIT DROP".encode())
        copied = f"COPY staged ({', '.join(names)}) FROM '{file}' (FORMAT csv, NULL '\\N')"
        connection.execute(copied.encode())
        connection.execute(f"CREATE TABLE bare ({declared})".encode())
        connection.execute("INSERT INTO bare SELECT * FROM staged")
        connection.execute("ALTER TABLE bare ADD PRIMARY KEY (id)")
        connection.commit()
        took = time.monotonic() - begun
        connection.execute("DROP TABLE bare")
    file.unlink()
    return took


def with_dlt(url: str, folder: Path) -> float:
    """dlt's merge of the same rows into the same server."""
    import dlt  # noqa: PLC0415 - only where it is installed

    @dlt.resource(name="visits", write_disposition="merge", primary_key="id")
    def rows() -> Iterator[object]:
        with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
            yield from warehouse.execute(f"FROM {TABLE}").to_arrow_reader(100_000)

    said = psycopg.conninfo.conninfo_to_dict(url)
    # It wants a password, also of a server that asks for none.
    credentials = {
        # A folder of sockets is a host that has to be spelled so in an address.
        "host": quote(str(said["host"]), safe=""),
        "port": int(said.get("port") or 5432),
        "username": said["user"],
        "password": "none",
        "database": said["dbname"],
    }
    pipeline = dlt.pipeline(
        "publish",
        destination=dlt.destinations.postgres(credentials=credentials),
        dataset_name="dlt",
        pipelines_dir=str(folder / "dlt"),
    )
    begun = time.monotonic()
    pipeline.run(rows())
    return time.monotonic() - begun


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    with running_postgres() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The server reads a file there, and may be another user.
        folder.chmod(0o755)
        yield url, folder


def one_round(rows: int, *, dlt: bool) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with server() as (url, folder):
        clinic = Clinic(folder, url)

        def measure(step: str) -> None:
            command = [sys.executable, __file__, "--step", step, str(folder), url]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[step] = json.loads(done.stdout)

        clinic.build({TABLE: visits(rows)})
        measure("first")
        measure("nothing")
        found["bare"] = {"seconds": bare(url, folder)}
        # As the server does by itself until the next night.
        clinic.ask("VACUUM ANALYZE health_current.visits")
        # As a build does that makes a part anew: the records stand at the table's end afterwards.
        for step, changed in (("newest", f"id >= {rows * 99 // 100}"), ("one_percent", "id % 100 = 0")):
            clinic.build_part(TABLE, added=visits(rows, changed=changed, where=changed))
            measure(step)
        clinic.build({TABLE: visits(rows, changed="id % 100 = 1")})
        measure("one_percent_untold")
        measure("compare")
        if dlt:
            clinic.ask("DROP TABLE health_current.visits")
            found["dlt"] = {"seconds": with_dlt(url, folder)}
        shutil.rmtree(folder / "publish")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--millions", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", nargs=3, metavar=("STEP", "FOLDER", "URL"))
    options = parser.parse_args()
    if options.step:
        step, folder, url = options.step
        publish(Path(folder), url, step)
        return
    rows = int(options.millions * 1_000_000)
    has_dlt = find_spec("dlt") is not None
    rounds = [one_round(rows, dlt=has_dlt) for _ in range(options.rounds)]
    show(rows, rounds)


def show(rows: int, rounds: list[dict[str, dict[str, float]]]) -> None:
    def median(step: str, name: str) -> float:
        return statistics.median(one[step][name] for one in rounds)

    first, bare_seconds = median("first", "seconds"), median("bare", "seconds")
    print(f"{rows:,} visits of 40 columns, {len(rounds)} rounds, medians\n")
    print("| What | seconds | rows/s | ratio | peak MB | MB sent |")
    print("| --- | --- | --- | --- | --- | --- |")
    ratio: Callable[[float], str] = lambda seconds: f"{seconds / first:.3f} of the first"  # noqa: E731
    what = "bare: server-side COPY of a ready file, INSERT, key"
    print(f"| {what} | {bare_seconds:.2f} | {rows / bare_seconds:,.0f} | | | |")
    for step, what in (
        ("first", "first publishing"),
        ("nothing", "nothing changed"),
        ("newest", "1 % changed, the newest"),
        ("one_percent", "1 % changed, all over the table"),
        ("one_percent_untold", "the same of a table made whole (2 %)"),
        ("compare", "every row compared"),
    ):
        seconds = median(step, "seconds")
        said = f"{bare_seconds / seconds:.2f} of bare's speed" if step == "first" else ratio(seconds)
        print(
            f"| {what} | {seconds:.2f} | {rows / seconds:,.0f} | {said} | {median(step, 'megabytes'):.0f} "
            f"| {median(step, 'sent') / 1e6:.0f} |"
        )
    if "dlt" in rounds[0]:
        seconds, what = median("dlt", "seconds"), "dlt, merge into an empty table"
        print(f"| {what} | {seconds:.2f} | {rows / seconds:,.0f} | {ratio(seconds)} | | |")


if __name__ == "__main__":
    main()
