"""The checks of a landed partition: all that the vendor sent stands, in known columns and with unique keys.

Belongs here: what each statement needs to know, and how they are told to Dagster, for any table of the lake.
Does not belong here: what they say (`verdicts.py`), which tables there are (`dexcare/checks.py`), and whether
the newest day has landed (`freshness.py`). No check changes or holds back what has landed.

An evaluation belongs to a partition, so that a bad day is red alone and stays red until it lands well. The
landing step logs the evaluations itself, as each day lands: a check's own step does not run after an asset
that says what it did in events of its own. Executed by a person, the same statements are made about what
stands in the lake.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetChecksDefinition,
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
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.freshness import Expectation, freshness_checks
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA, ROWS_SENT
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.usual_rows import Odd, usual, weeks_before
from health_pipelines.landing.verdicts import (
    CHANGES_ARE_PAST,
    COLUMNS_ARE_KNOWN,
    KEYS_ARE_UNIQUE,
    ROW_COUNT_IS_USUAL,
    ROW_COUNT_MATCHES_VENDOR,
    CheckedTable,
    Compared,
    KeyCounts,
    Standing,
    Verdict,
    columns_verdict,
    keys_verdict,
    past_verdict,
    row_count_verdict,
    usual_verdict,
)
from health_pipelines.libraries import loaded_when_used
from health_pipelines.privacy.partition_file import rows_erased
from health_pipelines.settings import Settings

if TYPE_CHECKING:
    import polars as pl
else:
    pl = loaded_when_used("polars")

# A bad day must be red among good ones, preview or not; pyproject.toml pins Dagster below 1.14 for it.
warnings.filterwarnings("ignore", message="Specifying a partitions_def", category=PreviewWarning)

# How many landings are looked at for the last known columns.
_LANDINGS = 20


def read_standing(file: Path, key: str | None, changed: str | None = None) -> Standing:
    """Raises `OSError` or `PolarsError` if there is no such file or it cannot be read."""
    columns = tuple(name for name in columns_of(file) if name not in LINEAGE_COLUMNS)
    rows = row_count(file)
    column = matching_column(columns, key) if key else None
    return Standing(
        rows,
        columns,
        _key_counts(file, column, rows) if column else None,
        _from_the_future(file, changed) if changed and changed in columns else 0,
        rows_erased(file),
    )


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
            file = self.lake.partition_file(self.checked.table, day)
            return read_standing(file, self.checked.key, self.checked.changed)
        except (OSError, pl.exceptions.PolarsError):
            return None

    def evaluations(
        self, day: str, standing: Standing | None, rows_sent: int | None
    ) -> list[AssetCheckEvaluation]:
        """The evaluations of `day`. Call this after its materialization was logged, which they name."""
        materialized = _materializations(self.instance, self.checked.asset, day)
        target = materialized[0] if materialized else None
        before = _rows_of(materialized[1]) if len(materialized) > 1 else None
        verdicts = self._verdicts(day, standing, rows_sent, before)
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

    def _verdicts(
        self, day: str, standing: Standing | None, rows_sent: int | None, before: int | None
    ) -> dict[str, Verdict]:
        checked = self.checked
        if standing is None:
            gone = Verdict(False, "The lake has no readable file of this day; land it again.")
            return dict.fromkeys(checked.checks, gone)
        has_columns = bool(standing.rows) or checked.empty_days_have_columns
        verdicts = {
            ROW_COUNT_MATCHES_VENDOR: row_count_verdict(rows_sent, standing.rows, standing.rows_erased),
            COLUMNS_ARE_KNOWN: columns_verdict(self.known, standing.columns)
            if has_columns
            else Verdict(True, "A day of no rows has no columns to compare."),
            KEYS_ARE_UNIQUE: keys_verdict(checked, standing),
            ROW_COUNT_IS_USUAL: usual_verdict(
                day, standing.rows, self._compared(day, before), Odd.by(Settings.of_this_process())
            ),
        }
        if checked.changed:
            verdicts[CHANGES_ARE_PAST] = past_verdict(standing.from_the_future)
        return verdicts

    def _compared(self, day: str, before: int | None) -> Compared:
        # Where a change decides about the day, rows leave it for the day of their next change.
        usual_rows = usual_rows_of(self.lake, self.checked, day)
        return Compared(before=None if self.checked.changed else before, usual=usual_rows)


def usual_rows_of(lake: Lake, checked: CheckedTable, day: str) -> float | None:
    """How many rows the weekday of `day` usually has; None if nobody can say."""
    weeks = [
        rows
        for one in (weeks_before(day) if checked.days_are_alike else [])
        if (rows := rows_in(lake.footer_file(checked.table, one))) is not None
    ]
    return usual(weeks)


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


def table_checks(
    tables: Sequence[CheckedTable], days: DailyPartitionsDefinition, expectation: Expectation
) -> list[AssetChecksDefinition]:
    """For each table: the checks of a landed day, and that the newest expected one has landed."""
    return [
        *(landed_checks(checked, days) for checked in tables),
        *freshness_checks([checked.asset for checked in tables], expectation),
    ]


def landed_checks(checked: CheckedTable, days: DailyPartitionsDefinition) -> AssetChecksDefinition:
    """The checks of a table's landed days, to be executed by a person.

    Dagster's UI can run them all at once, for no partition in particular: then the newest day is checked.
    """

    # One step for all, that may end without a result: with one, Dagster 1.13 fails a partitioned check which
    # runs for no partition in particular.
    @multi_asset_check(
        name=f"{checked.asset.to_python_identifier()}_landed_checks",
        specs=[
            AssetCheckSpec(name, asset=checked.asset, description=description, partitions_def=days)
            for name, description in checked.checks.items()
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
        if not _materializations(instance, checked.asset, day):
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


def _materializations(instance: DagsterInstance, asset: AssetKey, day: str) -> Sequence[EventLogRecord]:
    """The newest materialization of a day and the one before, as far as there are."""
    of_day = AssetRecordsFilter(asset, asset_partitions=[day])
    return instance.fetch_materializations(of_day, limit=2).records


def _rows_of(record: EventLogRecord) -> int | None:
    """None of one that somebody reported by hand."""
    event = record.asset_materialization
    rows = event.metadata.get("dagster/partition_row_count") if event else None
    return None if rows is None else int(str(rows.value))


def rows_in(file: Path) -> int | None:
    """None if there is no such file, or it cannot be read."""
    try:
        return row_count(file) if file.exists() else None
    except (OSError, pl.exceptions.PolarsError):
        return None


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


def _from_the_future(file: Path, changed: str) -> int:
    """Rows that changed two days or more after their partition's day began in UTC: whatever the zone, it was
    over by then.
    """
    frame = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    if not frame.collect_schema()[changed].is_temporal():
        return 0
    ends = pl.col("_partition_date").cast(pl.Datetime("us", "UTC")) + pl.duration(days=2)
    return int(frame.select((pl.col(changed) >= ends).sum()).collect(engine="streaming").item())
