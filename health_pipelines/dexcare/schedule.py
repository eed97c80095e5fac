"""When DexCare is asked, and for what.

Belongs here: the assets and the hour. Does not belong here: which days (`landing/daily_schedule.py`), and
the asking.
"""

from dagster import ScheduleDefinition

from health_pipelines.dexcare.checks import checked_histories, checked_report
from health_pipelines.dexcare.tables import VISIT_REPORTS, provider_histories_key
from health_pipelines.landing.daily_schedule import daily_schedule
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import DEXCARE_BASE_URL


def dexcare_daily(settings: Settings) -> ScheduleDefinition:
    """Ask for the last `DEXCARE_LOOKBACK_DAYS` days of everything, at `DEXCARE_DAILY_AT`; once a week for
    `DEXCARE_WEEKLY_LOOKBACK_DAYS`.
    """
    return daily_schedule(
        "dexcare_daily",
        {
            **{report.request_key: checked_report(report) for report in VISIT_REPORTS},
            provider_histories_key(): checked_histories(),
        },
        description="Asks DexCare for yesterday and the trailing days of all reports.",
        at=settings.dexcare_daily_at,
        zone=settings.timezone,
        first_day=settings.start_date,
        lookback_days=settings.dexcare_lookback_days,
        # Of provider histories, too: nobody says that an event is there at once, and a day is some pages.
        weekly_lookback_days=settings.dexcare_weekly_lookback_days,
        # Each day is a report of its own.
        one_range=False,
        not_wanted=lambda: (
            None if Settings.of_this_process().has_dexcare else f"{DEXCARE_BASE_URL.name} is not set."
        ),
    )
