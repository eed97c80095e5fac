"""Killed runs whose retry Dagster dropped, and what asks for the same once more.

Belongs here: finding such runs, and the request. Does not belong here: when this is looked after
(`housekeeping.py`), and which runs have no process any more (`run_claims.py`).

Dagster's daemon tries once to launch the retry of a run that was killed. If the code server is away at that
moment, as it is when a machine's memory ran out, the retry is dropped for good, however many are left. It is
dropped, too, if the run's backfill was looked at between the end of the run and its retry: Dagster then ends
the backfill as failed, and retries no run of a backfill that has ended. And it is dropped, without a word, if
the daemon saw the event of the failure before the run was marked as failed, which on a busy machine comes
seconds later; a backfill then waits for that retry for ever.
"""

from collections.abc import Callable
from datetime import datetime

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRequest, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    RUN_KEY_TAG,
    SENSOR_NAME_TAG,
    WILL_RETRY_TAG,
)

from health_pipelines.landing.run_tags import DAYS_TAG, LOST_RETRY, REASON_TAG, days_of

# Up to where Dagster's daemon has looked at failed runs; it has no public name.
_SEEN = f"EVENT_LOG_CONSUMER_CURSOR-{DagsterEventType.RUN_FAILURE.value}"
# Dagster has no names for it but these words. A backfill that a person cancelled is in another state.
_DROPPED = (
    "Failed to retry run",
    "Not retrying run since it is part of a backfill that is in a terminal state (COMPLETED_FAILED).",
)


def requests_for_lost_retries(
    instance: DagsterInstance,
    *,
    is_ours: Callable[[DagsterRun], bool],
    sensor_name: str,
    updated_after: datetime,
) -> list[RunRequest]:
    """One for each run that failed since then (aware) and lost its retry; Dagster carries each out once.

    `sensor_name`: who asks. Runs of other sensors are left to those, which start again by themselves.
    """
    # First: what the daemon has seen by then, it has retried by then.
    unseen = _unseen(instance)
    failed = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=updated_after))
    lost = [
        run
        for run in failed
        if AUTO_RETRY_RUN_ID_TAG not in run.tags
        and run.tags.get(SENSOR_NAME_TAG, sensor_name) == sensor_name
        and is_ours(run)
        and _is_lost(instance, run, unseen)
    ]
    for run in lost:
        # Only once it has been asked for again: what is killed in between must find it here.
        if _waits(run) and instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: run.run_id}), limit=1):
            instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
    return [_again(run) for run in lost]


def _unseen(instance: DagsterInstance) -> set[str] | None:
    """The failed runs that Dagster's daemon has not looked at; None if it never looked at any."""
    seen = instance.daemon_cursor_storage.get_cursor_values({_SEEN}).get(_SEEN)
    if seen is None:
        return None
    events = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        after_cursor=int(seen), dagster_event_type=DagsterEventType.RUN_FAILURE
    )
    return {event.run_id for event in events.values()}


def _is_lost(instance: DagsterInstance, run: DagsterRun, unseen: set[str] | None) -> bool:
    said = _said(instance, run)
    if not said.isdisjoint(_DROPPED):
        return True
    is_forgotten = _waits(run) and unseen is not None and run.run_id not in unseen
    # Whatever else Dagster says of a retry is a reason against it.
    return is_forgotten and not any("retry" in one for one in said) and not _is_unwanted(instance, run)


def _is_unwanted(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a person cancelled the backfill of the run, or removed it."""
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    if backfill_id is None:
        return False
    backfill = instance.get_backfill(backfill_id)
    return backfill is None or backfill.status in (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)


def _waits(run: DagsterRun) -> bool:
    return run.tags.get(WILL_RETRY_TAG) == "true"


def _said(instance: DagsterInstance, run: DagsterRun) -> set[str]:
    records = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT).records
    return {record.event_log_entry.message for record in records}


def _again(run: DagsterRun) -> RunRequest:
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or run.tags.get(PARTITION_NAME_TAG)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
    days = (
        {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
        if first and last
        else {}
    )
    return RunRequest(
        run_key=run.run_id,
        asset_selection=sorted(run.asset_selection or ()),
        run_config=run.run_config,
        tags={**days, REASON_TAG: LOST_RETRY, **({DAYS_TAG: days_of(days)} if days else {})},
    )
