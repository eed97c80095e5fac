"""A partition file without what may not be in it: columns left out or hashed, rows of erased patients gone.

Belongs here: one file, read and written. Does not belong here: which columns and patients (`rules.py`,
`patients.py`), and putting a file in its place (`keeping_out.py`, `purge.py`). No error says a value.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, RENAMED, parquet_rows, quoted, text_literal
from health_pipelines.lake.disk import error_number
from health_pipelines.libraries import loaded_when_used
from health_pipelines.privacy.json_members import minimised
from health_pipelines.privacy.keyed_hash import MARK, prepare_sql
from health_pipelines.privacy.patients import References
from health_pipelines.privacy.rules import Rules

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    duckdb, pl = loaded_when_used("duckdb"), loaded_when_used("polars")

# In a footer: by which rules the file was written, and how many rows of erased patients are not in it.
MINIMISED, ROWS_ERASED = "minimised", "rows_erased"
# And which of the vendor's columns that were, as JSON.
TREATED = "treated"
_MEMORY = "256MB"
_GROUP_CELLS, _SHORTEST_GROUP = 1 << 22, 1024
_OWN, _SET, _JSON = "own_hash", "set_hash", "minimised_json"
_ERASED = "erased_hashes"


class UnreadableFileError(Exception):
    """A partition file could not be read or written. One sentence, without values."""


@dataclass(frozen=True)
class ErasedRows:
    """Whose rows are to be left out. `hashes`: made with `key`, see `erased.py`."""

    references: References
    hashes: Sequence[str] = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Taken:
    """Rows that were left out, and the keys of those records, as the file had them."""

    rows: int = 0
    keys: frozenset[str] = field(default=frozenset(), repr=False)


def footer(file: Path) -> dict[str, str]:
    """What a partition's file says of itself."""
    return dict(pl.read_parquet_metadata(file))


def rows_erased(file: Path) -> int:
    return int(footer(file).get(ROWS_ERASED, 0))


def write_without(
    source: Path,
    target: Path,
    rules: Rules,
    erased: ErasedRows | None,
    *,
    metadata: Mapping[str, str],
    keep_columns: bool = False,
    hash_of: Sequence[str] = (),
) -> None:
    """Write `source` to `target` without what `rules` leave out and without rows that are `erased`.

    `metadata`: of the new footer, beside what the old one says. `keep_columns`: what is left out is NULL in
    its column, which stays. `hash_of`: if the file has the column `_hash`, SQL of what it is made of, anew.
    The order of rows stays. Raises `UnreadableFileError`.
    """
    with _reading(target, source) as connection:
        columns = _described(connection, [source])
        named = _names_of_vendor(source, columns)
        selected = ", ".join(
            f"{sql} AS {quoted(name)}"
            for name, kind in columns.items()
            if (sql := _sql(name, named[name], kind, rules, keep_columns=keep_columns)) is not None
        )
        _prepare(connection, rules, erased)
        condition = f"WHERE NOT {_is_erased(columns, erased)}" if erased else ""
        rows = f"SELECT {selected} FROM {parquet_rows([source])} {condition}"
        if hash_of:
            rows = f"SELECT * REPLACE (hash({', '.join(hash_of)}) AS _hash) FROM ({rows})"
        treated = [one for one in named.values() if rules.leaves_out(one) or rules.hashes(one)]
        of_rules = {TREATED: json.dumps(sorted(set(treated)))} if rules else {}
        said = {
            **of_rules,
            **{name: value for name, value in footer(source).items() if name in _KEPT},
            **metadata,
        }
        pairs = ", ".join(f"{quoted(name)}: {text_literal(value)}" for name, value in said.items() if value)
        group = max(_SHORTEST_GROUP, _GROUP_CELLS // max(1, len(columns)))
        more = f", KV_METADATA {{{pairs}}}" if pairs else ""
        connection.execute(
            f"COPY ({rows}) TO {text_literal(str(target))} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group}{more})"
        )


_KEPT = ("content_hash", "report_id", RENAMED, MINIMISED, ROWS_ERASED, TREATED)


def erased_in(files: Sequence[Path], erased: ErasedRows, work: Path) -> dict[Path, Taken]:
    """What is to be taken out of which of these files of one table. `work`: where it may spill.

    Raises `UnreadableFileError` and `UnknownPatientColumnError`.
    """
    found: dict[Path, Taken] = {}
    with _reading(work / "looking", None) as connection:
        _prepare(connection, Rules(), erased)
        for columns, alike in _by_columns(files):
            key = erased.references.key
            key_sql = f"{quoted(key)}::VARCHAR" if key and key in columns else "NULL::VARCHAR"
            condition = _is_erased(dict.fromkeys(columns, ""), erased)
            # A name that no column has.
            mark = max(columns, key=len, default="") + "_file"
            file, of_files = quoted(mark), parquet_rows(alike, options=f", filename = {text_literal(mark)}")
            rows = connection.execute(
                f"SELECT {file}, count(*), list(DISTINCT {key_sql}) FROM {of_files} "
                f"WHERE {condition} GROUP BY {file}"
            ).fetchall()
            for name, count, keys in rows:
                found[Path(name)] = Taken(int(count), frozenset(one for one in keys if one))
    return found


def _by_columns(files: Sequence[Path]) -> Iterator[tuple[tuple[str, ...], list[Path]]]:
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        try:
            groups.setdefault(tuple(pl.read_parquet_schema(file)), []).append(file)
        except FileNotFoundError:
            continue  # removed meanwhile
        except (OSError, pl.exceptions.PolarsError):
            raise _unreadable(file) from None
    yield from groups.items()


def _sql(name: str, vendors: str, kind: str, rules: Rules, *, keep_columns: bool) -> str | None:
    """SQL of the column, or None if it is not to be there. `vendors`: what the vendor calls it."""
    column = quoted(name)
    if name in LINEAGE_COLUMNS or not rules:
        return column
    if rules.leaves_out(vendors):
        return f"NULL::{kind}" if keep_columns else None
    if rules.hashes(vendors):
        text = f"{column}::VARCHAR"
        return (
            f"CASE WHEN {text} = '' OR starts_with({text}, {text_literal(MARK)}) THEN {text} "
            f"ELSE {text_literal(MARK)} || {_SET}({text}) END"
        )
    if kind != "VARCHAR":
        return column
    names = (*sorted(rules.left_out), *sorted(rules.hashed), "\\u")
    has_one = " OR ".join(f"contains(lower({column}), {text_literal(one.lower())})" for one in names)
    # Nearly no value is any of this, and only those are looked through.
    is_one = f"ltrim({column})[1] IN ('{{', '[') AND ({has_one})"
    return f"CASE WHEN {is_one} THEN {_JSON}({column}) ELSE {column} END"


def _names_of_vendor(file: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """What the vendor calls each column. Of a time, the text beside it has the same name."""
    renamed = json.loads(footer(file).get(RENAMED, "{}"))
    named = {name: renamed.get(name, name) for name in columns}
    for name, kind in columns.items():
        if kind == "TIMESTAMP WITH TIME ZONE" and f"{name}_text" in columns:
            named[f"{name}_text"] = named[name]
    return named


def _prepare(connection: duckdb.DuckDBPyConnection, rules: Rules, erased: ErasedRows | None) -> None:
    if rules.hashed:
        prepare_sql(connection, _SET, rules.key)
    if rules:

        def without(text: str | None) -> str | None:
            return minimised(text, rules)

        # Special: what is nested too deeply becomes a NULL. The stubs do not know that it takes a word.
        cast("Any", connection).create_function(
            _JSON, without, ["VARCHAR"], "VARCHAR", null_handling="special"
        )
    if erased:
        prepare_sql(connection, _OWN, erased.key)
        connection.execute(
            f"CREATE TEMP TABLE {_ERASED} AS SELECT unnest($hashes::VARCHAR[]) AS hash",
            {"hashes": list(erased.hashes)},
        )


def _is_erased(columns: Mapping[str, str], erased: ErasedRows) -> str:
    return f"coalesce({erased.references.is_erased(columns, _OWN, _ERASED)}, false)"


def _described(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> dict[str, str]:
    return {
        name: kind for name, kind, *_ in connection.execute(f"DESCRIBE FROM {parquet_rows(files)}").fetchall()
    }


@contextmanager
def _reading(beside: Path, file: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database whose errors become one sentence, and which spills beside the file that is written."""
    spill = beside.with_name(f"{beside.name}.spill")
    try:
        with duckdb.connect(
            config={"memory_limit": _MEMORY, "threads": 1, "temp_directory": str(spill)}
        ) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                yield connection
            finally:
                with suppress(duckdb.Error):  # there was none
                    connection.remove_function(_JSON)
    except (duckdb.Error, pl.exceptions.PolarsError, OSError) as error:
        if error_number(error) not in (None, errno.EIO):
            raise  # the machine's fault, and not the file's
        # Their words may hold values.
        raise _unreadable(file) from None
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _unreadable(file: Path | None) -> UnreadableFileError:
    where = f"{file.parent.parent.name} {file.parent.name.removeprefix('date=')}" if file else "A partition"
    return UnreadableFileError(
        f"{where} could not be read and written again without what is to be kept out; materialize that "
        "partition again."
    )
