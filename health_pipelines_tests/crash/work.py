"""What the system is asked for while processes die, and what changes at the vendors meanwhile.

Belongs here: doing what was drawn, and remembering what must be true of it afterwards. Does not belong here:
what is drawn (`plan.py`) and comparing (`truth.py`).

Work is asked for as a person does it in the UI: by backfills, which are a line in Dagster's record that the
daemon carries out; and now and then by a `dagster asset materialize`, a process that may be killed as well.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import polars as pl
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill

from health_pipelines.definitions import build_definitions
from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport, provider_histories_key
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.tables import key_of
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.crash.plan import Wish, Work
from health_pipelines_tests.crash.system import DRCHRONO_DAYS, VENDOR_DAYS, System
from health_pipelines_tests.drchrono.project import BY_NAME, Row, true_rows
from health_pipelines_tests.support.dagster_processes import OURS
from health_pipelines_tests.support.landed import Rows, days_from
from health_pipelines_tests.support.landed import true_rows as true_visits

SWEPT = (BY_NAME["appointments"], BY_NAME["line_items"], BY_NAME["line_item_deletions"])
# What changes at DrChrono; a removed line item is also a row of the deletions.
CHANGING = SWEPT[:2]
UTC_ZONE = ZoneInfo("UTC")
# More than so many backfills under way only make a slow machine slower; what was drawn is then left out.
MOST_AT_ONCE = 6
T = TypeVar("T")


@dataclass
class Asked:
    """What was asked for, and what the vendors had."""

    system: System
    graph: AssetGraph = field(init=False)
    began_on: date = field(default_factory=lambda: datetime.now(UTC).date())
    """The first day, by UTC: a round may go past midnight, and its days stay the same ones."""
    vendor_days: int = 0
    """How often a day has passed at DexCare."""
    visits: dict[tuple[VisitReport, str], list[tuple[list[str], Rows]]] = field(default_factory=dict)
    """The rows of each day of each report, on every day that the vendor saw since."""
    before: dict[str, dict[str, Row]] = field(default_factory=dict)
    """The records of DrChrono's before anything changed, by type and key."""
    changed: dict[str, set[str]] = field(default_factory=dict)
    """The keys of those that changed since, or are new."""
    was_there: dict[str, set[str]] = field(default_factory=dict)
    """Those of them that were in the lake when they changed."""

    def __post_init__(self) -> None:
        self.graph = build_definitions(self.system.settings).resolve_asset_graph()
        for record_type in SWEPT:
            self.before[record_type.name] = self.records_now(record_type)
            self.changed[record_type.name] = set()
            self.was_there[record_type.name] = set()
        self._look_at_visits()

    @property
    def visit_days(self) -> list[str]:
        """The days that are over at DexCare."""
        return days_from(self.system.first_day.date().isoformat(), 4 + self.vendor_days)

    @property
    def record_days(self) -> list[str]:
        """The days of DrChrono's that were over when it began."""
        yesterday = self.began_on - timedelta(days=1)
        return days_from((yesterday - timedelta(days=DRCHRONO_DAYS - 1)).isoformat(), DRCHRONO_DAYS)

    def records_now(self, record_type: RecordType) -> dict[str, Row]:
        since = self.record_days[0]
        return true_rows(self.system.drchrono, record_type, since, zone=UTC_ZONE)

    def everything(self) -> None:
        """All days of all sources, as on the first day of an installation, or in its next night."""
        # One run for each vendor: each costs seconds of its own.
        requests = [report.request_key for report in VISIT_REPORTS]
        self._ask([*requests, provider_histories_key()], self.visit_days)
        self._ask([key_of(record_type) for record_type in SWEPT], self.record_days)

    def do(self, work: Work) -> str:
        """Returns what was done, in words; nothing if there is too much under way."""
        if work.wish in (Wish.REPORTS, Wish.HISTORIES, Wish.SWEEP, Wish.COMMAND) and self._is_busy():
            return ""
        ways: Mapping[Wish, Callable[[Work], str]] = {
            Wish.REPORTS: self._ask_reports,
            Wish.HISTORIES: lambda work: self._ask([provider_histories_key()], _part(self.visit_days, work)),
            Wish.SWEEP: lambda work: self._ask([key_of(_one_of(SWEPT, work))], _part(self.record_days, work)),
            Wish.COMMAND: self._command,
            # The last one is for the night.
            Wish.VENDOR_DAY: lambda _: self.pass_a_vendor_day() if self.vendor_days < VENDOR_DAYS - 1 else "",
            Wish.RECORDS: lambda work: self._change_records(_one_of(CHANGING, work), work),
        }
        return ways[work.wish](work)

    def pass_a_vendor_day(self) -> str:
        """A new day at DexCare: visits have changed, and there is one day more."""
        self.system.dexcare.advance_clock(24 * 3600)
        self.vendor_days += 1
        self._look_at_visits()
        return f"a day passes at DexCare, {self.visit_days[-1]} is over"

    def _ask_reports(self, work: Work) -> str:
        some = VISIT_REPORTS[: 1 + int(work.which * len(VISIT_REPORTS))]
        return self._ask([report.request_key for report in some], _part(self.visit_days, work))

    def _look_at_visits(self) -> None:
        for report in VISIT_REPORTS:
            for day in self.visit_days:
                now = true_visits(self.system.dexcare, report, day, UTC_ZONE)
                self.visits.setdefault((report, day), []).append(now)

    def _change_records(self, record_type: RecordType, work: Work) -> str:
        name = record_type.name
        there = sorted(self.before[name].keys() - self.changed[name])
        start = int(work.first * max(0, len(there) - 6))
        updated, removed = there[start : start + 4], there[start + 4 : start + 6]
        in_lake = self._keys_in_lake(record_type)
        inserted = self.system.drchrono.change_records(name, insert=2, update=updated, remove=removed)
        self.changed[name] |= {*updated, *removed, *inserted}
        self.was_there[name] |= in_lake & {*updated, *removed}
        return f"{name}: {len(updated)} change, {len(removed)} go, {len(inserted)} come"

    def _keys_in_lake(self, record_type: RecordType) -> set[str]:
        files = Lake(self.system.data / "lake").partition_files(record_type.table)
        return {
            key
            for file in files
            for key in pl.read_parquet(file, columns=[record_type.key], glob=False).to_series().to_list()
        }

    def _command(self, work: Work) -> str:
        keys = [report.request_key for report in VISIT_REPORTS] + [provider_histories_key()]
        key, days = _one_of(keys, work), _part(self.visit_days, work)
        select = ("--select", key.to_user_string(), "--partition-range", f"{days[0]}...{days[-1]}")
        self.system.run_command("asset", "materialize", "-m", OURS, *select)
        return f"command: {key.to_user_string()} {days[0]}...{days[-1]}"

    def _is_busy(self) -> bool:
        requested = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
        return self.system.patiently(lambda it: len(it.get_backfills(requested))) >= MOST_AT_ONCE

    def _ask(self, keys: Sequence[AssetKey], days: Sequence[str]) -> str:
        backfill_id = uuid.uuid4().hex[:8]

        def ask(instance: DagsterInstance) -> None:
            # The answer to the try before may have been lost.
            if instance.get_backfill(backfill_id) is None:
                instance.add_backfill(
                    PartitionBackfill.from_asset_partitions(
                        backfill_id=backfill_id,
                        asset_graph=self.graph,
                        partition_names=list(days),
                        asset_selection=list(keys),
                        backfill_timestamp=time.time(),
                        tags={},
                        dynamic_partitions_store=instance,
                        all_partitions=False,
                        title=None,
                        description=None,
                        run_config=None,
                    )
                )

        self.system.patiently(ask)
        names = ", ".join(key.path[-1] for key in keys)
        return f"{names} {days[0]}...{days[-1]} (backfill {backfill_id})"


def _part(days: Sequence[str], work: Work) -> Sequence[str]:
    """The days from the drawn first to the drawn last, at least one."""
    first, last = (int(at * len(days)) for at in (work.first, work.last))
    return days[first : last + 1]


def _one_of(some: Sequence[T], work: Work) -> T:
    return some[int(work.which * len(some))]
