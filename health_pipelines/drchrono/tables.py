"""The DrChrono tables and the names that belong to each.

Belongs here: names. Does not belong here: anything that happens.
"""

from dagster import AssetKey

from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES, RecordType
from health_pipelines.landing.dagster_names import asset_key, pool

GROUP = "drchrono"
SWEPT = (*RECORD_TYPES, LINE_ITEM_DELETIONS)
TABLES = tuple(record_type.table for record_type in SWEPT)


def key_of(record_type: RecordType) -> AssetKey:
    return asset_key(record_type.table.source, record_type.table.name)


def drchrono_pool() -> str:
    """For every step that calls DrChrono."""
    return pool("drchrono_api")
