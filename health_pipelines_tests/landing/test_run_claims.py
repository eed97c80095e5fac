"""A run is alive as long as its process is: on a real instance, with processes that are killed.

What is claimed in PostgreSQL is looked at as another host would, which has no folder in common.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, Failure, instance_for_test
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.utils import make_new_run_id
from dagster._serdes import serialize_value

from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.landing.dagster_names import materializes_only
from health_pipelines.landing.run_claims import (
    CLAIMED_BY_TAG,
    CLAIMED_IN_TAG,
    CLAIMED_RUN_TAG,
    DEAD_AFTER,
    RunClaims,
    claim_run,
    end_dead_runs,
    is_alive,
)
from health_pipelines.settings import Secret
from health_pipelines_tests.support.broken_connections import end_connections
from health_pipelines_tests.support.child_process import Child, child
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

STARTS_WITHIN = timedelta(minutes=5)
OURS = AssetKey(["dexcare", "avr_virtual"])
is_ours = partial(materializes_only, [OURS])

# Claims the runs that it is told and says so; lives until it is killed.
CLAIMER = """
import sys
from pathlib import Path
from health_pipelines.lake.host_locks import host_locks
from health_pipelines.landing.run_claims import RunClaims, claim_run
from health_pipelines.settings import Secret

folder, url = sys.argv[1:]
claims = RunClaims(Path(folder), host_locks(Secret(url) if url else None))
print("ready", flush=True)
for line in sys.stdin:
    for run_id in line.split():
        claim_run(claims, run_id)
    print("claimed", flush=True)
"""

# One look of a housekeeping in a process of its own, at a time that it is told.
LOOKER = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from dagster import DagsterInstance
from dagster._serdes import deserialize_value
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.landing.run_claims import RunClaims, end_dead_runs
from health_pipelines.settings import Secret

ref, folder, url, now = sys.argv[1:]
claims = RunClaims(Path(folder), HostLocks(Secret(url)))
with DagsterInstance.from_ref(deserialize_value(ref)) as instance:
    found = end_dead_runs(
        instance,
        claims,
        is_ours=lambda _: True,
        now=datetime.fromisoformat(now),
        starts_within=timedelta(minutes=5),
    )
print(found, flush=True)
sys.stdin.readline()
"""

# Claims one run, but stops before everything that it does to a file until it is told to go on.
SLOW_CLAIMER = """
import sys
from pathlib import Path
from health_pipelines.landing.run_claims import RunClaims, claim_run

folder, run_id = sys.argv[1:]
stopping = False

def stop(event, arguments):
    global stopping
    if not stopping and (event == "open" or event.startswith(("os.", "fcntl."))):
        if run_id in str(arguments) or event.startswith("fcntl."):
            stopping = True
            print("stopped", event, flush=True)
            sys.stdin.readline()
            stopping = False

sys.addaudithook(stop)
claim_run(RunClaims(Path(folder)), run_id)
print("claimed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def storage() -> Iterator[DagsterInstance]:
    """Dagster's own storage, SQLite in a temporary folder."""
    with instance_for_test() as instance:
        yield instance


@pytest.fixture
def instance(storage: DagsterInstance) -> Iterator[DagsterInstance]:
    """Without any run: one that another test left would be ended as well."""
    yield storage
    storage.wipe()


@dataclass(frozen=True)
class Claimed:
    """What the processes of a host share, and what another host sees. `url`: empty without PostgreSQL."""

    folder: Path
    url: str
    seen: RunClaims


@pytest.fixture(params=["files", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Claimed]:
    folder = tmp_path / "runs"
    if request.param == "files":
        yield Claimed(folder, "", RunClaims(folder))
    else:
        url = str(request.getfixturevalue("postgres_url"))
        with closing(HostLocks(Secret(url))) as hosts:
            yield Claimed(folder, url, RunClaims(tmp_path / "another host's", hosts))


@pytest.fixture
def files(tmp_path: Path) -> RunClaims:
    return RunClaims(tmp_path / "runs")


@pytest.fixture
def claimer(place: Claimed) -> Iterator[Child]:
    with child(CLAIMER, place.folder, place.url) as process:
        assert process.line() == "ready"
        yield process


def make_run(
    instance: DagsterInstance,
    status: DagsterRunStatus,
    *assets: AssetKey,
    tags: Mapping[str, str] | None = None,
) -> str:
    # A queued run has to say where its code is.
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository")
    run = DagsterRun(
        job_name="job",
        run_id=make_new_run_id(),
        status=status,
        remote_job_origin=RemoteJobOrigin(repository, "job"),
        asset_selection=frozenset(assets),
        tags=tags,
    )
    return instance.add_run(run).run_id


def ended(instance: DagsterInstance, claims: RunClaims, minutes: float = 0) -> list[str]:
    """What is ended at a tick so many minutes from now. With PostgreSQL it is the second look at a claim."""
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    first = tick(instance, claims, now - DEAD_AFTER) if claims.hosts else []
    return first + tick(instance, claims, now)


def tick(instance: DagsterInstance, claims: RunClaims, now: datetime) -> list[str]:
    return end_dead_runs(instance, claims, is_ours=is_ours, now=now, starts_within=STARTS_WITHIN)


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def claim(instance: DagsterInstance, place: Claimed, process: Child, *run_ids: str) -> None:
    process.tell(" ".join(run_ids))
    assert process.line() == "claimed"
    for run_id in run_ids:
        # As `claim_run` does of an instance, which this process does not have.
        if place.url and instance.has_run(run_id):
            tags = {CLAIMED_BY_TAG: socket.gethostname(), CLAIMED_RUN_TAG: run_id}
            instance.add_run_tags(run_id, {**tags, CLAIMED_IN_TAG: "PostgreSQL"})


def kill(process: Child, seen: RunClaims, *run_ids: str) -> None:
    """And wait until the server, if there is one, has noticed."""
    process.kill()
    wait_for(lambda: not any(is_alive(seen, run_id) for run_id in run_ids), "their claims are free")


def files_in(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - hidden files count


def test_only_started_runs_of_a_killed_process_are_failed_and_no_claim_is_left(
    instance: DagsterInstance, place: Claimed, claimer: Child
) -> None:
    runs = {status: make_run(instance, status) for status in DagsterRunStatus}
    unknown = make_new_run_id()
    claim(instance, place, claimer, *runs.values(), unknown)
    kill(claimer, place.seen, *runs.values())

    dead = ended(instance, place.seen)

    assert dead == [runs[DagsterRunStatus.STARTED]]
    expected = {status: status for status in DagsterRunStatus} | {
        DagsterRunStatus.STARTED: DagsterRunStatus.FAILURE,
        DagsterRunStatus.CANCELING: DagsterRunStatus.CANCELED,
    }
    assert {status: status_of(instance, run_id) for status, run_id in runs.items()} == expected
    assert not place.folder.exists() or files_in(place.folder) == []


def test_a_failed_run_says_why(instance: DagsterInstance, place: Claimed, claimer: Child) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED)
    claim(instance, place, claimer, run_id)
    kill(claimer, place.seen, run_id)

    ended(instance, place.seen)

    messages = [entry.message for entry in instance.all_logs(run_id) if entry.is_dagster_event]
    said = (
        "The process of this run ended without finishing it. If nobody stopped it, it had too little memory"
    )
    assert any(message.startswith(said) for message in messages if message)
    assert ended(instance, place.seen) == []


def test_the_runs_of_a_living_process_are_left_alone(
    instance: DagsterInstance, place: Claimed, claimer: Child
) -> None:
    run_ids = [make_run(instance, DagsterRunStatus.STARTED) for _ in range(2)]
    claim(instance, place, claimer, *run_ids)

    assert ended(instance, place.seen) == []

    assert [status_of(instance, run_id) for run_id in run_ids] == [DagsterRunStatus.STARTED] * 2
    assert all(is_alive(place.seen, run_id) for run_id in run_ids)
    kill(claimer, place.seen, *run_ids)
    assert ended(instance, place.seen) == sorted(run_ids)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_a_tick_asks_the_database_once_for_all_runs(
    instance: DagsterInstance, place: Claimed, claimer: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = [make_run(instance, DagsterRunStatus.STARTED) for _ in range(3)]
    claim(instance, place, claimer, *run_ids)
    connect, made = psycopg.connect, []

    def counting(*arguments: Any, **options: Any) -> Any:
        made.append(options)
        return connect(*arguments, **options)

    # As that module sees the library, which it loads when it is used.
    monkeypatch.setattr("health_pipelines.lake.host_locks.psycopg.connect", counting)
    assert tick(instance, place.seen, datetime.now(UTC)) == []
    assert len(made) == 1


def test_a_run_may_be_claimed_again_by_its_own_process(place: Claimed) -> None:
    # Two steps of one run do; the second must not wait for the first.
    run_id = make_new_run_id()
    claim_run(place.seen, run_id)
    claim_run(place.seen, run_id)

    assert is_alive(place.seen, run_id)


def test_a_run_that_nobody_claimed_is_neither_alive_nor_failed(
    instance: DagsterInstance, place: Claimed
) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED)

    assert not is_alive(place.seen, run_id)
    assert ended(instance, place.seen) == []
    assert status_of(instance, run_id) is DagsterRunStatus.STARTED


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (DagsterRunStatus.STARTED, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.STARTING, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED),
        (DagsterRunStatus.QUEUED, DagsterRunStatus.QUEUED),
    ],
)
def test_a_run_that_did_not_come_to_its_claim_in_time_is_dead(
    instance: DagsterInstance, place: Claimed, status: DagsterRunStatus, then: DagsterRunStatus
) -> None:
    run_id = make_run(instance, status, OURS)
    assert ended(instance, place.seen, minutes=4) == []
    assert status_of(instance, run_id) is status

    ended(instance, place.seen, minutes=6)

    assert status_of(instance, run_id) is then


@pytest.mark.parametrize(
    ("assets", "tags"),
    [
        ((OURS,), {CLAIMED_BY_TAG: "another machine"}),
        ((AssetKey(["finance", "report"]),), None),
        ((OURS, AssetKey(["finance", "report"])), None),
        ((AssetKey(["uat", "dexcare", "avr_virtual"]),), None),  # another place's
        ((), None),
    ],
)
def test_a_run_that_claimed_elsewhere_or_is_not_ours_is_left_alone(
    instance: DagsterInstance, place: Claimed, assets: tuple[AssetKey, ...], tags: Mapping[str, str] | None
) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED, *assets, tags=tags)

    assert run_id not in ended(instance, place.seen, minutes=60)

    assert status_of(instance, run_id) is DagsterRunStatus.STARTED


def test_a_claim_is_told_to_the_instance(instance: DagsterInstance, place: Claimed) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED, OURS)

    claim_run(place.seen, run_id, instance)

    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[CLAIMED_BY_TAG] == socket.gethostname()
    assert run.tags.get(CLAIMED_IN_TAG) == ("PostgreSQL" if place.url else None)
    assert ended(instance, place.seen, minutes=60) == []


def test_other_files_in_the_folder_are_no_claims(instance: DagsterInstance, files: RunClaims) -> None:
    files.folder.mkdir()
    (files.folder / "notes.txt").write_text("mine")

    assert ended(instance, files) == []
    assert files_in(files.folder) == ["notes.txt"]


def test_a_process_that_is_just_claiming_its_run_is_never_taken_for_dead(
    instance: DagsterInstance, files: RunClaims
) -> None:
    # The sensor may look between any two of its steps.
    files.folder.mkdir()
    run_id = make_run(instance, DagsterRunStatus.STARTED)
    stops = 0
    with child(SLOW_CLAIMER, files.folder, run_id) as process:
        while (said := process.line()) != "claimed":
            assert said.startswith("stopped"), said
            stops += 1
            assert ended(instance, files) == [], f"failed while its process had {said}"
            process.tell()
        assert stops >= 2
        assert is_alive(files, run_id)
        assert status_of(instance, run_id) is DagsterRunStatus.STARTED
        process.kill()

    assert ended(instance, files) == [run_id]


def test_what_a_process_left_that_was_killed_on_its_way_to_a_claim_is_removed(
    instance: DagsterInstance, files: RunClaims
) -> None:
    files.folder.mkdir()
    with child(SLOW_CLAIMER, files.folder, make_new_run_id()) as process:
        assert process.line().startswith("stopped")
        while not files_in(files.folder):
            process.tell()
            assert process.line().startswith("stopped")
        # It may still be about to lock what it made.
        ended(instance, files)
        assert len(files_in(files.folder)) == 1
        process.kill()

    ended(instance, files, minutes=6)

    assert files_in(files.folder) == []


@pytest.fixture
def hosts(postgres_url: str) -> Iterator[HostLocks]:
    with closing(HostLocks(Secret(postgres_url))) as locks:
        yield locks


@pytest.fixture
def killed(
    instance: DagsterInstance, postgres_url: str, hosts: HostLocks, tmp_path: Path
) -> tuple[RunClaims, str]:
    """What another host sees of a run whose process claimed it and was killed, and that run."""
    place = Claimed(tmp_path / "runs", postgres_url, RunClaims(tmp_path / "other", hosts))
    run_id = make_run(instance, DagsterRunStatus.STARTED)
    with child(CLAIMER, place.folder, postgres_url) as process:
        assert process.line() == "ready"
        claim(instance, place, process, run_id)
        kill(process, place.seen, run_id)
    return place.seen, run_id


def test_a_live_run_whose_connection_broke_is_never_ended_and_has_its_claim_again(
    instance: DagsterInstance, postgres_url: str, hosts: HostLocks, tmp_path: Path
) -> None:
    place = Claimed(tmp_path / "runs", postgres_url, RunClaims(tmp_path / "other", hosts))
    run_id = make_run(instance, DagsterRunStatus.STARTED)
    with child(CLAIMER, place.folder, postgres_url) as process:
        assert process.line() == "ready"
        claim(instance, place, process, run_id)
        assert end_connections(postgres_url) == 1
        now = datetime.now(UTC)

        assert tick(instance, place.seen, now) == []
        wait_for(lambda: is_alive(place.seen, run_id), "the claim is there again", within_seconds=60)
        assert tick(instance, place.seen, now + DEAD_AFTER) == []

        # It is as dead as any, when it is killed; and the earlier look counts for nothing.
        kill(process, place.seen, run_id)
        assert tick(instance, place.seen, now + 2 * DEAD_AFTER) == []
        assert tick(instance, place.seen, now + 3 * DEAD_AFTER) == [run_id]


def test_looks_of_different_processes_count_as_those_of_one(
    instance: DagsterInstance, postgres_url: str, killed: tuple[RunClaims, str], tmp_path: Path
) -> None:
    """Dagster's daemon starts the process that carries out sensors anew every minute."""
    seen, run_id = killed
    now = datetime.now(UTC)
    with child(LOOKER, serialize_value(instance.get_ref()), tmp_path / "runs", postgres_url, now) as process:
        assert process.line() == "[]"

    assert tick(instance, seen, now + DEAD_AFTER) == [run_id]


def test_two_looks_say_nothing_of_a_long_time_between_them(
    instance: DagsterInstance, killed: tuple[RunClaims, str]
) -> None:
    seen, run_id = killed
    first = datetime.now(UTC)
    later = first + timedelta(minutes=10)

    assert tick(instance, seen, first) == []
    assert tick(instance, seen, later) == []
    assert tick(instance, seen, later + DEAD_AFTER) == [run_id]


def test_a_retry_has_not_claimed_its_run_because_the_run_before_it_had(
    instance: DagsterInstance, place: Claimed
) -> None:
    """Dagster gives it the tags of that run. Its process may take long to start, or die before its claim."""
    inherited = {CLAIMED_BY_TAG: socket.gethostname(), CLAIMED_RUN_TAG: make_new_run_id()}
    if place.url:
        inherited[CLAIMED_IN_TAG] = "PostgreSQL"
    run_id = make_run(instance, DagsterRunStatus.STARTED, OURS, tags=inherited)

    assert ended(instance, place.seen, minutes=1) == []
    assert ended(instance, place.seen, minutes=6) == [run_id]


def test_a_run_that_an_older_version_claimed_in_a_file_ends_as_it_did(
    instance: DagsterInstance, files: RunClaims, hosts: HostLocks
) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED, tags={CLAIMED_BY_TAG: socket.gethostname()})
    with child(CLAIMER, files.folder, "") as process:
        assert process.line() == "ready"
        process.tell(run_id)
        assert process.line() == "claimed"
        upgraded = RunClaims(files.folder, hosts)

        assert ended(instance, upgraded) == []
        assert is_alive(upgraded, run_id)
        process.kill()

    assert ended(instance, upgraded) == [run_id]


def test_a_run_is_ended_once_though_two_hosts_look(
    instance: DagsterInstance, postgres_url: str, killed: tuple[RunClaims, str], tmp_path: Path
) -> None:
    seen, run_id = killed
    now = datetime.now(UTC)
    with closing(HostLocks(Secret(postgres_url))) as third:
        tick(instance, seen, now)
        with third.holding(f"run {run_id}", wait=True):  # what a host does that ends it at this moment
            assert tick(instance, seen, now + DEAD_AFTER) == []

        assert tick(instance, seen, now + DEAD_AFTER * 2) == []
        assert tick(instance, seen, now + DEAD_AFTER * 3) == [run_id]
        assert tick(instance, RunClaims(tmp_path / "third", third), now + DEAD_AFTER * 4) == []


def test_a_run_cannot_be_claimed_where_the_database_does_not_answer(tmp_path: Path) -> None:
    nobody = HostLocks(Secret(f"postgresql://user:hidden@/db?host={tmp_path}"))

    with pytest.raises(Failure) as refused:
        claim_run(RunClaims(tmp_path, nobody), make_new_run_id())

    said = str(refused.value.description)
    assert said.startswith("The database of DAGSTER_POSTGRES_URL cannot be used: no server listens there.")
    assert "hidden" not in said
