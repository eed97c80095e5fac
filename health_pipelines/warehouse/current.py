"""The newest version of each record: what `current.<table>` is for every table of the lake.

Belongs here: which column is a record's key, which columns it has with which types, and the SQL of that. Does
not belong here: a single column (`current_columns.py`), what makes it deleted (`current_deleted.py`), which
part of a table is made anew (`table_builder.py`), and the marts (`models`).

Documented columns are there even if they never landed; others follow as they landed. A value that does not
fit its column's type is NULL there, and its text is in `<column>_text` or, for DrChrono, in `_extra`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from health_pipelines.dexcare.histories.fields import HISTORY_FIELDS
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS, VisitReport
from health_pipelines.drchrono.landing.columns import EXTRA, text_column, vendor_columns
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES, RecordType
from health_pipelines.drchrono.tables import GONE_RECORDS
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, matching_column, quoted
from health_pipelines.lake.local_time import (
    LOCAL_TIME,
    OFFSET_TIME,
    USUAL_TIME,
    day_of_instant,
    utc_of_local,
)
from health_pipelines.lake.partitions import Table
from health_pipelines.settings import VisitColumns
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS
from health_pipelines.warehouse.current_columns import (
    Column,
    as_landed,
    not_before_it_began,
    text_of,
    typed,
    with_failures,
)
from health_pipelines.warehouse.current_deleted import (
    GONE_RECORDS_ABOUT,
    NOT_TOLD,
    gone_columns,
    gone_since,
    told_deleted,
)
from health_pipelines.warehouse.landed_views import ours
from health_pipelines.warehouse.models import Model

# What a column is called that only helps: what it is, and of which column.
_Helper = Callable[[str, str], str]
_LINEAGE_ABOUT = {
    "_partition_date": "The day whose partition has this version.",
    "_report_id": "The report, list or query that brought this version.",
    "_extracted_at": "When this version was extracted.",
}


@dataclass(frozen=True)
class Current:
    """How the current records of a lake table are made.

    `key`: the column of the landed rows that tells records apart; None if there is none, and then every
    landed row is current. `kept_key`: what that column is called in `current.*`. `select`: SQL of the columns
    of rows that are called `landed`, to which `steps` have added what it needs, one after the other.
    `failed`: for each column that has a type the SQL condition, over the current rows, of a value that did
    not fit. `corrections`: a sentence for each setting that names a column which does not exist.
    `deleted_by`: another table that makes records of this one deleted, by its own key; `gone_by`: one that
    does so by other keys. `documented`: the columns that are; None if the vendor documents none.
    `key_setting`: the setting that names the key.
    """

    table: Table
    key: str | None
    kept_key: str
    select: str
    model: Model
    failed: Mapping[str, str]
    steps: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()
    deleted_by: Table | None = None
    gone_by: Table | None = None
    documented: tuple[str, ...] | None = None
    key_setting: str | None = None


def current_tables(
    columns: Mapping[Table, Mapping[str, str]], visits: Mapping[str, VisitColumns]
) -> tuple[Current, ...]:
    """One for each of the tables whose records are known; those that others look into come first.

    `columns`: what landed, with SQL types. `visits`: what the visit reports call their columns, by type.
    """
    compared = GONE_RECORDS in columns
    made = [
        *([_gone(columns[GONE_RECORDS])] if compared else []),
        *(
            _visits(report, columns[report.table], visits.get(report.type.value, VisitColumns()))
            for report in VISIT_REPORTS
            if report.table in columns
        ),
        *(
            _records(record_type, columns[record_type.table], is_compared=compared)
            for record_type in (LINE_ITEM_DELETIONS, *RECORD_TYPES)
            if record_type.table in columns
        ),
    ]
    if PROVIDER_HISTORIES in columns:
        made.append(_histories(columns[PROVIDER_HISTORIES]))
    return tuple(made)


def _current(
    table: Table,
    columns: Sequence[Column],
    *,
    about: str,
    key: str | None,
    kept_key: str,
    is_deleted: str = "false",
    deleted_about: str = NOT_TOLD,
    steps: tuple[str, ...] = (),
    corrections: Sequence[str] = (),
    deleted_by: Table | None = None,
    gone_by: Table | None = None,
    documented: Iterable[str] | None = None,
    key_setting: str | None = None,
) -> Current:
    every = [
        *columns,
        Column("is_deleted", is_deleted, deleted_about),
        *(Column(name, f"landed.{name}", said) for name, said in _LINEAGE_ABOUT.items()),
    ]
    sources = [table, *(source for source in (deleted_by, gone_by) if source)]
    model = Model(
        schema="current",
        name=table.name,
        description=about,
        key=(kept_key,) if key else (),
        sources=tuple(f"{source.source}.{source.name}" for source in sources),
        columns={column.name: column.about for column in every},
        kept_as="table",
        sql="",
    )
    return Current(
        table,
        key,
        kept_key,
        ", ".join(f"{column.sql} AS {quoted(column.name)}" for column in every),
        model,
        {column.name: column.failed for column in every if column.failed},
        steps,
        tuple(corrections),
        deleted_by,
        gone_by,
        None if documented is None else tuple(documented),
        key_setting,
    )


def _gone(landed: Mapping[str, str]) -> Current:
    columns = gone_columns(landed)
    return _current(
        GONE_RECORDS,
        columns,
        about=GONE_RECORDS_ABOUT,
        key="record",
        kept_key="record",
        documented=[column.name for column in columns],
    )


def _records(record_type: RecordType, landed: Mapping[str, str], *, is_compared: bool) -> Current:
    documented = vendor_columns(record_type)
    columns: list[Column] = []
    for name, kind in documented.items():
        field_kind = record_type.columns.get(name)
        about = (
            record_type.meanings[name]
            if field_kind
            else _OWN_COLUMNS.get(name, "The text of that time as it came.")
        )
        for column in typed(landed, name, kind, about):
            columns.append(with_failures(column, field_kind))
    gone = gone_since(record_type, landed, is_compared=is_compared)
    columns += gone.columns
    others = {name: kind for name, kind in landed.items() if matching_column(documented, name) is None}
    columns += as_landed(others, [column.name for column in columns])
    is_deleted, said = told_deleted(record_type, columns)
    return _current(
        record_type.table,
        columns,
        about=(
            f"The newest version of each record: {record_type.about}.\n"
            f"Grain: a record of DrChrono.\nKey: {record_type.key}.\nSource: drchrono.{record_type.name}.\n"
            "Of several versions the newest extraction counts, then the newest partition. Deleted records "
            "are here and marked.\nLeft out: rows without a key, and older versions."
        ),
        key=record_type.key,
        kept_key=record_type.key,
        is_deleted=gone.or_gone(is_deleted),
        deleted_about=gone.said(said),
        steps=gone.steps,
        gone_by=GONE_RECORDS if gone.steps else None,
        deleted_by=LINE_ITEM_DELETIONS.table if record_type.name == "line_items" else None,
        documented=documented,
    )


_OWN_COLUMNS = {
    EXTRA: "Values that do not fit their column, and undocumented fields, as JSON.",
    "_as_sent": "Which fields were missing, or came as text or number, as JSON.",
}


def _histories(landed: Mapping[str, str]) -> Current:
    columns = [
        column for name, about in HISTORY_FIELDS.items() for column in typed(landed, name, "VARCHAR", about)
    ]
    others = {name: kind for name, kind in landed.items() if matching_column(HISTORY_FIELDS, name) is None}
    return _current(
        PROVIDER_HISTORIES,
        [*columns, *as_landed(others, [column.name for column in columns])],
        about=(
            "The newest version of each event in DexCare's provider histories.\n"
            "Grain: an event.\nKey: id.\nSource: dexcare.provider_histories.\n"
            "Every column is text, because no type is documented. An event that two days found is here once, "
            "with the newest extraction.\nLeft out: rows without an id."
        ),
        key="id",
        kept_key="id",
    )


def _visits(report: VisitReport, landed: Mapping[str, str], wanted: VisitColumns) -> Current:
    type_ = report.type.value
    corrections: list[str] = []

    has_landed = set(landed) != set(LINEAGE_COLUMNS)

    def column_of(name: str) -> str | None:
        setting: str | None = getattr(wanted, name)
        found = matching_column(landed, setting) if setting else None
        # Before anything landed there is nothing to compare a setting with.
        if setting and found is None and has_landed:
            corrections.append(
                f"{VISIT_COLUMN_SETTINGS[type_][name].name} is {setting!r}, and {report.table} has no such "
                "column; set it to one of the columns of that table."
            )
        return found

    key = column_of("key") if has_landed else wanted.key
    status = column_of("status")
    times = {
        "visit_time": column_of("time"),
        "wait_from": column_of("wait_from"),
        "wait_until": column_of("wait_until"),
    }
    mark = ours(landed)

    def helper(what: str, name: str) -> str:
        return quoted(f"{mark}{what} of {name}")

    visit_time = _time_columns("visit_time", times["visit_time"], "When the visit is or was.", helper)
    columns = [
        Column("visit_id", text_of(key), "The key of the visit; NULL if not known."),
        *visit_time,
        Column(
            "visit_day",
            day_of_instant(visit_time[0].sql),
            "The calendar day of visit_time in the health system's time zone.",
        ),
        Column("status", text_of(status), "The status as the report says it; NULL if not known."),
        *_time_columns("wait_from", times["wait_from"], "When the patient began to wait.", helper),
        *not_before_it_began(
            _time_columns("wait_until", times["wait_until"], "When the wait was over.", helper),
            began=f"landed.{helper('instant', 'wait_from')}" if times["wait_from"] else None,
            text=f"landed.{helper('text', 'wait_until')}",
        ),
    ]
    merged = {
        name for name, fixed in ((key, "visit_id"), (status, "status")) if name and name.lower() == fixed
    }
    others = {name: kind for name, kind in landed.items() if name not in merged}
    grain = (
        f"Grain: a visit.\nKey: visit_id ({key}).\nOf several versions the newest extraction counts, then "
        "the newest partition, then the later row.\nLeft out: rows without a key, and older versions."
        if key
        else "Grain: a landed row.\n"
        f"There is no key: {VISIT_COLUMN_SETTINGS[type_]['key'].name} names no column. The newest "
        "extraction of every "
        "day is here whole, and a visit that two days found is here twice.\nLeft out: nothing."
    )
    return _current(
        report.table,
        [*columns, *as_landed(others, [column.name for column in columns])],
        about=(
            f"The newest version of each visit of the {type_} report: {report.about}.\n{grain}\n"
            f"Source: {report.table.source}.{report.table.name}.\nThe columns visit_id, visit_time, status, "
            f"wait_from and wait_until are {wanted.origin}; all others are as they landed."
        ),
        key=key,
        kept_key="visit_id",
        steps=_time_steps(times, helper),
        corrections=corrections,
        key_setting=VISIT_COLUMN_SETTINGS[type_]["key"].name,
    )


def _time_steps(times: Mapping[str, str | None], helper: _Helper) -> tuple[str, ...]:
    """SQL that adds helper columns to landed rows, one step after the other: texts, readings, instants."""
    named = {name: column for name, column in times.items() if column}
    texts = [
        # Athena prints a time with a zone as `... UTC`.
        f"CASE WHEN suffix({value}, ' UTC') THEN {value}[:-5] || 'Z' ELSE {value} END "
        f"AS {helper('text', name)}"
        for name, column in named.items()
        for value in [f"trim({quoted(column)}::VARCHAR)"]
    ]
    usuals = [f"{USUAL_TIME.format(value=helper('text', name))} AS {helper('usual', name)}" for name in named]
    read = {name: {"value": helper("text", name), "usual": helper("usual", name)} for name in named}
    locals_ = [f"{LOCAL_TIME.format(**read[name])} AS {helper('local', name)}" for name in named]
    # Asked only of what is no local time: looking for an offset takes a pattern, which costs most.
    offsets = [
        f"CASE WHEN {helper('local', name)} IS NULL "
        f"THEN {OFFSET_TIME.format(**read[name])} END AS {helper('offset', name)}"
        for name in named
    ]
    instants = [
        f"coalesce({utc_of_local(helper('local', name))}, {helper('offset', name)}) "
        f"AS {helper('instant', name)}"
        for name in named
    ]
    return tuple(", ".join(step) for step in (texts, usuals, locals_, offsets, instants) if step)


def _time_columns(name: str, column: str | None, about: str, helper: _Helper) -> list[Column]:
    said = f"{about} NULL if not known, or if it cannot be read."
    text = f"The text of {name} where it is no time."
    if column is None:
        return [Column(name, "NULL::TIMESTAMPTZ", said), Column(text_column(name), "NULL::VARCHAR", text)]
    instant = f"landed.{helper('instant', name)}"
    kept = f"CASE WHEN {instant} IS NULL THEN nullif(landed.{quoted(column)}::VARCHAR, '') END"
    return [
        Column(name, instant, said, failed=f"{quoted(text_column(name))} IS NOT NULL"),
        Column(text_column(name), kept, text),
    ]
