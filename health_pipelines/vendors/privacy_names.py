"""Whether the columns that settings name for minimisation may be treated so.

Belongs here: what the tables of all vendors allow. Does not belong here: the settings
(`settings/column_names.py`), and leaving out and hashing (`privacy`).
"""

from collections.abc import Iterable

from health_pipelines.drchrono.tables import SWEPT
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, folded
from health_pipelines.lake.partitions import Table
from health_pipelines.privacy.patients import UnknownPatientColumnError, references
from health_pipelines.settings import ColumnName, SettingError, Settings
from health_pipelines.settings.column_names import EVERY_TABLE
from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import HEALTH_HASHED, HEALTH_LEAVE_OUT, HEALTH_PATIENT_COLUMNS
from health_pipelines.vendors.known import lake_tables, landing_tables


def refuse_wrong_names(settings: Settings) -> None:
    """Raise `SettingError`, with one sentence, for a table that is not there, a key that would be left out,
    and whatever else cannot be done. A setting that is ignored in silence would leave patients in the lake.
    """
    left_out, hashed = settings.left_out_columns, settings.hashed_columns
    if hashed:
        _ = settings.hash_key
    if not (left_out or hashed or settings.patient_columns):
        return
    tables = lake_tables(settings)
    for setting, names in (
        (HEALTH_LEAVE_OUT, left_out),
        (HEALTH_HASHED, hashed),
        (HEALTH_PATIENT_COLUMNS, settings.patient_columns),
    ):
        _refuse_unknown_tables(setting, names, tables)
    for checked in landing_tables(settings):
        table = checked.table
        for name in (one for one in left_out if one.is_of(table.source, table.name)):
            if checked.key and folded(name.column) == folded(checked.key):
                raise SettingError(
                    f"{HEALTH_LEAVE_OUT.name} names {name}, the key of {table}, which cannot be left out; "
                    f"name it in {HEALTH_HASHED.name}."
                )
            if folded(name.column) in map(folded, _patient_columns(settings, table)):
                raise SettingError(
                    f"{HEALTH_LEAVE_OUT.name} names {name}, by which a patient's rows of {table} are found "
                    f"to be erased; name it in {HEALTH_HASHED.name}."
                )
        for setting, names in ((HEALTH_LEAVE_OUT, left_out), (HEALTH_HASHED, hashed)):
            for name in (one for one in names if one.is_of(table.source, table.name)):
                _refuse_what_places_a_row(setting, name, checked.changed)
    _refuse_hashes_of_no_text(hashed)


def _patient_columns(settings: Settings, table: Table) -> tuple[str, ...]:
    try:
        return references(settings, table).patients
    except UnknownPatientColumnError:  # nobody said which
        return ()


def _refuse_unknown_tables(setting: Setting, names: Iterable[ColumnName], tables: Iterable[Table]) -> None:
    there = {str(one) for one in tables}
    sources = {one.split("/")[0] for one in there}
    for name in names:
        is_known = (
            name.source in sources if name.table == EVERY_TABLE else f"{name.source}/{name.table}" in there
        )
        if not is_known:
            raise SettingError(
                f"{setting.name} names {name}, and there is no table {name.source}/{name.table}; there are "
                f"{', '.join(sorted(there))}."
            )


def _refuse_what_places_a_row(setting: Setting, name: ColumnName, changed: str | None) -> None:
    if changed is not None and folded(name.column) == folded(changed):
        raise SettingError(
            f"{setting.name} names {name}, which says to which day a record belongs, and so has to stay."
        )
    if folded(name.column) in LINEAGE_COLUMNS or name.column.startswith("_"):
        raise SettingError(f"{setting.name} names {name}, which is no column of the vendor's.")


def _refuse_hashes_of_no_text(hashed: Iterable[ColumnName]) -> None:
    for record_type in SWEPT:
        kinds = {folded(name): kind for name, kind in record_type.columns.items()}
        for name in hashed:
            if not name.is_of(record_type.table.source, record_type.name):
                continue
            kind = kinds.get(folded(name.column), "text")
            if kind != "text":
                raise SettingError(
                    f"{HEALTH_HASHED.name} names {name}, whose type is {kind}, and a hash is a text; leave "
                    "it out instead."
                )
