"""The schemas of what landed: one view per table of the lake, named as its asset is.

Belongs here: the SQL of those views. Does not belong here: the file they are put into (`build.py`).
"""

from collections.abc import Iterable, Sequence

from health_pipelines.lake import Lake, Table
from health_pipelines.partition_file import LINEAGE_COLUMNS, columns_of, quoted


def table_columns(lake: Lake, table: Table) -> list[str]:
    """The columns of every landed partition together; the newest partition's order comes first.

    SQL does not tell `ID` from `id`, so neither does this.
    """
    newest_first = [columns_of(file) for file in reversed(lake.partition_files(table))]
    return without_repeats([*(name for columns in newest_first for name in columns), *LINEAGE_COLUMNS])


def without_repeats(columns: Iterable[str]) -> list[str]:
    by_sql_name: dict[str, str] = {}
    for column in columns:
        by_sql_name.setdefault(column.lower(), column)
    # Lineage last, where it was written.
    return [name for name in by_sql_name.values() if name not in LINEAGE_COLUMNS] + list(LINEAGE_COLUMNS)


def view_sql(lake: Lake, table: Table, columns: Sequence[str]) -> str:
    """The view over all partitions of a table, now and after any later landing.

    It names its columns, so that a partition with a new one does not break it before it is rebuilt, and has
    a typed row source of no rows, so that it answers (with NULLs) when the last partition that had some
    column is replaced, or when nothing has landed.
    """
    typed = ", ".join(
        f"NULL::{LINEAGE_COLUMNS.get(column, 'VARCHAR')} AS {quoted(column)}" for column in columns
    )
    rows = f"SELECT {typed} WHERE false"
    if lake.partition_files(table):
        pattern = lake.pattern(table).replace("'", "''")
        rows += (
            " UNION ALL BY NAME SELECT * FROM "
            f"read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
        )
    names = ", ".join(quoted(column) for column in columns)
    return f"CREATE VIEW {quoted(table.source)}.{quoted(table.name)} AS SELECT {names} FROM ({rows})"
