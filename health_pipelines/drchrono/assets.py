"""The DrChrono assets as Dagster shows them: names, partitions, descriptions.

Belongs here: declarations. Does not belong here: what a step does (`land_step.py`).
"""

from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    DailyPartitionsDefinition,
    Output,
    TableSchema,
    asset,
)

from health_pipelines.drchrono.land_step import land_records
from health_pipelines.drchrono.landing.columns import AS_SENT, EXTRA, text_column, vendor_columns
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.tables import GROUP, SWEPT, drchrono_pool, key_of
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.landing.asset_pages import DOCS, LINEAGE_ABOUT, columns, described
from health_pipelines.landing.freshness import FRESHNESS
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA
from health_pipelines.landing.run_step import carried_out
from health_pipelines.landing.step import by_day
from health_pipelines.landing.storage import Storage


def record_assets(days: DailyPartitionsDefinition) -> list[AssetsDefinition]:
    """An asset for each record type, and one for the line items that were deleted."""
    return [record_asset(record_type, days) for record_type in SWEPT]


def _documented(record_type: RecordType) -> TableSchema:
    meanings = {
        **record_type.meanings,
        **{text_column(field): f"`{field}` as it came." for field in record_type.columns},
        EXTRA: "Values that do not fit their column, and undocumented fields, as JSON.",
        AS_SENT: "Which fields were missing, or came as text or number, as JSON.",
        **LINEAGE_ABOUT,
    }
    known = vendor_columns(record_type) | LINEAGE_COLUMNS
    return columns((name, kind, meanings[name]) for name, kind in known.items())


def record_asset(record_type: RecordType, days: DailyPartitionsDefinition) -> AssetsDefinition:
    whose = (
        "the records that last changed on that day, in the account's time zone"
        if record_type.changed
        else "all that the vendor sent, in the first day of the range that was asked for"
    )

    @asset(
        key=key_of(record_type),
        group_name=GROUP,
        **by_day(days),
        pool=drchrono_pool(),
        kinds={"parquet", "duckdb"},
        metadata={DOCS: "drchrono.md", COLUMN_SCHEMA: _documented(record_type)},
        description=described(
            f"DrChrono's `{record_type.name}`: {record_type.about}.",
            {
                "A row is": f"a record of that list, told apart by `{record_type.key}`.",
                "A partition is": f"{whose}: one Parquet file. A range of days is one sweep.",
                "In DuckDB": f"{record_type.table.source}.{record_type.table.name}.",
                "Freshness": FRESHNESS,
            },
        ),
    )
    def records(
        context: AssetExecutionContext, drchrono: DrChronoResource, storage: Storage
    ) -> Iterator[Output[None]]:
        with carried_out(context, storage, record_type.table):
            land_records(context, drchrono, storage, record_type)
        # Only a step that yields can end without an output, which would stand for every day of the range.
        yield from ()

    return records
