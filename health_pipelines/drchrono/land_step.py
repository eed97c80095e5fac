"""Landing records: the step of the assets.

Belongs here: one sweep for a whole range, and the events that say what became of each day. Does not belong
here: how a sweep is read (`drchrono/sweep/reading.py`), how a day becomes a partition
(`landing/range_landing.py`) and the assets' declarations (`assets.py`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from dagster import AssetExecutionContext

from health_pipelines.drchrono.checks import checked_records
from health_pipelines.drchrono.landing.minimising import Minimising
from health_pipelines.drchrono.landing.range_landing import (
    LandedDay,
    SweptRange,
    UncoveredDayError,
    UnusablePagesError,
    stage_sweep,
)
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.sweep.deletions import read_deletions
from health_pipelines.drchrono.sweep.journal import Journal, Question, opened_in_turn
from health_pipelines.drchrono.sweep.pages import ListTooLongError
from health_pipelines.drchrono.sweep.reading import Sweep
from health_pipelines.drchrono.sweep.swept import Swept
from health_pipelines.lake.disk import UnusableDiskError
from health_pipelines.lake.manifests import Facts
from health_pipelines.lake.partitions import PartitionBusyError
from health_pipelines.landing.calendar import day_window
from health_pipelines.landing.step import RangeLanding, landing
from health_pipelines.landing.storage import Storage
from health_pipelines.privacy.keeping_out import NotKeptError
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now

# What speaks for one day alone.
_OF_ONE_DAY = (PartitionBusyError, NotKeptError, UncoveredDayError, UnusableDiskError, UnusablePagesError)
# `since` is a day, but of which zone is not documented, nor which moment of it counts.
_SINCE_MARGIN = timedelta(days=1)


def land_records(
    context: AssetExecutionContext, drchrono: DrChronoResource, storage: Storage, record_type: RecordType
) -> None:
    """Sweep once, from the first day of the run's range on, and land every day of the range.

    Raises `Failure`: for the whole range if the sweep failed, else naming the days that could not be landed.
    Their partitions are as they were.
    """
    of_all_days = (ListTooLongError, NotKeptError, UnusablePagesError)
    with landing(context, storage, checked_records(record_type), drchrono, errors=of_all_days) as days:
        asyncio.run(_Landing(context, drchrono, storage, record_type, days).run())


@dataclass
class _Landing:
    context: AssetExecutionContext
    drchrono: DrChronoResource
    storage: Storage
    record_type: RecordType
    range: RangeLanding

    async def run(self) -> None:
        days, failed = self.range.days, self.range.failed
        question = Question(
            self.drchrono.origin,
            self.record_type.name,
            date.fromisoformat(days[0]) - _SINCE_MARGIN,
            self.drchrono.verbose,
        )
        folder, say = self.storage.drchrono / "sweeps" / self.record_type.name, self.context.log.info
        async with opened_in_turn(folder, question, utc_now, say) as journal:
            swept = await self._sweep(question, journal)
            work, lake = journal.work_folder(), self.storage.lake
            minimising = Minimising(lake, Settings.of_this_process(), self.record_type.table)
            try:
                staged = await asyncio.to_thread(
                    stage_sweep,
                    self.record_type,
                    swept.pages,
                    self.drchrono.timezone,
                    work,
                    swept.begun_at,
                    minimising=minimising,
                )
            except UnusablePagesError:
                journal.discard()  # the same pages would fail again
                raise
            if staged.drift:
                fields = ", ".join(f"{name} ({rows} rows)" for name, rows in sorted(staged.drift.items()))
                self.context.log.warning(f"Undocumented or ill-typed, and kept in _extra: {fields}.")
            facts = {
                "lists": swept.lists,
                "records_swept": swept.records,
                "records_counted": swept.counts[1],
                "fields_kept_in_extra": sorted(staged.drift),
            }
            with SweptRange(lake, self.record_type, staged, days, work) as swept_range:
                await self._land_days(swept_range, swept, facts, question)
            if not failed or any(isinstance(error, UnusablePagesError) for error in failed.values()):
                journal.discard()

    async def _sweep(self, question: Question, journal: Journal) -> Swept:
        async with self.drchrono.client(self.storage.drchrono, self.context.log.info) as client:
            if self.record_type is LINE_ITEM_DELETIONS:
                return await read_deletions(client, question, journal, utc_now)
            swept = await Sweep(
                client,
                self.record_type,
                question,
                journal,
                self.drchrono.pace(self.storage.drchrono),
                zone=self.drchrono.timezone,
                at_once=self.drchrono.concurrency,
                now=utc_now,
            ).run()
        self.context.log.info(
            f"{swept.records} records since {question.since} in {len(swept.pages)} pages, proven to be all; "
            f"{swept.lists} lists were asked for, {swept.resumed_pages} pages were there from before."
        )
        return swept

    async def _land_days(
        self, swept_range: SweptRange, swept: Swept, facts: Mapping[str, Any], question: Question
    ) -> None:
        report_id = swept.pages[0].uuid
        moved_back: list[str] = []

        def evidence(day: str) -> Facts:
            return Facts(
                window=str(day_window(day, self.drchrono.timezone)),
                vendor_count=swept.counts[1],
                vendor_counted=f"all that changed since {question.since}",
            )

        async def land(day: str) -> None:
            try:
                came = swept_range.land(day, report_id, evidence(day))
            except _OF_ONE_DAY as error:
                self.range.failed[day] = error
                self.context.log.error(f"{day}: {error}")
                return
            self.range.record(day, came.landed, {**facts, **_whose(day, swept_range, came)})
            await self.range.check(day, came.landed.rows_sent)
            if came.kept.moved_back:
                moved_back.append(day)

        for day in swept_range.days:
            await land(day)
        # What moved to an earlier day is there by now, and can leave the day where it was.
        for day in list(moved_back):
            await land(day)
        if later := swept_range.rows_after_the_range:
            self.context.log.info(
                f"{later} records changed after {self.range.days[-1]}; they land with their days."
            )


def _whose(day: str, swept_range: SweptRange, came: LandedDay) -> dict[str, Any]:
    """What a day's event says of rows that are not simply the day's own."""
    if not swept_range.has_change_days and day != swept_range.first_day:
        return {"covered_by": swept_range.first_day}
    kept = {
        "rows_kept_until_their_new_day_lands": came.kept.on_the_move,
        "rows_kept_that_were_not_sent": came.kept.not_sent,
    }
    return {name: rows for name, rows in kept.items() if rows}
