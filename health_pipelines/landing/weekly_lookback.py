"""Once a week a schedule looks back further than every night.

Belongs here: whether that is due tonight, and how far it reaches. Does not belong here: what a night asks for
(`daily_schedule.py`). Nothing is kept beside Dagster's runs: the week's look-back is due until a run of this
week has asked for it, so that a night without a daemon is made up for by the next one.
"""

from collections.abc import Collection
from datetime import date, timedelta

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import RUN_KEY_TAG

# Beside the reasons of `daily_schedule.py`; runs of it have the same tag.
WEEKLY = "weekly look-back"
# A run that failed is made up for, too; but one that fails every time does not ask so widely every night.
_MOST_TRIES = 3


def first_day_tonight(
    instance: DagsterInstance,
    key: AssetKey,
    *,
    tonight: date,
    first: date,
    weekly_days: int,
    landed: Collection[str],
    reason_tag: str,
) -> date:
    """From which day on tonight's run asks: `first`, or a day before it if the weekly look-back is due.

    `weekly_days`: how many days up to yesterday that has. It does not reach back beyond the first of the days
    that `landed` (YYYY-MM-DD): those before it nobody has asked for.
    """
    oldest = min(landed, default=None)
    if oldest is None:
        return first
    wide = max(tonight - timedelta(days=weekly_days), date.fromisoformat(oldest))
    return wide if wide < first and _is_due(instance, key, tonight, reason_tag) else first


def run_key(key: AssetKey, tonight: date) -> str:
    """Of the run that asks tonight for the days up to yesterday, however far it reaches back."""
    return f"{key.path[-1]}:{(tonight - timedelta(days=1)).isoformat()}"


def _is_due(instance: DagsterInstance, key: AssetKey, tonight: date, reason_tag: str) -> bool:
    """Whether nobody has asked since the week began, on Sunday, when a clinic changes least."""
    since_sunday = tonight.isoweekday() % 7
    nights = [run_key(key, tonight - timedelta(days=back)) for back in range(since_sunday + 1)]
    runs = instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: nights, reason_tag: WEEKLY}))
    # Of several places in one instance the run keys may be the same; the assets are not.
    ours = [run for run in runs if key in (run.asset_selection or ())]
    failed = [run for run in ours if run.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)]
    return len(failed) == len(ours) < _MOST_TRIES
