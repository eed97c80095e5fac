"""Columns as a setting names them: `drchrono/patients.social_security_number`.

Belongs here: what such a list means, and bundles of columns that have a name of their own. Does not belong
here: which tables there are, and what is done with their columns (`privacy`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from health_pipelines.settings.reading import SettingError
from health_pipelines.settings.setting import Setting

EVERY_TABLE = "*"
# What is left out by most who leave anything out. Of what a vendor documents; DexCare documents no columns.
BUNDLES: Mapping[str, tuple[str, ...]] = {
    "identifiers": (
        "drchrono/patients.social_security_number",
        "drchrono/patients.patient_photo",
        "drchrono/patients.patient_photo_date",
    ),
    "free_text": (
        "drchrono/appointments.billing_notes",
        "drchrono/appointments.clinical_note",
        "drchrono/appointments.custom_fields",
        "drchrono/appointments.notes",
        "drchrono/appointments.reason",
        "drchrono/clinical_note_field_values.value",
        "drchrono/clinical_notes.clinical_note_sections",
        "drchrono/patients.custom_demographics",
        "drchrono/prescription_messages.json_data",
    ),
}


@dataclass(frozen=True)
class ColumnName:
    """A column of one table, or of every table of a source (`table` is `*`), as its vendor spells it."""

    source: str
    table: str
    column: str

    def __str__(self) -> str:
        return f"{self.source}/{self.table}.{self.column}"

    def is_of(self, source: str, table: str) -> bool:
        return self.source == source and self.table in (table, EVERY_TABLE)


def column_names(
    setting: Setting, text: str, *, bundles: Collection[str] = tuple(BUNDLES)
) -> tuple[ColumnName, ...]:
    """Names with commas between, and names of `bundles`. Raises `SettingError` for anything else."""
    found: list[ColumnName] = []
    for part in (one.strip() for one in text.split(",")):
        if not part:
            continue
        for name in BUNDLES[part] if part in bundles else (part,):
            found.append(_column_name(setting, name, text, bundles))
    return tuple(dict.fromkeys(found))


def _column_name(setting: Setting, name: str, text: str, bundles: Collection[str]) -> ColumnName:
    table, _, column = name.partition(".")
    source, slash, of_source = table.partition("/")
    if not (source.strip() and slash and of_source.strip() and column.strip()) or "/" in of_source:
        others = f", and not {' or '.join(bundles)}" if bundles else ""
        raise SettingError(
            f"{setting.name} is {text!r}, where {name!r} is no column like "
            f"drchrono/patients.social_security_number or dexcare/*.SSN{others}."
        )
    return ColumnName(source.strip(), of_source.strip(), column.strip())
