"""The daily schedule of a vendor: yesterday, the trailing days again, and days that are missing.

Belongs here: which days a schedule asks for, and in which runs. Does not belong here: which assets a vendor
has and when they are asked for (each vendor's own module `schedule`), and which night looks back further
(`weekly_lookback.py`).
"""

from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

from dagster import (
    AssetKey,
    AssetSelection,
    DefaultScheduleStatus,
    PartitionKeyRange,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    schedule,
)

from health_pipelines.lake.opening import lake_to_read
from health_pipelines.landing.calendar import ranges
from health_pipelines.landing.holes import holes_in
from health_pipelines.landing.run_tags import DAILY, MISSING, REASON_TAG, asked_for
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.landing.weekly_lookback import WEEKLY, first_day_tonight, run_key
from health_pipelines.settings import Settings


def daily_schedule(
    name: str,
    tables: Mapping[AssetKey, CheckedTable],
    *,
    description: str,
    at: time,
    zone: ZoneInfo,
    first_day: date,
    lookback_days: int,
    one_range: bool,
    not_wanted: Callable[[], str | None],
    weekly_lookback_days: int = 0,
) -> ScheduleDefinition:
    """Ask, every day `at` in `zone`, for the last `lookback_days` days of each asset, and for missing ones.

    `tables`: the assets to materialize, and where what they bring lands. One run per asset, so that what the
    vendor refuses fails alone, and more for days that are missing behind the look-back: as many as
    `HEALTH_CATCH_UP_DAYS`, the oldest first, in ranges without gaps; with `one_range` in one that covers them
    all, where a range costs the vendor no more than its first day. `not_wanted` is asked at every tick and
    says why there is nothing to ask for: a place without this vendor is not red every morning.

    `weekly_lookback_days`: how many days the run of one night a week asks for instead, as far as they landed
    before and nobody has left them out; no more than `lookback_days` means that no night differs.
    """

    @schedule(
        name=name,
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=zone.key,
        # With a name of its own: without one the UI calls its runs jobless.
        target=define_asset_job(f"{name}_run", AssetSelection.assets(*tables)),
        default_status=DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def daily(context: ScheduleEvaluationContext) -> list[RunRequest] | SkipReason:
        if reason := not_wanted():
            return SkipReason(reason)
        tonight = context.scheduled_execution_time.astimezone(zone).date()
        yesterday = tonight - timedelta(days=1)
        if yesterday < first_day:
            return SkipReason("The first day, HEALTH_START_DATE, is not over.")
        settings = Settings.of_this_process()
        lake, requests = lake_to_read(settings), []
        for key, checked in tables.items():
            # Of days that were removed on purpose (`erase --before`) nothing is asked for.
            kept_from = date.fromisoformat(lake.kept_from(checked.table) or first_day.isoformat())
            first = max(first_day, kept_from, yesterday - timedelta(days=lookback_days - 1))
            if first > yesterday:
                continue
            once_there = context.instance.get_materialized_partitions(key)
            again_from = first_day_tonight(
                context.instance,
                key,
                tonight=tonight,
                first=first,
                weekly_days=weekly_lookback_days,
                landed=[day for day in lake.days(checked.table) if day >= first_day.isoformat()],
                reason_tag=REASON_TAG,
            )
            holes = holes_in(lake, checked, settings, before=again_from, once_there=once_there)
            missing = [day for day in holes.days if first_day.isoformat() <= day < again_from.isoformat()]
            for sentence in holes.sentences:
                context.log.info(f"{checked.table}: {sentence}.")
            asked = missing[: settings.catch_up_days]
            found = ranges(asked, widest_gap=len(missing) * 366 if one_range else 0)
            requests += [_request(key, checked, tonight, one, MISSING) for one in found]
            wider = [
                day.isoformat()
                for day in _days(again_from, first)
                if not any(one.covers(str(checked.table), day) for one in settings.days_left_out)
            ]
            nightly = [day.isoformat() for day in _days(first, tonight)]
            reason = WEEKLY if wider else DAILY
            requests += [
                _request(key, checked, tonight, one, reason)
                for one in ranges([*wider, *nightly], widest_gap=0)
            ]
        return requests

    return daily


def _days(first: date, end: date) -> list[date]:
    """From `first` to the day before `end`."""
    return [first + timedelta(days=number) for number in range((end - first).days)]


def _request(
    key: AssetKey, checked: CheckedTable, tonight: date, days: PartitionKeyRange, reason: str
) -> RunRequest:
    # As long as one night has one look-back: the key that other versions gave it.
    wish = "" if days.end == (tonight - timedelta(days=1)).isoformat() else f":{days.start}"
    return RunRequest(
        run_key=f"{run_key(key, tonight)}{wish}",
        asset_selection=[key],
        # The steps tell what checks say; planned, those of a day that did not land would be blank.
        asset_check_keys=[],
        tags=asked_for([checked.table], days.start, days.end, reason),
    )
