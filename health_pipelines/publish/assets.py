"""Published tables as Dagster shows them: an asset for each.

Belongs here: declarations, and what a publishing says to Dagster. Does not belong here: publishing
(`publisher.py`), and when it is asked for (`sensor.py`).

Each table is a step of its own, so that one that cannot be published is red alone. A run of the sensor sends
changes; a run that a person started compares every row.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    Failure,
    MaterializeResult,
    asset,
)

from health_pipelines.landing.asset_pages import DOCS, described_model
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA
from health_pipelines.landing.run_step import carried_out
from health_pipelines.publish.databases import kind_of, publication_of, published_models
from health_pipelines.publish.publisher import Published, Publisher
from health_pipelines.publish.source import opened
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.settings.variables import PUBLISH_URL
from health_pipelines.warehouse.assets import schema_of
from health_pipelines.warehouse.models import Model
from health_pipelines.warehouse.storage import WarehouseStorage

# On the sensor's runs: what is known to be the same is not compared again.
ONLY_CHANGES_TAG = "publish/only_changes"
ROWS_EQUAL = "rows_equal_the_warehouse"
_ROWS_EQUAL_ABOUT = (
    "The table in the target has as many rows as the warehouse's, and the sum of their hashes is the same."
)

_FRESHNESS = "published after every build that changed it, and compared row by row once a day."

Told = MaterializeResult[Any] | AssetCheckResult


def publish_assets(settings: Settings) -> Sequence[AssetsDefinition]:
    """Empty if nothing is published. Raises `SettingError` if `PUBLISH_TABLES` names what is not there."""
    if settings.publish_url is None:
        return []
    database = kind_of(settings)
    return [_publish_asset(model, settings.publish_schema, database) for model in published_models(settings)]


def publish_key(model: Model) -> AssetKey:
    return asset_key("publish", model.schema, model.name)


def _publish_asset(model: Model, schema: str, database: str) -> AssetsDefinition:
    key = publish_key(model)

    @asset(
        key=key,
        deps=[asset_key(model.schema, model.name)],
        group_name="publish",
        kinds={database, "table"},
        description=f"`{schema}_{model.full_name}` in the database of {PUBLISH_URL.name}. Types "
        f"below are the warehouse's.\n\n{described_model(model.description, {'Freshness': _FRESHNESS})}",
        metadata={
            "dagster/table_name": f"{schema}_{model.full_name}",
            DOCS: "publish.md",
            COLUMN_SCHEMA: schema_of(model),
        },
        check_specs=[AssetCheckSpec(ROWS_EQUAL, asset=key, description=_ROWS_EQUAL_ABOUT)],
        output_required=False,
    )
    def publish(context: AssetExecutionContext, storage: WarehouseStorage) -> Iterator[Told]:
        compare = ONLY_CHANGES_TAG not in context.run.tags
        with carried_out(context, storage):
            try:
                published = _published(storage, model, compare=compare)
            except (PublishError, SettingError) as error:
                # It is the sensor that tries again.
                raise Failure(str(error), allow_retries=False) from None
        _log(context, published)
        check = _check_result(key, published)
        if published.way == "unchanged":
            yield check
        else:
            yield MaterializeResult(asset_key=key, metadata=_metadata(published), check_results=[check])

    return publish


def _published(storage: WarehouseStorage, model: Model, *, compare: bool) -> Published:
    publication = publication_of(Settings.of_this_process())
    if publication is None:
        raise PublishError(f"{PUBLISH_URL.name} is not set any more; restart Dagster.")
    with opened(storage.warehouse, publication.work, with_deleted=publication.with_deleted) as source:
        if not source.has(model.full_name):
            raise PublishError(
                f"The warehouse has no {model.full_name} yet: build it (`health-pipelines build`)."
            )
        publisher = Publisher(source, publication.target, publication.memory, publication.schemas, utc_now())
        return publisher.publish(model, compare=compare)


def _log(context: AssetExecutionContext, published: Published) -> None:
    if published.altered:
        said = ", ".join(f"{column}: {count}" for column, count in published.altered.items())
        context.log.warning(f"Values that the target cannot hold, and got otherwise: {said}.")
    if published.shortened:
        said = ", ".join(f"{long} as {short}" for long, short in published.shortened.items())
        context.log.warning(f"Names that are too long for the target: {said}.")


def _metadata(published: Published) -> dict[str, Any]:
    return {
        "dagster/row_count": published.totals.rows,
        "how": published.way,
        "rows_inserted": published.merged.inserted,
        "rows_updated": published.merged.updated,
        "rows_deleted": published.merged.deleted,
        "bytes_sent": published.bytes_sent,
        "seconds": round(published.seconds, 3),
        "values_altered": sum(published.altered.values()),
    }


def _check_result(key: AssetKey, published: Published) -> AssetCheckResult:
    # Publishing compares both before it commits, and fails otherwise.
    return AssetCheckResult(
        asset_key=key,
        check_name=ROWS_EQUAL,
        passed=True,
        description="Nothing has changed in the warehouse since it was published; the target was not asked."
        if published.way == "unchanged"
        else None,
        metadata={
            "rows": published.totals.rows,
            "combined_hash": str(published.totals.combined_hash),
            "every_row_compared_at": published.compared_at.isoformat(timespec="seconds"),
        },
    )
