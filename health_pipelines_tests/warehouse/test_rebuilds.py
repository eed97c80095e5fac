"""When the warehouse is built again: the decision, and the sensor's ticks on a real instance and lake."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from dagster import AssetKey, DagsterRunStatus, RunRequest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from health_pipelines.definitions import build_definitions
from health_pipelines.landing.run_claims import claim_run
from health_pipelines.settings import Settings
from health_pipelines.warehouse.assets import warehouse_keys
from health_pipelines.warehouse.backlog import Backlog
from health_pipelines.warehouse.rebuilds import Attempts, Build, Start, Wait, decide
from health_pipelines.warehouse.sensor import SENSOR_NAME, STATE_TAG
from health_pipelines.warehouse.storage import WarehouseStorage
from health_pipelines_tests.warehouse.hospital import Hospital
from health_pipelines_tests.warehouse.project import Project

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def at(clock: str) -> datetime:
    """A time of that day, such as 12:00:15."""
    return datetime.fromisoformat(f"2026-03-10T{clock}+00:00")


def behind(newest: str, waiting_since: str | None) -> Backlog:
    return Backlog(False, at(newest), at(waiting_since) if waiting_since else None, "state")


CURRENT = Backlog(is_current=True, newest=NOON, waiting_since=None, state="state")
EMPTY = Backlog(is_current=False, newest=None, waiting_since=None, state="state")


@pytest.mark.parametrize(
    ("now", "backlog", "last", "decided"),
    [
        ("12:00:00", EMPTY, None, "Nothing has landed yet."),
        ("12:00:00", CURRENT, None, "The warehouse is current."),
        # One landing alone.
        (
            "12:00:14",
            behind("12:00:00", "12:00:00"),
            None,
            "Landings go on; the next build when they pause, at the latest at 12:01:00 UTC.",
        ),
        ("12:00:15", behind("12:00:00", "12:00:00"), None, 1),
        ("12:00:15", behind("12:00:00", "12:00:00"), Build(at("11:58:59"), 5), 1),
        # Landings that do not pause: after a minute, then two after that build, then four.
        ("12:00:59", behind("12:00:58", "12:00:00"), None, "at the latest at 12:01:00 UTC"),
        ("12:01:00", behind("12:00:58", "12:00:00"), None, 1),
        ("12:03:09", behind("12:03:08", "12:01:12"), Build(at("12:01:10"), 1), "at 12:03:10 UTC"),
        ("12:03:10", behind("12:03:08", "12:01:12"), Build(at("12:01:10"), 1), 2),
        ("12:07:19", behind("12:07:18", "12:03:22"), Build(at("12:03:20"), 2), "at 12:07:20 UTC"),
        ("12:07:20", behind("12:07:18", "12:03:22"), Build(at("12:03:20"), 2), 3),
        # In the end every half hour.
        ("12:29:59", behind("12:29:58", "12:00:10"), Build(NOON, 9), "at 12:30:00 UTC"),
        ("12:30:00", behind("12:29:58", "12:00:10"), Build(NOON, 9), 10),
        # The pause that is waited for grows with a stretch: 30 s, and never more than 45.
        ("12:00:39", behind("12:00:10", "12:00:10"), Build(NOON, 1), "at 12:02:00 UTC"),
        ("12:00:40", behind("12:00:10", "12:00:10"), Build(NOON, 1), 2),
        ("12:00:54", behind("12:00:10", "12:00:10"), Build(NOON, 7), "at 12:30:00 UTC"),
        ("12:00:55", behind("12:00:10", "12:00:10"), Build(NOON, 7), 8),
        # What lands more than a minute after a build begins another stretch.
        ("12:01:15", behind("12:01:00", "12:01:00"), Build(NOON, 3), "Landings go on"),
        ("12:01:16", behind("12:01:01", "12:01:01"), Build(NOON, 3), 1),
        # The lake's clock is ahead.
        ("11:59:50", behind("12:00:00", "12:00:00"), None, "at the latest at 12:01:00 UTC"),
        ("11:59:45", behind("12:00:00", "12:00:00"), None, 1),
        # Other settings, or a partition that is gone: nothing waits, and yet there is something to build.
        ("12:00:14", behind("12:00:00", None), None, "at the latest at 12:01:14 UTC"),
        ("12:00:15", behind("12:00:00", None), Build(at("12:00:10"), 3), 1),
    ],
)
def test_a_pause_of_landings_or_a_turn_decides(
    now: str, backlog: Backlog, last: Build | None, decided: int | str
) -> None:
    found = decide(at(now), backlog, last, None)

    if isinstance(decided, int):
        assert found == Start(decided)
    else:
        assert isinstance(found, Wait)
        assert decided in found.reason


@pytest.mark.parametrize(
    ("attempts", "again"),
    [(1, "12:00:30"), (2, "12:01:00"), (3, "12:02:00"), (7, "12:32:00"), (8, "13:00:00"), (500, "13:00:00")],
)
def test_the_same_state_is_tried_again_after_growing_pauses(attempts: int, again: str) -> None:
    backlog, tried = behind("11:00:00", "11:00:00"), Attempts(attempts, NOON)

    wait = decide(at(again) - timedelta(seconds=1), backlog, Build(NOON, attempts), tried)
    assert isinstance(wait, Wait)
    assert f"attempt {attempts}" in wait.reason
    assert f"the next one at {again} UTC, or when something lands" in wait.reason
    assert decide(at(again), backlog, Build(NOON, attempts), tried) == Start(attempts + 1)


def landings(every: timedelta, count: int) -> list[datetime]:
    return [NOON + number * every for number in range(count)]


@pytest.mark.parametrize(
    ("every", "most"),
    # A year of days in 12 minutes, in 49 minutes, and in four hours.
    [(2, 5), (8, 7), (40, 15)],
)
def test_a_year_that_lands_day_by_day_is_built_a_handful_of_times_and_its_end_soon(
    every: int, most: int
) -> None:
    """Played with a tick every 15 s and builds of 10 s."""
    landed = landings(timedelta(seconds=every), 365)
    builds: list[Build] = []
    began: list[datetime] = []
    now = NOON - timedelta(seconds=5)
    while now < landed[-1] + timedelta(minutes=40):
        now += timedelta(seconds=15)
        seen = [one for one in landed if one <= now]
        waiting = [one for one in seen if not began or one > began[-1]]
        backlog = Backlog(not waiting, max(seen), min(waiting, default=None), "state")
        decided = decide(now, backlog, builds[-1] if builds else None, None)
        if isinstance(decided, Start):
            began.append(now)
            now += timedelta(seconds=10)
            builds.append(Build(now, decided.number))

    assert 2 <= len(builds) <= most
    assert landed[-1] < began[-1] <= landed[-1] + timedelta(seconds=60)


@pytest.mark.parametrize(("said", "status"), [("true", "RUNNING"), ("false", "STOPPED")])
def test_the_sensor_is_on_unless_the_lake_alone_is_wanted(said: str, status: str) -> None:
    definitions = build_definitions(Settings({"HEALTH_BUILD_WAREHOUSE": said}))
    assert definitions.resolve_sensor_def(SENSOR_NAME).default_status.value == status


def test_a_landing_is_built_once_and_nothing_when_nothing_changed(project: Project, clinic: Hospital) -> None:
    assert project.tick() == "Nothing has landed yet."
    clinic.land_visits("retail", "2026-10-01", [{"visit_id": "1"}])
    assert str(project.tick()).startswith("Landings go on")

    project.passed = timedelta(seconds=20)
    request = project.tick()

    assert isinstance(request, RunRequest)
    assert request.run_key is None, "a key is remembered for ever, whatever became of its run"
    assert set(request.asset_selection or ()) == set(warehouse_keys())
    assert request.tags["health_pipelines/reason"] == "new data"
    # Dagster's own retries would be tried beside the sensor's.
    assert request.tags["dagster/max_retries"] == "0"
    assert project.materialize(request.tags).success
    assert project.tick() == "The warehouse is current."
    project.passed = timedelta(days=300)
    assert project.tick() == "The warehouse is current."


def test_while_a_build_is_queued_or_alive_there_is_no_other(project: Project, clinic: Hospital) -> None:
    clinic.land_visits("retail", "2026-10-01", [{"visit_id": "1"}])
    project.passed = timedelta(seconds=20)
    job = project.definitions.resolve_implicit_global_asset_job_def()
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")

    def run(status: DagsterRunStatus, assets: list[AssetKey]) -> str:
        return project.instance.create_run_for_job(
            job,
            status=status,
            asset_selection=frozenset(assets),
            remote_job_origin=RemoteJobOrigin(repository, job.name),
        ).run_id

    # A run of something else does not matter.
    run(DagsterRunStatus.STARTED, [AssetKey(["dexcare", "avr_retail"])])
    assert isinstance(project.tick(), RunRequest)

    queued = run(DagsterRunStatus.QUEUED, warehouse_keys())
    project.passed = timedelta(days=1)
    assert project.tick() == f"A build is under way (run {queued[:8]})."
    project.instance.delete_run(queued)

    project.passed = timedelta(seconds=20)
    started = run(DagsterRunStatus.STARTED, warehouse_keys())
    assert project.tick() == f"A build is under way (run {started[:8]})."
    # It never got a process.
    project.passed = Settings({}).run_starts_within + timedelta(seconds=20)
    assert isinstance(project.tick(), RunRequest)
    # It has one: this.
    claim_run(WarehouseStorage().run_claims, started)
    assert project.tick() == f"A build is under way (run {started[:8]})."


def test_a_build_that_failed_is_tried_again_after_a_pause_or_when_something_lands(
    project: Project, clinic: Hospital
) -> None:
    file = clinic.land_visits("retail", "2026-10-01", [{"visit_id": "1"}])
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    project.passed = timedelta(seconds=20)
    first = project.tick()
    assert isinstance(first, RunRequest)

    failed = project.materialize(first.tags)

    assert not failed.success
    project.passed = timedelta(seconds=20)
    assert "attempt 1" in str(project.tick())
    project.passed = timedelta(seconds=31)
    again = project.tick()
    assert isinstance(again, RunRequest)
    assert again.tags[STATE_TAG] == first.tags[STATE_TAG]
    project.materialize(again.tags)
    assert "attempt 2" in str(project.tick())
    # The partition lands again: that is another state.
    file.write_bytes(whole)
    assert str(project.tick()).startswith("Landings go on")
    project.passed = timedelta(seconds=50)
    soon = project.tick()
    assert isinstance(soon, RunRequest)
    assert soon.tags[STATE_TAG] != first.tags[STATE_TAG]
    assert project.materialize(soon.tags).success
    assert project.tick() == "The warehouse is current."


def test_other_settings_and_a_deleted_file_are_a_reason_to_build(
    project: Project, clinic: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = clinic.land_visits("retail", "2026-10-01", [{"visit_id": "1", "other": "2"}])
    os.utime(file, (NOON.timestamp(), NOON.timestamp()))
    request = project.tick()
    assert isinstance(request, RunRequest)
    project.materialize(request.tags)

    monkeypatch.setenv("DEXCARE_AVR_RETAIL_KEY", "other")
    request = project.tick()
    assert isinstance(request, RunRequest)
    project.materialize(request.tags)
    assert clinic.query("SELECT visit_id FROM current.avr_retail") == [("2",)]
    assert project.tick() == "The warehouse is current."

    clinic.warehouse.file.unlink()
    project.passed = timedelta(minutes=1)
    assert isinstance(project.tick(), RunRequest)
