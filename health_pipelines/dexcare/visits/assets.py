"""The DexCare assets as Dagster shows them: names, partitions, descriptions.

Belongs here: declarations. Does not belong here: what a step does (`request_step.py`, `land_step.py`).
"""

import warnings
from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    BetaWarning,
    DailyPartitionsDefinition,
    Output,
    TableSchema,
    asset,
)

from health_pipelines.dexcare.tables import GROUP, VISIT_REPORTS, VisitReport, dexcare_pool
from health_pipelines.dexcare.visits.land_step import land_reports
from health_pipelines.dexcare.visits.request_step import RequestConfig, request_reports
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.landing import run_tags
from health_pipelines.landing.asset_pages import DOCS, LINEAGE_ABOUT, columns, described
from health_pipelines.landing.freshness import FRESHNESS
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA
from health_pipelines.landing.run_step import carried_out
from health_pipelines.landing.step import by_day
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS

_PAGE = "reports.md"
_MEANINGS = {
    "key": "Tells visits apart",
    "time": "The visit's time",
    "status": "The visit's status",
    "wait_from": "When the patient began to wait",
    "wait_until": "When the wait was over",
}
# Range runs are what this project is built on, beta or not; pyproject.toml pins Dagster below 1.14 for them.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=BetaWarning)


def visit_report_assets(days: DailyPartitionsDefinition) -> list[AssetsDefinition]:
    """For each report type the asset that asks for it and the asset that is it."""
    return [
        declared
        for report in VISIT_REPORTS
        for declared in (_request_asset(report, days), _landing_asset(report, days))
    ]


def _known_columns(report: VisitReport) -> TableSchema:
    """Those that settings name, and ours."""
    type_ = report.type.value
    named = Settings.of_this_process().dexcare_visit_columns[type_]
    return columns(
        [
            *(
                (name, "VARCHAR", f"{_MEANINGS[field]}, as {setting.name} says.")
                for field, setting in VISIT_COLUMN_SETTINGS[type_].items()
                if (name := getattr(named, field))
            ),
            *((name, kind, LINEAGE_ABOUT[name]) for name, kind in LINEAGE_COLUMNS.items()),
        ]
    )


def _request_asset(report: VisitReport, days: DailyPartitionsDefinition) -> AssetsDefinition:
    @asset(
        key=report.request_key,
        group_name=GROUP,
        **by_day(days),
        pool=dexcare_pool(),
        kinds={"dexcare"},
        tags=run_tags.of_table(report.table.source, report.table.name),
        metadata={DOCS: _PAGE},
        description=described(
            f"A report asked for: DexCare's All Visits Report `{report.type.value}` for one day. Materialize "
            "this to have a day landed (or landed again); the sensor `dexcare_report_sensor` does the rest.",
            {
                "A row is": "none: a materialization is a ticket, the id of a report that DexCare was asked "
                "for.",
                "Followed by": f"`{report.asset_key.to_user_string()}`, when the report is ready.",
            },
        ),
    )
    def request(
        context: AssetExecutionContext, config: RequestConfig, dexcare: DexCareResource, storage: Storage
    ) -> Iterator[Output[None]]:
        with carried_out(context, storage, report.table):
            request_reports(context, config, dexcare, report)
        # Only a step that yields can end without an output, which would stand for every day of the range.
        yield from ()

    return request


def _landing_asset(report: VisitReport, days: DailyPartitionsDefinition) -> AssetsDefinition:
    @asset(
        key=report.asset_key,
        deps=[report.request_key],
        group_name=GROUP,
        **by_day(days),
        pool=dexcare_pool(),
        kinds={"parquet", "duckdb"},
        metadata={DOCS: _PAGE, COLUMN_SCHEMA: _known_columns(report)},
        description=described(
            f"DexCare's All Visits Report `{report.type.value}`: {report.about}.",
            {
                "A row is": "a visit, as the report of that day has it.",
                "A partition is": "the report of one day: one Parquet file, every column as text.",
                "In DuckDB": f"{report.table}.".replace("/", "."),
                "Columns": "DexCare documents none. Those of the last landed day, and what settings say of "
                "them, are below.",
                "Freshness": FRESHNESS,
            },
        ),
    )
    def landing(
        context: AssetExecutionContext, dexcare: DexCareResource, storage: Storage
    ) -> Iterator[Output[None]]:
        with carried_out(context, storage, report.table):
            land_reports(context, dexcare, storage, report)
        yield from ()

    return landing
