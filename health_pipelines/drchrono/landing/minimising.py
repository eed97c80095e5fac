"""Staged rows, and rows that stay, without what a setting leaves out, and with hashes where it wants those.

Belongs here: doing it before rows are told apart, so that a hashed key is the same in the sweep and in the
lake. Does not belong here: the rules and how a file is rewritten (`privacy`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from health_pipelines.drchrono.landing.columns import vendor_columns
from health_pipelines.drchrono.records import RecordType
from health_pipelines.lake.csv_partition import quoted
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.privacy.erased import Erased
from health_pipelines.privacy.keeping_out import telling_why
from health_pipelines.privacy.partition_file import MINIMISED, ErasedRows, erased_in, footer, write_without
from health_pipelines.privacy.patients import references
from health_pipelines.privacy.purge import names_of, purge_dependents
from health_pipelines.privacy.rules import Rules, rules_of
from health_pipelines.settings import Settings


@dataclass(frozen=True)
class Minimising:
    """What `settings` leave out of the rows of `table`. Every method does nothing if that is nothing.

    Raises `NotKeptError`, and `SettingError` if the settings are malformed.
    """

    lake: Lake | None
    settings: Settings
    table: Table

    @property
    def rules(self) -> Rules:
        return rules_of(self.settings, self.table) if self.lake else Rules()

    @property
    def fingerprint(self) -> str:
        return self.rules.fingerprint

    def of_staged(self, file: Path, record_type: RecordType, without: Mapping[str, str]) -> None:
        """Write a staged file anew. `without`: columns that are not in it.

        Erased patients are looked for here as well, while their ids are as they came: what they hash to may
        be another text than when they were erased.
        """
        rules, lake = self.rules, self.lake
        if not rules or lake is None:
            return
        columns = vendor_columns(record_type)
        hash_of = [f"NULL::{columns[name]}" if name in without else quoted(name) for name in columns]
        beside = file.with_suffix(".minimised")
        with telling_why():
            known = Erased.beside(lake.root)
            hashes = known.hashes(self.table.source)
            erased = ErasedRows(references(self.settings, self.table), hashes, known.key) if hashes else None
            found = erased_in([file], erased, file.parent).get(file) if erased else None
            write_without(file, beside, rules, erased, metadata={}, keep_columns=True, hash_of=hash_of)
            if found:
                purge_dependents(lake, self.table, names_of(self.table, found.keys, rules), self.settings)
        beside.replace(file)

    def of_standing(self, file: Path, target: Path) -> Path:
        """A partition with rows that stay: as it is, or as `target` if it was written by other rules."""
        rules = self.rules
        if not rules or footer(file).get(MINIMISED) == rules.fingerprint:
            return file
        with telling_why():
            write_without(file, target, rules, None, metadata={}, keep_columns=True)
        return target


NOTHING = Minimising(None, Settings({}), Table("", ""))
