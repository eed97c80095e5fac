"""Erasing in its order: who is kept out is written down, then everything that holds them is gone through.

Belongs here: that order, over lake, journals, warehouse and published tables. Does not belong here: what a
person types and sees (`erase.py`), and how rows come out of a partition (`privacy/purge.py`).

Each step may be done again. Killed at any moment, the next one does what is left; nothing comes back
meanwhile, since what lands is held against the list from its first line on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from health_pipelines.drchrono.sweep.journal import SweptElsewhereError, forget
from health_pipelines.drchrono.tables import GONE_RECORDS
from health_pipelines.lake.opening import lake_of
from health_pipelines.lake.partitions import Lake, PartitionBusyError, Table
from health_pipelines.privacy.erased import Erased
from health_pipelines.privacy.keyed_hash import LostKeyError, hashed_value
from health_pipelines.privacy.partition_file import UnreadableFileError
from health_pipelines.privacy.patients import (
    PATIENTS,
    UnknownPatientColumnError,
    in_order,
    name_of,
    references,
)
from health_pipelines.privacy.purge import Purge, Removed
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.publish.publisher import Publisher
from health_pipelines.publish.source import opened
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.postgres_address import PostgresError
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.storage import rebuild_warehouse, warehouse_of

# What each step may raise, each with one sentence.
TROUBLES = (
    LostKeyError,
    PartitionBusyError,
    PostgresError,
    PublishError,
    SettingError,
    SweptElsewhereError,
    UnknownPatientColumnError,
    UnreadableFileError,
    WarehouseError,
)


@dataclass(frozen=True)
class Patient:
    """By the id that the source has for him or her, which nothing here shows."""

    source: str
    id: str = field(repr=False)


@dataclass(frozen=True)
class Erasing:
    """Of one place. `wait_seconds`: how long a landing or a sweep that is under way is waited for."""

    settings: Settings
    now: Callable[[], datetime]
    tell: Callable[[str], None]
    wait_seconds: float

    @property
    def lake(self) -> Lake:
        return lake_of(self.settings)

    @property
    def known(self) -> Erased:
        return Erased.beside(self.lake.root)

    def tables_of(self, source: str) -> list[Table]:
        """Of which something is in the lake, or was."""
        return in_order(one for one in self.lake.tables() if one.source == source)

    def found(self, patients: Sequence[Patient]) -> list[Removed]:
        """What would be removed. Changes nothing."""
        found: list[Removed] = []
        for source in dict.fromkeys(one.source for one in patients):
            names = [name for one in patients if one.source == source for name in self._names(one)]
            by_table = self._purge({}).find(self.tables_of(source), names)
            found += [
                Removed(table, day, taken.rows)
                for table, days in by_table.items()
                for day, taken in days.items()
            ]
        return found

    def refuse_unknown_columns(self, source: str) -> None:
        """Raise `UnknownPatientColumnError` if nobody knows which rows of a table are a patient's."""
        for table in self.tables_of(source):
            references(self.settings, table)

    def patients(self, patients: Sequence[Patient], reason: str) -> list[Removed]:
        """Take them out of everything, and keep them out."""
        hashes: dict[str, list[str]] = {}
        for one in patients:
            own = [self.known.hash_of(name) for name in self._names(one)]
            hashes.setdefault(one.source, []).extend(own)
            self.known.add(one.source, own)
            self._note("begun", {"source": one.source, "patient": own[0], "reason": reason})
        removed: list[Removed] = []
        for source, of_source in hashes.items():
            why = {"source": source, "patient": of_source[0], "reason": reason}
            removed += self._purge(why).rows(self.tables_of(source))
        self._everything_else(list(hashes))
        for source, of_source in hashes.items():
            own_rows = [one for one in removed if one.table.source == source]
            self.known.settle(source, self.known.pending(source))
            self._note(
                "done",
                {"source": source, "patients": len(of_source), "reason": reason, **_counts(own_rows)},
            )
        return removed

    def again(self) -> list[Removed]:
        """Take out whomever the list names, as after a restore or a run that was killed."""
        removed: list[Removed] = []
        sources = self.known.sources
        for source in sources:
            removed += self._purge({"source": source, "reason": "again"}).rows(self.tables_of(source))
        self._everything_else(sources)
        for source in sources:
            self.known.settle(source, self.known.pending(source))
        self._note("done", {"reason": "again", **_counts(removed)})
        return removed

    def days_found(self, tables: Sequence[Table], before: str) -> list[Removed]:
        """Which days would be removed, whole. Changes nothing."""
        return [
            Removed(table, day, 0, is_whole=True)
            for table in tables
            for day in self.lake.days(table)
            if day < before and not (table == GONE_RECORDS and day == self.lake.days(table)[-1])
        ]

    def days(self, tables: Sequence[Table], before: str, reason: str) -> list[Removed]:
        """Take away the days before `before`, and let none land again."""
        why = {"before": before, "reason": reason}
        self._note("begun", why)
        removed = self._purge(why).days(tables, before, but_the_newest=[GONE_RECORDS])
        self._everything_else(list({one.source for one in tables}))
        self._note("done", {**why, **_counts(removed)})
        return removed

    def _purge(self, why: Mapping[str, str]) -> Purge:
        return Purge(self.lake, self.settings, why, wait_seconds=self.wait_seconds, now=self.now)

    def _names(self, patient: Patient) -> list[str]:
        """What the patient is kept out by: the id as it comes, and as it lands if it is hashed."""
        names = [name_of(patient.source, PATIENTS, patient.id)]
        if self.settings.hashed_columns:
            key = self.settings.hash_key.reveal().encode()
            names.append(name_of(patient.source, PATIENTS, hashed_value(key, patient.id)))
        return names

    def _note(self, step: str, what: Mapping[str, Any]) -> None:
        self.known.note({"step": step, **what}, self.now())

    def _everything_else(self, sources: Sequence[str]) -> None:
        """Journals, warehouse and published tables."""
        if "drchrono" in sources:
            folder = self.settings.data_dir / "drchrono"
            for name in ("sweeps", "reconciliations"):
                if left := forget(folder / name, self.wait_seconds):
                    self.tell(f"Pages of {left} {name} that did not end are removed.")
        report = rebuild_warehouse(self.settings)
        if report is not None:
            self.tell(f"The warehouse is built anew: {len(report.models)} models.")
            for sentence in report.problems:
                self.tell(sentence)
        self.lake.forget_older_copies(one for source in sources for one in self.tables_of(source))
        self._publish()

    def _publish(self) -> None:
        """What was remembered of published tables has their keys; without it every row is compared."""
        publication = publication_of(self.settings)
        _remove_memory(self.settings.data_dir / "publish")
        if publication is None or not (self.settings.data_dir / "warehouse.duckdb").exists():
            return
        with opened(
            warehouse_of(self.settings), publication.work, with_deleted=publication.with_deleted
        ) as source:
            publisher = Publisher(
                source, publication.target, publication.memory, publication.schemas, self.now()
            )
            for model in published_models(self.settings):
                if source.has(model.full_name):
                    publisher.publish(model, compare=True)
        self.tell("Published tables are brought up to it.")


def _remove_memory(folder: Path) -> None:
    for one in [*folder.glob("*.parquet"), *folder.glob("*.json")]:
        one.unlink(missing_ok=True)


def _counts(removed: Sequence[Removed]) -> dict[str, Any]:
    by_table: dict[str, dict[str, int]] = {}
    for one in removed:
        so_far = by_table.setdefault(str(one.table), {"rows": 0, "days": 0})
        so_far["rows"] += one.rows
        so_far["days"] += 1
    return {"removed": by_table}
