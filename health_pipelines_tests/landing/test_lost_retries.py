"""What a killed run was for is asked for again where Dagster could not launch its retry."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    SensorResult,
    build_sensor_context,
    instance_for_test,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RUN_KEY_TAG,
    SENSOR_NAME_TAG,
)
from dagster._core.utils import make_new_run_id

from health_pipelines.landing.housekeeping import SENSOR_NAME, housekeeping_sensor
from health_pipelines.landing.storage import Storage

OURS = AssetKey(["dexcare", "avr_virtual_report"])
RANGE = {ASSET_PARTITION_RANGE_START_TAG: "2026-03-01", ASSET_PARTITION_RANGE_END_TAG: "2026-03-09"}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path / "data"))
    with instance_for_test() as instance:
        yield instance


AWAY = "Failed to retry run"
BACKFILL_ENDED = "Not retrying run since it is part of a backfill that is in a terminal state ({})."


def killed(
    instance: DagsterInstance, tags: dict[str, str], *, asset: AssetKey = OURS, dagster_says: str = AWAY
) -> str:
    """A run that failed, and what Dagster says of its retry."""
    run = DagsterRun(
        job_name="job",
        run_id=make_new_run_id(),
        status=DagsterRunStatus.FAILURE,
        asset_selection=frozenset([asset]),
        run_config={"ops": {"dexcare__avr_virtual_report": {"config": {"late": ["2026-03-02"]}}}},
        tags=tags,
    )
    instance.add_run(run)
    instance.report_engine_event(dagster_says, run)
    return run.run_id


def requests(instance: DagsterInstance) -> list[RunRequest]:
    """Of one tick of the sensor."""
    sensor = housekeeping_sensor([OURS], [], [OURS], clock=lambda: datetime.now(UTC))
    result = sensor(build_sensor_context(instance=instance), storage=Storage())
    assert isinstance(result, SensorResult)
    return list(result.run_requests or [])


@pytest.mark.parametrize("dagster_says", [AWAY, BACKFILL_ENDED.format("COMPLETED_FAILED")])
def test_what_a_killed_run_was_for_is_asked_for_again_where_its_retry_was_lost(
    instance: DagsterInstance, dagster_says: str
) -> None:
    run_id = killed(instance, {**RANGE, "dagster/backfill": "one"}, dagster_says=dagster_says)

    [again] = requests(instance)

    # Dagster remembers the key of a sensor's request, and carries it out once.
    assert again.run_key == run_id
    assert again.asset_selection == [OURS]
    assert again.run_config["ops"]["dexcare__avr_virtual_report"]["config"]["late"] == ["2026-03-02"]
    assert RANGE.items() <= again.tags.items()
    assert "dagster/backfill" not in again.tags


def daemon_has_seen(instance: DagsterInstance, up_to: int) -> None:
    key = "EVENT_LOG_CONSUMER_CURSOR-PIPELINE_FAILURE"
    instance.daemon_cursor_storage.set_cursor_values({key: str(up_to)})


def backfill(instance: DagsterInstance, status: BulkActionStatus) -> str:
    one = PartitionBackfill(make_new_run_id(), status, from_failure=False, tags={}, backfill_timestamp=0.0)
    instance.add_backfill(one)
    return one.backfill_id


def test_what_dagster_refused_to_retry_or_whose_backfill_was_cancelled_is_no_forgotten_retry(
    instance: DagsterInstance,
) -> None:
    waiting = {**RANGE, "dagster/will_retry": "true"}
    daemon_has_seen(instance, 1_000_000)
    killed(instance, waiting, dagster_says=BACKFILL_ENDED.format("CANCELED"))
    killed(instance, waiting, dagster_says="Could not find repository r, unable to retry the run.")
    for status in (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED):
        killed(instance, {**waiting, "dagster/backfill": backfill(instance, status)}, dagster_says="Started")
    killed(instance, {**waiting, "dagster/backfill": "removed"}, dagster_says="Started")
    assert requests(instance) == []

    killed(instance, waiting, dagster_says="Started")
    assert len(requests(instance)) == 1


def test_a_retry_that_dagsters_daemon_forgot_is_asked_for_again_and_its_backfill_waits_no_longer(
    instance: DagsterInstance,
) -> None:
    def waits() -> bool:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return bool(run.is_complete_and_waiting_to_retry)

    run_id = make_new_run_id()
    instance.add_run(
        DagsterRun(
            job_name="job",
            run_id=run_id,
            status=DagsterRunStatus.STARTED,
            asset_selection=frozenset([OURS]),
            tags={**RANGE, "dagster/backfill": backfill(instance, BulkActionStatus.REQUESTED)},
        )
    )
    run = instance.get_run_by_id(run_id)
    assert run is not None
    before = instance.event_log_storage.get_maximum_record_id() or 0
    instance.report_run_failed(run, "Its process is gone.")
    instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    after = instance.event_log_storage.get_maximum_record_id() or 0
    assert before < after

    # No daemon has looked at it yet.
    assert requests(instance) == []
    daemon_has_seen(instance, before)
    assert requests(instance) == []
    daemon_has_seen(instance, after)
    [again] = requests(instance)
    assert again.run_key == run_id
    # Until it is asked for, whatever is killed.
    assert waits()
    assert [one.run_key for one in requests(instance)] == [run_id]

    instance.add_run(DagsterRun(job_name="job", run_id=make_new_run_id(), tags={RUN_KEY_TAG: run_id}))
    requests(instance)
    assert not waits()
    assert requests(instance) == []


def test_a_single_day_is_asked_for_as_a_range_of_one(instance: DagsterInstance) -> None:
    killed(instance, {PARTITION_NAME_TAG: "2026-03-04"})

    [again] = requests(instance)

    assert (
        again.tags[ASSET_PARTITION_RANGE_START_TAG]
        == again.tags[ASSET_PARTITION_RANGE_END_TAG]
        == "2026-03-04"
    )


def test_what_failed_for_good_is_of_others_or_starts_again_by_itself_is_left_alone(
    instance: DagsterInstance,
) -> None:
    for says in (BACKFILL_ENDED.format("CANCELED"), "Retrying the run"):
        killed(instance, RANGE, dagster_says=says)
    killed(instance, {**RANGE, AUTO_RETRY_RUN_ID_TAG: make_new_run_id()})
    killed(instance, RANGE, asset=AssetKey(["somebody", "elses"]))
    killed(instance, {**RANGE, SENSOR_NAME_TAG: "dexcare_report_sensor"})
    assert requests(instance) == []

    # What this sensor asked for may lose its retry as well.
    killed(instance, {**RANGE, SENSOR_NAME_TAG: SENSOR_NAME})
    assert len(requests(instance)) == 1
