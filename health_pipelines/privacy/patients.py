"""Whose a row is: which columns of each table name a patient, or a record that is a patient's.

Belongs here: the list. Does not belong here: who is erased (`erased.py`), and looking into files.

A row that names a patient is that patient's, whatever else it refers to. One that names none is whose
appointment, line item or parent it belongs to. DexCare does not publish its columns, so a setting names them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from health_pipelines.lake.csv_partition import matching_column, quoted, text_literal
from health_pipelines.lake.partitions import Table
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import HEALTH_PATIENT_COLUMNS

PATIENTS = "patients"
# How the setting says that a table names no patient.
NO_COLUMN = "-"
_DRCHRONO = "drchrono"
# By table: its key, and the columns that name other records, by the table of those.
_RECORDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "patients": ("id", {}),
    "appointments": ("id", {}),
    "line_items": ("id", {"appointment": "appointments"}),
    "transactions": ("id", {"appointment": "appointments", "line_item": "line_items"}),
    "prescription_messages": ("id", {"parent_message": "prescription_messages"}),
    "eligibility_checks": ("id", {"appointment": "appointments"}),
    "clinical_notes": ("appointment", {"appointment": "appointments"}),
    "clinical_note_field_values": ("id", {"appointment": "appointments"}),
    "line_item_deletions": (
        "billing_line_item_id",
        {"billing_line_item_id": "line_items", "appointment_id": "appointments"},
    ),
}
_WITHOUT_PATIENT = ("clinical_note_field_values", "line_item_deletions")
_GONE_RECORDS = "gone_records"
# Provider histories are about providers; they name visits and no patients.
_OF_NO_PATIENT = {("dexcare", "provider_histories"), ("dexcare", "provider_histories_narrowed")}


class UnknownPatientColumnError(Exception):
    """Patients of the source are erased, and nobody knows which rows of a table are theirs. One sentence."""


@dataclass(frozen=True)
class References:
    """`patients`: columns that name the patient; the first that says something decides. `others`: columns
    that name a record, with the SQL of that record's table. `key`: the column by which others refer to a row.
    """

    table: Table
    patients: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()
    key: str | None = None

    def is_erased(self, columns: Iterable[str], function: str, erased: str) -> str:
        """SQL: whether a row of a file with these columns is that of somebody erased.

        `function`: the SQL function that hashes. `erased`: a table with the column `hash`. Raises
        `UnknownPatientColumnError` if the file has no column that says it.
        """
        there = [*columns]
        patients = [found for name in self.patients if (found := matching_column(there, name))]
        others = [(found, kind) for name, kind in self.others if (found := matching_column(there, name))]
        if not patients and not others:
            if not self.patients and not self.others:
                return "false"
            named = (*self.patients, *(name for name, _ in self.others))
            raise UnknownPatientColumnError(
                f"{self.table} has no column {' or '.join(dict.fromkeys(named))}, by which erased patients "
                f"are kept out; correct {HEALTH_PATIENT_COLUMNS.name}."
            )
        is_there = f"(SELECT hash FROM {erased})"
        source = text_literal(f"{self.table.source}/")
        cases = [
            f"WHEN {quoted(one)}::VARCHAR <> '' THEN {function}({source} || '{PATIENTS}:' || "
            f"{quoted(one)}::VARCHAR) IN {is_there}"
            for one in patients
        ]
        refers = [
            f"coalesce({function}({source} || {kind} || ':' || {quoted(one)}::VARCHAR) IN {is_there}, false)"
            for one, kind in others
        ]
        otherwise = " OR ".join(refers) or "false"
        return f"(CASE {' '.join(cases)} ELSE {otherwise} END)" if cases else f"({otherwise})"


def name_of(source: str, kind: str, id_: str) -> str:
    """What is hashed of a record."""
    return f"{source}/{kind}:{id_}"


def tables_that_refer_to(table: Table) -> list[Table]:
    """Other tables with rows that may name a record of this one and no patient."""
    if table.source != _DRCHRONO:
        return []
    return [
        Table(_DRCHRONO, name)
        for name, (_, others) in _RECORDS.items()
        if name != table.name and table.name in others.values()
    ]


def in_order(tables: Iterable[Table]) -> list[Table]:
    """Those that others refer to before them."""
    places = {name: number for number, name in enumerate(_RECORDS)}
    return sorted(tables, key=lambda one: (one.source, places.get(one.name, len(places)), one.name))


def references(settings: Settings, table: Table) -> References:
    """Raises `UnknownPatientColumnError` if nobody has said which column it is, and `SettingError`."""
    named = tuple(one.column for one in settings.patient_columns if one.is_of(table.source, table.name))
    said = tuple(name for name in named if name != NO_COLUMN)
    if table.source == _DRCHRONO and table.name == _GONE_RECORDS:
        return References(table, (), (("id", quoted("record_type")),))
    if table.source == _DRCHRONO and table.name in _RECORDS:
        key, others = _RECORDS[table.name]
        refers = [(column, text_literal(kind)) for column, kind in others.items()]
        if table.name == PATIENTS:
            return References(table, (key,), key=key)
        of_patient = () if table.name in _WITHOUT_PATIENT else ("patient",)
        return References(table, (*said, *of_patient), ((key, text_literal(table.name)), *refers), key)
    if (table.source, table.name) in _OF_NO_PATIENT or NO_COLUMN in named:
        return References(table, ())
    if not said:
        raise UnknownPatientColumnError(
            f"Nobody has said which column of {table} names the patient, by which erased patients are kept "
            f"out; name it in {HEALTH_PATIENT_COLUMNS.name}, as in {table}.PatientId, or say "
            f"{table}.{NO_COLUMN} if none does."
        )
    return References(table, said)
