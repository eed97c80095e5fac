"""Tells a record as the vendor sends it: every documented field, of the type in which it is published.

The fields of the types are in `clinic_rows.py`, `patient_rows.py` and `billing_rows.py`; here is what they
have in common. Fields that begin with `_` are for filters and never sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from health_pipelines.sandbox.drchrono.billing_rows import line_item, transaction
from health_pipelines.sandbox.drchrono.calendar import Calendar, base_number, mix
from health_pipelines.sandbox.drchrono.clinic_rows import (
    appointment,
    appointment_key,
    clinical_note,
    clinical_note_field_value,
    eligibility_check,
    prescription_message,
)
from health_pipelines.sandbox.drchrono.collection import Record
from health_pipelines.sandbox.drchrono.kinds import KINDS, LIST_NAMES, ListName
from health_pipelines.sandbox.drchrono.patient_rows import patient
from health_pipelines.sandbox.drchrono.people import Times, TimeSpelling
from health_pipelines.sandbox.drchrono.telling import Row, Subject

_TELLERS: Mapping[ListName, Callable[[Subject], Row]] = {
    "appointments": appointment,
    "patients": patient,
    "line_items": line_item,
    "transactions": transaction,
    "prescription_messages": prescription_message,
    "eligibility_checks": eligibility_check,
    "clinical_notes": clinical_note,
    "clinical_note_field_values": clinical_note_field_value,
}


_HIDDEN = {
    name: {search.field for search in kind.filters.values() if search.field.startswith("_")}
    for name, kind in KINDS.items()
}


@dataclass(frozen=True)
class Teller:
    """Tells the records of one practice."""

    calendar: Calendar
    times: Times
    bases: Mapping[ListName, int]
    ids_are_text: bool = False

    @classmethod
    def of(
        cls,
        calendar: Calendar,
        zone: ZoneInfo,
        *,
        spelling: TimeSpelling = "local",
        ids_are_text: bool = False,
    ) -> "Teller":
        """The teller of that practice."""
        bases = {name: base_number(calendar.seed, name) for name in LIST_NAMES}
        return cls(calendar, Times(zone, spelling), bases, ids_are_text)

    def row(self, name: ListName, record: Record, *, verbose: bool) -> Row:
        """All fields, those that are only for filters too."""
        row = self._drawn(name, record, verbose=verbose)
        if record.replaced:
            row.update(record.replaced)
        return row

    def sent(self, name: ListName, record: Record, *, verbose: bool) -> Row:
        """The fields that the vendor sends, and any that were planted, whatever they are called."""
        row = self._drawn(name, record, verbose=verbose)
        for field in _HIDDEN[name]:
            del row[field]
        if self.ids_are_text and "id" in row:
            row["id"] = str(row["id"])
        if record.replaced:
            row.update(record.replaced)
        return row

    def _drawn(self, name: ListName, record: Record, *, verbose: bool) -> Row:
        base = self.bases[name]
        subject = Subject(
            record,
            verbose,
            self.times,
            self.calendar,
            mix(base, record.number),
            mix(base, record.number, record.version, 3),
        )
        return _TELLERS[name](subject)

    def key(self, name: ListName, record: Record) -> str:
        """What tells this record from others of its type, as text, whatever was planted in it."""
        if name == "appointments":
            return appointment_key(record, self.times)
        return str(record.number if KINDS[name].key == "id" else record.parent)
