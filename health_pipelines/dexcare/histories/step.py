"""Landing provider histories: the step of the asset.

Belongs here: the days of a range, and the events that say what became of each. Does not belong here: how
one day becomes a partition (`landing.py`) and the asset's declaration (`asset.py`).
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dagster import AssetExecutionContext, AssetObservation

from health_pipelines.dexcare.checks import checked_histories
from health_pipelines.dexcare.histories.client import HistorySearch, ProviderHistoriesClient
from health_pipelines.dexcare.histories.landing import (
    LandedHistories,
    UnusableHistoriesError,
    land_histories,
)
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, provider_histories_key
from health_pipelines.http import VendorError, speaks_for_all_calls
from health_pipelines.http.fan_out import for_each
from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.partitions import Lake, PartitionBusyError, Table
from health_pipelines.landing.calendar import Window, day_window
from health_pipelines.landing.step import RangeLanding, landing
from health_pipelines.landing.storage import Storage

# Part of a day is not the day: it has a table of its own, which the warehouse does not show. Of each day
# it holds the newest narrowed pull, whatever its terms were.
NARROWED = Table(PROVIDER_HISTORIES.source, f"{PROVIDER_HISTORIES.name}_narrowed")


def land_provider_histories(
    context: AssetExecutionContext,
    apr: ProviderHistoriesResource,
    storage: Storage,
    search: HistorySearch,
) -> None:
    """Read and land every day of the run's range.

    Raises `Failure` naming the days that could not be landed. Their partitions are as they were; the others
    have landed.
    """
    checked = checked_histories()
    if search.terms():
        checked = replace(checked, table=NARROWED)
    with landing(context, storage, checked, apr) as days:
        asyncio.run(_Pull(context, apr, storage.lake, search, checked.table, days).run())


@dataclass
class _Pull:
    context: AssetExecutionContext
    apr: ProviderHistoriesResource
    lake: Lake
    search: HistorySearch
    table: Table
    range: RangeLanding

    async def run(self) -> None:
        failed, zone = self.range.failed, self.apr.timezone

        async with self.apr.client() as client:

            async def pull(day: str) -> None:
                if refused := next(filter(_speaks_for_all_days, failed.values()), None):
                    failed[day] = refused  # not asked any more
                    return
                try:
                    with naming_the_disk():
                        came = await self._land(client, day, day_window(day, zone))
                        self._record(day, came)
                except (VendorError, UnusableHistoriesError, PartitionBusyError, UnusableDiskError) as error:
                    failed[day] = error
                    self.context.log.error(f"{day}: {error}")
                    return
                if self.table is PROVIDER_HISTORIES:
                    await self.range.check(day, came.landed.rows_sent)

            await for_each(self.range.days, pull, at_once=self.apr.concurrency)

    async def _land(self, client: ProviderHistoriesClient, day: str, window: Window) -> LandedHistories:
        return await land_histories(
            client,
            self.lake,
            self.table,
            day,
            window=window,
            search=self.search,
            extracted_at=datetime.now(UTC),
            at_once=self.apr.concurrency,
            pause_seconds=self.apr.pause_seconds,
        )

    def _record(self, day: str, came: LandedHistories) -> None:
        landed = came.landed
        source: dict[str, Any] = {
            "query_id": came.query_id,
            "readings": came.read.readings,
            "pages": came.read.pages,
        }
        if terms := self.search.terms():
            self.range.remember(day)
            self.context.log_event(
                AssetObservation(
                    asset_key=provider_histories_key(),
                    partition=day,
                    description=f"A narrowed pull; it landed in {NARROWED} and not in this table.",
                    # Which terms, never their values: those are names and addresses of people.
                    metadata={"narrowed_by": sorted(terms), "narrowed_rows": landed.rows, **source},
                )
            )
            return
        self.range.record(day, landed, source)


def _speaks_for_all_days(error: Exception) -> bool:
    return speaks_for_all_calls(error) or isinstance(error, UnusableDiskError)
