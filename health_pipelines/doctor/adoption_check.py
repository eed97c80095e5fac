"""Whether the lake and Dagster's record know of the same days.

Belongs here: a line. Does not belong here: where the two differ (`landing/recorded.py`).
"""

from health_pipelines.doctor.dagster_home import opened_home
from health_pipelines.doctor.finding import Finding, not_set_up, ok, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.lake.partitions import Lake
from health_pipelines.lake.verification import TableVerification
from health_pipelines.landing.recorded import Recorded, days_apart
from health_pipelines.vendors.known import landing_tables


def adoption(installation: Installation) -> Finding:
    """By the names of folders and the heads of chains: no partition is read."""
    instance = opened_home(installation)
    if isinstance(instance, Finding):
        return not_set_up("Not compared, as Dagster's home was not opened.")  # the line before says why
    lake = Lake(installation.settings.data_dir / "lake")
    unknown, lacking, older = 0, 0, []
    try:
        for checked in landing_tables(installation.settings):
            recorded = Recorded(instance, checked.asset)
            of_table = days_apart(lake, checked, recorded)
            adopted = sum(difference.is_adopted for difference in of_table.values())
            unknown, lacking = unknown + adopted, lacking + len(of_table) - adopted
            head = recorded.chain_head
            if head is not None and not TableVerification(lake, checked.table).knows(head):
                older.append(str(checked.table))
    finally:
        instance.dispose()
    parts = [f"{unknown} days are in the lake alone"] if unknown else []
    parts += [f"{lacking} days that landed for Dagster are not in the lake"] if lacking else []
    parts += [f"the lake is older than Dagster's record of {', '.join(older)}"] if older else []
    if parts:
        return warning(f"{'; '.join(parts)}. `health-pipelines adopt` puts that right.")
    return ok("Dagster and the lake know of the same days.")
