"""Which runs were to bring a day, or to ask for it, and have not.

Belongs here: reading them from Dagster's record, with few queries. Does not belong here: what follows from
them (`reasons.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from health_pipelines.alerts.failed_runs import failed_run, reason_of
from health_pipelines.landing.run_claims import RunClaims, is_under_way
from health_pipelines.status.reasons import Attempt, State

_UNFINISHED = {
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
}
_NO_PROCESS = "its process is gone without having ended it"
# SQLite takes about 1,000 variables in a statement in its oldest versions still around.
_IN_A_QUERY = 500
# The log of each run is a file of its own on SQLite.
_MOST_REASONS = 50


@dataclass(frozen=True)
class Attempts:
    """Reads them at `now` (aware). `claims`: where living processes claim their runs."""

    instance: DagsterInstance
    claims: RunClaims
    starts_within: timedelta
    now: datetime

    def of(self, days: Mapping[AssetKey, set[str]]) -> dict[AssetKey, dict[str, Attempt]]:
        """Of those days of each asset, by day, the newest run since the day was last materialized."""
        planned = {key: self._planned(key, wanted) for key, wanted in days.items() if wanted}
        records = self._records({run_id for of_key in planned.values() for run_id in of_key.values()})
        newest_first = sorted(records.values(), key=lambda record: record.create_timestamp, reverse=True)
        attempts = {
            record.dagster_run.run_id: self._attempt(record, says_why=place < _MOST_REASONS)
            for place, record in enumerate(one for one in newest_first if _may_tell(one))
        }
        return {
            key: {day: attempts[run_id] for day, run_id in of_key.items() if run_id in attempts}
            for key, of_key in planned.items()
        }

    def _planned(self, key: AssetKey, days: set[str]) -> dict[str, str]:
        storage = self.instance.event_log_storage
        found = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        return {day: run_id for day, (run_id, _) in found.items() if day in days}

    def _records(self, run_ids: set[str]) -> dict[str, RunRecord]:
        ids, records = sorted(run_ids), dict[str, RunRecord]()
        for start in range(0, len(ids), _IN_A_QUERY):
            batch = RunsFilter(run_ids=ids[start : start + _IN_A_QUERY])
            records |= {one.dagster_run.run_id: one for one in self.instance.get_run_records(batch)}
        return records

    def _attempt(self, record: RunRecord, *, says_why: bool) -> Attempt:
        run, at = record.dagster_run, record.create_timestamp.astimezone(UTC)
        if run.status in _UNFINISHED:
            if not is_under_way(record, self.claims, now=self.now, starts_within=self.starts_within):
                return Attempt(run.run_id, State.FAILED, at, _NO_PROCESS)
            queued = run.status is DagsterRunStatus.QUEUED
            return Attempt(run.run_id, State.QUEUED if queued else State.UNDER_WAY, at)
        if run.status is DagsterRunStatus.CANCELED:
            return Attempt(run.run_id, State.FAILED, at, "somebody cancelled it")
        why = reason_of(self.instance, failed_run(run)) if says_why else "its log says why"
        return Attempt(run.run_id, State.FAILED, at, why)


def _may_tell(record: RunRecord) -> bool:
    """A run that ended well had nothing to land for the day, such as a report that was not ready."""
    return record.dagster_run.status is not DagsterRunStatus.SUCCESS
