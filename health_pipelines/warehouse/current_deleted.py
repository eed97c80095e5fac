"""What makes a record of DrChrono's deleted: what the vendor tells, and what comparisons have found gone.

Belongs here: the SQL of that, and the columns of `current.gone_records`. Does not belong here: what is gone
(`drchrono/reconciliation/`), and the other columns of a current table (`current.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RecordType
from health_pipelines.drchrono.tables import GONE_RECORDS
from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.lake.local_time import latest_of_local
from health_pipelines.warehouse.current_columns import Column, sql_of, typed
from health_pipelines.warehouse.landed_views import ours

# What the rules of the DrChrono account's zone are called beside those of the health system's.
ACCOUNT = "account_"
NOT_TOLD = "Always false: the vendor does not tell."
GONE_RECORDS_ABOUT = (
    "Every record that a comparison of all ids has missed, with since when it is gone or back.\n"
    "Grain: a record of DrChrono.\nKey: record.\nSource: drchrono.gone_records.\n"
    "A record that is sent again after gone_since is not gone any more, and is not marked in its own table.\n"
    "Left out: records that no comparison ever missed."
)
_COLUMNS = {
    "record": ("VARCHAR", "The record type and the key of the record, as in patients:123."),
    "record_type": ("VARCHAR", "The table of the record."),
    "id": ("VARCHAR", "The key of the record in that table."),
    "gone_since": ("TIMESTAMPTZ", "The comparison that missed it first; NULL if it is listed again."),
    "back_since": ("TIMESTAMPTZ", "The comparison that found it again; NULL while it is gone."),
}
_GONE_SINCE_ABOUT = (
    "When a comparison of all ids first missed the record, which DrChrono deleted without a word; NULL if it "
    "did not, or nothing was compared."
)


def told_deleted(record_type: RecordType, columns: Sequence[Column]) -> tuple[str, str]:
    """SQL over `landed`, and in words, of what the vendor tells. `columns`: those of the current table."""
    if record_type.name == "appointments":
        deleted = f"coalesce({sql_of(columns, 'deleted_flag')}, false)"
        return deleted, "Whether deleted_flag says so."
    if record_type.name == "line_items":
        deleted = (
            "EXISTS (FROM current.line_item_deletions AS deletions "
            f"WHERE deletions.billing_line_item_id = {sql_of(columns, 'id')} AND coalesce("
            # In the hour that clocks show twice nobody can say which came first. A line that is gone is not
            # changed any more, so a deletion counts if it may be the later one.
            f"{latest_of_local('deletions.created_at', 'deletions.created_at_text', rules=ACCOUNT)} >= "
            f"{sql_of(columns, 'updated_at')}, "
            "deletions._extracted_at >= landed._extracted_at))"
        )
        return deleted, "Whether a deletion landed that is not older than the line's last change."
    return "false", NOT_TOLD


def gone_columns(landed: Mapping[str, str]) -> list[Column]:
    """Of `current.gone_records`, in which every type is as it was written."""
    return [column for name, (kind, about) in _COLUMNS.items() for column in typed(landed, name, kind, about)]


@dataclass(frozen=True)
class GoneSince:
    """What a current table needs to know it: columns, and the steps that they read."""

    columns: Sequence[Column] = ()
    steps: tuple[str, ...] = ()

    def or_gone(self, is_deleted: str) -> str:
        """SQL: deleted as the vendor tells, or gone."""
        return f"({is_deleted} OR {self.columns[0].sql} IS NOT NULL)" if self.steps else is_deleted

    def said(self, of_deleted: str) -> str:
        """The same in words."""
        if not self.columns:
            return of_deleted
        if of_deleted == NOT_TOLD:
            return "Whether it is gone (_gone_since); the vendor does not tell."
        return f"{of_deleted} Or whether it is gone (_gone_since)."


def gone_since(record_type: RecordType, landed: Mapping[str, str], *, is_compared: bool) -> GoneSince:
    """`is_compared`: whether there is a `current.gone_records`. Of deletions nothing is compared."""
    if record_type == LINE_ITEM_DELETIONS:
        return GoneSince()
    if not is_compared:
        return GoneSince([Column("_gone_since", "NULL::TIMESTAMPTZ", _GONE_SINCE_ABOUT)])
    # Names that no column has: those of the landed rows are meant beside them.
    mark = ours(landed)
    record, since, found = quoted(f"{mark}record"), quoted(f"{mark}since"), quoted(f"{mark}gone since")
    gone = (
        f"SELECT record AS {record}, gone_since AS {since} FROM current.{GONE_RECORDS.name} "
        f"WHERE record_type = {text_literal(record_type.name)}"
    )
    key = f"{text_literal(f'{record_type.name}:')} || {quoted(record_type.key)}::VARCHAR"
    # One that was sent later was back.
    step = f"(SELECT {since} FROM ({gone}) WHERE {record} = {key} AND {since} > _extracted_at) AS {found}"
    return GoneSince([Column("_gone_since", f"landed.{found}", _GONE_SINCE_ABOUT)], (step,))
