"""The tables of the warehouse as Dagster shows them: one step that builds all of them in one file.

Belongs here: declarations, and what a build says to Dagster. Does not belong here: building (`build.py`),
what the checks say (`checks.py`), when it is built (`sensor.py`).

What a build kept ends without a materialization: what did not change wakes nobody. The checks of all tables
are told each time, because Dagster fails a step that leaves one out; those of a kept table say what they said
when it was made.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    Failure,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    multi_asset,
)

from health_pipelines.dexcare.columns.guesses import remembered, sentences, visit_columns
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.landing.asset_pages import DOCS, columns, described_model
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA
from health_pipelines.landing.run_step import carried_out
from health_pipelines.settings import Settings
from health_pipelines.warehouse.charts import charts
from health_pipelines.warehouse.checks import COLUMNS_ARE_CHOSEN, ROWS_RECONCILE, CheckReport, checks_of
from health_pipelines.warehouse.current import current_tables
from health_pipelines.warehouse.lake_tables import TABLES
from health_pipelines.warehouse.models import Model, marts
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.published import BuildReport
from health_pipelines.warehouse.storage import WarehouseStorage, build_warehouse
from health_pipelines.warehouse.table_builder import ModelReport

if TYPE_CHECKING:
    import duckdb

STEP_NAME = "warehouse"
# For an asset's page.
FRESHNESS = "made anew within about a minute of a landing; `seconds_from_landing` says how long it took."
# Of a column that only a landing can tell.
_UNKNOWN_TYPE = "?"

Metadata = Mapping[str, Any]
Told = MaterializeResult[Any] | AssetCheckResult


def warehouse_asset(settings: Settings) -> AssetsDefinition:
    """Every table of `current` and `marts`, materialized together and only together.

    `settings`: their names for the columns of visit reports are in the descriptions.
    """
    # As if nothing had landed: the lake is not looked at before a step runs.
    currents = current_tables(dict.fromkeys(TABLES, LINEAGE_COLUMNS), visit_columns(settings))

    @multi_asset(
        name=STEP_NAME,
        specs=[_spec(model) for model in (*(current.model for current in currents), *marts())],
        check_specs=[
            AssetCheckSpec(name, asset=_key(current.model.full_name), description=description)
            for current in currents
            for name, description in checks_of(current.table).items()
        ],
    )
    def warehouse(context: AssetExecutionContext, storage: WarehouseStorage) -> Iterator[Told]:
        with carried_out(context, storage):
            yield from _build(context)

    return warehouse


def warehouse_keys() -> list[AssetKey]:
    """The assets of the step."""
    return [
        *(asset_key("current", table.name) for table in TABLES),
        *(_key(mart.full_name) for mart in marts()),
    ]


def _key(full_name: str) -> AssetKey:
    return asset_key(*full_name.split("."))


def schema_of(model: Model) -> TableSchema:
    """The columns of a model as they are when nothing has landed."""
    types = _column_types().get(model.full_name, {})
    return columns(
        # Nothing was looked at yet: what did not land is said by the build.
        (name, types.get(name, _UNKNOWN_TYPE), about.removesuffix(" Never landed so far."))
        for name, about in model.columns.items()
    )


@cache
def _column_types() -> Mapping[str, Mapping[str, str]]:
    """By table and column; `make data-page` writes them down, as finding them out takes a build."""
    text = files(__package__).joinpath("column_types.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text)
    return found


def _spec(model: Model) -> AssetSpec:
    return AssetSpec(
        _key(model.full_name),
        deps=[_key(source) for source in model.sources],
        description=described_model(model.description, {"Freshness": FRESHNESS}),
        metadata={
            DOCS: f"data.md#{model.schema}{model.name}",
            COLUMN_SCHEMA: schema_of(model),
            "dagster/table_name": model.full_name,
        },
        skippable=True,
        group_name=model.schema,
        kinds={"duckdb", model.kept_as},
    )


def _build(context: AssetExecutionContext) -> Iterator[Told]:
    settings = Settings.of_this_process()
    schemas: dict[str, TableSchema] = {}
    drawn: dict[str, Metadata] = {}

    def look(connection: "duckdb.DuckDBPyConnection") -> None:
        schemas.update(_schemas(connection))
        try:
            drawn.update(charts(connection))
        except Exception as error:
            # Whatever it is, nobody waits for the data because of a chart. Its words may quote a value.
            context.log.warning(f"The charts could not be drawn ({type(error).__name__}).")

    try:
        report = build_warehouse(settings, look)
    except WarehouseError as error:
        # It is the sensor that tries again.
        raise Failure(str(error), allow_retries=False) from None
    built_at = datetime.now(UTC)
    _log(context, report)
    guesses = _guesses(settings)
    unmade = {(name, ROWS_RECONCILE): why for name, why in report.unmade.items()}
    for model in report.models:
        checks = [one for one in model.checks if (model.name, one.name) not in unmade]
        results = [_check_result(model, check) for check in checks]
        if report.published and model.made != "kept":
            metadata = _metadata(model, built_at) | {COLUMN_SCHEMA: schemas[model.name]}
            if guesses.get(model.name):
                metadata["guessed_columns"] = " ".join(guesses[model.name])
            yield MaterializeResult(
                asset_key=_key(model.name),
                metadata={**metadata, **drawn.get(model.name, {})},
                check_results=results,
            )
        else:
            yield from results
    for name, said in guesses.items():
        yield _columns_are_chosen(name, said)
    for (name, check), why in unmade.items():
        yield AssetCheckResult(asset_key=_key(name), check_name=check, passed=False, description=why)
    if report.problems:
        # Told after the others, which are fresh. It is the sensor that tries again.
        raise Failure(" ".join(report.problems), allow_retries=False)


def _guesses(settings: Settings) -> dict[str, list[str]]:
    """By the name of each table of visits: what is to be said of columns that no setting names."""
    columns, known = visit_columns(settings), remembered(settings)
    return {
        f"current.{report.table.name}": sentences(type_, columns[type_], known[type_])
        if type_ in known
        else []
        for report in VISIT_REPORTS
        for type_ in [report.type.value]
    }


def _columns_are_chosen(name: str, said: Sequence[str]) -> AssetCheckResult:
    """A guess may be right; that somebody has said so is what the check is about."""
    decide = "Run `health-pipelines columns`, and set what is right; with --write it does."
    return AssetCheckResult(
        asset_key=_key(name),
        check_name=COLUMNS_ARE_CHOSEN,
        passed=not said,
        severity=AssetCheckSeverity.WARN,
        description=" ".join([*said, decide]) if said else None,
        metadata={"columns_guessed": len(said)},
    )


def _log(context: AssetExecutionContext, report: BuildReport) -> None:
    for sentence in report.corrections:
        context.log.warning(sentence)
    if not report.published:
        context.log.info("Nothing has changed since the warehouse was built.")
        return
    made = [f"{model.name} ({model.made})" for model in report.models if model.made != "kept"]
    context.log.info(
        f"Built in {report.seconds:.1f} s: {', '.join(made) or 'nothing anew'}; "
        f"{len(report.models) - len(made)} kept."
    )


def _metadata(model: ModelReport, built_at: datetime) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": model.rows,
        "made": model.made,
        "seconds": round(model.seconds, 3),
    }
    if model.landed_at is not None:
        metadata["seconds_from_landing"] = round(built_at.timestamp() - model.landed_at, 1)
    if model.checks:
        metadata["values_that_do_not_fit"] = sum(model.failed_casts.values())
        metadata["rows_without_key"] = model.rows_without_key
    if model.corrections:
        metadata["settings_to_correct"] = " ".join(model.corrections)
    return metadata


def _schemas(connection: "duckdb.DuckDBPyConnection") -> dict[str, TableSchema]:
    """Of every table and view of `current` and `marts`, by full name, as it is in the file."""
    found: dict[str, list[TableColumn]] = {}
    for full_name, column, kind, about in connection.execute(
        "SELECT schema_name || '.' || table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE schema_name IN ('current', 'marts') ORDER BY column_index"
    ).fetchall():
        found.setdefault(full_name, []).append(TableColumn(column, kind, about))
    return {full_name: TableSchema(some) for full_name, some in found.items()}


def _check_result(model: ModelReport, check: CheckReport) -> AssetCheckResult:
    metadata: dict[str, Any] = dict(check.numbers)
    if check.columns:
        metadata["details"] = MetadataValue.table([TableRecord(dict(line)) for line in check.columns])
    return AssetCheckResult(
        asset_key=_key(model.name),
        check_name=check.name,
        passed=check.passed,
        severity=AssetCheckSeverity.WARN if check.warns else AssetCheckSeverity.ERROR,
        description=check.description,
        metadata=metadata,
    )
