"""Reads from Dagster's events how often days of a table landed, and what each landing changed.

Belongs here: coming by landings, with few queries. Does not belong here: what follows from them
(`late_changes.py`).
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dagster import AssetRecordsFilter, DagsterInstance, EventLogRecord, TableSchema

from health_pipelines.lake.csv_partition import RowChanges
from health_pipelines.landing.landed_partition import CHANGED, COLUMN_SCHEMA
from health_pipelines.landing.late_changes import Landing, LateChanges, late_changes
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings

# What `status` can read in a moment: a season, as older habits of a clinic say little of today's.
_BACK = timedelta(days=90)
_MOST = 3000
_ROW_COUNT = "dagster/partition_row_count"


def late_changes_of(
    instance: DagsterInstance, checked: CheckedTable, settings: Settings, now: datetime
) -> LateChanges | None:
    """By the landings of the 90 days before `now` (aware), 3,000 with news and 3,000 without at most.

    None of a table whose rows move to the day of their last change: its days do not change late.
    """
    if checked.changed is not None or not checked.days_are_alike:
        return None
    recent = AssetRecordsFilter(checked.asset, after_timestamp=(now - _BACK).timestamp())
    records = [
        *instance.fetch_materializations(recent, limit=_MOST).records,
        *instance.fetch_observations(recent, limit=_MOST).records,
    ]
    zone = checked.zone(settings)
    found = (_landing(record, zone) for record in sorted(records, key=lambda one: one.storage_id))
    return late_changes(one for one in found if one is not None)


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
