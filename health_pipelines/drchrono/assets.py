"""The DrChrono assets as Dagster shows them: names, partitions, descriptions.

Belongs here: declarations. Does not belong here: what a step does (`land_step.py`).
"""

from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    DailyPartitionsDefinition,
    Output,
    asset,
)

from health_pipelines.drchrono.land_step import land_records
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.tables import GROUP, SWEPT, drchrono_pool, key_of
from health_pipelines.landing.run_claims import claim_run
from health_pipelines.landing.step import by_day
from health_pipelines.landing.storage import Storage


def record_assets(days: DailyPartitionsDefinition) -> list[AssetsDefinition]:
    """An asset for each record type, and one for the line items that were deleted."""
    return [record_asset(record_type, days) for record_type in SWEPT]


def record_asset(record_type: RecordType, days: DailyPartitionsDefinition) -> AssetsDefinition:
    whose = (
        "those that last changed on that day, in the account's time zone"
        if record_type.changed
        else "all that the vendor sent, in the first day of the range that was asked for"
    )

    @asset(
        key=key_of(record_type),
        group_name=GROUP,
        **by_day(days),
        pool=drchrono_pool(),
        kinds={"parquet", "duckdb"},
        description=(
            f"DrChrono's `{record_type.name}`: {record_type.about}. One Parquet file a day, with {whose}; in "
            f"DuckDB `{record_type.table.source}.{record_type.table.name}`. A range of days is one sweep."
        ),
    )
    def records(
        context: AssetExecutionContext, drchrono: DrChronoResource, storage: Storage
    ) -> Iterator[Output[None]]:
        claim_run(storage.run_claims, context.run.run_id, context.instance)
        land_records(context, drchrono, storage, record_type)
        # Only a step that yields can end without an output, which would stand for every day of the range.
        yield from ()

    return records
