"""In which columns of a table a patient's id stands, for whoever has to say which column it is.

Belongs here: counting. Does not belong here: what is done with it. No value is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, parquet_rows, quoted
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.libraries import loaded_when_used
from health_pipelines.privacy.partition_file import UnreadableFileError

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")


def columns_with(lake: Lake, table: Table, ids: Sequence[str]) -> dict[str, int]:
    """By column, in how many rows of all days it is one of `ids`. Raises `UnreadableFileError`."""
    files = lake.partition_files(table)
    if not files:
        return {}
    source = parquet_rows(files, by_name=True)
    try:
        with duckdb.connect() as connection:
            described = connection.execute(f"DESCRIBE FROM {source}").fetchall()
            columns = [name for name, *_ in described if name not in LINEAGE_COLUMNS]
            if not columns:
                return {}
            counted = ", ".join(
                f"count(*) FILTER (list_contains($ids, {quoted(name)}::VARCHAR))" for name in columns
            )
            [counts] = connection.execute(f"SELECT {counted} FROM {source}", {"ids": list(ids)}).fetchall()
    except duckdb.Error:  # its words may hold values
        raise UnreadableFileError(f"The files of {table} cannot be read.") from None
    return {name: rows for name, rows in zip(columns, counts, strict=True) if rows}
