"""The project in this process, on a hospital's lake: its warehouse step runs and its sensor ticks.

Belongs here: playing Dagster's daemon. Does not belong here: what has landed (`hospital.py`, the tests).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    DagsterInstance,
    ExecuteInProcessResult,
    RunRequest,
    SkipReason,
    build_sensor_context,
)

from health_pipelines.definitions import build_definitions
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.settings import Settings
from health_pipelines.warehouse.assets import warehouse_keys
from health_pipelines.warehouse.sensor import warehouse_sensor
from health_pipelines.warehouse.storage import WarehouseStorage


class Project:
    """Steps are real, the instance is real; the clock of the sensor is `passed` ahead."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance
        self.passed = timedelta()
        self.definitions = build_definitions(Settings.of_this_process())
        self.sensor = warehouse_sensor(
            warehouse_keys(), is_on=True, clock=lambda: datetime.now(UTC) + self.passed
        )

    def materialize(self, tags: Mapping[str, str] | None = None) -> ExecuteInProcessResult:
        """As a person or the sensor starts it; a failure is in the result."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=warehouse_keys(), instance=self.instance, raise_on_error=False, tags=tags
        )

    def tick(self) -> RunRequest | str:
        """The request, or why there is none."""
        context = build_sensor_context(
            instance=self.instance, resources={"storage": WarehouseStorage()}, definitions=self.definitions
        )
        said = self.sensor(context)
        if isinstance(said, SkipReason):
            return said.skip_message or ""
        assert isinstance(said, RunRequest)
        return said

    def check(self, table: str, name: str) -> AssetCheckEvaluation:
        """What Dagster shows of a check of `current.<table>`."""
        key = AssetCheckKey(asset_key("current", table), name)
        [record] = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
        evaluation = record.evaluation
        assert isinstance(evaluation, AssetCheckEvaluation)
        return evaluation


def materialized(result: ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of every materialization of a run, by `<schema>.<table>`."""
    return {
        ".".join(event.asset_key.path[-2:]): {
            label: value.value for label, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
