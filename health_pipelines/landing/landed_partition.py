"""A partition that has landed: put in place only if it says something new, and told to Dagster.

Belongs here: what every source does once its candidate file is written, up to the events that people see.
Does not belong here: where the rows come from, and paths (`lake/partitions.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    MetadataValue,
    TableColumn,
    TableSchema,
)

from health_pipelines.lake.csv_partition import (
    RowChanges,
    column_types,
    content_hash_of,
    key_count,
    report_ids_of,
    row_changes,
    row_count,
)
from health_pipelines.lake.manifests import NOTHING_KNOWN, Facts
from health_pipelines.lake.partitions import Table
from health_pipelines.lake.replacing import Found, PartitionWriter
from health_pipelines.landing.asset_pages import LINEAGE_ABOUT
from health_pipelines.libraries import loaded_when_used
from health_pipelines.privacy.keeping_out import keep_out, kept_content_hash
from health_pipelines.privacy.partition_file import MINIMISED, ROWS_ERASED, footer
from health_pipelines.settings import Settings

if TYPE_CHECKING:
    import polars as pl
else:
    pl = loaded_when_used("polars")

DATA_VERSION_TAG = "dagster/data_version"
# What a check compares with the partition that stands, long after the answer itself is gone.
ROWS_SENT = "rows_sent"
COLUMN_SCHEMA = "dagster/column_schema"
CHANGED = "changed"
# With it `health-pipelines verify` sees whether lines were taken off the end of the chain.
CHAIN_HEAD = "manifest_chain"
_MOST_LANDINGS = 1000


@dataclass(frozen=True)
class Landed:
    """A day as it is in the lake now.

    `replaced`: whether rows are other ones than before. If not, the answer said what the lake says already,
    in whatever order, and `content_hash` is that of the answer which the file was written from. `rows_sent`:
    how many rows the vendor sent; `rows`: how many the file has, by its footer. `columns`: with their SQL
    types. `chain_head`: of the table's chain of manifests, afterwards.
    """

    replaced: bool
    rows_sent: int
    rows: int
    columns: Mapping[str, str]
    changes: RowChanges
    content_hash: str
    file: Path
    chain_head: str | None = None


def as_it_stands(
    writer: PartitionWriter,
    content_hash: str,
    *,
    rows_sent: int,
    key: str | None = None,
    facts: Facts = NOTHING_KNOWN,
    is_minimised: bool = False,
) -> Landed | None:
    """The partition, if it was written from an answer with this hash: then there is nothing to convert.

    `key`, `facts`: for its manifest, if it has none; `is_minimised`: see `put_in_place`. Other settings of
    what may be in the lake make it another hash.
    """
    if not is_minimised:
        content_hash = kept_content_hash(writer, content_hash, Settings.of_this_process())
    current = _untouched(writer)
    if current is None or content_hash_of(current) != content_hash:
        return None
    return _stays(writer, RowChanges(0, 0), rows_sent, key, facts)


def put_in_place(
    writer: PartitionWriter,
    *,
    rows_sent: int,
    key: str | None,
    facts: Facts = NOTHING_KNOWN,
    is_minimised: bool = False,
) -> Landed:
    """Make the candidate the partition, unless both have the same rows. `key`: see `row_changes`.

    `facts`: what the manifest says of where the rows came from; what the file itself says is added. A
    partition that is not what was landed, by its manifest, is replaced whatever its rows say.

    What may not be in the lake is taken out of it before (`privacy/keeping_out.py`); `is_minimised`: columns
    that are left out or hashed are so already, and patients who are erased are all that is looked for.
    Raises `NotKeptError` and `SettingError`; the partition is as it was then.
    """
    keep_out(writer, Settings.of_this_process(), is_minimised=is_minimised)
    current = _untouched(writer)
    if current is None:
        changes = RowChanges(added=row_count(writer.candidate), removed=0)
    else:
        changes = row_changes(current, writer.candidate, key=key)
        if not changes and not _says_otherwise(current, writer.candidate):
            return _stays(writer, changes, rows_sent, key, facts)
    writer.replace(facts_of(writer.candidate, key=key, rows_sent=rows_sent, more=facts))
    return _landed(writer, changes, rows_sent, replaced=current is None or bool(changes))


def facts_of(file: Path, *, key: str | None, rows_sent: int | None, more: Facts) -> Facts:
    """What a manifest says of a partition file: `more`, and what the file says itself."""
    return replace(
        more,
        rows_sent=rows_sent,
        rows=row_count(file),
        keys=key_count(file, key) if key else None,
        content_hash=content_hash_of(file),
        report_ids=report_ids_of(file),
    )


def _says_otherwise(current: Path, candidate: Path) -> bool:
    """Whether the same rows come of other rules, or with another number of rows that were kept out."""
    now, then = footer(candidate), footer(current)
    return any(now.get(name) != then.get(name) for name in (MINIMISED, ROWS_ERASED))


def recorded_hashes(instance: DagsterInstance, asset: AssetKey, days: list[str]) -> dict[str, str]:
    """The content hash in the newest materialization of each of `days` that has one."""
    if not days:
        return {}
    found = instance.event_log_storage.get_latest_tags_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=days
    )
    return {day: tags[DATA_VERSION_TAG] for day, tags in found.items()}


@dataclass(frozen=True)
class Landing:
    """That a day landed, `at` (aware, UTC), and whether what it says is new."""

    at: datetime
    changed: bool


def landings_since(
    instance: DagsterInstance, asset: AssetKey, days: Sequence[str], since: datetime
) -> dict[str, Landing]:
    """The newest landing of each of `days` that landed at `since` (aware) or later."""
    of_days = AssetRecordsFilter(asset, asset_partitions=list(days), after_timestamp=since.timestamp())
    records = [
        *instance.fetch_materializations(of_days, limit=_MOST_LANDINGS).records,
        *instance.fetch_observations(of_days, limit=_MOST_LANDINGS).records,
    ]
    found: dict[str, Landing] = {}
    for record in sorted(records, key=lambda one: one.storage_id):
        event = record.asset_materialization or record.event_log_entry.asset_observation
        # Assets are observed for other reasons, too.
        if event and (changed := event.metadata.get(CHANGED)) is not None:
            at = datetime.fromtimestamp(record.timestamp, UTC)
            found[str(record.partition_key)] = Landing(at, changed=bool(changed.value))
    return found


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
        CHANGED: changed,
        "content_hash": landed.content_hash,
        **({CHAIN_HEAD: landed.chain_head} if landed.chain_head else {}),
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
    columns = [TableColumn(name, kind, LINEAGE_ABOUT.get(name)) for name, kind in landed.columns.items()]
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


def _stays(
    writer: PartitionWriter, changes: RowChanges, rows_sent: int, key: str | None, facts: Facts
) -> Landed:
    if writer.found is not Found.AS_LANDED:
        writer.attest(facts_of(writer.target, key=key, rows_sent=rows_sent, more=facts))
    return _landed(writer, changes, rows_sent, replaced=False)


def _landed(writer: PartitionWriter, changes: RowChanges, rows_sent: int, *, replaced: bool) -> Landed:
    file = writer.target
    return Landed(
        replaced=replaced,
        rows_sent=rows_sent,
        rows=row_count(file),
        columns=column_types(file),
        changes=changes,
        content_hash=content_hash_of(file) or "",
        file=file,
        chain_head=writer.chain_head,
    )


def _untouched(writer: PartitionWriter) -> Path | None:
    """The partition as it stands, if it can be read and nothing says that it is another than was landed."""
    current = sound(writer.current)
    return None if current is None or writer.found is Found.CHANGED else current


def sound(file: Path | None) -> Path | None:
    """The file if it is there and its footer can be read; one damaged by hand is replaced."""
    if file is None:
        return None
    try:
        content_hash_of(file)
    except (pl.exceptions.PolarsError, OSError):
        return None
    return file
