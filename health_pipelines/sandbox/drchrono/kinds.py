"""The eight types of records that DrChrono lists in bulk: orders, page sizes, filters, how many a day brings.

From the vendor's OpenAPI and its page about bulk endpoints. What a record says is in `rows.py` and its
neighbours. A filter on a field that begins with `_` searches what the vendor knows and does not send.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

ListName = Literal[
    "appointments",
    "patients",
    "line_items",
    "transactions",
    "prescription_messages",
    "eligibility_checks",
    "clinical_notes",
    "clinical_note_field_values",
]
LIST_NAMES: tuple[ListName, ...] = get_args(ListName)

Order = Literal["id", "updated_at", "scheduled_time"]
Comparison = Literal["text", "number", "date", "dates", "codes"]


@dataclass(frozen=True)
class Filter:
    """A query parameter that narrows a list: the field it looks at and how it compares."""

    field: str
    how: Comparison


@dataclass(frozen=True)
class Kind:
    """One type of records."""

    name: ListName
    share: float
    """Records of this type for each appointment."""
    filters: Mapping[str, Filter]
    key: str = "id"
    orders: tuple[Order, ...] = ("id", "updated_at")
    """The first is the default."""
    largest_page: int = 1000
    needs_window: bool = False
    """Whether a call without since, date or date_range is refused."""
    of_appointment: bool = True
    together: int = 1
    """So many are created in the same second."""
    can_be_removed: bool = False
    deleted_naturally: bool = False


def _texts(*names: str) -> dict[str, Filter]:
    return {name: Filter(name, "text") for name in names}


def _numbers(*names: str, **others: str) -> dict[str, Filter]:
    same = {name: Filter(name, "number") for name in names}
    return same | {name: Filter(where, "number") for name, where in others.items()}


def _dates(**fields: str) -> dict[str, Filter]:
    """`x=day` and `x_range=day/day` for each."""
    return {
        name: Filter(where, "dates" if name.endswith("range") else "date") for name, where in fields.items()
    }


KINDS: Mapping[ListName, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "appointments",
            share=1,
            filters=_texts("status")
            | _numbers("patient", "office", "doctor")
            | _dates(date="scheduled_time", date_range="scheduled_time"),
            orders=("scheduled_time", "updated_at"),
            needs_window=True,
            of_appointment=False,
        ),
        Kind(
            "patients",
            share=0.1,
            filters=_texts(
                "first_name",
                "last_name",
                "preferred_language",
                "gender",
                "race",
                "chart_id",
                "email",
                "ethnicity",
            )
            | _dates(date_of_birth="date_of_birth"),
            of_appointment=False,
        ),
        Kind(
            "line_items",
            share=1.2,
            filters=_numbers("patient", "doctor", "appointment", office="_office")
            | _dates(
                posted_date="posted_date", service_date="service_date", service_date_range="service_date"
            ),
            together=2,
            can_be_removed=True,
            deleted_naturally=True,
        ),
        Kind(
            "transactions",
            share=1.1,
            filters=_numbers("line_item", "appointment", "doctor") | _dates(posted_date="posted_date"),
            can_be_removed=True,
        ),
        Kind(
            "prescription_messages",
            share=0.4,
            filters=_numbers("patient", "doctor", "parent_message") | _dates(created_at="created_at"),
        ),
        Kind(
            "eligibility_checks",
            share=0.3,
            filters=_numbers("patient")
            | _dates(
                appointment_date="_date",
                appointment_date_range="_date",
                query_date="query_date",
                query_date_range="query_date",
            )
            | {"service_types": Filter("request_service_type", "codes")},
        ),
        Kind(
            "clinical_notes",
            share=0.7,
            filters=_numbers("patient", office="_office", doctor="_doctor")
            | _dates(date="_date", date_range="_date"),
            key="appointment",
            needs_window=True,
        ),
        Kind(
            "clinical_note_field_values",
            share=3,
            filters=_numbers("appointment", clinical_note_template="_template"),
            largest_page=20000,
            together=3,
        ),
    )
}
