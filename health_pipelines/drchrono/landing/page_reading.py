"""Pages of a bulk list read once, into staging files.

Belongs here: which pages one statement reads, what they need, and the statement. Does not belong here: the
columns and what fits them (`columns.py`), which rows count (`staging.py`), and what an odd page becomes
(`odd_pages.py`). No error and no log says a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.drchrono.landing.columns import (
    CARRIED,
    SPELLED,
    Shapes,
    columns_without_values,
    select_columns,
    structures,
    vendor_columns,
    with_times,
)
from health_pipelines.drchrono.landing.odd_pages import rewrite_page
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.page_shape import HAZARDOUS_NUMBER, PageShape
from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.lake.local_time import day_of_instant
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

THREADS = 2
# What one statement reads: planning it costs as much as reading 10 MB. Pages are read one after the other.
_PIECE_BYTES = 200_000_000
# Short groups: a writer holds a whole group, and a reader skips groups of other days.
STAGING_GROUP_ROWS = 4096
# More undocumented fields than this in a piece are no new fields but names used as data.
_MOST_UNDOCUMENTED = 100
_RECORD_KEYS = "json_keys(content, '$.results[*]')"


@dataclass(frozen=True)
class PageFile:
    """A finished page on disk, as the vendor sent it. Between equal change times the later `order` wins.

    `shape`: what was seen of it when it was parsed. Without one the page is read once more to see.
    """

    path: Path
    uuid: str
    order: int
    shape: PageShape | None = None


_NumberedPage = tuple[int, PageFile]


@dataclass(frozen=True)
class Piece:
    """Pages that one statement reads. `shapes`: what they need, if that was seen when they arrived."""

    pages: Sequence[_NumberedPage]
    shapes: Shapes | None


def pieces_of(record_type: RecordType, pages: Sequence[PageFile]) -> list[Piece]:
    """Most pages have the same fields. Those that have not come apart: only they are read the longer way."""
    fields = [None if page.shape is None else frozenset(page.shape.types) for page in pages]
    usual = [names for names, _ in Counter(filter(None, fields)).most_common(1)]
    alike, others = [], []
    for page, names in zip(enumerate(pages), fields, strict=True):
        if names in usual:
            alike.append(page)
        elif names != frozenset():  # else there is no record on it
            others.append(page)
    return [
        Piece(piece, _shapes_seen(record_type, piece)) for group in (alike, others) for piece in _cut(group)
    ]


def _cut(pages: Sequence[_NumberedPage]) -> Iterator[list[_NumberedPage]]:
    sizes = [page.path.stat().st_size for _, page in pages]
    # All threads should have something to do.
    limit = min(_PIECE_BYTES, sum(sizes) // THREADS + 1)
    piece: list[_NumberedPage] = []
    room = limit
    for page, size in zip(pages, sizes, strict=True):
        if room <= 0:
            yield piece
            piece, room = [], limit
        piece.append(page)
        room -= size
    if piece:
        yield piece


def fields_without_values(record_type: RecordType, pieces: Sequence[Piece]) -> dict[str, str]:
    """Columns (with types) that are not worth staging, because no page has anything for them.

    Also right for a page that is not as it looked: where a name comes twice and the last is null, the column
    is NULL.
    """
    empty = [
        set() if piece.shapes is None else columns_without_values(record_type, piece.shapes)
        for piece in pieces
    ]
    return {
        name: kind
        for name, kind in vendor_columns(record_type).items()
        if empty and all(name in names for names in empty)
    }


def stage_piece(
    database: duckdb.DuckDBPyConnection,
    record_type: RecordType,
    piece: Piece,
    file: Path,
    *,
    rules: Sequence[str],
    without: Collection[str],
) -> None:
    with database.cursor() as cursor:
        for statement in rules:
            cursor.execute(statement)
        staging = partial(
            _write_staging, cursor, record_type=record_type, pages=piece.pages, file=file, without=without
        )
        paths = [str(page.path) for _, page in piece.pages]
        if piece.shapes is not None:
            try:
                staging(shapes=piece.shapes, paths=paths)
            except duckdb.InvalidInputException:
                pass  # some page is not as it looked: a name comes twice, or a text is no Unicode
            else:
                return
        shapes, paths = _shapes(cursor, record_type, paths, file)
        staging(shapes=shapes, paths=paths)
    for rewritten in file.parent.glob(f"{file.stem}-*.json"):
        rewritten.unlink()


def _shapes_seen(record_type: RecordType, pages: Sequence[_NumberedPage]) -> Shapes | None:
    """What the pages need, if that was seen when they arrived and all their records have the same fields."""
    shapes = [page.shape for _, page in pages]
    names = {frozenset(shape.types) for shape in shapes if shape is not None and shape.types}
    if None in shapes or len(names) != 1:
        return None
    [fields] = names
    documented = set(record_type.columns)
    undocumented = _usable_names(record_type, [tuple(fields)])
    if not fields <= documented.union(undocumented):
        return None
    types = {
        field: frozenset[str]().union(*(shape.types.get(field, ()) for shape in shapes if shape is not None))
        for field in fields
    }
    return Shapes(undocumented, documented - fields, types)


def _shapes(
    database: duckdb.DuckDBPyConnection, record_type: RecordType, paths: Sequence[str], file: Path
) -> tuple[Shapes, list[str]]:
    """Look at the names of all fields, and rewrite pages that would lose something.

    Returns where every page is to be read then.
    """
    now = list(paths)
    columns = (
        f"path, list_distinct({_RECORD_KEYS}), regexp_matches(content, {text_literal(HAZARDOUS_NUMBER)})"
    )
    try:
        found = database.execute(f"SELECT {columns} FROM {_texts(now)}").fetchall()
    except duckdb.InvalidInputException:
        # Python's reader takes half a surrogate pair, escaped or as bytes, DuckDB's does not.
        now = _rewritten(record_type, file, now, {path for path in now if not _is_utf_8(path)})
        refused = database.execute(f"SELECT path FROM {_texts(now)} WHERE NOT json_valid(content)").fetchall()
        now = _rewritten(record_type, file, now, {path for (path,) in refused})
        found = database.execute(f"SELECT {columns} FROM {_texts(now)}").fetchall()
    shapes = {tuple(keys) for _, page_shapes, _ in found for keys in page_shapes}
    undocumented = _usable_names(record_type, shapes)
    usable = {*record_type.columns, *undocumented}
    regular = {keys for keys in shapes if len(set(keys)) == len(keys) and usable.issuperset(keys)}
    odd = {path for path, keys, hazard in found if hazard or not regular.issuperset(map(tuple, keys))}
    missing = {name for keys in shapes for name in set(record_type.columns).difference(keys)}
    return Shapes(tuple(undocumented), missing), _rewritten(record_type, file, now, odd.intersection(paths))


def _usable_names(record_type: RecordType, shapes: Collection[Sequence[str]]) -> list[str]:
    """Undocumented names that can be fields of one struct beside the documented ones."""
    names = {name for keys in shapes for name in keys} - set(record_type.columns) - {CARRIED, SPELLED}
    folded = [name.casefold() for name in [*record_type.columns, *names, CARRIED, SPELLED]]
    usable = sorted(
        name for name in names if name.isprintable() and name and folded.count(name.casefold()) == 1
    )
    return usable if len(usable) <= _MOST_UNDOCUMENTED else []


def _is_utf_8(path: str) -> bool:
    try:
        Path(path).read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def _rewritten(record_type: RecordType, file: Path, paths: Sequence[str], odd: Collection[str]) -> list[str]:
    now = []
    for number, path in enumerate(paths):
        target = file.with_name(f"{file.stem}-{number:05}.json")
        if path in odd:
            rewrite_page(record_type, Path(path), target)
        now.append(str(target) if path in odd else path)
    return now


def _texts(paths: Sequence[str]) -> str:
    return f"(SELECT filename AS path, content FROM read_text({list_literal(paths)}))"


def list_literal(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(text_literal, texts))}]"


def _write_staging(
    database: duckdb.DuckDBPyConnection,
    *,
    record_type: RecordType,
    shapes: Shapes,
    pages: Sequence[_NumberedPage],
    paths: Sequence[str],
    file: Path,
    without: Collection[str],
) -> None:
    columns = ", ".join(map(quoted, vendor_columns(record_type)))
    staged = ", ".join(quoted(name) for name in vendor_columns(record_type) if name not in without)
    read, several = structures(record_type, shapes)
    place = "list_position(getvariable('paths'), path)"
    # The strict one raises for a name that comes twice in a record, and for one that is not there.
    from_json = "from_json" if shapes.types is None else "from_json_strict"
    from_pages, of_record = f"{from_json}(content, {read}).results AS vs", "unnest(vs) AS v"
    if several:
        from_pages += f", from_json(content, {several}).results AS js"
        of_record += ", unnest(js) AS j"
    if shapes.keys_are_needed:
        from_pages += f", {_RECORD_KEYS} AS k"
        of_record += ", unnest(k) AS keys"
    day = "NULL::DATE"
    changed = "NULL::TIMESTAMPTZ"
    if record_type.changed:
        local, changed = quoted(f"local {record_type.changed}"), quoted(record_type.changed)
        # A local time is its own day; what cannot be read has none.
        day = _not_in_the_future(
            f"CASE WHEN {changed} IS NULL THEN NULL WHEN {local} IS NOT NULL THEN {local}::DATE "
            f"ELSE {day_of_instant(changed)} END"
        )
    records = f"""
        SELECT page, uuid, {of_record}, unnest(range(len(vs))) AS place
        FROM (
            SELECT list_extract(getvariable('numbers'), {place}) AS page,
                   list_extract(getvariable('uuids'), {place}) AS uuid,
                   {from_pages}
            FROM {_texts(paths)}
        )
        """
    # Not a join: it would keep the texts of all pages in memory.
    database.execute(f"SET VARIABLE paths = {list_literal(paths)}")
    database.execute(f"SET VARIABLE uuids = {list_literal([page.uuid for _, page in pages])}")
    database.execute(f"SET VARIABLE numbers = {[number for number, _ in pages]}::BIGINT[]")
    database.execute(
        f"""
        COPY (
            SELECT {staged}, uuid AS _report_id, page * 10000000 + place AS _row,
                   hash({columns}) AS _hash, {changed} AS _changed, _day
            FROM (
                SELECT {select_columns(record_type, shapes)}, page, uuid, place,
                       {day} AS _day
                FROM ({with_times(record_type, shapes, records)})
            )
        ) TO {text_literal(str(file))}
        (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {STAGING_GROUP_ROWS})
        """
    )


def latest_day_variables(swept_on: date) -> list[str]:
    return [
        f"SET VARIABLE latest_day = {date_literal(swept_on + timedelta(days=1))}",
        f"SET VARIABLE newest_day = {date_literal(swept_on - timedelta(days=1))}",
    ]


def _not_in_the_future(day: str) -> str:
    """SQL: the day, or the newest that is over where that is later than any clock allows.

    A record that says it will change in 2031 would land in 2031. With the newest day each night brings it
    along, until its time is put right. What changed on the day of the sweep, or by another clock on the next,
    is not in the future: it lands with its day.
    """
    return f"CASE WHEN ({day}) > getvariable('latest_day') THEN getvariable('newest_day') ELSE {day} END"


def date_literal(day: date) -> str:
    return f"DATE '{day}'"
