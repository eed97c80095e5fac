"""The DrChrono checks: which tables are checked, and by which key.

Belongs here: the list. Does not belong here: what a check says (`landing/checks.py`, `landing/freshness.py`).
"""

from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.tables import key_of
from health_pipelines.landing.verdicts import CheckedTable


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
        zone=lambda settings: settings.drchrono_timezone,
    )
