"""Every kind of missing day, made by real runs against the sandbox, and told in its own words."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterRunStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.commands.status import answer
from health_pipelines.settings import Settings, use_settings
from health_pipelines.status.reasons import clock
from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.status.planted import instance_in, take_away
from health_pipelines_tests.support.sandbox_process import SandboxProcess

# The newest expected day is the 9th.
NOW = datetime(2026, 3, 10, 18, tzinfo=UTC)
FIRST, IN_FLIGHT, GIVEN_UP, REFUSED, NEVER, GONE, QUEUED, LEFT_OUT, LAST = (
    f"2026-03-0{day}" for day in range(1, 10)
)


@pytest.fixture
def project(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEALTH_BUILD_WAREHOUSE", "false")
    monkeypatch.setenv("HEALTH_DAYS_LEFT_OUT", LEFT_OUT)
    monkeypatch.chdir(tmp_path)
    with instance_in(tmp_path / "home") as instance:
        yield Project(instance)
    monkeypatch.undo()
    use_settings(os.environ)


def ask(project: Project, day: str) -> str:
    """Ask for a day; returns the report's id."""
    project.materialize([VIRTUAL.request_key], day)
    return project.ledger().newest_tickets([day])[day].report_id


def plant_given_up(project: Project, vendor: SandboxProcess) -> None:
    ask(project, GIVEN_UP)
    vendor.add_fault("status", {"kind": "status", "status": "CANCELLED"})
    # Three reports, and the pauses between them: less than an hour, in which nobody waits.
    for _ in range(8):
        project.tick_and_run(after=timedelta(minutes=10))
    vendor.clear_faults()
    assert project.ledger().open_tickets([GIVEN_UP])[GIVEN_UP].given_up


def plant_queued(project: Project) -> str:
    whole = project.definitions.resolve_implicit_global_asset_job_def()
    # A queued run has to say where its code is.
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")
    run = project.instance.create_run_for_job(
        whole.get_subset(asset_selection={VIRTUAL.request_key}),
        status=DagsterRunStatus.QUEUED,
        asset_selection=frozenset({VIRTUAL.request_key}),
        remote_job_origin=RemoteJobOrigin(repository, whole.name),
        tags={ASSET_PARTITION_RANGE_START_TAG: QUEUED, ASSET_PARTITION_RANGE_END_TAG: QUEUED},
    )
    return run.run_id


def told(place: str | None = None, **options: Any) -> dict[str, Any]:
    text, _ = answer(place, NOW, as_json_text=True, **options)
    found: dict[str, Any] = json.loads(text)
    return found


def of_visits(found: dict[str, Any]) -> dict[str, Any]:
    [table] = [one for one in found["tables"] if one["table"] == str(VIRTUAL.table)]
    return dict(table)


def test_every_kind_of_missing_day_is_told_in_its_own_words(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (FIRST, GONE, LAST):
        ask(project, day)
    project.tick_and_run()
    take_away(data, VIRTUAL.table, GONE)
    plant_given_up(project, vendor)
    with monkeypatch.context() as wrong:
        wrong.setenv("DEXCARE_SERVICE_KEY", "wrong-and-secret")
        project.materialize([VIRTUAL.request_key], REFUSED)
    vendor.add_fault("status", {"kind": "status", "status": "RUNNING"}, report_id=ask(project, IN_FLIGHT))
    project.tick_and_run()
    run = plant_queued(project)
    vendor.forget_calls()
    events = project.instance.event_log_storage.get_maximum_record_id()

    found = told()
    text, code = answer(None, NOW)

    visits, zone = of_visits(found), Settings.of_this_process().timezone
    says = {one["day"]: (one["kind"], one["says"]) for one in visits["missing"]}
    ticket = project.ledger().newest_tickets([IN_FLIGHT])[IN_FLIGHT]
    assert {day: kind for day, (kind, _) in says.items()} == {
        IN_FLIGHT: "in_flight",
        GIVEN_UP: "given_up",
        REFUSED: "run_failed",
        NEVER: "never_asked",
        GONE: "gone",
        QUEUED: "run_under_way",
    }
    assert says[IN_FLIGHT][1] == f"asked for and in flight since {clock(ticket.requested_at, zone)}"
    assert "after 3 attempts: " in says[GIVEN_UP][1]
    assert "CANCELLED" in says[GIVEN_UP][1]
    assert "DexCare answered 403" in says[REFUSED][1]
    assert "Check DEXCARE_SERVICE_KEY" in says[REFUSED][1]
    assert says[QUEUED][1].startswith(f"the run {run[:8]} for it is queued since ")
    assert (visits["first_day"], visits["newest_day"], visits["complete_to"]) == (FIRST, LAST, FIRST)
    assert visits["left_out"] == [LEFT_OUT]
    assert visits["last_landing"]["day"] in (FIRST, GONE, LAST)
    assert code == 1
    for day, (_, words) in says.items():
        assert f"1 day: {day}: {words}" in text
    assert "wrong-and-secret" not in text + json.dumps(found)
    # Nobody was asked, and nothing was noted.
    assert vendor.calls()["total"] == 0
    assert project.instance.event_log_storage.get_maximum_record_id() == events


def test_a_report_that_cannot_be_landed_is_told_by_the_reason_and_is_not_in_flight(
    project: Project, vendor: SandboxProcess
) -> None:
    ask(project, FIRST)
    project.tick_and_run()
    report = ask(project, IN_FLIGHT)
    vendor.add_fault("data", {"kind": "body", "text": "id,a\n1,2\n3\n"}, report_id=report)
    project.materialize([VIRTUAL.asset_key], IN_FLIGHT)

    [broken] = [one for one in of_visits(told())["missing"] if one["day"] == IN_FLIGHT]

    failure = project.ledger().open_tickets([IN_FLIGHT])[IN_FLIGHT].failure
    assert failure is not None
    assert broken["kind"] == "not_to_be_landed"
    assert broken["says"].endswith(f": {failure.reason}")


def test_the_story_of_a_day_has_all_that_became_of_it_with_times(
    project: Project, vendor: SandboxProcess
) -> None:
    report = ask(project, FIRST)
    vendor.add_fault("status", {"kind": "status", "status": "RUNNING"}, report_id=report, times=1)
    project.tick_and_run()
    project.tick_and_run(after=timedelta(minutes=10))
    again = ask(project, FIRST)
    project.tick_and_run(after=timedelta(minutes=10))

    found = told(day=datetime.fromisoformat(FIRST).date())

    story = of_visits(found)
    moments = [(one["kind"], one["says"]) for one in story["moments"]]
    times = [one["at"] for one in story["moments"]]
    landed = [says for kind, says in moments if kind.startswith("landed")]
    rows = story["stands"].removeprefix("in the lake, ")
    assert times == sorted(times)
    assert moments[0] == ("asked", f"Report {report} was started")
    assert ("state", f"Report {report} is RUNNING") in moments
    assert ("asked", f"Report {again} was started") in moments
    assert landed == [f"landed, {rows} ({rows.split()[0]} added)", f"landed again, {rows}, nothing was new"]
    assert ("check", "row_count_matches_vendor passed") in moments
    assert not story["is_missing"]
    assert found["is_well"]
