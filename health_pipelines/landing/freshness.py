"""Whether the newest day that is expected has landed: red by time alone, green by that very day alone.

Belongs here: which day is expected when, the verdict on a table, and the sensor that tells Dagster. Does not
belong here: which tables there are. Nothing here asks a vendor or looks into the lake: a day has landed when
its partition was materialized.

Dagster's own freshness policies go by the newest materialization of an asset, whatever its partition: a
backfill of old days would turn them green.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    asset_check,
    sensor,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now

if TYPE_CHECKING:
    # Loads what speaks to databases, which the definitions do not.
    from dagster._core.storage.event_log.base import AssetRecord

NEWEST_DAY_HAS_LANDED = "newest_day_has_landed"
DESCRIPTION = (
    "The newest day that is expected has landed: yesterday, from HEALTH_EXPECTED_BY on; before that the day "
    "before. Other days do not count."
)
# For an asset's page.
FRESHNESS = "the check `newest_day_has_landed` is red if yesterday is not there at HEALTH_EXPECTED_BY."
SENSOR_NAME = "freshness"
EXPECTED_DAY = "expected_day"
_INTERVAL_SECONDS = 600


@dataclass(frozen=True)
class Expectation:
    """From `by` on, a time of day in `zone`, yesterday is expected; nothing before `first_day` ever is."""

    zone: ZoneInfo
    by: time
    first_day: date

    @classmethod
    def of(cls, settings: Settings) -> "Expectation":
        """Raises `SettingError` for a setting that cannot be understood."""
        return cls(settings.timezone, settings.expected_by, settings.start_date)

    def newest_day(self, now: datetime) -> date | None:
        """The newest day that should have landed at `now` (aware); None if none should have."""
        today = now.astimezone(self.zone).date()
        # As instants: a time of day that the clocks repeat must not make yesterday unexpected again.
        is_time = now.astimezone(UTC) >= datetime.combine(today, self.by, self.zone).astimezone(UTC)
        day = today - timedelta(days=1 if is_time else 2)
        return day if day >= self.first_day else None


def freshness_evaluations(
    instance: DagsterInstance, assets: Sequence[AssetKey], expectation: Expectation, now: datetime
) -> list[AssetCheckEvaluation]:
    """The evaluation of each asset at `now` (aware): one query for all assets, and one or two for each."""
    day = expectation.newest_day(now)
    records = {record.asset_entry.asset_key: record for record in instance.get_asset_records(list(assets))}
    return [_evaluation(instance, asset, records.get(asset), day) for asset in assets]


def freshness_checks(assets: Sequence[AssetKey], expectation: Expectation) -> list[AssetChecksDefinition]:
    """The check of each asset, to be executed by a person; otherwise the sensor tells what it says."""
    return [_freshness_check(asset, expectation) for asset in assets]


def freshness_sensor(
    assets: Sequence[AssetKey],
    expectation: Expectation,
    clock: Callable[[], datetime] = utc_now,
    others: Callable[[DagsterInstance, datetime], list[AssetCheckEvaluation]] = lambda *_: [],
) -> SensorDefinition:
    """Evaluates the check of every asset, and logs what is news to Dagster.

    `others`: evaluations of more checks that time alone can turn, at a time (aware).
    """

    @sensor(
        name=SENSOR_NAME,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Looks whether the newest expected day of every table has landed. Asks no vendor.",
    )
    def freshness(context: SensorEvaluationContext) -> SensorResult:
        now = clock()
        evaluations = freshness_evaluations(context.instance, assets, expectation, now)
        late = [one.asset_key.to_user_string() for one in evaluations if not one.passed]
        more = others(context.instance, now)
        lacking = [one.asset_key.to_user_string() for one in more if not one.passed]
        said = f"Late: {', '.join(late)}." if late else "Every table has its newest expected day."
        return SensorResult(
            # The daemon logs them; a tick that is only previewed logs nothing.
            asset_events=_news(context.instance, [*evaluations, *more]),
            skip_reason=said + (f" With missing days: {', '.join(lacking)}." if lacking else ""),
        )

    return freshness


def _evaluation(
    instance: DagsterInstance, asset: AssetKey, record: "AssetRecord | None", day: date | None
) -> AssetCheckEvaluation:
    newest_event = record.asset_entry.last_materialization_record if record else None
    passed, severity, description = _verdict(
        instance, asset, day.isoformat() if day else None, ever=newest_event is not None
    )
    return AssetCheckEvaluation(
        asset_key=asset,
        check_name=NEWEST_DAY_HAS_LANDED,
        passed=passed,
        severity=severity,
        description=description,
        metadata={EXPECTED_DAY: day.isoformat() if day else "none"},
        # Dagster shows an evaluation only until something newer is materialized.
        target_materialization_data=newest_event
        and AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest_event.storage_id,
            run_id=newest_event.event_log_entry.run_id,
            timestamp=newest_event.event_log_entry.timestamp,
        ),
    )


def _verdict(
    instance: DagsterInstance, asset: AssetKey, day: str | None, *, ever: bool
) -> tuple[bool, AssetCheckSeverity, str]:
    if day is None:
        return True, AssetCheckSeverity.ERROR, "No day is expected yet; the first is HEALTH_START_DATE."
    if instance.get_latest_storage_id_by_partition(asset, DagsterEventType.ASSET_MATERIALIZATION, {day}):
        return True, AssetCheckSeverity.ERROR, f"{day} has landed."
    if not ever:
        # A table that nobody has asked for, or that the tenant does not have, is no alarm.
        return False, AssetCheckSeverity.WARN, f"Nothing has landed yet; {day} is expected."
    newest = max(instance.get_materialized_partitions(asset), default="none")
    return False, AssetCheckSeverity.ERROR, f"{day} is expected and has not landed; the newest is {newest}."


def _news(
    instance: DagsterInstance, evaluations: Sequence[AssetCheckEvaluation]
) -> list[AssetCheckEvaluation]:
    """Those that differ from what Dagster shows: the log does not grow with every tick."""
    keys = [one.asset_check_key for one in evaluations]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    shown = {key: record.evaluation for key, record in records.items()}
    return [one for one in evaluations if _told(shown.get(one.asset_check_key)) != _told(one)]


def _told(evaluation: AssetCheckEvaluation | None) -> tuple[object, ...] | None:
    # What a run has planned and not yet evaluated is in the same place, and tells nothing.
    if not isinstance(evaluation, AssetCheckEvaluation):
        return None
    target = evaluation.target_materialization_data
    return (
        evaluation.passed,
        evaluation.severity,
        # Somebody may have reported an evaluation by hand.
        {name: value.value for name, value in evaluation.metadata.items()},
        target.storage_id if target else None,
    )


def result_of(evaluation: AssetCheckEvaluation) -> AssetCheckResult:
    """What the step of a check gives Dagster that says what an evaluation says."""
    return AssetCheckResult(
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata=evaluation.metadata,
    )


def _freshness_check(asset: AssetKey, expectation: Expectation) -> AssetChecksDefinition:
    @asset_check(asset=asset, name=NEWEST_DAY_HAS_LANDED, description=DESCRIPTION)
    def check(context: AssetCheckExecutionContext) -> AssetCheckResult:
        [evaluation] = freshness_evaluations(context.instance, [asset], expectation, utc_now())
        return result_of(evaluation)

    return check
