"""The DexCare checks: statements about assets that the UI shows green or red.

Belongs here: what is checked and how it is told. Does not belong here: the assets, and what makes a statement
true.
"""

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    DagsterInstance,
    asset_check,
)

from health_pipelines.dexcare.histories.landing import KEY
from health_pipelines.dexcare.tables import (
    PROVIDER_HISTORIES,
    VISIT_REPORTS,
    VisitReport,
    provider_histories_key,
)
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS

# On each request asset. It looks at all days, so that it stays red until each was asked for again.
REPORT_ARRIVES = "report_arrives"


def report_checks() -> list[AssetChecksDefinition]:
    """For each request asset: every report that was asked for arrives."""
    return [_report_arrives(report) for report in VISIT_REPORTS]


def checked_report(report: VisitReport) -> CheckedTable:
    return CheckedTable(
        asset=report.asset_key,
        table=report.table,
        key=Settings.of_this_process().dexcare_visit_columns[report.type.value].key,
        key_setting=VISIT_COLUMN_SETTINGS[report.type.value]["key"].name,
        empty_days_have_columns=True,
    )


def checked_histories() -> CheckedTable:
    return CheckedTable(
        asset=provider_histories_key(),
        table=PROVIDER_HISTORIES,
        key=KEY,
        key_setting=None,
        empty_days_have_columns=False,
    )


def report_arrives(instance: DagsterInstance, report: VisitReport) -> AssetCheckEvaluation:
    """The check's evaluation, for the step to log: a check's own step does not run after an asset that says
    what it did in events of its own instead of an output."""
    open_tickets = Ledger(instance, report.request_key).open_tickets()
    given_up = [day for day, one in open_tickets.items() if one.given_up]
    return AssetCheckEvaluation(
        asset_key=report.request_key,
        check_name=REPORT_ARRIVES,
        passed=not given_up,
        description=f"Given up: {', '.join(given_up)}." if given_up else None,
        metadata={"days_given_up": len(given_up)},
    )


def _report_arrives(report: VisitReport) -> AssetChecksDefinition:
    @asset_check(
        asset=report.request_key,
        name=REPORT_ARRIVES,
        description="No day is given up. Red until each such day was asked for again.",
    )
    def check(context: AssetCheckExecutionContext) -> AssetCheckResult:
        evaluation = report_arrives(context.instance, report)
        return AssetCheckResult(
            passed=evaluation.passed, description=evaluation.description, metadata=evaluation.metadata
        )

    return check
