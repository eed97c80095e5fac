"""The DrChrono tables and the names that belong to each.

Belongs here: names. Does not belong here: anything that happens.
"""

from dagster import AssetKey

from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES, RecordType
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.dagster_names import asset_key, pool

GROUP = "drchrono"
SWEPT = (*RECORD_TYPES, LINE_ITEM_DELETIONS)
TABLES = tuple(record_type.table for record_type in SWEPT)
# No days land in it: what the vendor no longer lists, as comparisons have found it.
GONE_RECORDS = Table("drchrono", "gone_records")


def key_of(record_type: RecordType) -> AssetKey:
    return asset_key(record_type.table.source, record_type.table.name)


def gone_records_key() -> AssetKey:
    return asset_key(GONE_RECORDS.source, GONE_RECORDS.name)


def drchrono_pool() -> str:
    """For every step that calls DrChrono."""
    return pool("drchrono_api")
