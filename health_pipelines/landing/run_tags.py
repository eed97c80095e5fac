"""What a run is about, as tags that Dagster's list of runs can be filtered by.

Belongs here: the names and values of those tags. Does not belong here: which runs there are. Schedules and
sensors tag the runs that they ask for; what a person or a backfill starts is tagged by its first step.

A run may be for several tables and sources, and a tag has one value, by which the list filters: so each
table and each source is a tag of its own, `table/avr_virtual: true`.
"""

from collections.abc import Iterable, Mapping

from dagster import AssetExecutionContext
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    SCHEDULE_NAME_TAG,
)

from health_pipelines.lake.partitions import Table

# Why a run was started.
REASON_TAG = "health_pipelines/reason"
DAILY, MISSING, BACKFILL, SCHEDULED, BY_HAND = "daily", "missing days", "backfill", "schedule", "by hand"
# By a sensor: a report is ready, is asked for again, is given up; something landed; something was built.
READY, RESTART, GIVEN_UP, LANDED, BUILT = "report is ready", "restart", "given up", "new data", "new build"
# By the housekeeping sensor.
LOST_RETRY = "lost retry"
# Its days, in words: `2026-03-01 to 2026-03-10`.
DAYS_TAG = "health_pipelines/days"
_TRUE = "true"


def days_of(tags: Mapping[str, str]) -> str:
    """The days of a run with these tags, in words; empty if it is for none in particular."""
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG) or ""
    last = tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
    return first if first == last else f"{first} to {last}"


def asked_for(tables: Iterable[Table], first: str, last: str, reason: str) -> dict[str, str]:
    """The tags of a run over the days from `first` to `last` (YYYY-MM-DD)."""
    days = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    return days | {REASON_TAG: reason, DAYS_TAG: days_of(days)} | _of_tables(tables)


def tell(context: AssetExecutionContext, *tables: Table) -> None:
    """Give the run of this step the tags that it lacks: it may have been started by a person."""
    tags = context.run.tags
    started_by = {BACKFILL_ID_TAG: BACKFILL, SCHEDULE_NAME_TAG: SCHEDULED}
    reason = next((reason for tag, reason in started_by.items() if tag in tags), BY_HAND)
    wanted = {REASON_TAG: reason} | _of_tables(tables)
    # Partitions of something else than days have names.
    if (days := days_of(tags))[:1].isdigit():
        wanted[DAYS_TAG] = days
    if lacking := {name: value for name, value in wanted.items() if name not in tags}:
        context.instance.add_run_tags(context.run.run_id, lacking)


def of_table(source: str, name: str) -> dict[str, str]:
    """The tags of one table, which its assets have, too."""
    return {f"source/{source}": _TRUE, f"table/{name}": _TRUE}


def _of_tables(tables: Iterable[Table]) -> dict[str, str]:
    return {tag: value for one in tables for tag, value in of_table(one.source, one.name).items()}
