"""The daily schedule: yesterday's data, and the trailing days again because they change afterwards.

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

from health_pipelines.dexcare.histories_step import ASSET_KEY as PROVIDER_HISTORIES_KEY
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.settings import Settings

ASKED_DAILY = (*(report.request_key for report in VISIT_REPORTS), PROVIDER_HISTORIES_KEY)


def daily_schedule(settings: Settings) -> ScheduleDefinition:
    """Ask for the last `DEXCARE_LOOKBACK_DAYS` days of everything, at `DEXCARE_DAILY_AT`.

    One run per report type and one for provider histories, so that what the tenant refuses fails alone.
    """
    zone, first_day, at = settings.timezone, settings.start_date, settings.dexcare_daily_at

    @schedule(
        name="dexcare_daily",
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=zone.key,
        target=AssetSelection.assets(*ASKED_DAILY),
        default_status=DefaultScheduleStatus.RUNNING,
        description="Asks DexCare for yesterday and the trailing days of all reports.",
    )
    def dexcare_daily(context: ScheduleEvaluationContext) -> list[RunRequest]:
        yesterday = context.scheduled_execution_time.astimezone(zone).date() - timedelta(days=1)
        if yesterday < first_day:
            return []
        first = max(first_day, yesterday - timedelta(days=settings.dexcare_lookback_days - 1))
        return [
            RunRequest(
                run_key=f"{asset.path[-1]}:{yesterday.isoformat()}",
                asset_selection=[asset],
                tags={
                    ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
                    ASSET_PARTITION_RANGE_END_TAG: yesterday.isoformat(),
                },
            )
            for asset in ASKED_DAILY
        ]

    return dexcare_daily
