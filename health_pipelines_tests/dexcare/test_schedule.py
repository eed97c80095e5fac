"""The daily schedule: when, for which days, in how many runs."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from dagster import RunRequest, ScheduleDefinition, build_schedule_context

from health_pipelines.dexcare.schedule import daily_schedule
from health_pipelines.settings import SettingError, Settings

CHICAGO = ZoneInfo("America/Chicago")
ZONE = {"HEALTH_TIMEZONE": CHICAGO.key, "HEALTH_START_DATE": "2026-01-01"}


def requests_of(daily: ScheduleDefinition, at: datetime) -> list[tuple[str, str, str]]:
    ticked = daily.evaluate_tick(build_schedule_context(scheduled_execution_time=at))
    requests: list[RunRequest] = list(ticked.run_requests or [])
    return [
        (
            " ".join(key.to_user_string() for key in request.asset_selection or []),
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    ]


def test_it_asks_for_ten_days_up_to_yesterday_in_one_run_per_report() -> None:
    daily = daily_schedule(Settings(ZONE))
    assert (daily.cron_schedule, daily.execution_timezone) == ("15 2 * * *", "America/Chicago")
    assert requests_of(daily, datetime(2026, 3, 20, 2, 15, tzinfo=CHICAGO)) == [
        ("dexcare/avr_virtual_report", "2026-03-10", "2026-03-19"),
        ("dexcare/avr_retail_report", "2026-03-10", "2026-03-19"),
        ("dexcare/avr_provider_booking_report", "2026-03-10", "2026-03-19"),
        ("dexcare/provider_histories", "2026-03-10", "2026-03-19"),
    ]


def test_yesterday_is_the_health_systems_yesterday() -> None:
    daily = daily_schedule(Settings({**ZONE, "DEXCARE_DAILY_AT": "22:30", "DEXCARE_LOOKBACK_DAYS": "1"}))
    assert daily.cron_schedule == "30 22 * * *"
    # In UTC it is the 21st already.
    [virtual, *_] = requests_of(daily, datetime(2026, 3, 20, 22, 30, tzinfo=CHICAGO))
    assert virtual == ("dexcare/avr_virtual_report", "2026-03-19", "2026-03-19")


def test_it_asks_for_no_day_before_the_first() -> None:
    daily = daily_schedule(Settings(ZONE))
    [virtual, *_] = requests_of(daily, datetime(2026, 1, 4, 2, 15, tzinfo=CHICAGO))
    assert virtual == ("dexcare/avr_virtual_report", "2026-01-01", "2026-01-03")
    assert requests_of(daily, datetime(2026, 1, 1, 2, 15, tzinfo=CHICAGO)) == []


def test_a_time_that_is_none_names_the_setting() -> None:
    with pytest.raises(SettingError, match="DEXCARE_DAILY_AT is 'noon'"):
        daily_schedule(Settings({**ZONE, "DEXCARE_DAILY_AT": "noon"}))
