"""Backfills of days that did not change: they ended well, which Dagster cannot know.

Belongs here: finding such backfills and putting their records right. Does not belong here: which event a day
that did not change is (`landed_partition.py`), and when this is looked after (`housekeeping.py`).

To Dagster a backfill has done its work for a partition when that was materialized. A day that did not change
is an observation, so that nothing downstream wakes, and the backfill takes it for failed. No setting of
Dagster's says otherwise, and a materialization wakes `AutomationCondition.eager()` whatever its data version:
docs/decisions.md has what was tried. So the record is put right once the backfill has ended, when the daemon
no longer touches it.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, RunsFilter
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.partitions.subset import PartitionsSubset
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG

from health_pipelines.landing.landed_partition import CHANGED

_AT_ONCE = 1000
# Whatever the daemon takes to write the end of a backfill, and the difference of two clocks.
_OVERLAP = timedelta(minutes=5)


def settle_backfills(
    instance: DagsterInstance, assets: Collection[AssetKey], *, created_after: datetime, ended_after: datetime
) -> list[str]:
    """Let backfills no longer count those days as failed that landed in them; returns the backfills' ids.

    `assets`: those whose landings are told as this project tells them. A backfill without any other day that
    failed has succeeded. Only those are looked at that were created and ended after these times (aware).
    """
    failed = instance.get_backfills(
        BulkActionsFilter(statuses=[BulkActionStatus.COMPLETED_FAILED], created_after=created_after)
    )
    since = (ended_after - _OVERLAP).timestamp()
    return [
        backfill.backfill_id
        for backfill in failed
        if (backfill.backfill_end_timestamp or since) >= since and _settle(instance, assets, backfill)
    ]


def _settle(instance: DagsterInstance, assets: Collection[AssetKey], backfill: PartitionBackfill) -> bool:
    data = backfill.asset_backfill_data
    if data is None:  # a backfill of a job
        return False
    failed = data.failed_and_downstream_subset
    settled = AssetGraphSubset.create_empty_subset()._replace(
        partitions_subsets_by_asset_key={
            key: _only(of_asset, _landed_in(instance, key, backfill))
            for key, of_asset in failed.partitions_subsets_by_asset_key.items()
            if key in assets
        }
    )
    if settled.is_empty:
        return False
    still_failed = failed - settled
    data = data.with_failed_and_downstream_subset(still_failed)
    data = data._replace(materialized_subset=data.materialized_subset | settled)
    status = BulkActionStatus.COMPLETED_SUCCESS if still_failed.is_empty else backfill.status
    instance.update_backfill(backfill._replace(asset_backfill_data=data, status=status))
    return True


def _only(subset: PartitionsSubset, days: Collection[str]) -> PartitionsSubset:
    """Those of its partitions that are among `days`."""
    return (subset - subset).with_partition_keys(set(subset.get_partition_keys()) & set(days))


def _landed_in(instance: DagsterInstance, asset: AssetKey, backfill: PartitionBackfill) -> set[str]:
    """The days that runs of the backfill looked at and found as they had landed before."""
    runs = set(instance.get_run_ids(RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id})))
    wanted = AssetRecordsFilter(asset, after_timestamp=backfill.backfill_timestamp)
    days: set[str] = set()
    cursor, is_more = None, True
    while is_more:
        found = instance.fetch_observations(wanted, _AT_ONCE, cursor)
        for record in found.records:
            event = record.event_log_entry.asset_observation
            # Assets are observed for other reasons, too.
            if event and record.run_id in runs and event.partition and CHANGED in event.metadata:
                days.add(event.partition)
        cursor, is_more = found.cursor, found.has_more
    return days
