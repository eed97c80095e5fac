"""The sensor that puts right what Dagster's record cannot know, and removes what nobody goes on with.

Belongs here: one tick. Does not belong here: which runs are dead (`run_claims.py`), which retries were lost
(`lost_retries.py`), which backfills ended well (`unchanged_backfills.py`), and what a vendor's runs leave on
disk (`forget` of its `vendor` module).
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from dagster import (
    AssetKey,
    AssetSelection,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    define_asset_job,
    sensor,
)

from health_pipelines.landing.dagster_names import materializes_only
from health_pipelines.landing.lost_retries import requests_for_lost_retries
from health_pipelines.landing.run_claims import end_dead_runs
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.unchanged_backfills import settle_backfills
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now

SENSOR_NAME = "housekeeping"
_INTERVAL_SECONDS = 15
# A daemon that was down for longer finds older backfills as they are.
_LONGEST_BACK = timedelta(days=30)
# Between the end of a run and what Dagster makes of its retry. Nothing is asked for again twice.
_OVERLAP = timedelta(minutes=30)


def housekeeping_sensor(
    own_keys: Collection[AssetKey],
    landing_keys: Collection[AssetKey],
    keys_by_day: Collection[AssetKey],
    forget: Sequence[Callable[[datetime], Sequence[str]]] = (),
    clock: Callable[[], datetime] = utc_now,
) -> SensorDefinition:
    """Ends runs whose process is gone, asks again for what Dagster did not retry, and lets backfills of days
    that did not change end well.

    `own_keys`: all assets of this place, whose steps claim their runs. `landing_keys`: those of them whose
    days can be found unchanged. `keys_by_day`: those that a person or a schedule asks for by days. `forget`:
    of each vendor (`landing/vendor.py`).
    """

    @sensor(
        name=SENSOR_NAME,
        # With a name of its own: without one the UI calls its runs jobless.
        target=define_asset_job("lost_retry_run", AssetSelection.assets(*keys_by_day)),
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Ends runs whose process is gone; asks again for what Dagster did not retry; lets "
        "backfills of days that did not change end well; removes pages of sweeps that nobody goes on with. "
        "Asks no vendor.",
    )
    def housekeeping(context: SensorEvaluationContext, storage: Storage) -> SensorResult:
        now = clock()
        dead = end_dead_runs(
            context.instance,
            storage.run_claims,
            is_ours=partial(materializes_only, own_keys),
            now=now,
            starts_within=Settings.of_this_process().run_starts_within,
        )
        for run_id in dead:
            context.log.warning(f"Run {run_id} had no process any more and was marked as failed.")
        last_tick = datetime.fromisoformat(context.cursor) if context.cursor else now - _LONGEST_BACK
        settled = settle_backfills(
            context.instance, landing_keys, created_after=now - _LONGEST_BACK, ended_after=last_tick
        )
        for backfill_id in settled:
            context.log.info(
                f"Backfill {backfill_id} found days as they had landed before: they did not fail."
            )
        again = requests_for_lost_retries(
            context.instance,
            is_ours=partial(materializes_only, keys_by_day),
            sensor_name=SENSOR_NAME,
            updated_after=last_tick - _OVERLAP,
        )
        # Last: a disk that cannot be written must not keep runs from being ended.
        forgotten = [what for one in forget for what in one(now)]
        for what in forgotten:
            context.log.info(f"Removed {what}, which no run goes on with.")
        cursor = now.astimezone(UTC).isoformat()
        if again:
            return SensorResult(again, cursor=cursor)
        return SensorResult(cursor=cursor, skip_reason=_said(dead, settled, forgotten))

    return housekeeping


def _said(dead: Collection[str], settled: Collection[str], forgotten: Collection[str]) -> str:
    if not dead and not settled and not forgotten:
        return "All is in order."
    return (
        f"Runs without a process: {len(dead)}. Backfills with days that did not change: {len(settled)}. "
        f"Sweeps given up: {len(forgotten)}."
    )
