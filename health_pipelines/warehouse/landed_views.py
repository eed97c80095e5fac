"""The schemas of what landed: one view per table of the lake, named as its asset is.

Belongs here: which columns and SQL types the files of a table have together, and the SQL that reads them as
one. Does not belong here: the file the views are put into (`build.py`), and the newest version of a record
(`current.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, column_types, folded, quoted, text_literal
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.libraries import loaded_when_used
from health_pipelines.warehouse.problems import UnreadablePartitionError

if TYPE_CHECKING:
    import polars as pl
else:
    pl = loaded_when_used("polars")

_MARK = "\x01"
# What DuckDB calls the place, which it refuses to add to a file that has a column of that name.
_DUCKDBS_PLACE = "file_row_number"


@dataclass(frozen=True)
class Shape:
    """What the files of a table are like.

    `columns`: every column of any file with its SQL type, lineage last; VARCHAR where files disagree on the
    type. `groups`: the files by what they have in those columns, so that no group disagrees in itself; one
    group unless files disagree. `seen`: of each vendor's column in how many files it is, by SQL type.
    `files_with_columns`: how many have more than one; a list without records has its key alone. `are_copies`:
    of a lake that is elsewhere, so that other versions may lie beside them.
    """

    columns: Mapping[str, str]
    groups: tuple[tuple[Path, ...], ...]
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    files_with_columns: int = 0
    are_copies: bool = False

    @property
    def agrees(self) -> bool:
        return len(self.groups) <= 1

    @property
    def is_listed(self) -> bool:
        """Whether a view has to name each file, as no pattern can."""
        return self.are_copies or not self.agrees

    @property
    def file(self) -> str:
        """Quoted: what tells which file a row is from, where it is asked for (`rows_sql`)."""
        return quoted(f"{ours(self.columns)}file")

    @property
    def place(self) -> str:
        """Quoted: what tells the place of a row in its file, where it is asked for (`rows_sql`)."""
        return quoted(f"{ours(self.columns)}place")

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(sorted(file for group in self.groups for file in group))


def ours(columns: Iterable[str]) -> str:
    """What our own names among these columns begin with: something that none of them begins with."""
    mark = _MARK
    while any(name.startswith(mark) for name in columns):
        mark += _MARK
    return mark


def table_shape(lake: Lake, table: Table) -> Shape:
    """The shape of every landed partition together; the newest partition's order of columns comes first.

    DuckDB does not tell `ID` from `id`, so neither does this. Raises `UnreadablePartitionError`.
    """
    newest_first = [(file, _types(table, file)) for file in reversed(lake.partition_files(table))]
    found = [{folded(name): kind for name, kind in types.items()} for _, types in newest_first]
    spelled = {folded(name): name for _, types in reversed(newest_first) for name in types}
    kinds: dict[str, Counter[str]] = {}
    for types in found:
        for name, kind in types.items():
            kinds.setdefault(name, Counter())[kind] += 1
    seen = {spelled[name]: dict(some) for name, some in kinds.items() if name not in LINEAGE_COLUMNS}
    columns = {name: next(iter(some)) if len(some) == 1 else "VARCHAR" for name, some in seen.items()}
    disputed = [name for name, some in kinds.items() if len(some) > 1]
    groups: dict[tuple[str | None, ...], list[Path]] = {}
    for (file, _), types in zip(newest_first, found, strict=True):
        groups.setdefault(tuple(types.get(name) for name in disputed), []).append(file)
    return Shape(
        columns | LINEAGE_COLUMNS,
        tuple(tuple(sorted(files)) for files in groups.values()),
        seen,
        sum(len(types.keys() - LINEAGE_COLUMNS.keys()) > 1 for types in found),
        lake.has_copies,
    )


def shows(known: Mapping[str, str], types: Mapping[str, str]) -> bool:
    """Whether a view with the columns `known` shows a file with these columns whole."""
    of_name = {folded(name): kind for name, kind in known.items()}
    return all(of_name.get(folded(name)) == kind for name, kind in types.items())


def _types(table: Table, file: Path) -> dict[str, str]:
    try:
        return column_types(file)
    except FileNotFoundError:
        raise UnreadablePartitionError(table, file, "was deleted meanwhile") from None
    except pl.exceptions.PolarsError:
        raise UnreadablePartitionError(table, file, "is not a whole Parquet file") from None
    except OSError as error:
        raise UnreadablePartitionError(table, file, f"says: {error.strerror or 'no access'}") from None


def view_sql(lake: Lake, table: Table, shape: Shape) -> str:
    """The view over all partitions of a table, now and after any later landing.

    It names its columns, so that a partition with a new one does not break it before it is rebuilt, and has
    a typed row source of no rows, so that it answers (with NULLs) when the last partition that had some
    column is replaced, or when nothing has landed. Where files disagree, or are copies, it lists them,
    because no pattern can read them, and has to be made anew for a later landing.
    """
    sources = [text_literal(lake.pattern(table))] if shape.groups else []
    if shape.is_listed:
        sources = [_list(files) for files in shape.groups]
    name = f"{quoted(table.source)}.{quoted(table.name)}"
    rows = [f"SELECT * FROM {_parquet(source)}" for source in sources]
    return f"CREATE OR REPLACE VIEW {name} AS {_rows(_quoted(shape.columns), rows)}"


def rows_sql(shape: Shape, files: Sequence[Path] | None = None) -> str:
    """The rows of `files` (None: all of the shape) with the shape's columns, `file` and `place`."""
    wanted = set(shape.files if files is None else files)
    groups = [[file for file in group if file in wanted] for group in shape.groups]
    wanted_columns = _quoted(shape.columns) | {shape.file: "VARCHAR", shape.place: "BIGINT"}
    if any(folded(name) == _DUCKDBS_PLACE for name in shape.columns):
        # One by one, counted in the order in which they are read.
        each = [
            f"SELECT *, {text_literal(str(file))} AS {shape.file}, row_number() OVER () - 1 AS {shape.place} "
            f"FROM {_parquet(_list([file]))}"
            for group in groups
            for file in group
        ]
        return _rows(wanted_columns, each)
    options = f", filename = {text_literal(shape.file.strip(chr(34)))}, {_DUCKDBS_PLACE} = true"
    sources = [
        f"SELECT * RENAME ({_DUCKDBS_PLACE} AS {shape.place}) FROM {_parquet(_list(group), options)}"
        for group in groups
        if group
    ]
    return _rows(wanted_columns, sources)


def _rows(wanted: Mapping[str, str], sources: Sequence[str]) -> str:
    """`wanted`: columns, quoted, with SQL types. `sources`: SELECTs of rows that may lack any of them."""
    nothing = ", ".join(f"NULL::{kind} AS {name}" for name, kind in wanted.items())
    cast = ", ".join(f"{name}::{kind} AS {name}" for name, kind in wanted.items())
    parts = [f"SELECT {nothing} WHERE false"]
    for source in sources:
        # Each source beside a typed one of no rows: a file may lack any column.
        rows = (
            f"SELECT {', '.join(f'NULL AS {name}' for name in wanted)} WHERE false UNION ALL BY NAME {source}"
        )
        parts.append(f"SELECT {cast} FROM ({rows})")
    return " UNION ALL ".join(parts)


def _quoted(columns: Mapping[str, str]) -> dict[str, str]:
    return {quoted(name): kind for name, kind in columns.items()}


def _parquet(files: str, options: str = "") -> str:
    return f"read_parquet({files}, union_by_name = true, hive_partitioning = false{options})"


def _list(files: Iterable[Path]) -> str:
    return f"[{', '.join(text_literal(str(file)) for file in files)}]"
