"""The sensor that has the warehouse built when something has landed.

Belongs here: one tick, from the lake's files and Dagster's runs to a run request. Does not belong here: the
decision (`rebuilds.py`), and the building (`build.py`). What was built when is read from the runs; there is
no cursor, and nothing is asked of a vendor.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from dagster import (
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    sensor,
)
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import MAX_RETRIES_TAG, PRIORITY_TAG

from health_pipelines.landing.run_claims import is_under_way
from health_pipelines.landing.run_tags import LANDED, REASON_TAG
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.rebuilds import Attempts, Build, Wait, decide
from health_pipelines.warehouse.storage import WarehouseStorage

SENSOR_NAME = "warehouse_sensor"
# On every run that the sensor starts: whose warehouse, of which state of the lake, the how-manieth in a row.
PLACE_TAG, STATE_TAG, NUMBER_TAG = "warehouse/place", "warehouse/state", "warehouse/number"
_INTERVAL_SECONDS, _DEAR_INTERVAL_SECONDS = 15, 120
_UNFINISHED = [status for status in DagsterRunStatus if status not in FINISHED_STATUSES]


def warehouse_sensor(
    assets: Sequence[AssetKey],
    *,
    is_on: bool,
    is_listing_dear: bool = False,
    clock: Callable[[], datetime] = utc_now,
) -> SensorDefinition:
    """`assets`: those of the step that builds. `is_on`: whether it runs before somebody switches it.

    `is_listing_dear`: as of a bucket, whose calls cost money; it is listed less often then.
    """

    @sensor(
        name=SENSOR_NAME,
        # With a name of its own: without one the UI calls its runs jobless.
        target=define_asset_job("warehouse_run", AssetSelection.assets(*assets)),
        minimum_interval_seconds=_DEAR_INTERVAL_SECONDS if is_listing_dear else _INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING if is_on else DefaultSensorStatus.STOPPED,
        description="Has the warehouse built when something has landed. Asks no vendor.",
    )
    def warehouse(context: SensorEvaluationContext, storage: WarehouseStorage) -> RunRequest | SkipReason:
        instance, now = context.instance, clock()
        if run_id := run_under_way(instance, storage, assets, now):
            return SkipReason(f"A build is under way (run {run_id[:8]}).")
        try:
            backlog = storage.warehouse.backlog()
        except WarehouseError as error:
            return SkipReason(str(error))
        place = Settings.of_this_process().asset_prefix or "health_pipelines"
        decided = decide(
            now,
            backlog,
            _last_build(instance, place),
            attempts_with(instance, {PLACE_TAG: place, STATE_TAG: backlog.state}),
        )
        if isinstance(decided, Wait):
            return SkipReason(decided.reason)
        return RunRequest(
            # Without it the run would not say what it materializes, which the next tick looks for.
            asset_selection=list(assets),
            tags={
                PLACE_TAG: place,
                STATE_TAG: backlog.state,
                NUMBER_TAG: str(decided.number),
                REASON_TAG: LANDED,
                # This sensor tries again by itself.
                MAX_RETRIES_TAG: "0",
                # It takes seconds and should not wait behind a queue of landings.
                PRIORITY_TAG: "1",
            },
        )

    return warehouse


def run_under_way(
    instance: DagsterInstance, storage: WarehouseStorage, assets: Sequence[AssetKey], now: datetime
) -> str | None:
    """The id of an unfinished run of any of those assets, whoever started it.

    A run without a process does not count.
    """
    starts_within = Settings.of_this_process().run_starts_within
    for record in instance.get_run_records(RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if (run.asset_selection or frozenset()).isdisjoint(assets):
            continue
        if is_under_way(record, storage.run_claims, now=now, starts_within=starts_within):
            return run.run_id
    return None


def _last_build(instance: DagsterInstance, place: str) -> Build | None:
    records = instance.get_run_records(RunsFilter(tags={PLACE_TAG: place}), limit=1)
    return next((Build(_ended_at(one), int(one.dagster_run.tags[NUMBER_TAG])) for one in records), None)


def attempts_with(instance: DagsterInstance, tags: Mapping[str, str]) -> Attempts | None:
    """The runs with these tags that have ended."""
    records = instance.get_run_records(
        RunsFilter(tags=dict(tags), statuses=list(FINISHED_STATUSES)), limit=50
    )
    ended = [_ended_at(record) for record in records]
    return Attempts(len(ended), max(ended)) if ended else None


def _ended_at(record: RunRecord) -> datetime:
    return record.update_timestamp.astimezone(UTC)
