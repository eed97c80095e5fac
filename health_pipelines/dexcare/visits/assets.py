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
    asset,
)

from health_pipelines.dexcare.tables import GROUP, VISIT_REPORTS, VisitReport, dexcare_pool
from health_pipelines.dexcare.visits.land_step import land_reports
from health_pipelines.dexcare.visits.request_step import RequestConfig, request_reports
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.landing.run_claims import claim_run
from health_pipelines.landing.step import by_day
from health_pipelines.landing.storage import Storage

# Range runs are what this project is built on, beta or not; pyproject.toml pins Dagster below 1.14 for them.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=BetaWarning)


def visit_report_assets(days: DailyPartitionsDefinition) -> list[AssetsDefinition]:
    """For each report type the asset that asks for it and the asset that is it."""
    return [
        declared
        for report in VISIT_REPORTS
        for declared in (_request_asset(report, days), _landing_asset(report, days))
    ]


def _request_asset(report: VisitReport, days: DailyPartitionsDefinition) -> AssetsDefinition:
    @asset(
        key=report.request_key,
        group_name=GROUP,
        **by_day(days),
        pool=dexcare_pool(),
        kinds={"dexcare"},
        description=(
            f"A report asked for: DexCare's All Visits Report `{report.type.value}` for one day. Materialize "
            f"this to have a day landed (or landed again); the sensor does the rest."
        ),
    )
    def request(
        context: AssetExecutionContext, config: RequestConfig, dexcare: DexCareResource, storage: Storage
    ) -> Iterator[Output[None]]:
        claim_run(storage.run_claims, context.run.run_id, context.instance)
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
        description=(
            f"DexCare's All Visits Report `{report.type.value}`: {report.about}. One Parquet file a day, "
            f"every column as text; in DuckDB `{report.table.source}.{report.table.name}`."
        ),
    )
    def landing(
        context: AssetExecutionContext, dexcare: DexCareResource, storage: Storage
    ) -> Iterator[Output[None]]:
        claim_run(storage.run_claims, context.run.run_id, context.instance)
        land_reports(context, dexcare, storage, report)
        yield from ()

    return landing
