"""The checks of a landed partition: all that the vendor sent stands, in known columns and with unique keys.

Belongs here: the three statements, what each needs to know, and how they are told to Dagster, for any table
of the lake. Does not belong here: which tables there are (`dexcare/checks.py`), and whether the newest day
has landed (`freshness.py`). No check changes or holds back what has landed, and none says a value.

An evaluation belongs to a partition, so that a bad day is red alone and stays red until it lands well. The
landing step logs the evaluations itself, as each day lands: a check's own step does not run after an asset
that says what it did in events of its own. Executed by a person, the same statements are made about what
stands in the lake.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    DailyPartitionsDefinition,
    EventLogRecord,
    PreviewWarning,
    TableSchema,
    multi_asset_check,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, columns_of, matching_column, row_count
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA, ROWS_SENT
from health_pipelines.landing.storage import Storage

# A bad day must be red among good ones, preview or not; pyproject.toml pins Dagster below 1.14 for it.
warnings.filterwarnings("ignore", message="Specifying a partitions_def", category=PreviewWarning)

ROW_COUNT_MATCHES_VENDOR = "row_count_matches_vendor"
COLUMNS_ARE_KNOWN = "columns_are_known"
KEYS_ARE_UNIQUE = "keys_are_unique"
DESCRIPTIONS = {
    ROW_COUNT_MATCHES_VENDOR: "The day's file has as many rows as the vendor sent.",
    COLUMNS_ARE_KNOWN: "The day's columns are those that the table had when it last landed. A new, missing "
    "or renamed one is a warning; all columns land.",
    KEYS_ARE_UNIQUE: "Each row of the day has a key and no other row of the day has the same.",
}

# A body without a header line can make thousands of names; an event shows a few.
_MOST_NAMES = 20
# How many landings are looked at for the last known columns.
_LANDINGS = 20


@dataclass(frozen=True)
class CheckedTable:
    """A table and what its checks go by.

    `key`: the column that tells rows apart; None if `key_setting` is to name it and does not. `empty_days_
    have_columns`: whether a day of no rows has a header all the same, as a CSV does and JSON does not.
    """

    asset: AssetKey
    table: Table
    key: str | None
    key_setting: str | None
    empty_days_have_columns: bool


@dataclass(frozen=True)
class Verdict:
    """What a check says. `description`: a sentence, None where there is nothing to add to a green mark."""

    passed: bool
    description: str | None = None
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KeyCounts:
    """Rows of a day whose key is NULL or empty, and rows that repeat the key of another."""

    without: int
    repeated: int


@dataclass(frozen=True)
class Standing:
    """A partition as its file says. `columns`: the vendor's. `keys`: None without a key column."""

    rows: int
    columns: tuple[str, ...]
    keys: KeyCounts | None


def row_count_verdict(sent: int | None, landed: int) -> Verdict:
    """`sent`: None if nothing recorded it."""
    if sent is None:
        return Verdict(
            False,
            "How many rows the vendor sent was not recorded for this day; land it again.",
            AssetCheckSeverity.WARN,
            {"rows_landed": landed},
        )
    metadata = {"rows_sent": sent, "rows_landed": landed}
    if sent == landed:
        return Verdict(True, metadata=metadata)
    return Verdict(
        False,
        f"The vendor sent {sent} rows and the day's file has {landed}; land it again.",
        metadata=metadata,
    )


def columns_verdict(known: Sequence[str] | None, columns: Sequence[str]) -> Verdict:
    """`known`: the columns of the landing before; None if there was none. Another order is no difference."""
    if known is None:
        return Verdict(
            True, "The first columns of this table that are known.", metadata={"columns": len(columns)}
        )
    new = [name for name in columns if name not in set(known)]
    missing = [name for name in known if name not in set(columns)]
    if not new and not missing:
        return Verdict(True, metadata={"columns": len(columns)})
    at_one_place = [
        (before, now)
        for before, now in zip(known, columns, strict=False)
        if before in set(missing) and now in set(new)
    ]
    said = [f"new: {_named(new)}"] if new else []
    said += [f"missing: {_named(missing)}"] if missing else []
    if at_one_place:
        said.append(f"perhaps renamed: {_listed([f'{before!r} to {now!r}' for before, now in at_one_place])}")
    return Verdict(
        False,
        f"Other columns than before, {'; '.join(said)}. All that came has landed.",
        AssetCheckSeverity.WARN,
        {
            "columns": len(columns),
            "columns_new": new[:_MOST_NAMES],
            "columns_missing": missing[:_MOST_NAMES],
            "columns_perhaps_renamed": [list(pair) for pair in at_one_place[:_MOST_NAMES]],
        },
    )


def keys_verdict(checked: CheckedTable, standing: Standing) -> Verdict:
    if checked.key is None:
        return Verdict(
            True,
            f"No key is set; put the name of the column that tells rows apart into {checked.key_setting}.",
            AssetCheckSeverity.WARN,
        )
    if standing.keys is None:
        if not standing.rows and not checked.empty_days_have_columns:
            return Verdict(True, "A day of no rows has no keys.")
        change = f" or change {checked.key_setting}" if checked.key_setting else ""
        return Verdict(False, f"The day has no column {checked.key!r}; ask the vendor{change}.")
    without, repeated = standing.keys.without, standing.keys.repeated
    metadata = {"key": checked.key, "rows_without_key": without, "rows_repeating_a_key": repeated}
    if not without and not repeated:
        return Verdict(True, metadata=metadata)
    said = [f"{without} have none"] if without else []
    said += [f"{repeated} repeat that of another row"] if repeated else []
    return Verdict(
        False,
        f"Of {standing.rows} rows, by the key {checked.key!r}, {' and '.join(said)}. All rows have landed.",
        metadata=metadata,
    )


def read_standing(file: Path, key: str | None) -> Standing:
    """Raises `OSError` or `PolarsError` if there is no such file or it cannot be read."""
    columns = tuple(name for name in columns_of(file) if name not in LINEAGE_COLUMNS)
    rows = row_count(file)
    column = matching_column(columns, key) if key else None
    return Standing(rows, columns, _key_counts(file, column, rows) if column else None)


@dataclass(frozen=True)
class LandedChecks:
    """The checks of one table, against the columns `known` (see `columns_verdict`)."""

    instance: DagsterInstance
    lake: Lake
    checked: CheckedTable
    known: tuple[str, ...] | None

    @classmethod
    def before_landing(cls, instance: DagsterInstance, lake: Lake, checked: CheckedTable) -> "LandedChecks":
        """For a run, before its first day lands.

        So all its days are compared with the landing before the run, however many land at once and in
        whatever order; the next run knows the new columns.
        """
        return cls(instance, lake, checked, last_known_columns(instance, lake, checked))

    def read(self, day: str) -> Standing | None:
        """What stands for `day`; None if nothing does that can be read. Takes time with the day's size."""
        try:
            return read_standing(self.lake.partition_file(self.checked.table, day), self.checked.key)
        except (OSError, pl.exceptions.PolarsError):
            return None

    def evaluations(
        self, day: str, standing: Standing | None, rows_sent: int | None
    ) -> list[AssetCheckEvaluation]:
        """The evaluations of `day`. Call this after its materialization was logged, which they name."""
        verdicts = self._verdicts(standing, rows_sent)
        target = _newest_materialization(self.instance, self.checked.asset, day)
        return [
            AssetCheckEvaluation(
                asset_key=self.checked.asset,
                check_name=name,
                partition=day,
                passed=verdict.passed,
                severity=verdict.severity,
                description=verdict.description,
                metadata=verdict.metadata,
                # Dagster shows a partition's evaluation only if it names the newest materialization.
                target_materialization_data=target
                and AssetCheckEvaluationTargetMaterializationData(
                    storage_id=target.storage_id, run_id=target.run_id, timestamp=target.timestamp
                ),
            )
            for name, verdict in verdicts.items()
        ]

    def _verdicts(self, standing: Standing | None, rows_sent: int | None) -> dict[str, Verdict]:
        if standing is None:
            gone = Verdict(False, "The lake has no readable file of this day; land it again.")
            return dict.fromkeys(DESCRIPTIONS, gone)
        has_columns = bool(standing.rows) or self.checked.empty_days_have_columns
        return {
            ROW_COUNT_MATCHES_VENDOR: row_count_verdict(rows_sent, standing.rows),
            COLUMNS_ARE_KNOWN: columns_verdict(self.known, standing.columns)
            if has_columns
            else Verdict(True, "A day of no rows has no columns to compare."),
            KEYS_ARE_UNIQUE: keys_verdict(self.checked, standing),
        }


def last_known_columns(
    instance: DagsterInstance, lake: Lake, checked: CheckedTable, *, but: str | None = None
) -> tuple[str, ...] | None:
    """The vendor columns of the newest landing that had any, of whatever day except `but`.

    Not those of the newest day: a vendor answers about an old day with the columns of today. Where no event
    is left, those of the newest day in the lake.
    """
    records = instance.fetch_materializations(checked.asset, limit=_LANDINGS).records
    for record in records:
        materialization = record.asset_materialization
        assert materialization is not None, "fetched as a materialization"
        schema = materialization.metadata.get(COLUMN_SCHEMA)
        rows = materialization.metadata.get("dagster/partition_row_count")
        # A partition that somebody reported by hand has neither.
        if record.partition_key == but or schema is None or rows is None:
            continue
        if rows.value or checked.empty_days_have_columns:
            assert isinstance(schema.value, TableSchema), "logged as one"
            return tuple(one.name for one in schema.value.columns if one.name not in LINEAGE_COLUMNS)
    if records:
        return None
    for file in reversed(lake.partition_files(checked.table)):
        try:
            standing = read_standing(file, key=None)
        except (OSError, pl.exceptions.PolarsError):
            continue
        if standing.rows or checked.empty_days_have_columns:
            return standing.columns
    return None


def landed_checks(checked: CheckedTable, days: DailyPartitionsDefinition) -> AssetChecksDefinition:
    """The three checks of a table, to be executed by a person.

    Dagster's UI can run them all at once, for no partition in particular: then the newest day is checked.
    """

    # One step for the three, that may end without a result: with one, Dagster 1.13 fails a partitioned check
    # which runs for no partition in particular.
    @multi_asset_check(
        name=f"{checked.asset.to_python_identifier()}_landed_checks",
        specs=[
            AssetCheckSpec(name, asset=checked.asset, description=description, partitions_def=days)
            for name, description in DESCRIPTIONS.items()
        ],
        can_subset=True,
    )
    def checks(context: AssetCheckExecutionContext, storage: Storage) -> Iterator[AssetCheckEvaluation]:
        selected = {key.name for key in context.selected_asset_check_keys}
        days = _days_of(context, checked)
        for evaluation in standing_evaluations(context.instance, storage.lake, checked, days):
            if evaluation.check_name in selected:
                yield evaluation

    return checks


def standing_evaluations(
    instance: DagsterInstance, lake: Lake, checked: CheckedTable, days: Iterable[str]
) -> Iterator[AssetCheckEvaluation]:
    """The evaluations of what stands in the lake for those of `days` that ever landed."""
    for day in days:
        if _newest_materialization(instance, checked.asset, day) is None:
            continue
        # Not with those of the day itself, which would always be known.
        checks = LandedChecks(instance, lake, checked, last_known_columns(instance, lake, checked, but=day))
        yield from checks.evaluations(
            day, checks.read(day), _recorded_rows_sent(instance, checked.asset, day)
        )


def _days_of(context: AssetCheckExecutionContext, checked: CheckedTable) -> Sequence[str]:
    if context.has_partition_key or context.has_partition_key_range:
        return list(context.partition_keys)
    newest = max(context.instance.get_materialized_partitions(checked.asset), default=None)
    if newest is None:
        context.log.info("Nothing has landed yet.")
        return []
    return [newest]


def _newest_materialization(instance: DagsterInstance, asset: AssetKey, day: str) -> EventLogRecord | None:
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset, asset_partitions=[day]), limit=1
    ).records
    return records[0] if records else None


def _recorded_rows_sent(instance: DagsterInstance, asset: AssetKey, day: str) -> int | None:
    """From the newest event of the day's landing, which is an observation if nothing had changed."""
    of_day = AssetRecordsFilter(asset, asset_partitions=[day])
    records = [
        *instance.fetch_materializations(of_day, limit=1).records,
        *instance.fetch_observations(of_day, limit=1).records,
    ]
    for record in sorted(records, key=lambda one: one.storage_id, reverse=True):
        event = record.asset_materialization or record.event_log_entry.asset_observation
        sent = event.metadata.get(ROWS_SENT) if event else None
        if sent is not None:
            return int(str(sent.value))
    return None


def _key_counts(file: Path, column: str, rows: int) -> KeyCounts:
    # By 64-bit hashes, which take a third of the memory of keys that are UUIDs.
    key = pl.col(column)
    usable = key.is_not_null() & (key != "")
    [(with_key, different)] = (
        pl.scan_parquet(file, glob=False, hive_partitioning=False)
        .select(usable.sum().alias("with"), key.filter(usable).hash().n_unique().alias("different"))
        .collect(engine="streaming")
        .rows()
    )
    return KeyCounts(without=rows - with_key, repeated=with_key - different)


def _named(names: Sequence[str]) -> str:
    return _listed([repr(name) for name in names])


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMES
    return ", ".join(words[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
