"""Landing provider histories: the step of the asset.

Belongs here: the days of a range, and the events that say what became of each. Does not belong here: how
one day becomes a partition (`landing.py`) and the asset's declaration (`asset.py`).
"""

import asyncio
from dataclasses import dataclass
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
from health_pipelines.lake.partitions import OtherOriginError, PartitionBusyError, Table
from health_pipelines.landing.calendar import Window, day_window
from health_pipelines.landing.checks import LandedChecks
from health_pipelines.landing.day_failures import days_failed, step_failed
from health_pipelines.landing.freshness import Expectation, freshness_evaluations
from health_pipelines.landing.landed_partition import landed_event, recorded_hashes
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.clock import utc_now

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
    table = NARROWED if search.terms() else PROVIDER_HISTORIES
    try:
        storage.lake.refuse_other_origin(table, apr.origin)
        expectation = Expectation.of(Settings.of_this_process())
        failed = asyncio.run(_Pull(context, apr, storage, search, table).run())
    except (VendorError, SettingError, OtherOriginError) as error:
        raise step_failed(provider_histories_key(), error) from None
    [evaluation] = freshness_evaluations(context.instance, [provider_histories_key()], expectation, utc_now())
    context.log_event(evaluation)
    if failed:
        raise days_failed(
            provider_histories_key(), failed, len(context.partition_keys), "could not be landed"
        )


@dataclass
class _Pull:
    context: AssetExecutionContext
    apr: ProviderHistoriesResource
    storage: Storage
    search: HistorySearch
    table: Table

    async def run(self) -> dict[str, Exception]:
        """Returns why each day that did not land did not."""
        days, zone = list(self.context.partition_keys), self.apr.timezone
        recorded = recorded_hashes(self.context.instance, provider_histories_key(), days)
        failed: dict[str, Exception] = {}
        checks = LandedChecks.before_landing(self.context.instance, self.storage.lake, checked_histories())

        async with self.apr.client() as client:

            async def pull(day: str) -> None:
                if refused := next(filter(speaks_for_all_calls, failed.values()), None):
                    failed[day] = refused  # not asked any more
                    return
                try:
                    came = await self._land(client, day, day_window(day, zone))
                except (VendorError, UnusableHistoriesError, PartitionBusyError) as error:
                    failed[day] = error
                    self.context.log.error(f"{day}: {error}")
                    return
                self._record(day, came, recorded.get(day))
                if self.table is PROVIDER_HISTORIES:
                    # In a thread, so that other days are read meanwhile.
                    standing = await asyncio.to_thread(checks.read, day)
                    for evaluation in checks.evaluations(day, standing, came.landed.rows_sent):
                        self.context.log_event(evaluation)

            await for_each(days, pull, at_once=self.apr.concurrency)
        return failed

    async def _land(self, client: ProviderHistoriesClient, day: str, window: Window) -> LandedHistories:
        return await land_histories(
            client,
            self.storage.lake,
            self.table,
            day,
            window=window,
            search=self.search,
            extracted_at=datetime.now(UTC),
            at_once=self.apr.concurrency,
            pause_seconds=self.apr.pause_seconds,
        )

    def _record(self, day: str, came: LandedHistories, recorded_hash: str | None) -> None:
        landed = came.landed
        self.storage.lake.remember_origin(self.table, self.apr.origin)
        self.storage.lake.remember_zone(self.table, day, self.apr.timezone.key)
        source: dict[str, Any] = {
            "query_id": came.query_id,
            "readings": came.read.readings,
            "pages": came.read.pages,
        }
        if terms := self.search.terms():
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
        if trouble := self.storage.show_landed(PROVIDER_HISTORIES, landed.columns):
            self.context.log.warning(trouble)
        # A crash between the replacement and the event leaves a file that no event tells of.
        changed = landed.replaced or landed.content_hash != recorded_hash
        self.context.log_event(
            landed_event(provider_histories_key(), PROVIDER_HISTORIES, day, landed, source, changed=changed)
        )
