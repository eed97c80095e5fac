"""The daily schedule: yesterday's reports, and the trailing days again because visits change afterwards.

Belongs here: when and for which days reports are asked for. Does not belong here: the asking.
"""

from datetime import timedelta

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    schedule,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.settings import Settings

# After midnight, so that the day is over, and after the hours that clocks skip or repeat.
DAILY_AT = "15 3 * * *"


def daily_schedule(settings: Settings) -> ScheduleDefinition:
    """Ask for the last `DEXCARE_LOOKBACK_DAYS` days of all visit reports, in one run."""
    zone, first_day = settings.timezone, settings.start_date

    @schedule(
        name="dexcare_daily_visits",
        cron_schedule=DAILY_AT,
        execution_timezone=zone.key,
        target=AssetSelection.assets(*(report.request_key for report in VISIT_REPORTS)),
        default_status=DefaultScheduleStatus.RUNNING,
        description="Asks DexCare for yesterday and the trailing days of all visit reports.",
    )
    def dexcare_daily_visits(context: ScheduleEvaluationContext) -> RunRequest:
        yesterday = context.scheduled_execution_time.astimezone(zone).date() - timedelta(days=1)
        first = max(first_day, yesterday - timedelta(days=settings.dexcare_lookback_days - 1))
        return RunRequest(
            tags={
                ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
                ASSET_PARTITION_RANGE_END_TAG: yesterday.isoformat(),
            }
        )

    return dexcare_daily_visits
