"""DexCare as everybody else knows it.

Belongs here: what of this package is for others. Does not belong here: anything that is done with it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from health_pipelines.dexcare.checks import checked_histories, checked_report, report_checks
from health_pipelines.dexcare.histories.asset import provider_histories_asset
from health_pipelines.dexcare.histories.client import HistorySearch
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.probe.histories import HISTORIES_PROBE
from health_pipelines.dexcare.probe.visits import VISITS_PROBE
from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.dexcare.visits.assets import visit_report_assets
from health_pipelines.dexcare.visits.orders import report_orders
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.dexcare.visits.sensor import report_sensor
from health_pipelines.http import origin_of
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.vendor import Question, Vendor
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import DEXCARE_APR_BASE_URL, DEXCARE_BASE_URL

# Before there was anything to assign to anybody.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def _origins(settings: Settings) -> Mapping[Table, str]:
    found: dict[Table, str] = {}
    if settings.has_dexcare:
        found |= {report.table: origin_of(settings.dexcare_base_url) for report in VISIT_REPORTS}
    if settings.has_provider_histories:
        found[PROVIDER_HISTORIES] = origin_of(settings.dexcare_apr_base_url)
    return found


async def _ask_for_a_report() -> None:
    """For the status of one that nobody started."""
    async with DexCareResource().client() as client:
        await client.check_access()


async def _ask_for_histories() -> None:
    """For one row of a second in which there are none."""
    async with ProviderHistoriesResource().client() as client:
        await client.page(_LONG_AGO, _LONG_AGO + timedelta(seconds=1), HistorySearch(), offset=0, limit=1)


VENDOR = Vendor(
    tables=lambda: [*(checked_report(report) for report in VISIT_REPORTS), checked_histories()],
    assets=lambda days: [*visit_report_assets(days), provider_histories_asset(days)],
    more_checks=report_checks,
    schedules=lambda settings: [dexcare_daily(settings)],
    sensors=lambda settings: [report_sensor(settings.dexcare_poll_seconds)],
    resources=lambda: {"dexcare": DexCareResource(), "dexcare_apr": ProviderHistoriesResource()},
    origins=_origins,
    orders=report_orders,
    probes=(VISITS_PROBE, HISTORIES_PROBE),
    questions=(
        Question(
            "DexCare",
            not_set_up=lambda settings: (
                None if settings.has_dexcare else f"{DEXCARE_BASE_URL.name} is not set."
            ),
            host=lambda settings: origin_of(settings.dexcare_base_url),
            ask=_ask_for_a_report,
            if_not_found=f"{DEXCARE_BASE_URL.name} does not seem to lead to DexCare's API.",
        ),
        Question(
            "provider histories",
            not_set_up=lambda settings: (
                None
                if settings.has_provider_histories
                else f"Neither {DEXCARE_BASE_URL.name} nor {DEXCARE_APR_BASE_URL.name} is set."
            ),
            host=lambda settings: origin_of(settings.dexcare_apr_base_url),
            ask=_ask_for_histories,
            if_not_found=f"{DEXCARE_APR_BASE_URL.name} does not seem to lead to DexCare's API.",
        ),
    ),
)
