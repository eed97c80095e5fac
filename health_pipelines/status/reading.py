"""Reads what there is and what is missing, from the lake and from Dagster's record.

Belongs here: coming by what is known, with few queries. Does not belong here: why a day is missing
(`reasons.py`), and what follows from the lake (`currency.py`). Nothing here asks a vendor or writes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from dagster import DagsterInstance, EventLogRecord

from health_pipelines.http import VendorError
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.checks import rows_in, usual_rows_of
from health_pipelines.landing.freshness import Expectation
from health_pipelines.landing.holes import holes_in
from health_pipelines.landing.landed_partition import CHANGED
from health_pipelines.landing.storage import run_claims
from health_pipelines.landing.usual_rows import Odd
from health_pipelines.landing.vendor import CallsLeft, Order, Orders, Vendor
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import SettingError, Settings
from health_pipelines.status.attempts import Attempts
from health_pipelines.status.backfills import days_to_begin
from health_pipelines.status.currency import publishing, warehouse
from health_pipelines.status.late import counted
from health_pipelines.status.reasons import Attempt, Known, Reason, why
from health_pipelines.status.report import LastLanding, Rows, Status, TableStatus
from health_pipelines.vendors.known import vendors

if TYPE_CHECKING:
    from dagster._core.storage.event_log.base import AssetRecord

# Assets are observed for other reasons than a landing, too, though by nobody here.
_OBSERVATIONS = 10
_ROW_COUNT = "dagster/partition_row_count"


@dataclass(frozen=True)
class Reading:
    """One look at a place at `now` (aware). The settings are those of this process."""

    instance: DagsterInstance
    settings: Settings
    now: datetime

    def status(self) -> Status:
        """All of it. Raises `SettingError`."""
        holes = {
            checked: holes_in(
                self.lake,
                checked,
                self.settings,
                before=self._day_after_the_newest,
                once_there=self.landed_once(checked),
            )
            for checked in self.tables
        }
        reasons = self.reasons({checked: one.missing for checked, one in holes.items()})
        landings, late = self._last_landings(), counted(self.instance)
        return Status(
            self.now,
            self.newest_expected_day,
            [
                replace(
                    self._table(checked, reasons[checked], holes[checked].of_other_zones),
                    last_landing=landings.get(checked.table),
                    late=late.get(str(checked.table)),
                )
                for checked in self.tables
            ],
            warehouse(self.settings),
            publishing(self.settings, self.now),
            self._calls(),
        )

    @cached_property
    def lake(self) -> Lake:
        return lake_to_read(self.settings).for_one_look()

    @cached_property
    def tables(self) -> Sequence[CheckedTable]:
        return [checked for vendor in self._vendors for checked in vendor.tables()]

    @cached_property
    def newest_expected_day(self) -> date | None:
        return Expectation.of(self.settings).newest_day(self.now)

    @cached_property
    def set_up(self) -> frozenset[Table]:
        """The tables that somebody is to fill."""
        return frozenset(table for vendor in self._vendors for table in vendor.origins(self.settings))

    def days(self, checked: CheckedTable) -> list[str]:
        """Those in the lake."""
        return self.lake.days(checked.table)

    def landed_once(self, checked: CheckedTable) -> set[str]:
        """The days that Dagster knows to have landed, there or not."""
        return self._landed_once[checked.table]

    def reasons(self, days: Mapping[CheckedTable, Sequence[str]]) -> dict[CheckedTable, dict[str, Reason]]:
        """Why each of those days is not there."""
        orders = self.orders({checked.table: of_table for checked, of_table in days.items() if of_table})
        asked = {
            checked: (checked.asset, *([orders[checked.table].asked_by] if checked.table in orders else []))
            for checked in days
        }
        starts_within = self.settings.run_starts_within
        attempts = Attempts(self.instance, run_claims(self.settings), starts_within, self.now).of(
            {key: set(days[checked]) for checked, keys in asked.items() for key in keys}
        )
        to_begin = days_to_begin(self.instance, {key for keys in asked.values() for key in keys})
        return {
            checked: {
                day: why(
                    replace(
                        self._known(checked, day, orders.get(checked.table), attempts_of),
                        backfill_at=min((one[day] for one in backfills if day in one), default=None),
                    )
                )
                for day in of_table
            }
            for checked, of_table in days.items()
            for attempts_of in [[attempts.get(key, {}) for key in asked[checked]]]
            for backfills in [[to_begin.get(key, {}) for key in asked[checked]]]
        }

    def orders(self, days: Mapping[Table, Sequence[str]]) -> dict[Table, Orders]:
        """What vendors were asked to prepare, of vendors that do so."""
        return {
            table: orders
            for vendor in self._vendors
            for table, orders in vendor.orders(self.instance, days).items()
        }

    def _known(
        self,
        checked: CheckedTable,
        day: str,
        orders: Orders | None,
        attempts: Sequence[Mapping[str, Attempt]],
    ) -> Known:
        order = orders.of_days.get(day) if orders else None
        return Known(
            was_there=day in self.landed_once(checked),
            order=order,
            attempt=_telling([one.get(day) for one in attempts], order),
        )

    def _table(
        self,
        checked: CheckedTable,
        missing: Mapping[str, Reason],
        of_other_zones: Mapping[str, str],
    ) -> TableStatus:
        days = self.days(checked)
        first = min([*days[:1], *self.landed_once(checked)], default=None)
        newest = days[-1] if days else None
        before_the_hole = date.fromisoformat(min(missing)) - timedelta(days=1) if missing else None
        complete_to = before_the_hole.isoformat() if before_the_hole else newest
        return TableStatus(
            str(checked.table),
            checked.table in self.set_up,
            first,
            newest,
            complete_to if first and complete_to and complete_to >= first else None,
            missing,
            self._left_out(checked, first),
            of_other_zones,
            rows=self._rows(checked, newest) if newest else None,
        )

    def _left_out(self, checked: CheckedTable, first: str | None) -> list[str]:
        """The days that are not there and are meant not to be."""
        there, found = set(self.days(checked)), []
        day = date.fromisoformat(first) if first else date.max
        while day < self._day_after_the_newest:
            if day.isoformat() not in there and self.is_left_out(checked, day):
                found.append(day.isoformat())
            day += timedelta(days=1)
        return found

    def is_left_out(self, checked: CheckedTable, day: date) -> bool:
        """Whether `HEALTH_DAYS_LEFT_OUT` names the day."""
        return any(one.covers(str(checked.table), day) for one in self.settings.days_left_out)

    def _rows(self, checked: CheckedTable, day: str) -> Rows | None:
        landed = rows_in(self.lake.footer_file(checked.table, day))
        if landed is None:
            return None
        usual = usual_rows_of(self.lake, checked, day)
        is_few = usual is not None and Odd.by(self.settings).is_few(landed, usual)
        return Rows(day, landed, usual, is_few)

    def _last_landings(self) -> dict[Table, LastLanding]:
        keys = [checked.asset for checked in self.tables]
        records = {one.asset_entry.asset_key: one for one in self.instance.get_asset_records(keys)}
        found = {}
        for checked in self.tables:
            record = records.get(checked.asset)
            unchanged = self.instance.fetch_observations(checked.asset, limit=_OBSERVATIONS).records
            landings = [_landing(one) for one in (*_materialization(record), *unchanged)]
            told = [one for one in landings if one is not None]
            if told:
                found[checked.table] = max(told, key=lambda one: one.at)
        return found

    def _calls(self) -> list[CallsLeft | str]:
        found: list[CallsLeft | str] = []
        for vendor in self._vendors:
            try:
                left = vendor.calls_left(self.settings, self.now)
            except (VendorError, SettingError) as error:
                found.append(str(error))
            else:
                found += [left] if left else []
        return found

    @cached_property
    def _day_after_the_newest(self) -> date:
        return self.newest_expected_day + timedelta(days=1) if self.newest_expected_day else date.min

    @cached_property
    def _vendors(self) -> Sequence[Vendor]:
        return vendors(self.settings)

    @cached_property
    def _landed_once(self) -> dict[Table, set[str]]:
        return {
            checked.table: set(self.instance.get_materialized_partitions(checked.asset))
            for checked in self.tables
        }


def _telling(attempts: Sequence[Attempt | None], order: Order | None) -> Attempt | None:
    """The run that says something about the day: of the asset that lands, and of the one that asks, if any.

    A run may span days that it has nothing to do for: one that lands is for days that were ordered, and one
    that asks, once a day is ordered, only matters while it is under way, or when the order is over.
    """
    landing, asking = attempts[0], attempts[1] if len(attempts) > 1 else None
    if len(attempts) == 1:
        return landing
    if order is None:
        return asking
    candidates = [landing]
    if asking and (not asking.failed or order.over_at is not None):
        candidates.append(asking)
    return max((one for one in candidates if one), key=lambda one: (not one.failed, one.at), default=None)


def _materialization(record: "AssetRecord | None") -> list[EventLogRecord]:
    newest = record.asset_entry.last_materialization_record if record else None
    return [newest] if newest else []


def _landing(record: EventLogRecord) -> LastLanding | None:
    """None of what somebody reported by hand about no day, and of observations that are no landing."""
    entry = record.event_log_entry
    event = entry.asset_materialization or entry.asset_observation
    if (
        event is None
        or event.partition is None
        or (entry.asset_observation and CHANGED not in event.metadata)
    ):
        return None
    rows = event.metadata.get(_ROW_COUNT)
    return LastLanding(
        event.partition,
        datetime.fromtimestamp(record.timestamp, UTC),
        None if rows is None else int(str(rows.value)),
        changed=entry.asset_materialization is not None,
    )
