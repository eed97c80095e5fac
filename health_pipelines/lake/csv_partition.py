"""One partition as a Parquet file: written from a proven CSV, described by its footer, compared by rows.

Belongs here: the columns and the footer of a partition file, and the difference of two such files. Does
not belong here: where files live (`partitions.py`) or where a CSV comes from. No error says a value.

Every vendor column is text. NULL, an empty string, `NA`, `null` and `007` stay five different things,
because nothing here guesses a type: inference reads the id 000000001 as 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_shape import CsvError, CsvSummary, record_that_is_not_utf8
from health_pipelines.lake.disk import error_number, saying_why_not_written
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    pl = loaded_when_used("polars")
    duckdb = loaded_when_used("duckdb")

# What every row says of where it came from, with SQL types.
LINEAGE_COLUMNS = {"_partition_date": "DATE", "_report_id": "VARCHAR", "_extracted_at": "TIMESTAMPTZ"}
# In a footer: the vendor's names, as JSON, of columns that are called otherwise.
RENAMED = "renamed"
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
# Spills to disk beyond this, so that a landing's memory does not follow the day's size.
_COMPARISON_MEMORY = "256MB"
# A comparison holds all columns of one row group at a time, so that wide tables get short groups.
_ROW_GROUP_CELLS, _SHORTEST_ROW_GROUP = 1 << 22, 1024


@dataclass(frozen=True)
class Lineage:
    """What every row says of where it came from. `extracted_at` is aware, in UTC."""

    partition_date: date
    report_id: str
    extracted_at: datetime


@dataclass(frozen=True)
class RowChanges:
    """How two versions of a partition differ, in rows; vendor columns only.

    With a key, `changed` counts the keys that both have with different content, and `added` and `removed` the
    keys that only one has. Without one `changed` is None, and the others count whole rows that one version
    has and the other lacks, duplicates included: there a changed row is one removed and one added.
    """

    added: int
    removed: int
    changed: int | None = None

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def write_partition(
    csv_file: Path, summary: CsvSummary, parquet_file: Path, lineage: Lineage, content_hash: str
) -> None:
    """Write the CSV as Parquet (zstd), all text, with the lineage columns and a footer.

    Raises `CsvError` if the CSV cannot be read as UTF-8 text or has not `summary.records` records, and
    `PolarsError` or `OSError` if there is no room (see `disk.py`).
    """
    columns = column_names(summary.header)
    try:
        frame = pl.scan_csv(
            csv_file,
            # By position: with a header, Polars matches the schema to it by name, and ours differ from it
            # wherever `column_names` had to make one unique.
            schema=dict.fromkeys(columns, pl.String),
            has_header=False,
            skip_rows=1,
            empty_string_is_null=True,
            raise_if_empty=False,
            glob=False,
        )
        renamed = renamed_columns(summary.header, columns)
        sink(frame, parquet_file, lineage, content_hash, columns=len(columns), metadata=renamed)
    except pl.exceptions.PolarsError as error:
        if error_number(error) is not None:
            raise  # the disk's fault, and not the body's
        # `from None`: Polars quotes the value it stumbled over, and does not say where that is.
        if "utf-8" in str(error).lower():
            record = record_that_is_not_utf8(csv_file)
            assert record is not None, "there is one UTF-8, for Polars and for Python"
            raise CsvError(f"record {record} has a value that is not UTF-8") from None
        raise CsvError("the body cannot be read as CSV: a value is not well quoted") from None
    written = row_count(parquet_file)
    if written != summary.records:
        raise CsvError(f"{summary.records} records came in but {written} rows were written")


def sink(
    frame: pl.LazyFrame,
    parquet_file: Path,
    lineage: Lineage,
    content_hash: str,
    *,
    columns: int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write rows of `columns` text columns as every partition file is: zstd, with lineage and a footer."""
    rows = frame.with_columns(
        pl.lit(lineage.partition_date).alias("_partition_date"),
        pl.lit(lineage.report_id).alias("_report_id"),
        pl.lit(lineage.extracted_at).dt.cast_time_unit("us").alias("_extracted_at"),
    )
    with saying_why_not_written(parquet_file):
        rows.sink_parquet(
            parquet_file,
            compression="zstd",
            row_group_size=max(_SHORTEST_ROW_GROUP, _ROW_GROUP_CELLS // columns),
            metadata={"content_hash": content_hash, "report_id": lineage.report_id, **(metadata or {})},
        )


def renamed_columns(header: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """For a footer: what the vendor calls the columns that had to be called something else, if there are."""
    renamed = {own: name for name, own in zip(header, columns, strict=True) if own != name}
    return {RENAMED: json.dumps(renamed)} if renamed else {}


def row_count(parquet_file: Path) -> int:
    """From the footer alone."""
    return int(pl.scan_parquet(parquet_file, glob=False).select(pl.len()).collect().item())


def content_hash_of(parquet_file: Path) -> str | None:
    """The hash of the CSV that the file was written from; None for a file that does not say."""
    return pl.read_parquet_metadata(parquet_file).get("content_hash")


def report_ids_of(parquet_file: Path) -> list[str]:
    """Where the rows came from, sorted: reports, lists or queries; of a file without rows, by its footer."""
    found = {said} if (said := pl.read_parquet_metadata(parquet_file).get("report_id")) else set[str]()
    if "_report_id" in columns_of(parquet_file):
        ids = pl.scan_parquet(parquet_file, glob=False, hive_partitioning=False).select("_report_id").unique()
        found |= {str(one) for (one,) in ids.collect(engine="streaming").rows()}
    return sorted(found)


def key_count(parquet_file: Path, key: str) -> int | None:
    """How many different keys there are, NULL and empty ones not counted; None without such a column."""
    column = matching_column(columns_of(parquet_file), key)
    if column is None:
        return None
    # By 64-bit hashes, which take a third of the memory of keys that are UUIDs.
    keys = pl.scan_parquet(parquet_file, glob=False, hive_partitioning=False).select(pl.col(column))
    used = keys.filter(pl.col(column).is_not_null() & (pl.col(column).cast(pl.String) != ""))
    return int(used.select(pl.col(column).hash().n_unique()).collect(engine="streaming").item())


def columns_of(parquet_file: Path) -> tuple[str, ...]:
    """All column names in order, lineage included."""
    return tuple(pl.read_parquet_schema(parquet_file))


def column_types(parquet_file: Path) -> dict[str, str]:
    """All columns in order, lineage included, with their SQL types.

    A type that no partition is written with counts as VARCHAR: a file that came from elsewhere.
    """
    return {name: _sql_type(kind) for name, kind in pl.read_parquet_schema(parquet_file).items()}


def _sql_type(kind: pl.DataType) -> str:
    if isinstance(kind, pl.Decimal):
        return f"DECIMAL({kind.precision},{kind.scale})"
    names: dict[type[pl.DataType], str] = {
        pl.String: "VARCHAR",
        pl.Int64: "BIGINT",
        pl.Boolean: "BOOLEAN",
        pl.Date: "DATE",
        pl.Datetime: "TIMESTAMPTZ",
    }
    return names.get(type(kind), "VARCHAR")


def column_names(header: Sequence[str], *, key: str | None = None) -> list[str]:
    """Names that can live together in one table: the header's own, made unique.

    SQL engines take `ID` and `id` for one column and refuse an empty name. A name that repeats an earlier
    one, or is that of a lineage column, gets a number (`id_2`, `_report_id_2`), an empty one its position
    (`column_3`). `key`: a name that keeps its place, whatever came before it.
    """
    taken = set(LINEAGE_COLUMNS) | ({key.lower()} if key else set())
    names: list[str] = []
    for position, name in enumerate(header, start=1):
        base = unique = name or f"column_{position}"
        repeat = 1
        while unique.lower() in taken and name != key:
            repeat += 1
            unique = f"{base}_{repeat}"
        taken.add(unique.lower())
        names.append(unique)
    return names


def folded(name: str) -> str:
    """What DuckDB compares of a column's name: it takes `ID` for `id`, but not `É` for `é`."""
    return name.translate(_LOWER)


def matching_column(columns: Iterable[str], name: str) -> str | None:
    """The column called `name`: exactly so, or else but for upper and lower case, as `folded` has it."""
    of_name = {column: column for column in columns}
    of_folded_name = {folded(column): column for column in of_name}
    return of_name.get(name) or of_folded_name.get(folded(name))


def row_changes(old: Path, new: Path, *, key: str | None = None) -> RowChanges:
    """Compare two partition files row by row, whatever the order of rows and columns.

    `key`: the column that tells rows apart. It is of use only if both files have it and it is nowhere NULL,
    empty or repeated; otherwise whole rows are compared.

    Rows are compared by a 64-bit hash of their vendor columns. Files with different columns have no row
    in common, and files that are too wide for the memory of a comparison count as such.
    """
    everything = RowChanges(added=row_count(new), removed=row_count(old))
    old_columns, new_columns = (
        [column for column in columns_of(file) if column not in LINEAGE_COLUMNS] for file in (old, new)
    )
    comparable = sorted(old_columns) == sorted(new_columns)
    row = f"hash({', '.join(quoted(column) for column in new_columns)})" if comparable else "NULL"
    keys = [key and matching_column(columns, key) for columns in (old_columns, new_columns)]
    with duckdb.connect(
        config={
            "memory_limit": _COMPARISON_MEMORY,
            "threads": 1,  # each would need its own share of the memory
            "temp_directory": str(new.with_name(".spill")),
            "preserve_insertion_order": False,
        }
    ) as connection:
        files = {"new": str(new), "old": str(old)}
        try:
            if keys[0] and keys[1]:
                query = _changes_by_key(row, keys[0], keys[1])
                [(usable, added, removed, changed)] = connection.execute(query, files).fetchall()
                if usable:
                    return RowChanges(added, removed, changed)
            if not comparable:
                return everything
            [(added, removed)] = connection.execute(_changes_of_rows(row), files).fetchall()
        except duckdb.OutOfMemoryException:
            return everything
    return RowChanges(int(added), int(removed))


def _changes_of_rows(row: str) -> str:
    """`row`: the SQL of a row's hash."""
    # By position: a vendor's column may be called `row`.
    return f"""
        WITH new AS (SELECT {row} AS row, count(*) AS copies
                FROM read_parquet($new, hive_partitioning = false) GROUP BY 1),
             old AS (SELECT {row} AS row, count(*) AS copies
                FROM read_parquet($old, hive_partitioning = false) GROUP BY 1),
             more AS (
                SELECT coalesce(new.copies, 0) - coalesce(old.copies, 0) AS copies
                FROM new FULL JOIN old USING (row)
             )
        SELECT coalesce(sum(copies) FILTER (copies > 0), 0), coalesce(-sum(copies) FILTER (copies < 0), 0)
        FROM more
        """


def _changes_by_key(row: str, old_key: str, new_key: str) -> str:
    """`row`: the SQL of a row's hash, NULL where no two rows can be the same. Keys are compared by a 64-bit
    hash as well; two that share one, which is less likely than a broken disk, count as a repeated key."""
    return f"""
        WITH new AS (SELECT {_key_hash(new_key)} AS key, any_value({row}) AS row, count(*) AS copies
                FROM read_parquet($new, hive_partitioning = false) GROUP BY 1),
             old AS (SELECT {_key_hash(old_key)} AS key, any_value({row}) AS row, count(*) AS copies
                FROM read_parquet($old, hive_partitioning = false) GROUP BY 1)
        SELECT coalesce(bool_and(coalesce(new.copies, 1) = 1 AND coalesce(old.copies, 1) = 1
                    AND coalesce(new.key, old.key) IS NOT NULL), true),
            count(*) FILTER (old.copies IS NULL),
            count(*) FILTER (new.copies IS NULL),
            count(*) FILTER (new.copies IS NOT NULL AND old.copies IS NOT NULL AND
                    (new.row IS NULL OR new.row <> old.row))
        FROM new FULL JOIN old ON new.key = old.key
        """


def _key_hash(key: str) -> str:
    # NULL for what is no key: such a row matches none, and makes the comparison by key one of no use.
    return f"CASE WHEN {quoted(key)} <> '' THEN hash({quoted(key)}) END"


def quoted(name: str) -> str:
    """A column or table name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """A text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def parquet_rows(files: Sequence[Path], *, by_name: bool = False, options: str = "") -> str:
    """SQL of the rows of Parquet files. `by_name`: whose columns are not the same; `options`: other ones."""
    names = ", ".join(text_literal(str(file)) for file in files)
    union = ", union_by_name = true" if by_name else ""
    return f"read_parquet([{names}]{union}, hive_partitioning = false{options})"
