"""What a visit report calls its columns: the vendor's data dictionary is not public, so that they may be any.

Belongs here: other names, and columns that look like others. Does not belong here: what a visit is
(`visits.py`). Pure.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from health_pipelines.sandbox.settings import ColumnNames

Row = dict[str, str | None]

_NAMESPACE = UUID("6f1c1d0e-8a52-4f6e-9d0e-2f7a5b1c3d4e")


def as_named(row: Mapping[str, str | None], names: ColumnNames) -> Row:
    """A visit under the names of its report.

    documented: the guess of this sandbox. other: names that say nothing. ambiguous: such names, and for the
    id, the status and the times a second column each of which nothing shows that it is not the one.
    """
    if names == "documented":
        return dict(row)
    wide = {**row, **_twins(row)} if names == "ambiguous" else row
    return {f"field_{number:02d}": value for number, value in enumerate(wide.values(), start=1)}


def _twins(row: Mapping[str, str | None]) -> Row:
    status, visit = row["status"], str(row["visit_id"])
    return {
        "other id": str(uuid5(_NAMESPACE, visit)),
        # As a desk might keep it beside the booking's.
        "other status": "confirmed" if status == "scheduled" and visit[0] in "01234567" else status,
        # Before a visit that was held and after one that was not, so that it is neither before nor after.
        "other time": _moved(row["scheduled_at"], minutes=5 if row["started_at"] is None else -5),
        "other start": _moved(row["started_at"], minutes=1),
    }


def _moved(time: str | None, *, minutes: int) -> str | None:
    if time is None:
        return None
    return (datetime.fromisoformat(time) + timedelta(minutes=minutes)).isoformat(" ", "milliseconds")
