"""A publisher that is killed anywhere leaves a whole table, and nobody ever reads a part of one."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from health_pipelines_tests.publish.clinic import Clinic
from health_pipelines_tests.support.child_process import Child, child
from health_pipelines_tests.support.waiting import wait_for

ROWS = 20000
READERS = 4
# Publishes in a fork for every line that it is told, says its process id, and how it ended.
PUBLISHER = """
import os, sys
from pathlib import Path
from health_pipelines_tests.publish.clinic import Clinic

folder, url = sys.argv[1:]
print("ready", flush=True)
for line in sys.stdin:
    fork = os.fork()
    if fork == 0:
        clinic = Clinic(Path(folder), url)
        clinic.know("current.t", "current.keyless")
        for table in ("current.t", "current.keyless"):
            clinic.publish(table, compare=line.strip() == "compare")
        os._exit(0)
    print(fork, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), flush=True)
"""


def state(generation: int) -> dict[str, str]:
    """Two tables of which every row says the generation, the number of rows depends on it."""
    rows = ROWS + 37 * generation
    sql = (
        f"SELECT id, {generation} AS generation, repeat('x', (id % 50)::INTEGER) AS words, "
        f"'visit ' || (id * {generation + 1}) AS other FROM range({rows}) AS rows(id)"
    )
    return {"current.t": sql, "current.keyless": f"{sql} WHERE id < 3000"}


@contextmanager
def readers(url: str, seen: list[tuple[str, int, int, int]]) -> Iterator[list[BaseException]]:
    """Four who ask all the time: how many rows there are, and of which generations."""
    stop, problems = threading.Event(), []
    asked = (
        "SELECT count(*), coalesce(min(generation), -1), coalesce(max(generation), -1) FROM health_current.{}"
    )

    def read(table: str) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                while not stop.is_set():
                    [(rows, first, last)] = connection.execute(asked.format(table).encode()).fetchall()
                    seen.append((table, rows, first, last))
        except BaseException as error:
            problems.append(error)

    threads = [
        threading.Thread(target=read, args=("t" if number % 2 else "keyless",)) for number in range(READERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield problems
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "kills", [12, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
@pytest.mark.slow
def test_a_table_is_whole_whenever_its_publisher_is_killed(
    clinic: Clinic, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(kills)
    seen: list[tuple[str, int, int, int]] = []
    clinic.build(state(0))
    with child(PUBLISHER, tmp_path, clinic.url) as publisher:
        assert publisher.line() == "ready"
        assert run(publisher, None) == 0
        ended: dict[int, int] = {}
        with readers(clinic.url, seen) as problems:
            clinic.build(state(1))
            begun = time.monotonic()
            assert run(publisher, None) == 0
            takes = 1.2 * (time.monotonic() - begun)
            for generation in range(2, kills + 2):
                # Every other time as a build does that has made every row of the table anew, and says so.
                if generation % 2:
                    clinic.build(state(generation))
                else:
                    clinic.build_part("current.t", added=state(generation)["current.t"])
                code = run(publisher, chance.uniform(0, takes), "compare" if generation % 3 == 0 else "")
                ended[code] = ended.get(code, 0) + 1
        assert problems == []
        assert ended.get(-signal.SIGKILL, 0) >= kills / 4, f"killed too late to show anything: {ended}"
        assert run(publisher, None) == 0

    for table, rows, first, last in seen:
        assert first == last, "rows of two states"
        assert rows == (ROWS + 37 * first if table == "t" else 3000), "a part of a state"
    assert {table for table, *_ in seen} == {"t", "keyless"}
    assert len({generation for *_, generation in seen}) > 1, "nobody saw anything change"
    for name in ("current.t", "current.keyless"):
        assert clinic.differences(name) == []
    # What a killed publisher held is let go, and nothing of its is left.
    holding = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'health_pipelines'"
    wait_for(lambda: clinic.ask(holding) == [(0,)], "no session of a killed publisher")
    temporary = "SELECT count(*) FROM pg_class WHERE relname IN ('staged', 'gone')"
    assert clinic.ask(temporary) == [(0,)]
    known = clinic.memory.of("current.t")
    assert known is not None
    assert sorted(clinic.memory.folder.glob("current.t.*.parquet")) == sorted(known.files)


def run(publisher: Child, kill_after: float | None, how: str = "") -> int:
    """Let it publish once, and kill it after so many seconds; returns how it ended."""
    publisher.tell(how)
    pid = int(publisher.line())
    timer = threading.Timer(kill_after or 0, kill, args=(pid,))
    if kill_after is not None:
        timer.start()
    code = int(publisher.line())
    timer.cancel()
    return code


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
