"""Comparing a record type with the lake: the step of the asset.

Belongs here: the order of pricing, sweep, comparison and writing, and what is told of it. Does not belong
here: what is gone (`compared.py`), the files (`gone_file.py`), the sweep and its proof (`drchrono/sweep/`).

The ids of the lake are taken down before the vendor is asked for anything: the sweep is proven to bring every
record that was there all the time, and one that comes or changes meanwhile is never missed.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext

from health_pipelines.drchrono.reconciliation.compared import (
    Comparison,
    compare,
    refuse_too_dear,
    refuse_too_many,
)
from health_pipelines.drchrono.reconciliation.gone_file import alone, gone_before, ids_in_lake, write_gone
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.sweep.journal import Journal, Question, opened_in_turn
from health_pipelines.drchrono.sweep.pages import ListTooLongError
from health_pipelines.drchrono.sweep.reading import Sweep
from health_pipelines.drchrono.sweep.swept import Swept
from health_pipelines.drchrono.tables import GONE_RECORDS, gone_records_key
from health_pipelines.http import VendorError
from health_pipelines.http.json_text import read_json
from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk, replace_text
from health_pipelines.lake.json_partition import value_text
from health_pipelines.lake.partitions import OtherOriginError, PartitionBusyError
from health_pipelines.landing.day_failures import step_failed
from health_pipelines.landing.storage import Storage
from health_pipelines.privacy.keyed_hash import hashed_value
from health_pipelines.privacy.rules import rules_of
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.clock import utc_now

# Before DrChrono was founded: all records.
_SINCE = date(2000, 1, 1)


def reconcile(
    context: AssetExecutionContext,
    drchrono: DrChronoResource,
    storage: Storage,
    record_type: RecordType,
    *,
    mark_many: bool,
) -> Mapping[str, Any]:
    """Mark what the vendor no longer lists, and return the numbers. `mark_many`: however many that are.

    Raises `Failure`, and then nothing was marked.
    """
    work = _Reconciliation(context, drchrono, storage, record_type, mark_many)
    try:
        with naming_the_disk():
            return asyncio.run(work.run())
    except (
        UnusableDiskError,
        VendorError,
        SettingError,
        OtherOriginError,
        ListTooLongError,
        PartitionBusyError,
    ) as error:
        raise step_failed(gone_records_key(), error) from None


@dataclass
class _Reconciliation:
    context: AssetExecutionContext
    drchrono: DrChronoResource
    storage: Storage
    record_type: RecordType
    mark_many: bool

    async def run(self) -> Mapping[str, Any]:
        record_type, lake, log = self.record_type, self.storage.lake, self.context.log
        origin, most = self.drchrono.origin, Settings.of_this_process().drchrono_reconcile_most_calls
        for table in (record_type.table, GONE_RECORDS):
            lake.refuse_other_origin(table, origin)
        question = Question(origin, record_type.name, _SINCE, verbose=False)
        folder = self.storage.drchrono / "reconciliations"
        async with opened_in_turn(folder / record_type.name, question, utc_now, log.info) as journal:
            known = self._known(journal, question, folder / record_type.name / "known.json")
            price = refuse_too_dear(record_type, len(known), most, "the lake")
            log.info(
                f"{record_type.name}: {len(known)} ids of the lake are to be compared, which takes about "
                f"{price} calls."
            )
            if not known:
                return {"compared": 0, "gone_now": 0, "newly_gone": 0, "came_back": 0, "calls_used": 0}
            swept, calls = await self._sweep(question, journal, most)
            listed = await asyncio.to_thread(self._listed, swept)
            with alone(folder):
                comparison = compare(
                    gone_before(lake, record_type),
                    known,
                    self._as_landed(listed),
                    at=journal.begun_at,
                    report_id=swept.pages[0].uuid,
                )
                self._keep(comparison, origin)
            journal.discard()
        return {
            "compared": comparison.compared,
            "gone_now": comparison.gone,
            "newly_gone": comparison.newly_gone,
            "came_back": comparison.came_back,
            "records_listed": len(listed),
            "calls_used": calls,
            "calls_estimated": price,
        }

    def _known(self, journal: Journal, question: Question, file: Path) -> dict[str, datetime]:
        """The ids that the lake had before the first list of the sweep was asked for."""
        if journal.pages or journal.open_lists:
            try:
                noted = json.loads(file.read_text())
                return {id_: datetime.fromisoformat(at) for id_, at in noted.items()}
            except (OSError, ValueError, AttributeError):
                journal.begin(question, utc_now())
        known = ids_in_lake(self.storage.lake, self.record_type)
        # Beside the pages, as protected as they are.
        replace_text(file, json.dumps({id_: at.isoformat() for id_, at in known.items()}))
        return known

    async def _sweep(self, question: Question, journal: Journal, most: int) -> tuple[Swept, int]:
        def priced(count: int) -> None:
            # The practice may have more than ever landed here.
            refuse_too_dear(self.record_type, count, most, "DrChrono")

        async with self.drchrono.client(self.storage.drchrono, self.context.log.info) as client:
            swept = await Sweep(
                client,
                self.record_type,
                question,
                journal,
                self.drchrono.pace(self.storage.drchrono),
                zone=self.drchrono.timezone,
                at_once=self.drchrono.concurrency,
                now=utc_now,
                told_count=priced,
            ).run()
            return swept, client.calls

    def _listed(self, swept: Swept) -> set[str]:
        key = self.record_type.key
        return {
            value_text(record[key]) or ""
            for page in swept.pages
            for record in read_json(page.path.read_bytes())["results"]
        }

    def _as_landed(self, listed: set[str]) -> set[str]:
        """These ids as the lake may have them: as they are, and where the key is hashed also as that."""
        rules = rules_of(Settings.of_this_process(), self.record_type.table)
        if not rules.hashes(self.record_type.key):
            return listed
        # Days that landed before that setting have them as they were.
        return listed | {hashed_value(rules.key, one) for one in listed}

    def _keep(self, comparison: Comparison, origin: str) -> None:
        if not self.mark_many:
            refuse_too_many(comparison, self.record_type)
        if not comparison.says_more:
            return
        lake, today = self.storage.lake, utc_now().astimezone(Settings.of_this_process().timezone).date()
        columns = write_gone(lake, self.record_type, comparison.records, today)
        lake.remember_origin(GONE_RECORDS, origin)
        if trouble := self.storage.show_landed(GONE_RECORDS, columns):
            self.context.log.warning(trouble)
