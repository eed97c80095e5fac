"""What happened to one day, table by table, as Dagster's events know it.

Belongs here: reading the events of a day, and putting each into words. Does not belong here: why a day is
missing (`reasons.py`). No word here is from a record: events hold none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    EventLogRecord,
)
from dagster._core.event_api import EventRecordsFilter, PartitionKeyFilter

from health_pipelines.landing.checks import rows_in
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.status.reading import Reading
from health_pipelines.status.reasons import Kind, Reason
from health_pipelines.status.report import Moment, Story

# Of each kind of event of a day; a day lands some ten times while the look-back covers it.
_MOST = 100
_ROW_COUNT = "dagster/partition_row_count"


@dataclass(frozen=True)
class Stories:
    """Told of one look at a place."""

    reading: Reading

    def of(self, day: date) -> list[Story]:
        """The story of that day of each table that is set up or has landed. Raises `SettingError`."""
        reading = self.reading
        tables = [one for one in reading.tables if one.table in reading.set_up or reading.landed_once(one)]
        tables += [one for one in reading.tables if one not in tables and reading.days(one)]
        text = day.isoformat()
        absent = {one: [text] for one in tables if text not in reading.days(one)}
        reasons = reading.reasons(absent)
        asked_by = {
            table: orders.asked_by
            for table, orders in reading.orders({one.table: [] for one in tables}).items()
        }
        return [
            Story(
                str(one.table),
                text,
                self._is_missing(one, day),
                self._stands(one, day, reasons.get(one, {}).get(text)),
                sorted(self._moments(one, text, asked_by.get(one.table)), key=lambda moment: moment.at),
            )
            for one in tables
        ]

    def _is_missing(self, checked: CheckedTable, day: date) -> bool:
        first, newest = self._first(checked), self.reading.newest_expected_day
        return (
            day.isoformat() not in self.reading.days(checked)
            and first is not None
            and newest is not None
            and first <= day.isoformat() <= newest.isoformat()
            and not self.reading.is_left_out(checked, day)
        )

    def _stands(self, checked: CheckedTable, day: date, reason: Reason | None) -> str:
        reading, zone = self.reading, self.reading.settings.timezone
        if reason is None:
            rows = rows_in(reading.lake.footer_file(checked.table, day.isoformat()))
            return "in the lake" + (f", {_rows(rows)}" if rows is not None else "; its file cannot be read")
        says = reason.says(zone)
        if self._is_missing(checked, day):
            return f"missing: {says}"
        first, newest = self._first(checked), reading.newest_expected_day
        if reading.is_left_out(checked, day):
            because = "left out by HEALTH_DAYS_LEFT_OUT"
        elif newest is None or day > newest:
            because = "not expected yet"
        elif first is None:
            because = "not there, as nothing of this table has landed yet"
        else:
            because = f"before the first day that landed, {first}"
        return because if reason.kind is Kind.NEVER_ASKED else f"{because}; {says}"

    def _first(self, checked: CheckedTable) -> str | None:
        return min([*self.reading.days(checked)[:1], *self.reading.landed_once(checked)], default=None)

    def _moments(self, checked: CheckedTable, day: str, asked_by: AssetKey | None) -> Iterator[Moment]:
        if asked_by is not None:
            yield from (
                Moment(_at(record), "asked" if materialized else "state", text.rstrip("."))
                for record in self._events(asked_by, day)
                for materialized in [record.asset_materialization is not None]
                if (text := _description(record))
            )
        else:
            yield from self._runs(checked.asset, day)
        known = False
        for record in sorted(self._events(checked.asset, day), key=lambda one: one.storage_id):
            yield _landing(record, again=known)
            known = True
        yield from self._checks(checked, day)

    def _events(self, key: AssetKey, day: str) -> Sequence[EventLogRecord]:
        of_day = AssetRecordsFilter(key, asset_partitions=[day])
        instance = self.reading.instance
        return [
            *instance.fetch_materializations(of_day, limit=_MOST).records,
            *instance.fetch_observations(of_day, limit=_MOST).records,
        ]

    def _runs(self, key: AssetKey, day: str) -> Iterator[Moment]:
        """Where nothing is ordered first, the day is asked for by the run that lands it."""
        planned = EventRecordsFilter(
            DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset_key=key, asset_partitions=[day]
        )
        # Of the storage: the instance warns of events about many days at once, which nobody makes.
        for record in self.reading.instance.event_log_storage.get_event_records(planned, limit=_MOST):
            yield Moment(_at(record), "asked", f"the run {record.run_id[:8]} was to land it")

    def _checks(self, checked: CheckedTable, day: str) -> Iterator[Moment]:
        """What each check says now."""
        keys = [AssetCheckKey(checked.asset, name) for name in checked.checks]
        found = self.reading.instance.event_log_storage.get_latest_asset_check_execution_by_key(
            keys, partition_filter=PartitionKeyFilter(key=day)
        )
        for key, record in found.items():
            evaluation = record.evaluation
            if isinstance(evaluation, AssetCheckEvaluation):
                at = datetime.fromtimestamp(record.create_timestamp, UTC)
                yield Moment(at, "check", f"{key.name} {_verdict(evaluation)}")


def _landing(record: EventLogRecord, *, again: bool) -> Moment:
    event = record.asset_materialization or record.event_log_entry.asset_observation
    facts: dict[str, Any] = {name: value.value for name, value in event.metadata.items()} if event else {}
    rows = f", {_rows(int(facts[_ROW_COUNT]))}" if facts.get(_ROW_COUNT) is not None else ""
    said = "landed again" if again else "landed"
    if record.asset_materialization is None:
        return Moment(_at(record), said.replace(" ", "_"), f"{said}{rows}, nothing was new")
    counts = {one: facts.get(f"rows_{one}") for one in ("added", "changed", "removed")}
    changes = ", ".join(f"{count} {one}" for one, count in counts.items() if count)
    return Moment(_at(record), said.replace(" ", "_"), f"{said}{rows}" + (f" ({changes})" if changes else ""))


def _verdict(evaluation: AssetCheckEvaluation) -> str:
    passed = "passed" if evaluation.passed else f"failed ({evaluation.severity.value})"
    return f"{passed}: {evaluation.description}".rstrip(".") if evaluation.description else passed


def _description(record: EventLogRecord) -> str | None:
    event = record.asset_materialization or record.event_log_entry.asset_observation
    return event.description if event else None


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _at(record: EventLogRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp, UTC)
