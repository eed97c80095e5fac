"""The DrChrono checks: which tables are checked, and by which key.

Belongs here: the list. Does not belong here: what a check says (`landing/checks.py`, `landing/freshness.py`).
"""

from dagster import AssetChecksDefinition, AssetKey, DailyPartitionsDefinition

from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.tables import SWEPT, key_of
from health_pipelines.landing.checks import landed_checks
from health_pipelines.landing.freshness import Expectation, freshness_checks
from health_pipelines.landing.verdicts import CheckedTable


def table_checks(days: DailyPartitionsDefinition, expectation: Expectation) -> list[AssetChecksDefinition]:
    """For each table: the checks of a landed day, and that the newest expected one has landed."""
    return [
        *(landed_checks(checked_records(record_type), days) for record_type in SWEPT),
        *freshness_checks(landing_keys(), expectation),
    ]


def landing_keys() -> list[AssetKey]:
    """The assets that data land in."""
    return [key_of(record_type) for record_type in SWEPT]


def checked_records(record_type: RecordType) -> CheckedTable:
    return CheckedTable(
        asset=key_of(record_type),
        table=record_type.table,
        key=record_type.key,
        key_setting=None,
        empty_days_have_columns=True,
        changed=record_type.changed,
        # Without a change time the first day of a range holds the rows of all.
        days_are_alike=record_type.changed is not None,
    )
