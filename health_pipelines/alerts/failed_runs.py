"""Which runs failed since a place in Dagster's event log, and why.

Belongs here: reading them. Does not belong here: what is said of them (`news.py`). A report that was given up
is one of them: the run of its request fails with a sentence that says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    EventLogRecord,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorEvaluationContext,
)
from dagster._core.storage.tags import WILL_RETRY_TAG

from health_pipelines.alerts.news import FailedRun
from health_pipelines.landing.run_tags import days_of

# An event gets its number before others can see it, so that a later number may be seen first. What is this
# old has no unseen event before it.
SETTLES_AFTER = timedelta(seconds=10)
# While more runs fail, the first waits this long at most, so that a burst is one message.
GATHERED_FOR = timedelta(seconds=60)
_IN_A_PAGE, _MOST_PAGES = 500, 10
_MOST_ASSETS = 3


@dataclass(frozen=True)
class Origin:
    """A code location and a repository in it; None where Dagster runs without a workspace, as in tests."""

    location: str | None
    repository: str | None

    @classmethod
    def of_sensor(cls, context: SensorEvaluationContext) -> "Origin":
        location = context.code_location_origin
        return cls(location.location_name if location else None, context.repository_name)

    @classmethod
    def of_run(cls, run: DagsterRun) -> "Origin":
        if run.remote_job_origin is None:
            return cls(None, None)
        repository = run.remote_job_origin.repository_origin
        return cls(repository.code_location_origin.location_name, repository.repository_name)


@dataclass(frozen=True)
class FailedRuns:
    """Oldest first. `read_to`: the place in the event log up to which these are all."""

    runs: Sequence[FailedRun]
    read_to: int


def newest_place(instance: DagsterInstance) -> int:
    """The place in the event log after which everything is new."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def failed_runs(instance: DagsterInstance, whose: Origin, after: int, now: datetime) -> FailedRuns:
    """The runs of `whose` that failed after a place in the event log and are to be told about at `now`.

    Left out are those that Dagster tries again by itself. At most 5,000 are looked at.
    """
    # SQLite gives the numbers of deleted runs away again.
    after = min(after, newest_place(instance))
    events = _events(instance, after)
    unsettled = [_is_unsettled(event, now) for event in events]
    settled = events[: unsettled.index(True)] if any(unsettled) else events
    runs = _runs(instance, [event.run_id for event in events])
    ours = [
        event
        for event in events
        if (run := runs.get(event.run_id))
        and Origin.of_run(run) == whose
        and run.tags.get(WILL_RETRY_TAG) != "true"
    ]
    if len(settled) < len(events) and ours and _age(ours[0], now) < GATHERED_FOR:
        return FailedRuns([], after)
    told = {event.storage_id for event in settled}
    return FailedRuns(
        [failed_run(runs[event.run_id]) for event in ours if event.storage_id in told],
        settled[-1].storage_id if settled else after,
    )


def reason_of(instance: DagsterInstance, failed: FailedRun) -> str:
    """Why the run failed, in this project's own sentences.

    The words of any other exception stay in the run's log: they may hold what a vendor sent.
    """
    records = instance.get_records_for_run(failed.run_id, of_type=DagsterEventType.STEP_FAILURE).records
    reasons = []
    for record in records:
        event = record.event_log_entry.get_dagster_event()
        failure = event.step_failure_data
        if failure.user_failure_data and failure.user_failure_data.description:
            reasons.append(failure.user_failure_data.description.removeprefix(f"{failed.about}: "))
        elif failure.error:
            kind = (failure.error.cause or failure.error).cls_name
            reasons.append(f"an unexpected {kind} in the step {event.step_key}; its log says more.")
    if not reasons:
        return "it ended outside of its steps: its process did not start or was ended; its log says more."
    return " ".join(reasons)


def _events(instance: DagsterInstance, after: int) -> list[EventLogRecord]:
    events: list[EventLogRecord] = []
    for _ in range(_MOST_PAGES):
        place = events[-1].storage_id if events else after
        page = instance.fetch_run_status_changes(
            RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=place),
            limit=_IN_A_PAGE,
            ascending=True,
        ).records
        events += page
        if len(page) < _IN_A_PAGE:
            break
    return events


def _runs(instance: DagsterInstance, run_ids: Sequence[str]) -> dict[str, DagsterRun]:
    runs: dict[str, DagsterRun] = {}
    for start in range(0, len(run_ids), _IN_A_PAGE):
        batch = RunsFilter(run_ids=list(run_ids[start : start + _IN_A_PAGE]))
        runs |= {record.dagster_run.run_id: record.dagster_run for record in instance.get_run_records(batch)}
    return runs


def _age(event: EventLogRecord, now: datetime) -> timedelta:
    return now - datetime.fromtimestamp(event.timestamp, UTC)


def _is_unsettled(event: EventLogRecord, now: datetime) -> bool:
    # A run on a machine whose clock is ahead is not waited for.
    return timedelta() <= _age(event, now) < SETTLES_AFTER


def failed_run(run: DagsterRun) -> FailedRun:
    """What a run was about, to be said of one that failed."""
    return FailedRun(run.run_id, _about(run), days_of(run.tags))


def _about(run: DagsterRun) -> str:
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    # A run may be for checks alone.
    assets = assets or sorted({key.asset_key.to_user_string() for key in run.asset_check_selection or ()})
    if not assets:
        return run.job_name
    more = len(assets) - _MOST_ASSETS
    return ", ".join(assets[:_MOST_ASSETS]) + (f" and {more} more" if more > 0 else "")
