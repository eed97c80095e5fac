"""The DexCare tables and the names that belong to each: report type, assets, lake table.

Belongs here: names. Does not belong here: anything that happens.
"""

from dataclasses import dataclass

from dagster import AssetKey

from health_pipelines.dexcare.visits.client import ReportType
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.dagster_names import asset_key, pool

GROUP = "dexcare"


@dataclass(frozen=True)
class VisitReport:
    """One type of All Visits Report with its two assets: the request and what lands."""

    type: ReportType
    about: str

    @property
    def table(self) -> Table:
        return Table("dexcare", f"avr_{self.type.value}")

    @property
    def asset_key(self) -> AssetKey:
        return asset_key(self.table.source, self.table.name)

    @property
    def request_key(self) -> AssetKey:
        return asset_key(self.table.source, f"{self.table.name}_report")


VISIT_REPORTS = (
    VisitReport(ReportType.VIRTUAL, "video visits: patients who enter a waiting room on booking"),
    VisitReport(ReportType.RETAIL, "visits to retail and urgent-care clinics"),
    VisitReport(ReportType.PROVIDER_BOOKING, "visits booked with a particular provider"),
)
PROVIDER_HISTORIES = Table("dexcare", "provider_histories")
TABLES = (*(report.table for report in VISIT_REPORTS), PROVIDER_HISTORIES)


def provider_histories_key() -> AssetKey:
    return asset_key(PROVIDER_HISTORIES.source, PROVIDER_HISTORIES.name)


def dexcare_pool() -> str:
    """For every step that calls DexCare."""
    return pool("dexcare_api")
