"""The project in this process: its assets run and its sensor ticks as the daemon would have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetKey,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    SensorResult,
    SkipReason,
    build_sensor_context,
    in_process_executor,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.dexcare.checks import report_checks
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.vendor import VENDOR
from health_pipelines.dexcare.visits.assets import visit_report_assets
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.dexcare.visits.sensor import report_sensor
from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.checks import table_checks
from health_pipelines.landing.freshness import Expectation
from health_pipelines.settings import Settings
from health_pipelines.warehouse.storage import WarehouseStorage

TICK = timedelta(seconds=15)
VIRTUAL, RETAIL, PROVIDER_BOOKING = VISIT_REPORTS


@dataclass
class Project:
    """Steps are real, the instance is real (SQLite in memory or a folder); only the daemon is played."""

    instance: DagsterInstance

    def __post_init__(self) -> None:
        settings = Settings.of_this_process()
        self.cursor: str | None = None
        self.passed = timedelta()
        self.sensor = report_sensor(settings.dexcare_poll_seconds, lambda: datetime.now(UTC) + self.passed)
        days = daily_partitions(settings.start_date, settings.timezone)
        self.definitions = Definitions(
            assets=visit_report_assets(days),
            asset_checks=[*report_checks(), *table_checks(VENDOR.tables(), days, Expectation.of(settings))],
            sensors=[self.sensor],
            resources={"dexcare": DexCareResource(), "storage": WarehouseStorage()},
            executor=in_process_executor,
        )

    def materialize(
        self,
        assets: Sequence[AssetKey],
        first: str,
        last: str | None = None,
        tags: Mapping[str, str] | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> ExecuteInProcessResult:
        """A range run, as a person or the daemon starts it; failures are in the result."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=list(assets),
            instance=self.instance,
            run_config=run_config,
            raise_on_error=False,
            tags={
                ASSET_PARTITION_RANGE_START_TAG: first,
                ASSET_PARTITION_RANGE_END_TAG: last or first,
                **(tags or {}),
            },
        )

    def tick(self, *, after: timedelta = TICK) -> SensorResult | SkipReason:
        """One evaluation of the sensor, some time after the last; nothing is launched."""
        self.passed += after
        context = build_sensor_context(
            instance=self.instance,
            repository_def=self.definitions.get_repository_def(),
            cursor=self.cursor,
        )
        result = self.sensor(context, dexcare=DexCareResource(), storage=WarehouseStorage())
        assert isinstance(result, SensorResult | SkipReason)
        self.cursor = result.cursor if isinstance(result, SensorResult) else context.cursor
        return result

    def tick_and_run(self, *, after: timedelta = TICK) -> list[ExecuteInProcessResult]:
        """One evaluation, and every run that it asks for."""
        result = self.tick(after=after)
        if isinstance(result, SkipReason):
            return []
        return [
            self.materialize(
                request.asset_selection or [],
                request.tags[ASSET_PARTITION_RANGE_START_TAG],
                request.tags[ASSET_PARTITION_RANGE_END_TAG],
                request.tags,
                request.run_config,
            )
            for request in result.run_requests or []
        ]

    def landed(self, asset: AssetKey) -> list[str]:
        """The days of all materializations of an asset, oldest event first."""
        records = self.instance.fetch_materializations(asset, limit=1000, ascending=True).records
        return [str(record.partition_key) for record in records]

    def ledger(self) -> Ledger:
        return Ledger(self.instance, VIRTUAL.request_key)


def failure_of(result: ExecuteInProcessResult) -> str:
    """The sentence that the UI shows for the run's first failed step."""
    event = next(event for event in result.all_events if event.is_step_failure)
    metadata = event.step_failure_data.user_failure_data
    assert metadata is not None, "a Failure with a description, not just any exception"
    return metadata.description or ""


def logged(result: ExecuteInProcessResult, instance: DagsterInstance) -> str:
    """Everything the run logged."""
    return "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))
