"""What can be asked of a bulk list, and the query parameters that ask for it.

Belongs here: every parameter of the eight lists as the vendor's documentation gives them, typed, and the
checks that need no vendor. Does not belong here: calls (`client.py`), and which pages make a list whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from types import MappingProxyType

from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.pages import LAST_PAGE
from health_pipelines.http import PermanentError

_ORDERS = ("id", "updated_at")
# All lists sort by the same two fields, except these [doc].
_OTHER_ORDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"appointments": ("scheduled_time", "updated_at")}
)


class ListQueryError(PermanentError):
    """A list cannot be asked for like this. One sentence that names the parameter."""


@dataclass(frozen=True)
class DateRange:
    """Two days, both included. The bulk lists do not document how it is written; the plain lists take
    `2026-01-01/2026-01-31` [seen]."""

    first: date
    last: date


@dataclass(frozen=True, repr=False)
class Filters:
    """Parameters that narrow a list, all optional; None means that one is not used.

    A field's name is the vendor's name of the parameter. Ids are the vendor's, as whole numbers.
    """

    def parameters(self) -> dict[str, str]:
        """The parameters that are used, as they go into a query."""
        used = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _text(value) for name, value in used.items() if value is not None}

    def __repr__(self) -> str:
        # The values are names and birthdays of people, and a repr ends in a log sooner or later.
        return f"{type(self).__name__}({', '.join(self.parameters())})"


@dataclass(frozen=True, repr=False)
class AppointmentFilters(Filters):
    """For `appointments`."""

    status: str | None = None
    """E.g. `Complete` or `No Show`."""
    patient: int | None = None
    office: int | None = None
    doctor: int | None = None
    date: "date | None" = None
    """The day it is scheduled for ..."""
    date_range: DateRange | None = None
    """... or the days."""
    show_archived: bool | None = None
    """Whether deleted and archived appointments are in the list too; instead of the record type's own."""


@dataclass(frozen=True, repr=False)
class PatientFilters(Filters):
    """For `patients`: each must equal the field of its name."""

    first_name: str | None = None
    last_name: str | None = None
    preferred_language: str | None = None
    gender: str | None = None
    date_of_birth: date | None = None
    race: str | None = None
    chart_id: str | None = None
    email: str | None = None
    ethnicity: str | None = None


@dataclass(frozen=True, repr=False)
class LineItemFilters(Filters):
    """For `line_items`."""

    posted_date: date | None = None
    """The day the line was made."""
    patient: int | None = None
    office: int | None = None
    doctor: int | None = None
    appointment: int | None = None
    service_date: date | None = None
    """The day of the service ..."""
    service_date_range: DateRange | None = None
    """... or the days."""


@dataclass(frozen=True, repr=False)
class TransactionFilters(Filters):
    """For `transactions`."""

    line_item: int | None = None
    posted_date: date | None = None
    appointment: int | None = None
    doctor: int | None = None


@dataclass(frozen=True, repr=False)
class PrescriptionMessageFilters(Filters):
    """For `prescription_messages`."""

    patient: int | None = None
    doctor: int | None = None
    """Who prescribed."""
    created_at: date | None = None
    """The day the message was made."""
    parent_message: int | None = None


@dataclass(frozen=True, repr=False)
class EligibilityCheckFilters(Filters):
    """For `eligibility_checks`."""

    patient: int | None = None
    appointment_date: date | None = None
    """The day the appointment is scheduled for ..."""
    appointment_date_range: DateRange | None = None
    """... or the days."""
    query_date: date | None = None
    """The day of the check ..."""
    query_date_range: DateRange | None = None
    """... or the days."""
    service_types: tuple[str, ...] | None = None
    """Service type codes, any of which fits."""


@dataclass(frozen=True, repr=False)
class ClinicalNoteFilters(Filters):
    """For `clinical_notes`."""

    patient: int | None = None
    office: int | None = None
    doctor: int | None = None
    date: "date | None" = None
    """The day the appointment is scheduled for ..."""
    date_range: DateRange | None = None
    """... or the days."""


@dataclass(frozen=True, repr=False)
class ClinicalNoteFieldValueFilters(Filters):
    """For `clinical_note_field_values`."""

    appointment: int | None = None
    clinical_note_template: int | None = None


FILTERS: Mapping[str, type[Filters]] = MappingProxyType(
    {
        "appointments": AppointmentFilters,
        "patients": PatientFilters,
        "line_items": LineItemFilters,
        "transactions": TransactionFilters,
        "prescription_messages": PrescriptionMessageFilters,
        "eligibility_checks": EligibilityCheckFilters,
        "clinical_notes": ClinicalNoteFilters,
        "clinical_note_field_values": ClinicalNoteFieldValueFilters,
    }
)
"""By the name of the record type."""


@dataclass(frozen=True)
class ListQuery:
    """One page of a bulk list.

    `since`: records made or changed on that day (in the account's zone) or later; there is no upper bound.
    `page`: from 1 to 1000. `page_size`: None for the most the vendor gives. `order_by`: None for the record
    type's own. `verbose`: with the fields that are sent only on request. `filters`: of the record type.
    """

    since: date
    page: int = 1
    page_size: int | None = None
    order_by: str | None = None
    verbose: bool = False
    filters: Filters | None = None


def parameters(record_type: RecordType, query: ListQuery) -> tuple[tuple[str, str], ...]:
    """The query parameters that ask for a page. Raises `ListQueryError` for what the vendor would refuse."""
    name = record_type.name
    if not 1 <= query.page <= LAST_PAGE:
        raise ListQueryError(f"{name}: page is {query.page}, and DrChrono has pages 1 to {LAST_PAGE}.")
    page_size = record_type.page_size if query.page_size is None else query.page_size
    if not 1 <= page_size <= record_type.page_size:
        raise ListQueryError(
            f"{name}: page_size is {page_size}, and DrChrono allows 1 to {record_type.page_size}."
        )
    order_by = record_type.order_by if query.order_by is None else query.order_by
    if order_by not in (orders := _OTHER_ORDERS.get(name, _ORDERS)):
        raise ListQueryError(f"{name}: order_by is {order_by!r}, and DrChrono knows {' and '.join(orders)}.")
    if query.filters is not None and not isinstance(query.filters, FILTERS[name]):
        raise ListQueryError(f"{name}: filters are {type(query.filters).__name__}, of another list.")
    asked = {
        "since": query.since.isoformat(),
        "page": str(query.page),
        "page_size": str(page_size),
        "order_by": order_by,
        **({"verbose": "true"} if query.verbose else {}),
        **record_type.extra_parameters,
        **(query.filters.parameters() if query.filters else {}),
    }
    return tuple(asked.items())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, DateRange):
        return f"{value.first.isoformat()}/{value.last.isoformat()}"
    if isinstance(value, tuple):
        return ",".join(value)
    return value.isoformat() if isinstance(value, date) else str(value)
