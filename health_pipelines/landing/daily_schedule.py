"""The daily schedule of a vendor: yesterday, and the trailing days again.

Belongs here: which days a schedule asks for, and in which runs. Does not belong here: which assets a vendor
has and when they are asked for (each vendor's `schedule.py`).
"""

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

from dagster import (
    AssetKey,
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG


def daily_schedule(
    name: str,
    keys: Sequence[AssetKey],
    *,
    description: str,
    at: time,
    zone: ZoneInfo,
    first_day: date,
    lookback_days: int,
    not_wanted: Callable[[], str | None],
) -> ScheduleDefinition:
    """Ask, every day `at` in `zone`, for the last `lookback_days` days of each asset.

    One run per asset, so that what the vendor refuses fails alone. `not_wanted` is asked at every tick and
    says why there is nothing to ask for: a place without this vendor is not red every morning.
    """

    @schedule(
        name=name,
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=zone.key,
        target=AssetSelection.assets(*keys),
        default_status=DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def daily(context: ScheduleEvaluationContext) -> list[RunRequest] | SkipReason:
        if reason := not_wanted():
            return SkipReason(reason)
        yesterday = context.scheduled_execution_time.astimezone(zone).date() - timedelta(days=1)
        if yesterday < first_day:
            return SkipReason("The first day, HEALTH_START_DATE, is not over.")
        first = max(first_day, yesterday - timedelta(days=lookback_days - 1))
        return [
            RunRequest(
                run_key=f"{key.path[-1]}:{yesterday.isoformat()}",
                asset_selection=[key],
                # The steps tell what checks say; planned, those of a day that did not land would be blank.
                asset_check_keys=[],
                tags={
                    ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
                    ASSET_PARTITION_RANGE_END_TAG: yesterday.isoformat(),
                },
            )
            for key in keys
        ]

    return daily
