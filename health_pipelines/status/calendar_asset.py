"""The calendar as an asset of Dagster's UI, and the sensor that keeps it current.

Belongs here: the declarations, and what they tell Dagster. Does not belong here: the calendar itself
(`calendar.py`).

The sensor tells Dagster of a new calendar itself, without a run, and only if it differs from the last one:
people see it minutes after something happened, for a look at the lake's folders and some queries.
"""

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    DagsterInstance,
    DefaultSensorStatus,
    Failure,
    MaterializeResult,
    MetadataValue,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    asset,
    sensor,
)

from health_pipelines.landing.asset_pages import DOCS, described
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.run_step import carried_out
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.status.calendar import Calendar, as_markdown, calendar_of
from health_pipelines.status.calendar_image import draw
from health_pipelines.status.reading import Reading

SENSOR_NAME = "calendar_sensor"
STATE = "state"
_INTERVAL_SECONDS = 120


def calendar_key() -> AssetKey:
    return asset_key("status", "calendar")


def calendar_asset(clock: Callable[[], datetime] = utc_now) -> AssetsDefinition:
    @asset(
        key=calendar_key(),
        group_name="status",
        kinds={"image", "markdown"},
        metadata={DOCS: "operations.md#the-calendar"},
        description=described(
            "Which days of which tables are home: the picture is at the newest materialization, behind "
            "*Show Markdown* beside `calendar`.",
            {
                "A row is": "none in a table; in the picture it is a table, and a cell is one of its days.",
                "Made of": "what `health-pipelines status` reads: the lake's folders and Dagster's events.",
                "Freshness": f"the sensor `{SENSOR_NAME}` draws it anew within some minutes of a change.",
            },
        ),
    )
    def calendar(context: AssetExecutionContext, storage: Storage) -> MaterializeResult[Any]:
        with carried_out(context, storage):
            try:
                found = _read(context.instance, clock())
            except SettingError as error:
                raise Failure(str(error), allow_retries=False) from None
            return MaterializeResult(metadata=_metadata(found))

    return calendar


def calendar_sensor(clock: Callable[[], datetime] = utc_now) -> SensorDefinition:
    @sensor(
        name=SENSOR_NAME,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Draws the calendar of days and tables when a day's state has changed. Asks no vendor.",
    )
    def calendar(context: SensorEvaluationContext) -> SensorResult:
        found = _read(context.instance, clock())
        if _state(found) == _shown(context.instance):
            return SensorResult(skip_reason="No day has another state than before.")
        return SensorResult(
            # The daemon logs it; a tick that is only previewed logs nothing.
            asset_events=[AssetMaterialization(calendar_key(), metadata=_metadata(found))],
            skip_reason="The calendar was drawn anew.",
        )

    return calendar


def _read(instance: DagsterInstance, now: datetime) -> Calendar:
    return calendar_of(Reading(instance, Settings.of_this_process(), now))


def _metadata(calendar: Calendar) -> dict[str, Any]:
    picture = base64.b64encode(draw(calendar)).decode()
    missing = sum(month.missing for line in calendar.lines for month in line.months)
    return {
        "calendar": MetadataValue.md(f"![Days and tables](data:image/png;base64,{picture})"),
        "in words": MetadataValue.md(as_markdown(calendar)),
        "days missing in a year": missing,
        STATE: _state(calendar),
    }


def _state(calendar: Calendar) -> str:
    """The same for the same calendar."""
    return hashlib.sha256(repr(calendar).encode()).hexdigest()[:16]


def _shown(instance: DagsterInstance) -> str | None:
    event = instance.get_latest_materialization_event(calendar_key())
    shown = event.asset_materialization.metadata.get(STATE) if event and event.asset_materialization else None
    return str(shown.value) if shown else None
