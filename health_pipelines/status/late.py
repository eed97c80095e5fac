"""How late days change, counted once a week: an asset that draws it, and what it said last.

Belongs here: the asset, its hour, and reading it back. Does not belong here: counting
(`landing/late_changes.py`), reading landings (`landing/late_landings.py`), drawing (`warehouse/charts.py`).

A year of landings takes a quarter of a minute to read, which nobody who asks for the status is to wait for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    DagsterInstance,
    DefaultScheduleStatus,
    MaterializeResult,
    MetadataValue,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    asset,
    define_asset_job,
    schedule,
)

from health_pipelines.landing.asset_pages import DOCS, described
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.late_changes import AtAge, LateChanges
from health_pipelines.landing.late_landings import counts, late_changes_of
from health_pipelines.landing.run_step import carried_out
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.warehouse.charts import late_chart

# What `counted` reads.
_AGES = "changes_by_age"


def late_changes_key() -> AssetKey:
    return asset_key("status", "late_changes")


def late_changes_asset(tables: Sequence[CheckedTable]) -> AssetsDefinition:
    """`tables`: all that land; those whose days can change late are counted."""
    counted = [checked for checked in tables if counts(checked)]

    @asset(
        key=late_changes_key(),
        deps=[checked.asset for checked in counted],
        group_name="status",
        kinds={"dagster"},
        metadata={DOCS: "operations.md#finding-runs-and-assets"},
        description=described(
            "How many rows changed by the age of their day, from the landings of the last year, and how many "
            "days the daily schedule should look back. `health-pipelines status` tells it.",
            {
                "A row is": "none in a table; in the metadata it is an age of days, with what changed then.",
                "Freshness": "counted every Monday.",
            },
        ),
    )
    def late_changes(context: AssetExecutionContext, storage: Storage) -> MaterializeResult[None]:
        with carried_out(context, storage):
            settings, now = Settings.of_this_process(), utc_now()
            found = {
                str(checked.table): late_changes_of(context.instance, checked, settings, now)
                for checked in counted
            }
            watched = {table: one for table, one in found.items() if one.ages}
            metadata: dict[str, Any] = {table: one.says for table, one in watched.items()}
            if watched:
                metadata["changes by age of the day"] = late_chart(watched)
            ages = {
                table: [[age.age, age.watched, age.changed, age.rows] for age in one.ages]
                for table, one in watched.items()
            }
            return MaterializeResult(metadata={**metadata, _AGES: MetadataValue.json(ages)})

    return late_changes


def late_changes_weekly(settings: Settings, tables: Sequence[CheckedTable]) -> ScheduleDefinition:
    """On Monday, when the week's wider look-back has landed."""
    keys = [checked.asset for checked in tables if counts(checked)]

    @schedule(
        name="late_changes_weekly",
        cron_schedule="0 9 * * 1",
        execution_timezone=settings.timezone.key,
        target=define_asset_job("late_changes_run", AssetSelection.assets(late_changes_key())),
        default_status=DefaultScheduleStatus.RUNNING,
        description="Counts how late days change. Asks no vendor.",
    )
    def weekly(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        if not any(context.instance.get_latest_materialization_event(key) for key in keys):
            return SkipReason("Nothing that can change late has landed yet.")
        return RunRequest()

    return weekly


def counted(instance: DagsterInstance) -> Mapping[str, LateChanges]:
    """What was counted last, by table; nothing before that."""
    records = instance.fetch_materializations(late_changes_key(), limit=1).records
    event = records[0].asset_materialization if records else None
    ages = event.metadata.get(_AGES) if event else None
    told: Any = ages.value if ages else {}
    return {table: LateChanges([AtAge(*one) for one in some]) for table, some in told.items()}
