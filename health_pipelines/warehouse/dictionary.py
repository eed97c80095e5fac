"""The page of all tables and columns, `docs/data.md`, made from what the warehouse has when nothing landed.

Belongs here: how tables and columns are told. Does not belong here: what they are (`current.py`, `models`),
what a field means (`drchrono/meanings.json`), and which of them can hold PHI (`phi.py`). `make data-page`
writes the page; a test compares it.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.drchrono.landing.columns import vendor_columns
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES
from health_pipelines.drchrono.tables import GONE_RECORDS
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import VisitColumns
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.column_sources import Source, column_sources
from health_pipelines.warehouse.current import Current, current_tables
from health_pipelines.warehouse.lake_tables import TABLES
from health_pipelines.warehouse.making import Making
from health_pipelines.warehouse.models import Model, marts
from health_pipelines.warehouse.phi import KEPT_TEXT, NOT_PHI, PHI, verdict

_HEAD = """# The data

Every table of `current` and `marts` in `warehouse.duckdb`: what a row is, what tells rows apart, and what
each column is. How the tables are made is in [warehouse.md](warehouse.md), questions that they answer are in
[recipes.md](recipes.md). The same sentences are in the file itself, as comments of tables and columns.

*Source* says where a value comes from: the vendor's field, the column of this warehouse that it is taken from
as it is, or **ours**, which means that this project computes it, and from which columns. What DrChrono's
fields mean is said in our words, by their documented names, types and values; where the vendor says little,
so do we.

Visit reports have a key only if a setting names it ([warehouse.md](warehouse.md#current)).

## What can be PHI

PHI is protected health information, as the law of the United States (HIPAA) calls it. The rule here is simple
and careful: **a column can be PHI unless it is listed below as one that is not.** It is decided by name, once
for all tables, in `warehouse/phi.py`.

- Free text is PHI, because anybody may have typed anything. So is text that is kept because it did not fit.
- Every name and address of a person is PHI, also of people who work at the practice. Only the ids of doctors
  and providers are not.
- Every id is PHI that leads to a patient, an appointment or a bill.
- Every date is PHI that belongs to a patient, a visit, a record or a payment. So is `_partition_date`, which
  for visits is the day of the report that found them, and for DrChrono's records the day on which they
  changed.
- Diagnoses, procedures, vital signs, insurance and personal traits are PHI.
- **A column that no vendor documents is PHI, whatever its name.** Those of DexCare's visit reports are not
  published.

*No* means only that a value by itself leads to nobody. It does not mean that a table is safe to hand out
without the other columns. A row that tells of one patient is PHI as a whole as soon as one of its columns is,
and a count of 1 can point at a person. Neither this page nor the rule is a de-identification as HIPAA defines
it: that takes its list of eighteen identifiers applied to your data, or an expert.
"""
_ANY_OTHER = (
    "| *any other* | as it landed | As the vendor sends it, under its own name; not documented. "
    "| DexCare | yes |"
)
# Which setting names the vendor's column that a column of a visit report is read from.
_NAMED_BY = {
    "visit_id": "key",
    "visit_time": "time",
    "visit_time_text": "time",
    "status": "status",
    "wait_from": "wait_from",
    "wait_from_text": "wait_from",
    "wait_until": "wait_until",
    "wait_until_text": "wait_until",
}
_FACTS = ("Grain", "Key", "Source", "Kept as")
_RECORDS = {record_type.table: record_type for record_type in (*RECORD_TYPES, LINE_ITEM_DELETIONS)}
_REPORTS = {report.table: report.type.value for report in VISIT_REPORTS}


@dataclass(frozen=True)
class ColumnEntry:
    """A line of the page. `can_be_phi` is None if nobody has decided."""

    name: str
    type: str
    meaning: str
    source: str
    can_be_phi: bool | None


@dataclass(frozen=True)
class TableEntry:
    """`has_others`: whether columns that nobody documents follow those that are listed."""

    model: Model
    columns: Sequence[ColumnEntry]
    has_others: bool


@cache
def tables() -> tuple[TableEntry, ...]:
    """Every table of `current` and `marts`, as it is when nothing has landed."""
    currents, types = _currents(), _types()
    known = {current.model.full_name: tuple(current.model.columns) for current in currents}
    entries = [
        _entry(
            current.model,
            types,
            {name: _source_of(current, name) for name in current.model.columns},
            has_others=current.documented is None,
        )
        for current in sorted(currents, key=lambda current: TABLES.index(current.table))
    ]
    with duckdb.connect() as connection:
        for mart in marts():
            known[mart.full_name] = tuple(mart.columns)
            sources = column_sources(connection, mart.sql, known)
            told = {name: _told(source) for name, source in sources.items()}
            entries.append(_entry(mart, types, told, has_others=False))
    return tuple(entries)


def page() -> str:
    """In Markdown."""
    return "\n".join((_HEAD, _lists(), *_sections())) + "\n"


def _currents() -> tuple[Current, ...]:
    """As if every documented column had landed, so that none is told to be missing."""
    landed = {
        table: LINEAGE_COLUMNS if table not in _RECORDS else vendor_columns(_RECORDS[table]) | LINEAGE_COLUMNS
        for table in TABLES
    }
    visits = {
        type_: VisitColumns(key=f"the vendor's column that {settings['key'].name} names")
        for type_, settings in VISIT_COLUMN_SETTINGS.items()
    }
    return current_tables(landed, visits)


def _types() -> Mapping[tuple[str, str], str]:
    """By table and column, in a warehouse where nothing landed."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        warehouse = Warehouse(folder, Lake(folder / "lake"), TABLES, Making(ZoneInfo("UTC"), {}))
        warehouse.build()
        with duckdb.connect(str(warehouse.file), read_only=True) as connection:
            rows = connection.execute(
                "SELECT schema_name || '.' || table_name, column_name, data_type FROM duckdb_columns()"
            ).fetchall()
    return {
        (table, column): type_.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
        for table, column, type_ in rows
    }


def _entry(
    model: Model, types: Mapping[tuple[str, str], str], sources: Mapping[str, str], *, has_others: bool
) -> TableEntry:
    columns = []
    for name, meaning in model.columns.items():
        decided = verdict(name)
        columns.append(
            ColumnEntry(
                name,
                types[model.full_name, name],
                meaning.removesuffix(" Never landed so far."),
                sources[name],
                decided.can_be_phi if decided else None,
            )
        )
    return TableEntry(model, columns, has_others)


def _source_of(current: Current, column: str) -> str:
    if current.table in _REPORTS:
        setting = VISIT_COLUMN_SETTINGS[_REPORTS[current.table]].get(_NAMED_BY.get(column, ""))
        if setting:
            return f"DexCare: the column that `{setting.name}` names"
        return "ours, from `visit_time`" if column == "visit_day" else "ours"
    if current.table == GONE_RECORDS:
        return "ours"
    if current.table not in _RECORDS:
        return "ours" if column in ("is_deleted", *LINEAGE_COLUMNS) else f"DexCare: `{column}`"
    fields = _RECORDS[current.table].columns
    if column in fields:
        return f"DrChrono: `{column}`"
    field = column.removesuffix("_text")
    return f"DrChrono: `{field}`" if field in fields else "ours"


def _told(source: Source) -> str:
    columns = ", ".join(f"`{column}`" for column in sorted(source.columns))
    if source.as_it_is:
        return columns
    return f"ours, from {columns}" if columns else "ours"


def _lists() -> str:
    lines = ["**Not PHI**:", ""]
    lines += [f"- {reason}: {_names(names)}." for reason, names in NOT_PHI.items()]
    lines += ["", "**PHI**:", ""]
    for reason, names in PHI.items():
        also = ", and every column whose name ends with `_text` or `_landed`" if reason == KEPT_TEXT else ""
        lines.append(f"- {reason}: {_names(names)}{also}.")
    return "\n".join(lines) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sections() -> Iterator[str]:
    schema = None
    for entry in tables():
        model = entry.model
        if model.schema != schema:
            schema = model.schema
            yield f"## `{schema}`\n"
        first, *lines = model.description.splitlines()
        said = dict(
            line.split(": ", 1) for line in lines if line.startswith(tuple(f"{one}:" for one in _FACTS))
        )
        rest = " ".join(line for line in lines if line.split(":")[0] not in _FACTS)
        yield f"### `{model.full_name}`\n"
        yield f"{first}\n"
        grain = said["Grain"].rstrip(".")
        key = said.get("Key", "none").rstrip(".")
        kept = f"Made of {_names(model.sources)}; a {model.kept_as}."
        yield f"A row is **{grain}**; its key is **{key}**. {kept}\n"
        if rest:
            yield f"{rest.strip()}\n"
        yield "| Column | Type | Meaning | Source | PHI |\n| --- | --- | --- | --- | --- |"
        yield from (_row(column) for column in entry.columns)
        if entry.has_others:
            yield _ANY_OTHER
        yield ""


def _row(column: ColumnEntry) -> str:
    phi = {True: "yes", False: "no", None: "not decided: take it for PHI"}[column.can_be_phi]
    meaning = column.meaning.replace("|", "\\|")
    return f"| `{column.name}` | {column.type} | {meaning} | {column.source} | {phi} |"


def types_json() -> str:
    """Of every table and column, for who needs them without a build (`assets.py`)."""
    types: dict[str, dict[str, str]] = {}
    for (table, column), type_ in sorted(_types().items()):
        if table.startswith(("current.", "marts.")):
            types.setdefault(table, {})[column] = type_
    return json.dumps(types, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(types_json() if "--types" in sys.argv else page())
