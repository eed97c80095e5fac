"""A record that says it changed in 2031: it lands, it is told of, and it stays one record."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetCheckEvaluation, AssetCheckKey, AssetCheckSeverity, DagsterInstance
from dagster._core.event_api import PartitionKeyFilter

from health_pipelines.drchrono.tables import key_of
from health_pipelines.landing.verdicts import CHANGES_ARE_PAST
from health_pipelines_tests.drchrono.project import (
    BY_NAME,
    Project,
    drchrono_settings,
    lists_are_quick,
    set_variables,
)
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox

CHECKS = BY_NAME["eligibility_checks"]
# The clock of a vendor whose records say something of the future is today's.
TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=days)).isoformat() for days in (3, 2, 1)]


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        drchrono_volume=40,
        drchrono_history_start=(TODAY - timedelta(days=8)).isoformat(),
        **NO_WAITING,
        drchrono_zone="UTC",
    ) as sandbox:
        yield sandbox


@pytest.fixture
def project(sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    data = tmp_path / "data"
    set_variables(
        monkeypatch, drchrono_settings(sandbox, data, HEALTH_TIMEZONE="UTC", DRCHRONO_TIMEZONE="UTC")
    )
    lists_are_quick(data)
    with DagsterInstance.ephemeral() as instance:
        yield Project(instance, data)


def said(project: Project, day: str) -> AssetCheckEvaluation:
    [record] = project.instance.event_log_storage.get_asset_check_execution_history(
        AssetCheckKey(key_of(CHECKS), CHANGES_ARE_PAST), limit=1, partition_filter=PartitionKeyFilter(key=day)
    )
    assert isinstance(record.evaluation, AssetCheckEvaluation)
    return record.evaluation


def test_it_lands_in_the_newest_day_which_is_yellow_and_nothing_moves_while_it_stays(
    project: Project, sandbox: SandboxProcess
) -> None:
    key = next(
        str(record["id"])
        for record in sandbox.drchrono_records(CHECKS.name, since=DAYS[0])
        if record["updated_at"][:10] == DAYS[1]
    )
    sandbox.change_records(CHECKS.name, plant={key: {"updated_at": "2031-05-05T10:00:00"}})

    assert project.materialize(CHECKS, DAYS[0], DAYS[-1]).success

    assert [day for day in DAYS if key in project.rows(CHECKS, day)] == [DAYS[-1]]
    yellow = said(project, DAYS[-1])
    assert (yellow.passed, yellow.severity) == (False, AssetCheckSeverity.WARN)
    assert (yellow.description or "").startswith("Rows whose change time lies after they were read: 1.")
    assert said(project, DAYS[0]).passed
    events = len(project.instance.fetch_materializations(key_of(CHECKS), limit=100).records)
    assert project.materialize(CHECKS, DAYS[0], DAYS[-1]).success
    assert len(project.instance.fetch_materializations(key_of(CHECKS), limit=100).records) == events

    sandbox.change_records(CHECKS.name, plant={key: {"updated_at": f"{DAYS[1]}T10:00:00"}})
    assert project.materialize(CHECKS, DAYS[0], DAYS[-1]).success
    assert [day for day in DAYS if key in project.rows(CHECKS, day)] == [DAYS[1]]
    assert said(project, DAYS[-1]).passed
