"""A partition that has landed: put in place only if it says something new, and told to Dagster.

Belongs here: what every source does once its candidate file is written, up to the events that people see.
Does not belong here: where the rows come from, and paths (`lake.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    DagsterEventType,
    DagsterInstance,
    MetadataValue,
    TableColumn,
    TableSchema,
)

from health_pipelines.lake import PartitionWriter, Table
from health_pipelines.partition_file import (
    LINEAGE_COLUMNS,
    RowChanges,
    columns_of,
    content_hash_of,
    row_changes,
    row_count,
)

DATA_VERSION_TAG = "dagster/data_version"
# What a check compares with the partition that stands, long after the answer itself is gone.
ROWS_SENT = "rows_sent"
COLUMN_SCHEMA = "dagster/column_schema"


@dataclass(frozen=True)
class Landed:
    """A day as it is in the lake now.

    `replaced`: whether the file was written. If not, the answer said what the lake says already, in
    whatever order, and `content_hash` is that of the answer which the file was written from. `rows_sent`:
    how many rows the vendor sent; `rows`: how many the file has, by its footer.
    """

    replaced: bool
    rows_sent: int
    rows: int
    columns: tuple[str, ...]
    changes: RowChanges
    content_hash: str
    file: Path


def as_it_stands(writer: PartitionWriter, content_hash: str, *, rows_sent: int) -> Landed | None:
    """The partition, if it was written from an answer with this hash: then there is nothing to convert."""
    current = _sound(writer.current)
    if current is None or content_hash_of(current) != content_hash:
        return None
    return _landed(current, RowChanges(0, 0), rows_sent, replaced=False)


def put_in_place(writer: PartitionWriter, *, rows_sent: int, key: str | None) -> Landed:
    """Make the candidate the partition, unless both have the same rows. `key`: see `row_changes`."""
    current = _sound(writer.current)
    if current is None:
        changes = RowChanges(added=row_count(writer.candidate), removed=0)
    else:
        changes = row_changes(current, writer.candidate, key=key)
        if not changes:
            return _landed(current, changes, rows_sent, replaced=False)
    writer.replace()
    return _landed(writer.target, changes, rows_sent, replaced=True)


def recorded_hashes(instance: DagsterInstance, asset: AssetKey, days: list[str]) -> dict[str, str]:
    """The content hash in the newest materialization of each of `days` that has one."""
    if not days:
        return {}
    found = instance.event_log_storage.get_latest_tags_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=days
    )
    return {day: tags[DATA_VERSION_TAG] for day, tags in found.items()}


def landed_event(
    asset: AssetKey,
    table: Table,
    day: str,
    landed: Landed,
    metadata: Mapping[str, Any],
    *,
    changed: bool,
) -> AssetMaterialization | AssetObservation:
    """The event of a landed partition; without a change an observation, so that nothing downstream wakes."""
    tags = {DATA_VERSION_TAG: landed.content_hash}
    facts = {
        "dagster/partition_row_count": landed.rows,
        ROWS_SENT: landed.rows_sent,
        "changed": changed,
        "content_hash": landed.content_hash,
        **metadata,
    }
    if not changed:
        return AssetObservation(
            asset_key=asset,
            partition=day,
            description="The answer says what has landed already; nothing was written.",
            tags=tags,
            metadata=facts,
        )
    columns = [
        TableColumn(name, LINEAGE_COLUMNS[name], "Where the row came from; added by this project.")
        if name in LINEAGE_COLUMNS
        else TableColumn(name, "VARCHAR")
        for name in landed.columns
    ]
    return AssetMaterialization(
        asset_key=asset,
        partition=day,
        tags=tags,
        metadata={
            **facts,
            "dagster/table_name": f"{table.source}.{table.name}",
            COLUMN_SCHEMA: MetadataValue.table_schema(TableSchema(columns)),
            "rows_added": landed.changes.added,
            "rows_removed": landed.changes.removed,
            # Without a key a changed row is one removed and one added.
            **({} if landed.changes.changed is None else {"rows_changed": landed.changes.changed}),
            "parquet_bytes": landed.file.stat().st_size,
        },
    )


def _landed(file: Path, changes: RowChanges, rows_sent: int, *, replaced: bool) -> Landed:
    return Landed(
        replaced=replaced,
        rows_sent=rows_sent,
        rows=row_count(file),
        columns=columns_of(file),
        changes=changes,
        content_hash=content_hash_of(file) or "",
        file=file,
    )


def _sound(file: Path | None) -> Path | None:
    """The file if its footer can be read; one damaged by hand is replaced."""
    if file is None:
        return None
    try:
        content_hash_of(file)
    except (pl.exceptions.PolarsError, OSError):
        return None
    return file
