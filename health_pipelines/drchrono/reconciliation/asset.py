"""The asset of what is gone, as Dagster shows it, and its monthly schedule: names, partitions, description.

Belongs here: declarations, and which record types are compared. Does not belong here: what the step does
(`step.py`).
"""

from collections.abc import Sequence

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSelection,
    Config,
    DefaultScheduleStatus,
    MaterializeResult,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    StaticPartitionsDefinition,
    asset,
    define_asset_job,
    schedule,
)
from pydantic import Field

from health_pipelines.drchrono.reconciliation.step import reconcile
from health_pipelines.drchrono.records import RECORD_TYPES, RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.tables import GROUP, drchrono_pool, gone_records_key
from health_pipelines.landing.asset_pages import DOCS, described
from health_pipelines.landing.run_step import carried_out
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.variables import DRCHRONO_RECONCILE

_ALL = "all"


class ReconciliationConfig(Config):
    """What a person may say who materializes it."""

    mark_many: bool = Field(False, description="Mark what is gone even if that is more than a tenth of all.")


def gone_records_asset(record_types: Sequence[RecordType] = RECORD_TYPES) -> AssetsDefinition:
    """One partition for each record type, which is one sweep of all its ids."""
    by_name = {record_type.name: record_type for record_type in record_types}

    @asset(
        key=gone_records_key(),
        group_name=GROUP,
        partitions_def=StaticPartitionsDefinition(list(by_name)),
        pool=drchrono_pool(),
        kinds={"parquet", "duckdb"},
        metadata={DOCS: "drchrono.md"},
        description=described(
            "Records that DrChrono no longer lists, though nothing told of their deletion: all ids of a "
            "record type, compared with those in the lake.",
            {
                "A row is": "the id of a record that is gone, and since when.",
                "A partition is": "a record type: materialize one to compare it now.",
                "Followed by": "the tables of `current`, which mark it as deleted, with `_gone_since`.",
            },
        ),
    )
    def gone_records(
        context: AssetExecutionContext,
        config: ReconciliationConfig,
        drchrono: DrChronoResource,
        storage: Storage,
    ) -> MaterializeResult[None]:
        record_type = by_name[context.partition_key]
        with carried_out(context, storage, record_type.table):
            metadata = reconcile(context, drchrono, storage, record_type, mark_many=config.mark_many)
        return MaterializeResult(metadata=metadata)

    return gone_records


def drchrono_reconciliation(settings: Settings) -> ScheduleDefinition:
    """On the evening of the first of each month, when the quota is free, a run for each record type."""

    @schedule(
        name="drchrono_reconciliation",
        cron_schedule="15 20 1 * *",
        execution_timezone=settings.timezone.key,
        target=define_asset_job("drchrono_reconciliation_run", AssetSelection.assets(gone_records_key())),
        default_status=DefaultScheduleStatus.RUNNING,
        description="Compares all ids of the record types that DRCHRONO_RECONCILE names with the lake.",
    )
    def monthly(context: ScheduleEvaluationContext) -> list[RunRequest] | SkipReason:
        now = Settings.of_this_process()
        wanted = compared_types(now)
        if not wanted:
            return SkipReason(f"{DRCHRONO_RECONCILE.name} is not set.")
        if not now.has_drchrono:
            return SkipReason("DrChrono is not set up.")
        month = context.scheduled_execution_time.astimezone(settings.timezone).strftime("%Y-%m")
        return [RunRequest(run_key=f"gone:{name}:{month}", partition_key=name) for name in wanted]

    return monthly


def compared_types(settings: Settings) -> list[str]:
    """Names of record types in their usual order. Raises `SettingError` for one that there is not."""
    wanted, known = settings.drchrono_reconcile, [record_type.name for record_type in RECORD_TYPES]
    if unknown := sorted(set(wanted) - {*known, _ALL}):
        raise SettingError(
            f"{DRCHRONO_RECONCILE.name} names {unknown[0]!r}, which is no record type; there are "
            f"{', '.join(known)}."
        )
    return [name for name in known if name in wanted or _ALL in wanted]
