"""Whether the lake and Dagster's record know of the same days.

Belongs here: a line. Does not belong here: where the two differ (`landing/recorded.py`), and opening
Dagster's home (`dagster_home.py`).
"""

from dagster import DagsterInstance

from health_pipelines.doctor.finding import Finding, ok, warning
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.verification import TableVerification
from health_pipelines.landing.recorded import Recorded, days_apart
from health_pipelines.settings import Settings
from health_pipelines.vendors.known import landing_tables


def adoption(instance: DagsterInstance, settings: Settings) -> Finding:
    """By the names of folders and the heads of chains: no partition is read."""
    lake = lake_to_read(settings)
    unknown, lacking, older = 0, 0, []
    for checked in landing_tables(settings):
        recorded = Recorded(instance, checked.asset)
        of_table = days_apart(lake, checked, recorded)
        adopted = sum(difference.is_adopted for difference in of_table.values())
        unknown, lacking = unknown + adopted, lacking + len(of_table) - adopted
        head = recorded.chain_head
        if head is not None and not TableVerification(lake, checked.table).knows(head):
            older.append(str(checked.table))
    parts = [f"Days that are in the lake alone: {unknown}."] if unknown else []
    parts += [f"Days that landed for Dagster and are not in the lake: {lacking}."] if lacking else []
    parts += [f"The lake is older than Dagster's record of {', '.join(older)}."] if older else []
    if parts:
        return warning(f"{' '.join(parts)} `health-pipelines adopt` puts that right.")
    return ok("The lake has the same days.")
