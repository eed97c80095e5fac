"""The daily schedule of each vendor: when, for which days, in how many runs, and when not at all."""

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from dagster import RunRequest, ScheduleDefinition, build_schedule_context, instance_for_test
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.drchrono.schedule import drchrono_daily
from health_pipelines.settings import SettingError, Settings

CHICAGO = ZoneInfo("America/Chicago")
ZONE = {"HEALTH_TIMEZONE": CHICAGO.key, "HEALTH_START_DATE": "2026-01-01"}
NIGHT = datetime(2026, 3, 20, 2, 15, tzinfo=CHICAGO)

Schedule = Callable[[Settings], ScheduleDefinition]


@pytest.fixture(autouse=True)
def both_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is to call both."""
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://dexcare.example.com")
    monkeypatch.setenv("DRCHRONO_ACCESS_TOKEN", "token")


def tick(daily: ScheduleDefinition, at: datetime) -> ScheduleExecutionData:
    with instance_for_test() as nothing_known:
        return daily.evaluate_tick(build_schedule_context(nothing_known, scheduled_execution_time=at))


def requests_of(daily: ScheduleDefinition, at: datetime) -> list[tuple[str, str, str]]:
    ticked = tick(daily, at)
    requests: list[RunRequest] = list(ticked.run_requests or [])
    return [
        (
            " ".join(key.to_user_string() for key in request.asset_selection or []),
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    ]


def why_not(daily: ScheduleDefinition) -> str | None:
    return tick(daily, NIGHT).skip_message


def test_dexcare_is_asked_for_ten_days_up_to_yesterday_in_one_run_per_report() -> None:
    daily = dexcare_daily(Settings(ZONE))
    assert (daily.cron_schedule, daily.execution_timezone) == ("15 2 * * *", "America/Chicago")
    assert requests_of(daily, NIGHT) == [
        ("dexcare/avr_virtual_report", "2026-03-10", "2026-03-19"),
        ("dexcare/avr_retail_report", "2026-03-10", "2026-03-19"),
        ("dexcare/avr_provider_booking_report", "2026-03-10", "2026-03-19"),
        ("dexcare/provider_histories", "2026-03-10", "2026-03-19"),
    ]


def test_drchrono_is_swept_for_three_days_up_to_yesterday_in_one_run_per_record_type() -> None:
    daily = drchrono_daily(Settings(ZONE))
    assert (daily.cron_schedule, daily.execution_timezone) == ("15 3 * * *", "America/Chicago")
    assert requests_of(daily, NIGHT) == [
        (f"drchrono/{name}", "2026-03-17", "2026-03-19")
        for name in (
            "appointments",
            "patients",
            "line_items",
            "transactions",
            "prescription_messages",
            "eligibility_checks",
            "clinical_notes",
            "clinical_note_field_values",
            "line_item_deletions",
        )
    ]


@pytest.mark.parametrize(("schedule", "prefix"), [(dexcare_daily, "DEXCARE"), (drchrono_daily, "DRCHRONO")])
def test_yesterday_is_the_health_systems_yesterday(schedule: Schedule, prefix: str) -> None:
    settings = Settings({**ZONE, f"{prefix}_DAILY_AT": "22:30", f"{prefix}_LOOKBACK_DAYS": "1"})
    daily = schedule(settings)
    assert daily.cron_schedule == "30 22 * * *"
    # In UTC it is the 21st already.
    requested = requests_of(daily, datetime(2026, 3, 20, 22, 30, tzinfo=CHICAGO))
    assert {(first, last) for _, first, last in requested} == {("2026-03-19", "2026-03-19")}


@pytest.mark.parametrize("schedule", [dexcare_daily, drchrono_daily])
def test_it_asks_for_no_day_before_the_first(schedule: Schedule) -> None:
    daily = schedule(Settings(ZONE))
    [(_, *days), *_] = requests_of(daily, datetime(2026, 1, 3, 2, 15, tzinfo=CHICAGO))
    assert days == ["2026-01-01", "2026-01-02"]
    assert requests_of(daily, datetime(2026, 1, 1, 2, 15, tzinfo=CHICAGO)) == []


@pytest.mark.parametrize(
    ("schedule", "unset", "reason"),
    [
        (dexcare_daily, "DEXCARE_BASE_URL", "DEXCARE_BASE_URL is not set."),
        (
            drchrono_daily,
            "DRCHRONO_ACCESS_TOKEN",
            "Neither DRCHRONO_ACCESS_TOKEN nor DRCHRONO_CLIENT_ID is set.",
        ),
    ],
)
def test_a_place_without_the_vendor_skips_and_says_why(
    schedule: Schedule, unset: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(unset)
    monkeypatch.delenv("DRCHRONO_CLIENT_ID", raising=False)
    daily = schedule(Settings(ZONE))
    assert requests_of(daily, NIGHT) == []
    assert why_not(daily) == reason


def test_an_application_that_renews_its_own_tokens_is_swept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRCHRONO_ACCESS_TOKEN")
    monkeypatch.setenv("DRCHRONO_CLIENT_ID", "application")
    assert requests_of(drchrono_daily(Settings(ZONE)), NIGHT)


@pytest.mark.parametrize(("schedule", "prefix"), [(dexcare_daily, "DEXCARE"), (drchrono_daily, "DRCHRONO")])
def test_a_time_that_is_none_names_the_setting(schedule: Schedule, prefix: str) -> None:
    with pytest.raises(SettingError, match=f"{prefix}_DAILY_AT is 'noon'"):
        schedule(Settings({**ZONE, f"{prefix}_DAILY_AT": "noon"}))
