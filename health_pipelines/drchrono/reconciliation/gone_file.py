"""What comparisons have found, as a table of the lake: every record that was ever missed, in one file.

Belongs here: reading and writing that file, and reading ids from the lake. Does not belong here: what is gone
(`compared.py`). No error says a value.

Each file has all that is known, of all record types; the newest counts, and the older ones say how it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from health_pipelines.drchrono.reconciliation.compared import Gone
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RecordType
from health_pipelines.drchrono.tables import GONE_RECORDS
from health_pipelines.http import PermanentError
from health_pipelines.lake.csv_partition import column_types, parquet_rows, quoted
from health_pipelines.lake.disk import saying_why_not_written
from health_pipelines.lake.locks import locked
from health_pipelines.lake.manifests import Facts
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    duckdb, pl = loaded_when_used("duckdb"), loaded_when_used("polars")


class UnreadableLakeError(PermanentError):
    """A file of the lake cannot be read. One sentence, without values."""


def ids_in_lake(lake: Lake, record_type: RecordType) -> dict[str, datetime]:
    """Every id that has landed, with when its newest version was extracted (aware, UTC).

    Without line items whose deletion has landed: of those the vendor has told. Raises `UnreadableLakeError`.
    """
    found = _ids(lake, record_type.table, record_type.key)
    if record_type.name == "line_items":
        for told in _ids(lake, LINE_ITEM_DELETIONS.table, LINE_ITEM_DELETIONS.key):
            found.pop(told, None)
    return found


def gone_before(lake: Lake, record_type: RecordType) -> dict[str, Gone]:
    """What comparisons have found so far of a record type. Raises `UnreadableLakeError`."""
    return {
        row["id"]: Gone(
            row["id"], row["gone_since"], row["back_since"], row["_extracted_at"], row["_report_id"]
        )
        for row in _rows(lake)
        if row["record_type"] == record_type.name
    }


def write_gone(
    lake: Lake, record_type: RecordType, records: Mapping[str, Gone], today: date
) -> dict[str, str]:
    """Make these what is known of the record type; of the others it stays what it was. Returns the columns of
    the table, with SQL types.

    Raises `PartitionBusyError` and `UnreadableLakeError`; the table is as it was then.
    """
    newest = max([today.isoformat(), *lake.days(GONE_RECORDS)[-1:]])
    with lake.writing(GONE_RECORDS, newest) as writer:
        own = [
            {
                "record": f"{record_type.name}:{one.id}",
                "record_type": record_type.name,
                "id": one.id,
                "gone_since": one.gone_since,
                "back_since": one.back_since,
                "_report_id": one.report_id,
                "_extracted_at": one.compared_at,
            }
            for one in records.values()
        ]
        others = [row for row in _rows(lake) if row["record_type"] != record_type.name]
        rows = [{**row, "_partition_date": date.fromisoformat(newest)} for row in (*others, *own)]
        with saying_why_not_written(writer.candidate):
            pl.DataFrame(rows, schema=_schema()).sort("record").write_parquet(
                writer.candidate, compression="zstd"
            )
        report_ids = sorted({row["_report_id"] for row in rows})
        writer.replace(Facts(rows=len(rows), keys=len(rows), report_ids=report_ids))
        return column_types(writer.target)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the one who reads what is known and writes it again. `folder`: one that is there for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):
        yield


def _rows(lake: Lake) -> list[dict[str, Any]]:
    files = lake.partition_files(GONE_RECORDS)
    try:
        return pl.read_parquet(files[-1], glob=False, hive_partitioning=False).to_dicts() if files else []
    except (OSError, pl.exceptions.PolarsError):
        raise UnreadableLakeError(f"{files[-1]} cannot be read; remove it or restore it.") from None


def _ids(lake: Lake, table: Table, key: str) -> dict[str, datetime]:
    files = lake.partition_files(table)
    if not files:
        return {}
    column = f"{quoted(key)}::VARCHAR"
    try:
        with duckdb.connect() as connection:
            rows = connection.execute(
                f"SELECT {column}, epoch_us(max(_extracted_at)) "
                f"FROM {parquet_rows(files, by_name=True)} "
                f"WHERE {column} <> '' GROUP BY ALL"
            ).fetchall()
    except duckdb.Error as error:
        # Its words may hold values.
        raise UnreadableLakeError(
            f"The files of {table} cannot be read ({type(error).__name__}); build the warehouse, which says "
            "which one."
        ) from None
    return {id_: datetime.fromtimestamp(microseconds / 1e6, UTC) for id_, microseconds in rows}


def _schema() -> dict[str, pl.DataType | type[pl.DataType]]:
    return {
        "record": pl.String,
        "record_type": pl.String,
        "id": pl.String,
        "gone_since": pl.Datetime("us", "UTC"),
        "back_since": pl.Datetime("us", "UTC"),
        "_partition_date": pl.Date,
        "_report_id": pl.String,
        "_extracted_at": pl.Datetime("us", "UTC"),
    }
