"""In a bucket, too, whoever tampers with the lake is found, and a crash is never taken for tampering."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from health_pipelines.lake.manifests import Facts
from health_pipelines.lake.partitions import Lake
from health_pipelines.lake.replacing import Found
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines_tests.lake.test_verification import (
    DAY,
    EARLIER,
    KINDS,
    PATIENTS,
    VISITS,
    land,
    said,
    states,
    the_chain_loses_a_line,
    the_chain_loses_half_of_its_last_line,
    the_chain_loses_its_end,
)
from health_pipelines_tests.support.bucket_tree import (
    brought_up_to,
    bucket_lake,
    objects,
    written_to,
)
from health_pipelines_tests.support.child_process import CRASHER, Child, child, crashes
from health_pipelines_tests.support.s3_server import (
    Call,
    Proxy,
    Server,
    Wrong,
    credentials,
    in_environment,
    new_bucket,
    running_proxy,
)

PARTITION, MANIFEST = f"date={DAY}/visits.parquet", f"date={DAY}/_manifest.json"
# A line that says what is in place is taken for one that was not written yet, unless Dagster remembers it.
AS_AFTER_A_CRASH: dict[str | None, State] = {DAY: State.UNFINISHED}
OTHERWISE: dict[Callable[[Lake], None], dict[str | None, State]] = {
    the_chain_loses_its_end: AS_AFTER_A_CRASH,
    the_chain_loses_half_of_its_last_line: AS_AFTER_A_CRASH,
    # The line after it says the same.
    the_chain_loses_a_line: {None: State.CHAIN_BROKEN},
}


def fill(lake: Lake) -> None:
    for table in (VISITS, PATIENTS):
        land(lake, table, EARLIER)
        land(lake, table, DAY)
        land(lake, table, DAY, version=2)


@pytest.fixture(scope="module")
def filled(s3_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in a bucket in which two tables of two days landed, one of them twice."""
    folder = tmp_path_factory.mktemp("filled")
    with in_environment(credentials(s3_server.url)):
        lake = bucket_lake(new_bucket(s3_server), folder)
        fill(lake)
        written_to(lake.url, folder / "tree")
    return folder / "tree"


@pytest.mark.parametrize(("tamper", "expected"), KINDS, ids=lambda one: getattr(one, "__name__", ""))
def test_every_kind_of_tampering_is_found_and_nothing_else_is_blamed(
    filled: Path,
    lake_url: str,
    tmp_path: Path,
    tamper: Callable[[Lake], None],
    expected: dict[str | None, State],
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(filled, tree)
    brought_up_to(tree, lake_url)
    lake = bucket_lake(lake_url, tmp_path)
    assert states(lake) == {}
    head = lake.chain(VISITS).head
    assert head is not None

    tamper(Lake(tree))
    brought_up_to(tree, lake_url)

    assert states(lake) == OTHERWISE.get(tamper, expected)
    if OTHERWISE.get(tamper) is AS_AFTER_A_CRASH:
        assert not TableVerification(lake, VISITS).knows(head)
    assert states(lake, PATIENTS) == {}


def test_a_day_that_is_removed_for_a_reason_is_not_missing_and_may_not_come_back_by_itself(
    lake_url: str, tmp_path: Path
) -> None:
    lake = bucket_lake(lake_url, tmp_path)
    fill(lake)
    tree = tmp_path / "tree"
    kept = written_to(lake_url, tree)
    with lake.writing(VISITS, DAY) as writer:
        writer.remove("erased")

    found = TableVerification(lake, VISITS)
    assert states(lake) == {}
    assert (found.removed(DAY), found.removed(EARLIER), found.rewritten(DAY)) == (True, False, True)
    assert lake.days(VISITS) == [EARLIER]
    assert lake.known_days(VISITS) == [EARLIER, DAY], "its manifest stays to say so"

    shutil.rmtree(tree)
    written_to(lake_url, tree)
    (tree / "clinic" / "visits" / PARTITION).write_bytes(kept[f"clinic/visits/{PARTITION}"])
    brought_up_to(tree, lake_url)
    assert states(lake) == {DAY: State.EXTRA}
    assert "was removed (erased) on 20" in said(lake)


def test_a_folder_of_an_older_version_that_was_copied_there_gets_its_manifests(
    filled: Path, lake_url: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(filled, tree)
    for file in [*tree.rglob("_chain"), *tree.rglob("_manifest.json")]:
        file.unlink()
    brought_up_to(tree, lake_url)
    lake = bucket_lake(lake_url, tmp_path)
    assert states(lake) == {EARLIER: State.WITHOUT_MANIFEST, DAY: State.WITHOUT_MANIFEST}

    with lake.writing(VISITS, DAY) as writer:
        assert writer.found is Found.WITHOUT_MANIFEST
        writer.attest(Facts(rows=50))

    assert states(lake) == {EARLIER: State.WITHOUT_MANIFEST}
    with lake.writing(VISITS, DAY) as writer:
        assert writer.found is Found.AS_LANDED


# Replaces, attests or removes a partition in a fork of itself, as often as it is told so.
WORK = """
import os, sys
from pathlib import Path
from health_pipelines.lake import bucket_writer
from health_pipelines.lake.bucket_lake import BucketLake
from health_pipelines.lake.partitions import Table
from health_pipelines.lake.manifests import Facts, code_version

code_version()  # once, and not in every fork
TRACED = ("bucket_writer.py", "bucket_chain.py", "<string>")

def work(argument):
    url, folder, what = argument.split("|")
    lake = BucketLake(url, Path(folder), 10**9)
    with lake.writing(Table("clinic", "visits"), "2026-03-08") as writer:
        if what == "replace":
            writer.candidate.write_bytes(b"new" * 500)
            writer.replace()
        elif what == "attest":
            writer.attest(Facts(rows=50))
        else:
            writer.remove("erased")
"""
FORKER = """
for told in sys.stdin:
    fork = os.fork()
    if fork == 0:
        work(told.rstrip())
        os._exit(0)
    print(fork, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), flush=True)
"""
OLD, NEW = b"old" * 500, b"new" * 500
AFTERWARDS = {"replace": NEW, "attest": OLD, "remove": None}


def put(lake: Lake, content: bytes) -> None:
    with lake.writing(VISITS, DAY) as writer:
        writer.candidate.write_bytes(content)
        writer.replace()


def stands(url: str) -> bytes | None:
    return objects(url).get(f"clinic/visits/{PARTITION}")


def is_healed(url: str, machine: Path, what: str, *, is_the_same: bool) -> State | None:
    """After a kill: nothing looks tampered with; the next writer, wherever, writes what is missing."""
    lake = bucket_lake(url, machine if is_the_same else machine / "another")
    found, before = states(lake), stands(url)
    assert set(found) <= {DAY}
    assert set(found.values()) <= {State.UNFINISHED}
    assert before in (OLD, AFTERWARDS[what])
    with lake.writing(VISITS, DAY) as writer:
        assert writer.found is not Found.CHANGED
    assert stands(url) == before
    # A writer of another machine may be at it still: what it put in place is not said to be in its stead.
    if before != OLD and is_the_same:
        assert states(lake) == {}
    assert set(states(lake).values()) <= {State.UNFINISHED}
    put(lake, b"newer" * 500)
    assert states(lake) == {}
    return found.get(DAY)


@pytest.mark.parametrize("what", ["replace", "attest", "remove"])
def test_a_kill_before_or_after_every_call_that_writes_is_no_tampering_and_the_next_landing_heals_it(
    s3_server: Server, tmp_path: Path, what: str
) -> None:
    seen: list[State | None] = []
    with (
        running_proxy(s3_server) as proxy,
        in_environment(credentials(proxy.url)),
        child(WORK + FORKER) as forker,
    ):
        number = 0
        while True:
            machine, url = tmp_path / str(number), new_bucket(s3_server)
            put(bucket_lake(url, machine), OLD)
            # The call with that number is never carried out, or it is and nobody hears the answer.
            nth, is_carried_out = divmod(number, 2)
            if not is_killed_at(
                forker,
                proxy,
                f"{url}|{machine / 'lake_copy'}|{what}",
                nth,
                is_carried_out=bool(is_carried_out),
            ):
                break
            seen.append(is_healed(url, machine, what, is_the_same=number % 4 < 2))
            number += 1
        assert stands(url) == AFTERWARDS[what]
    # Announced, put or removed, manifest, in place.
    writes = {"replace": 4, "attest": 3, "remove": 4}[what]
    unfinished = [State.UNFINISHED] * (2 * writes - 2)
    assert seen == [None, *unfinished, None]


def is_killed_at(forker: Child, proxy: Proxy, argument: str, nth: int, *, is_carried_out: bool) -> bool:
    """Whether the work was killed at its n-th call that writes; False if it made no such call and ended."""
    count, process = iter(range(1_000)), [0]

    def kill() -> None:
        os.kill(process[0], signal.SIGKILL)

    def decide(call: Call) -> Wrong | None:
        writes = call.method in ("PUT", "DELETE", "POST")
        if writes and next(count) == nth:
            return Wrong(is_carried_out=is_carried_out, then=kill)
        return None

    proxy.decide = decide
    forker.tell(argument)
    process[0] = int(forker.line())
    ended = forker.line()
    proxy.nothing()
    assert ended in ("0", str(-signal.SIGKILL)), ended
    return ended != "0"


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("what", ["replace", "attest", "remove"])
def test_a_crash_before_any_line_is_never_taken_for_tampering_and_is_healed_by_the_next_landing(
    s3_server: Server, tmp_path: Path, what: str
) -> None:
    seen: set[State | None] = set()
    number, crashed = 0, True
    with in_environment(credentials(s3_server.url)), child(WORK + CRASHER) as crasher:
        while crashed:
            number += 1
            machine, url = tmp_path / str(number), new_bucket(s3_server)
            put(bucket_lake(url, machine), OLD)
            crashed = crashes(crasher, number, f"{url}|{machine / 'lake_copy'}|{what}")
            seen.add(is_healed(url, machine, what, is_the_same=bool(number % 2)))
    assert number > 40
    assert seen == {None, State.UNFINISHED}
