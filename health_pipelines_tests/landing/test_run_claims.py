"""A run is alive as long as its process is: on a real instance, with processes that are killed."""

import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, instance_for_test
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.utils import make_new_run_id

from health_pipelines.landing.dagster_names import materializes_only
from health_pipelines.landing.run_claims import CLAIMED_BY_TAG, claim_run, end_dead_runs, is_alive
from health_pipelines_tests.support.child_process import Child, child

STARTS_WITHIN = timedelta(minutes=5)
OURS = AssetKey(["dexcare", "avr_virtual"])
is_ours = partial(materializes_only, [OURS])

# Claims the runs that it is told and says so; lives until it is killed.
CLAIMER = """
import sys
from pathlib import Path
from health_pipelines.landing.run_claims import claim_run

print("ready", flush=True)
for line in sys.stdin:
    for run_id in line.split():
        claim_run(Path(sys.argv[1]), run_id)
    print("claimed", flush=True)
"""

# Claims one run, but stops before everything that it does to a file until it is told to go on.
SLOW_CLAIMER = """
import sys
from pathlib import Path
from health_pipelines.landing.run_claims import claim_run

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
claim_run(Path(folder), run_id)
print("claimed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    """Dagster's own storage, SQLite in a temporary folder."""
    with instance_for_test() as instance:
        yield instance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def claimer(folder: Path) -> Iterator[Child]:
    with child(CLAIMER, folder) as process:
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


def ended(instance: DagsterInstance, folder: Path, minutes: int = 0) -> list[str]:
    """What is ended at a tick so many minutes from now."""
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    return end_dead_runs(instance, folder, is_ours=is_ours, now=now, starts_within=STARTS_WITHIN)


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def claim(process: Child, *run_ids: str) -> None:
    process.tell(" ".join(run_ids))
    assert process.line() == "claimed"


def files_in(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - hidden files count


def test_only_started_runs_of_a_killed_process_are_failed_and_no_claim_is_left(
    instance: DagsterInstance, folder: Path, claimer: Child
) -> None:
    runs = {status: make_run(instance, status) for status in DagsterRunStatus}
    unknown = make_new_run_id()
    claim(claimer, *runs.values(), unknown)
    claimer.kill()

    dead = ended(instance, folder)

    assert dead == [runs[DagsterRunStatus.STARTED]]
    expected = {status: status for status in DagsterRunStatus} | {
        DagsterRunStatus.STARTED: DagsterRunStatus.FAILURE,
        DagsterRunStatus.CANCELING: DagsterRunStatus.CANCELED,
    }
    assert {status: status_of(instance, run_id) for status, run_id in runs.items()} == expected
    assert files_in(folder) == []


def test_a_failed_run_says_why(instance: DagsterInstance, folder: Path, claimer: Child) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED)
    claim(claimer, run_id)
    claimer.kill()

    ended(instance, folder)

    messages = [entry.message for entry in instance.all_logs(run_id) if entry.is_dagster_event]
    said = (
        "The process of this run ended without finishing it. If nobody stopped it, it had too little memory"
    )
    assert any(message.startswith(said) for message in messages if message)
    assert ended(instance, folder) == []


def test_the_runs_of_a_living_process_are_left_alone(
    instance: DagsterInstance, folder: Path, claimer: Child
) -> None:
    run_ids = [make_run(instance, DagsterRunStatus.STARTED) for _ in range(2)]
    claim(claimer, *run_ids)

    assert ended(instance, folder) == []

    assert [status_of(instance, run_id) for run_id in run_ids] == [DagsterRunStatus.STARTED] * 2
    assert all(is_alive(folder, run_id) for run_id in run_ids)
    claimer.kill()
    assert not any(is_alive(folder, run_id) for run_id in run_ids)
    assert ended(instance, folder) == sorted(run_ids)


def test_a_run_may_be_claimed_again_by_its_own_process(folder: Path) -> None:
    # Two steps of one run do; the second must not wait for the first.
    run_id = make_new_run_id()
    claim_run(folder, run_id)
    claim_run(folder, run_id)

    assert is_alive(folder, run_id)


def test_a_run_that_nobody_claimed_is_neither_alive_nor_failed(
    instance: DagsterInstance, folder: Path
) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED)

    assert not is_alive(folder, run_id)
    assert ended(instance, folder) == []
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
    instance: DagsterInstance, folder: Path, status: DagsterRunStatus, then: DagsterRunStatus
) -> None:
    run_id = make_run(instance, status, OURS)
    assert ended(instance, folder, minutes=4) == []
    assert status_of(instance, run_id) is status

    ended(instance, folder, minutes=6)

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
    instance: DagsterInstance, folder: Path, assets: tuple[AssetKey, ...], tags: Mapping[str, str] | None
) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED, *assets, tags=tags)

    assert run_id not in ended(instance, folder, minutes=60)

    assert status_of(instance, run_id) is DagsterRunStatus.STARTED


def test_a_claim_is_told_to_the_instance(instance: DagsterInstance, folder: Path) -> None:
    run_id = make_run(instance, DagsterRunStatus.STARTED, OURS)

    claim_run(folder, run_id, instance)

    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[CLAIMED_BY_TAG] == socket.gethostname()
    assert ended(instance, folder, minutes=60) == []


def test_other_files_in_the_folder_are_no_claims(instance: DagsterInstance, folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")

    assert ended(instance, folder) == []
    assert files_in(folder) == ["notes.txt"]


def test_a_process_that_is_just_claiming_its_run_is_never_taken_for_dead(
    instance: DagsterInstance, folder: Path
) -> None:
    # The sensor may look between any two of its steps.
    folder.mkdir()
    run_id = make_run(instance, DagsterRunStatus.STARTED)
    stops = 0
    with child(SLOW_CLAIMER, folder, run_id) as process:
        while (said := process.line()) != "claimed":
            assert said.startswith("stopped"), said
            stops += 1
            assert ended(instance, folder) == [], f"failed while its process had {said}"
            process.tell()
        assert stops >= 2
        assert is_alive(folder, run_id)
        assert status_of(instance, run_id) is DagsterRunStatus.STARTED
        process.kill()

    assert ended(instance, folder) == [run_id]


def test_what_a_process_left_that_was_killed_on_its_way_to_a_claim_is_removed(
    instance: DagsterInstance, folder: Path
) -> None:
    folder.mkdir()
    with child(SLOW_CLAIMER, folder, make_new_run_id()) as process:
        assert process.line().startswith("stopped")
        while not files_in(folder):
            process.tell()
            assert process.line().startswith("stopped")
        # It may still be about to lock what it made.
        ended(instance, folder)
        assert len(files_in(folder)) == 1
        process.kill()

    ended(instance, folder, minutes=6)

    assert files_in(folder) == []
