"""Which days a backfill is to ask for that has begun no run for them.

Belongs here: reading them from Dagster's record. Does not belong here: what is said of such a day
(`reasons.py`), and the runs that a backfill has begun (`attempts.py`).
"""

from collections.abc import Collection
from datetime import UTC, datetime

from dagster import AssetKey, DagsterInstance
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus


def days_to_begin(
    instance: DagsterInstance, assets: Collection[AssetKey]
) -> dict[AssetKey, dict[str, datetime]]:
    """Of each asset, by day, when the first backfill was asked for that is to begin a run for it (UTC)."""
    found: dict[AssetKey, dict[str, datetime]] = {}
    for backfill in instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])):
        data = backfill.asset_backfill_data
        if data is None:  # a backfill of a job
            continue
        at = datetime.fromtimestamp(backfill.backfill_timestamp, UTC)
        begun = data.requested_subset.partitions_subsets_by_asset_key
        for key, wanted in data.target_subset.partitions_subsets_by_asset_key.items():
            if key not in assets:
                continue
            days = set(wanted.get_partition_keys())
            if key in begun:
                days -= set(begun[key].get_partition_keys())
            of_asset = found.setdefault(key, {})
            of_asset |= {day: min(at, of_asset.get(day, at)) for day in days}
    return found
