"""When DrChrono is swept, and for what.

Belongs here: the assets and the hour. Does not belong here: which days (`landing/daily_schedule.py`), and
the sweep.
"""

from dagster import ScheduleDefinition

from health_pipelines.drchrono.checks import checked_records
from health_pipelines.drchrono.tables import SWEPT, key_of
from health_pipelines.landing.daily_schedule import daily_schedule
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import DRCHRONO_ACCESS_TOKEN, DRCHRONO_CLIENT_ID


def drchrono_daily(settings: Settings) -> ScheduleDefinition:
    """Sweep the last `DRCHRONO_LOOKBACK_DAYS` days of every record type, at `DRCHRONO_DAILY_AT`."""
    return daily_schedule(
        "drchrono_daily",
        {key_of(record_type): checked_records(record_type) for record_type in SWEPT},
        description="Sweeps yesterday and the trailing days of all DrChrono records.",
        at=settings.drchrono_daily_at,
        zone=settings.timezone,
        first_day=settings.start_date,
        lookback_days=settings.drchrono_lookback_days,
        # A sweep brings all that changed since its first day, however many days are to land.
        one_range=True,
        not_wanted=lambda: (
            None
            if Settings.of_this_process().has_drchrono
            else f"Neither {DRCHRONO_ACCESS_TOKEN.name} nor {DRCHRONO_CLIENT_ID.name} is set."
        ),
    )
