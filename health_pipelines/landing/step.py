"""Landing a range of days: what the steps of all vendors do alike.

Belongs here: who may fill the table, what is told of a day that has landed, and how a range ends in which
some days did not. Does not belong here: where a day's rows come from (each vendor's step), and how a file
becomes a partition (`landed_partition.py`).
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypedDict

from dagster import AssetExecutionContext, BackfillPolicy, DailyPartitionsDefinition

from health_pipelines.http import VendorError
from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.partitions import OtherOriginError
from health_pipelines.landing.checks import LandedChecks
from health_pipelines.landing.day_failures import days_failed, step_failed
from health_pipelines.landing.freshness import Expectation, freshness_evaluations
from health_pipelines.landing.landed_partition import Landed, landed_event, recorded_hashes
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.privacy.rules import rules_of
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.clock import utc_now


class Source(Protocol):
    """Where rows come from, as a vendor's resource tells it."""

    @property
    def origin(self) -> str:
        """What tells one vendor or tier from another (`http.origin_of`). Raises `SettingError`."""


class ByDay(TypedDict):
    """What the declaration of an asset with days says."""

    partitions_def: DailyPartitionsDefinition
    backfill_policy: BackfillPolicy
    output_required: bool


def by_day(days: DailyPartitionsDefinition) -> ByDay:
    """A range is one run, and each day is recorded as it lands: one that does not land ends without a
    materialization.
    """
    return ByDay(partitions_def=days, backfill_policy=BackfillPolicy.single_run(), output_required=False)


class RangeLanding:
    """The days of a run that land in one table. Get one from `landing`.

    `days`: YYYY-MM-DD, the oldest first. `failed`: why each day that should have landed did not; to be filled
    by the step.
    """

    def __init__(
        self, context: AssetExecutionContext, storage: Storage, checked: CheckedTable, source: Source
    ) -> None:
        self.days = sorted(context.partition_keys)
        self.failed: dict[str, Exception] = {}
        self._context = context
        self._storage = storage
        self._checked = checked
        self._origin = source.origin
        self._zone = checked.zone(Settings.of_this_process()).key
        self._checks = LandedChecks.before_landing(context.instance, storage.lake, checked)
        self._recorded = recorded_hashes(context.instance, checked.asset, self.days)

    def record(self, day: str, landed: Landed, facts: Mapping[str, Any], *, zone: str | None = None) -> bool:
        """Tell the lake, the warehouse and Dagster that a day has landed; returns whether anything is new.

        `facts`: more metadata of the event. `zone`: whose calendar day it is, if not one of the table's zone.
        """
        table = self._checked.table
        self.remember(day, zone=zone)
        if trouble := self._storage.show_landed(table, landed.columns):
            self._context.log.warning(trouble)
        # A crash between the replacement and the event leaves a file that no event tells of.
        changed = landed.replaced or landed.content_hash != self._recorded.get(day)
        self._recorded[day] = landed.content_hash
        self._context.log_event(landed_event(self._checked.asset, table, day, landed, facts, changed=changed))
        return changed

    def remember(self, day: str, *, zone: str | None = None) -> None:
        """Tell the lake whose day it is, and who sent it; enough where Dagster is told something else."""
        self._storage.lake.remember_origin(self._checked.table, self._origin)
        self._storage.lake.remember_zone(self._checked.table, day, zone or self._zone)

    async def check(self, day: str, rows_sent: int) -> None:
        """Tell Dagster what the checks say of a day that was recorded."""
        # In a thread, so that other days go on meanwhile.
        standing = await asyncio.to_thread(self._checks.read, day)
        for evaluation in self._checks.evaluations(day, standing, rows_sent):
            self._context.log_event(evaluation)


@contextmanager
def landing(
    context: AssetExecutionContext,
    storage: Storage,
    checked: CheckedTable,
    source: Source,
    *,
    errors: tuple[type[Exception], ...] = (),
) -> Iterator[RangeLanding]:
    """Land the days of a run, and end as people are to see it.

    `errors`: what else says of all days at once why nothing can be done.

    Raises `Failure`: for the whole range if a `VendorError`, a `SettingError` or one of `errors` comes out of
    the block, the table was filled by somebody else, or files cannot be written; else naming the days in
    `failed`. Partitions of days that did not land are as they were.
    """
    of_all_days: tuple[type[Exception], ...] = (VendorError, SettingError, OtherOriginError, *errors)
    of_all_days += (UnusableDiskError,)
    try:
        with naming_the_disk():
            storage.lake.refuse_other_origin(checked.table, source.origin)
            settings = Settings.of_this_process()
            # Before the vendor is asked: without the key of the hashes nothing could land.
            rules_of(settings, checked.table)
            expectation = Expectation.of(settings)
            range_landing = RangeLanding(context, storage, checked, source)
            yield range_landing
    except of_all_days as error:
        raise step_failed(checked.asset, error) from None
    [evaluation] = freshness_evaluations(context.instance, [checked.asset], expectation, utc_now())
    context.log_event(evaluation)
    if range_landing.failed:
        raise days_failed(checked.asset, range_landing.failed, len(range_landing.days), "could not be landed")
