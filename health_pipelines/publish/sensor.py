"""The sensor that has tables published when the warehouse has a new state of them, and compared once a day.

Belongs here: one tick, from the warehouse's note and what was published last to a run request. Does not
belong here: the decision (`due.py`), and publishing. A tick asks neither a vendor nor the target.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime

from dagster import (
    AssetSelection,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    sensor,
)
from dagster._core.storage.tags import MAX_RETRIES_TAG, PRIORITY_TAG

from health_pipelines.landing.run_tags import BUILT, REASON_TAG
from health_pipelines.publish.assets import ONLY_CHANGES_TAG, publish_key
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.warehouse.rebuilds import next_attempt
from health_pipelines.warehouse.sensor import attempts_with, run_under_way
from health_pipelines.warehouse.storage import WarehouseStorage

SENSOR_NAME = "publish_sensor"
# On every run that the sensor starts: whose, and of which state of which tables.
PLACE_TAG, STATE_TAG = "publish/place", "publish/state"
_INTERVAL_SECONDS = 15


def publish_sensors(settings: Settings, *, clock: Callable[[], datetime] = utc_now) -> list[SensorDefinition]:
    """The one; none if nothing is published."""
    if settings.publish_url is None:
        return []
    models = published_models(settings)
    keys = {model.full_name: publish_key(model) for model in models}

    @sensor(
        name=SENSOR_NAME,
        # With a name of its own: without one the UI calls its runs jobless.
        target=define_asset_job("publish_run", AssetSelection.assets(*keys.values())),
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Has tables published when the warehouse has a new state of them.",
    )
    def publish(context: SensorEvaluationContext, storage: WarehouseStorage) -> RunRequest | SkipReason:
        instance, now, settings = context.instance, clock(), Settings.of_this_process()
        if run_id := run_under_way(instance, storage, list(keys.values()), now):
            return SkipReason(f"Publishing is under way (run {run_id[:8]}).")
        versions = storage.warehouse.published.versions()
        if not versions:
            return SkipReason("Nothing is built yet.")
        try:
            publication = publication_of(settings)
        except PublishError:
            # A run says why, is red and has an alert sent, which a tick does not.
            tables = dict.fromkeys(keys, "")
        else:
            if publication is None:
                return SkipReason("PUBLISH_URL is not set any more; restart Dagster.")
            tables = publication.due(versions, keys, now)
        if not tables:
            return SkipReason("What is published is current.")
        said = "\0".join(f"{table} {made_of}" for table, made_of in tables.items())
        tags = {
            PLACE_TAG: settings.asset_prefix or "health_pipelines",
            STATE_TAG: hashlib.sha256(said.encode()).hexdigest()[:16],
        }
        attempts = attempts_with(instance, tags)
        if attempts is not None and now < (again := next_attempt(attempts)):
            return SkipReason(
                f"The last publishing of {len(tables)} tables did not help (attempt {attempts.count}); the "
                f"next one at {again:%H:%M:%S} UTC, or when the warehouse changes."
            )
        return RunRequest(
            asset_selection=[keys[table] for table in tables],
            # This sensor tries again by itself.
            # Publishing takes seconds and should not wait behind a queue of landings.
            tags={
                **tags,
                REASON_TAG: BUILT,
                ONLY_CHANGES_TAG: "true",
                MAX_RETRIES_TAG: "0",
                PRIORITY_TAG: "1",
            },
        )

    return [publish]
