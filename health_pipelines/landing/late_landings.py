"""Reads from Dagster's events how often days of a table landed, and what each landing changed.

Belongs here: coming by landings, with few queries. Does not belong here: what follows from them
(`late_changes.py`).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dagster import AssetRecordsFilter, DagsterInstance, EventLogRecord, EventRecordsResult, TableSchema

from health_pipelines.lake.csv_partition import RowChanges
from health_pipelines.landing.landed_partition import CHANGED, COLUMN_SCHEMA
from health_pipelines.landing.late_changes import Landing, LateChanges, late_changes
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings

# Older habits of a clinic say little of today's. A year of a table is some 5,000 landings.
_BACK = timedelta(days=365)
_MOST = 20_000
# Each event has the columns of its table with it, which takes memory.
_AT_ONCE = 500
_ROW_COUNT = "dagster/partition_row_count"
_Fetch = Callable[..., EventRecordsResult]


def counts(checked: CheckedTable) -> bool:
    """Whether days of the table can change late: not where rows move to the day of their last change."""
    return checked.changed is None and checked.days_are_alike


def late_changes_of(
    instance: DagsterInstance, checked: CheckedTable, settings: Settings, now: datetime
) -> LateChanges:
    """By the landings of the year before `now` (aware): about a millisecond for each of them."""
    found: list[tuple[int, Landing]] = []
    recent = AssetRecordsFilter(checked.asset, after_timestamp=(now - _BACK).timestamp())
    zone = checked.zone(settings)
    for fetch in (instance.fetch_materializations, instance.fetch_observations):
        for record in _records(fetch, recent):
            if (landing := _landing(record, zone)) is not None:
                found.append((record.storage_id, landing))
    return late_changes(landing for _, landing in sorted(found, key=lambda one: one[0]))


def _records(fetch: _Fetch, wanted: AssetRecordsFilter) -> Iterator[EventLogRecord]:
    """The newest first, a few at a time."""
    cursor = None
    for _ in range(_MOST // _AT_ONCE):
        came = fetch(wanted, limit=_AT_ONCE, cursor=cursor)
        yield from came.records
        if not came.has_more:
            return
        cursor = came.cursor


def _landing(record: EventLogRecord, zone: ZoneInfo) -> Landing | None:
    """None of what is no landing of ours, such as a day that somebody reported by hand."""
    event = record.asset_materialization or record.event_log_entry.asset_observation
    if event is None or event.partition is None or CHANGED not in event.metadata:
        return None
    facts = {name: value.value for name, value in event.metadata.items()}
    rows = facts.get(_ROW_COUNT)
    if rows is None:
        return None
    try:
        day = datetime.strptime(event.partition, "%Y-%m-%d").date()  # noqa: DTZ007 (a day has no zone)
    except ValueError:
        return None
    schema = facts.get(COLUMN_SCHEMA)
    changed = facts.get("rows_changed")
    return Landing(
        day,
        datetime.fromtimestamp(record.timestamp, UTC).astimezone(zone).date(),
        int(str(rows)),
        RowChanges(
            int(str(facts.get("rows_added", 0))),
            int(str(facts.get("rows_removed", 0))),
            None if changed is None else int(str(changed)),
        ),
        tuple(one.name for one in schema.columns) if isinstance(schema, TableSchema) else (),
    )
