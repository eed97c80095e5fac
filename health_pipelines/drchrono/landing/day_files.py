"""Finished pages of a bulk list as one Parquet file per day.

Belongs here: reading pages once, keeping one row per key, and writing the rows of a day as a partition file.
Does not belong here: the columns and what fits them (`columns.py`), fetching and proving pages, and where
partition files live (`lake/partitions.py`). No error and no log says a value.

Pages become staging files first, because one sweep fills many days. A row's place is known from its small
columns alone, so that no step holds more than a piece of a day in memory.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.drchrono.landing.columns import (
    CARRIED,
    SPELLED,
    Shapes,
    columns_without_values,
    literal,
    select_columns,
    structures,
    text_column,
    vendor_columns,
    with_times,
)
from health_pipelines.drchrono.landing.odd_pages import rewrite_page
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.page_shape import HAZARDOUS_NUMBER, PageShape
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, quoted
from health_pipelines.lake.local_time import as_told_apart, day_of_instant, zone_variables

_THREADS = 2
_STAGING_MEMORY = "1GB"  # pages themselves are outside of it
_WRITING_MEMORY = "200MB"
# What one statement reads: planning it costs as much as reading 10 MB. Pages are read one after the other.
_PIECE_BYTES = 200_000_000
# Short groups: a writer holds a whole group, and a reader skips groups of other days.
_STAGING_GROUP_ROWS = 4096
_GROUP_CELLS, _SHORTEST_GROUP = 1 << 20, 2048
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


@dataclass(frozen=True)
class Staged:
    """The rows of some pages, one per key, ready to be written as days. Files in the work folder of `stage`.

    `rows_by_day`: by the day of the last change in the account's zone; None is the day of rows without a time
    that can be read. `drift`: undocumented fields and fields with values that do not fit, with the number of
    rows; names only. An empty text where a number or a date should be is no drift.
    """

    record_type: RecordType
    extracted_at: datetime
    rows_by_day: Mapping[date | None, int]
    drift: Mapping[str, int]
    files: tuple[Path, ...]
    files_by_day: Mapping[date | None, tuple[Path, ...]]
    without: Mapping[str, str]  # columns that no row has a value for, which are not in the files
    losers: Path | None  # rows that another row with the same key has beaten
    digests: Mapping[date | None, int]  # of each day's rows
    days_in_order: frozenset[date | None]  # whose rows are in the order of their keys as they are staged
    all_in_order: bool
    # One for all days: to open one and to read the footers costs as much as to write a short day.
    database: duckdb.DuckDBPyConnection = field(repr=False, compare=False)


def stage(
    record_type: RecordType,
    pages: Sequence[PageFile],
    zone: ZoneInfo,
    work: Path,
    *,
    extracted_at: datetime,
) -> Staged:
    """Read every page once and keep, of each key, the row that changed last (then the one of the later page).

    `zone` is the account's; `extracted_at` is aware; `work` is an empty folder on the lake's disk and must
    stay until the days are written. Pages are complete answers, checked to be JSON with a list of objects.
    """
    pieces = _pieces(record_type, sorted(pages, key=lambda page: page.order))
    without = _columns_without_values(record_type, pieces)
    files = [work / f"staged-{number:05}.parquet" for number in range(len(pieces))]
    with ExitStack() as unless_staged:
        database = _opened(work / "spill")
        unless_staged.callback(database.close)
        with ThreadPoolExecutor(_THREADS) as threads:
            rules = [*zone_variables(zone), *_latest_day_variables(extracted_at.astimezone(zone).date())]
            stage_piece = partial(_stage_piece, database, record_type, rules=rules, without=without)
            list(threads.map(stage_piece, pieces, files))
        database.execute(f"SET memory_limit = '{_WRITING_MEMORY}'")
        database.execute(f"SET threads = {_THREADS}")
        for statement in zone_variables(zone):
            database.execute(statement)
        _note_places(database, record_type, files)
        losers = _losers(database, work / "losers.parquet")
        winners = _winners(record_type, files, losers, without)
        drift = _drift(database, record_type, winners)
        totals = _totals(database)
        if _days_are_scattered(database):
            files, losers = [_clustered(database, record_type, winners, work / "clustered.parquet")], None
            without = {}
            days_in_order, all_in_order = set(totals), False
        else:
            days_in_order, all_in_order = _days_in_order(database)
        by_day = _files_by_day(database, files)
        database.execute("DROP TABLE places")
        unless_staged.pop_all()
    return Staged(
        record_type,
        extracted_at,
        rows_by_day={day: rows for day, (rows, _) in totals.items()},
        drift=drift,
        files=tuple(files),
        files_by_day=by_day,
        without=without,
        losers=losers,
        digests={day: digest for day, (_, digest) in totals.items()},
        days_in_order=frozenset(days_in_order),
        all_in_order=all_in_order,
        database=database,
    )


def write_day(
    staged: Staged,
    days: Collection[date | None] | None,
    partition_day: date,
    target: Path,
    *,
    report_id: str,
    keep: "Standing | None" = None,
) -> "Kept":
    """Write the partition `partition_day`: the rows that changed on one of `days` (None: all rows).

    `keep` is the partition as it stands. Its rows stay as they are, with their lineage, until their records
    are somewhere else: otherwise they would be nowhere. Returns how many did.

    The footer has `report_id` and `content_hash`, which depends on what the rows say, not on their order or
    lineage. No row at all is a file with all columns. Several threads may write days of one `staged`.
    """
    columns = vendor_columns(staged.record_type)
    key = quoted(staged.record_type.key)
    files = staged.files if days is None else _files_of(staged, days)
    present = set(staged.rows_by_day if days is None else staged.rows_by_day.keys() & days)
    count, digest = (
        sum(staged.rows_by_day[day] for day in present),
        sum(staged.digests[day] for day in present),
    )
    # Mostly they are: the vendor sorts by id, and sorting whole rows would cost more than all the rest.
    in_order = staged.all_in_order or (len(present) <= 1 and present <= staged.days_in_order)
    with staged.database.cursor() as database:
        fresh = _winners(staged.record_type, files, staged.losers, staged.without)
        rows = f"""
            SELECT {", ".join(map(quoted, columns))}, {_date(partition_day)} AS _partition_date, _report_id,
                   TIMESTAMPTZ '{staged.extracted_at.isoformat()}' AS _extracted_at, _hash::HUGEINT AS _hash
            FROM {fresh} WHERE {_on(days)}
            """
        kept = Kept(0, 0)
        if keep is not None:
            kept, kept_digest = _keep(database, staged, keep, days=days, own=partition_day)
            rows += "UNION ALL BY NAME SELECT * EXCLUDE (_is_sent, _moved_back) FROM kept"
            count, digest = count + kept.rows, digest + kept_digest
            in_order = in_order and not kept.rows
        order = "" if in_order else f"ORDER BY strlen({key}), {key}, _hash"
        group = max(_SHORTEST_GROUP, _GROUP_CELLS // len(columns))
        database.execute(
            f"""
            COPY (SELECT * EXCLUDE (_hash) FROM ({rows}) {order}) TO {literal(str(target))} (
                FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group},
                KV_METADATA {{content_hash: {literal(f"rows:{count}:{digest:x}")},
                              report_id: {literal(report_id)}}})
            """
        )
    return kept


@dataclass(frozen=True)
class Standing:
    """A day's partition as it is, and where its records may be by now.

    `elsewhere`: days that have landed in this run with all that changed on them. `others`: partitions of
    other days, to look whether they have the record that changed on their day. `undated_in`: the day of
    records without a time that can be read.
    """

    file: Path
    elsewhere: Collection[date]
    others: Collection[Path]
    undated_in: date


@dataclass(frozen=True)
class Kept:
    """Rows of the old partition that stayed. `on_the_move`: their records changed on a day that does not have
    them yet. `not_sent`: the sweep did not bring their records. `moved_back`: those on the move to an earlier
    day of the range, which lands after this one.
    """

    on_the_move: int
    not_sent: int
    moved_back: int = 0

    @property
    def rows(self) -> int:
        return self.on_the_move + self.not_sent


_NumberedPage = tuple[int, PageFile]


@dataclass(frozen=True)
class _Piece:
    """Pages that one statement reads. `shapes`: what they need, if that was seen when they arrived."""

    pages: Sequence[_NumberedPage]
    shapes: Shapes | None


def _pieces(record_type: RecordType, pages: Sequence[PageFile]) -> list[_Piece]:
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
        _Piece(piece, _shapes_seen(record_type, piece)) for group in (alike, others) for piece in _cut(group)
    ]


def _cut(pages: Sequence[_NumberedPage]) -> Iterator[list[_NumberedPage]]:
    sizes = [page.path.stat().st_size for _, page in pages]
    # All threads should have something to do.
    limit = min(_PIECE_BYTES, sum(sizes) // _THREADS + 1)
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


def _columns_without_values(record_type: RecordType, pieces: Sequence[_Piece]) -> dict[str, str]:
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


def _stage_piece(
    database: duckdb.DuckDBPyConnection,
    record_type: RecordType,
    piece: _Piece,
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
    columns = f"path, list_distinct({_RECORD_KEYS}), regexp_matches(content, {literal(HAZARDOUS_NUMBER)})"
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
    return f"(SELECT filename AS path, content FROM read_text({_list(paths)}))"


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(literal, texts))}]"


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
    database.execute(f"SET VARIABLE paths = {_list(paths)}")
    database.execute(f"SET VARIABLE uuids = {_list([page.uuid for _, page in pages])}")
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
        ) TO {literal(str(file))} (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {_STAGING_GROUP_ROWS})
        """
    )


def _latest_day_variables(swept_on: date) -> list[str]:
    return [
        f"SET VARIABLE latest_day = {_date(swept_on + timedelta(days=1))}",
        f"SET VARIABLE newest_day = {_date(swept_on - timedelta(days=1))}",
    ]


def _not_in_the_future(day: str) -> str:
    """SQL: the day, or the newest that is over where that is later than any clock allows.

    A record that says it will change in 2031 would land in 2031. With the newest day each night brings it
    along, until its time is put right. What changed on the day of the sweep, or by another clock on the next,
    is not in the future: it lands with its day.
    """
    return f"CASE WHEN ({day}) > getvariable('latest_day') THEN getvariable('newest_day') ELSE {day} END"


def _note_places(database: duckdb.DuckDBPyConnection, record_type: RecordType, files: Sequence[Path]) -> None:
    """Make the table `places`: of every row what tells where it belongs, in the order of the files."""
    key = quoted(record_type.key)
    rows = _parquet(files) if files else _no_rows(record_type)
    database.execute(
        f"CREATE TEMP TABLE places AS SELECT {key} AS key, _changed, _row, _day, _hash FROM {rows}"
    )


def _totals(database: duckdb.DuckDBPyConnection) -> dict[date | None, tuple[int, int]]:
    """Of each day the number of rows and what they hash to."""
    found = database.execute(
        "SELECT _day, count(*), sum(_hash::HUGEINT) FROM places GROUP BY _day"
    ).fetchall()
    return {day: (rows, int(digest)) for day, rows, digest in found}


def _days_in_order(database: duckdb.DuckDBPyConnection) -> tuple[set[date | None], bool]:
    """The days whose rows come in the order of their keys, and whether all rows do."""
    ordered = """
        SELECT {day}, count(*) FILTER (later < earlier) = 0
        FROM (SELECT _day, (strlen(key), key) AS later, lag(later) OVER ({by} ORDER BY rowid) AS earlier
              FROM places)
        GROUP BY ALL
        """
    whole = database.execute(ordered.format(day="NULL", by="")).fetchall()
    if all(is_sorted for _, is_sorted in whole):
        return {day for (day,) in database.execute("SELECT DISTINCT _day FROM places").fetchall()}, True
    by_day = database.execute(ordered.format(day="_day", by="PARTITION BY _day")).fetchall()
    return {day for day, is_sorted in by_day if is_sorted}, False


def _files_by_day(
    database: duckdb.DuckDBPyConnection, files: Sequence[Path]
) -> dict[date | None, tuple[Path, ...]]:
    """Where the rows of a day are: reading the footers of all files for each day would take longer."""
    if not files:
        return {}
    found = database.execute(
        f"SELECT _day, list(DISTINCT filename ORDER BY filename) FROM {_parquet(files)} GROUP BY _day"
    ).fetchall()
    return {day: tuple(map(Path, names)) for day, names in found}


def _losers(database: duckdb.DuckDBPyConnection, target: Path) -> Path | None:
    """Take the rows to leave out from `places`; a file of their `_row`, or None if there is none."""
    [(found,)] = database.execute(
        f"""
        CREATE TEMP TABLE losers AS
        SELECT _row FROM places WHERE key IN (SELECT key FROM places GROUP BY key HAVING count(*) > 1)
        QUALIFY row_number() OVER (
            PARTITION BY key ORDER BY {as_told_apart("_changed")} DESC NULLS LAST, _row DESC) > 1
        """
    ).fetchall()
    if not found:
        return None
    database.execute("DELETE FROM places WHERE _row IN (FROM losers)")
    database.execute(f"COPY losers TO {literal(str(target))} (FORMAT parquet)")
    return target


def _winners(
    record_type: RecordType, files: Sequence[Path], losers: Path | None, without: Mapping[str, str]
) -> str:
    if not files:
        return _no_rows(record_type)
    absent = "".join(f", NULL::{kind} AS {quoted(name)}" for name, kind in without.items())
    beaten = f"WHERE _row NOT IN (SELECT _row FROM {_parquet([losers])})" if losers else ""
    return f"(SELECT *{absent} FROM {_parquet(files)} {beaten})"


def _drift(database: duckdb.DuckDBPyConnection, record_type: RecordType, winners: str) -> dict[str, int]:
    drift: Counter[str] = Counter()
    documented = ", ".join(map(literal, record_type.columns))
    drift.update(
        dict(
            database.execute(
                f"""
                SELECT member.key, count(DISTINCT _row)
                FROM (SELECT _extra, _row FROM {winners} WHERE json_valid(_extra)) AS rows,
                     json_each(rows._extra) AS member
                WHERE NOT (member.key IN ({documented}) AND member.value::VARCHAR = '""')
                GROUP BY member.key
                """
            ).fetchall()
        )
    )
    # Half a surrogate pair is JSON for Python and none for DuckDB.
    for (extra,) in database.execute(f"SELECT _extra FROM {winners} WHERE NOT json_valid(_extra)").fetchall():
        drift.update(name.encode(errors="backslashreplace").decode() for name in json.loads(extra))
    times = [field for field, kind in record_type.columns.items() if kind == "time"]
    if times:
        unread = ", ".join(
            f"count(*) FILTER ({quoted(field)} IS NULL AND {quoted(text_column(field))} <> '')"
            for field in times
        )
        [counts] = database.execute(f"SELECT {unread} FROM {winners}").fetchall()
        drift.update(dict(zip(times, counts, strict=True)))
    return {name: rows for name, rows in sorted(drift.items()) if rows}


def _days_are_scattered(database: duckdb.DuckDBPyConnection) -> bool:
    """Whether writing all days one by one would read the staging files more than a few times."""
    [(read, rows)] = database.execute(
        f"""
        SELECT count(DISTINCT (_day, rowid // {_STAGING_GROUP_ROWS})) * {_STAGING_GROUP_ROWS}, count(*)
        FROM places
        """
    ).fetchall()
    return bool(read > 4 * (rows + _STAGING_GROUP_ROWS))


def _clustered(
    database: duckdb.DuckDBPyConnection, record_type: RecordType, winners: str, target: Path
) -> Path:
    """The same rows, days one after the other and each in the order of its keys."""
    key = quoted(record_type.key)
    database.execute(
        f"""
        COPY (SELECT * REPLACE (row_number() OVER () AS _row)
              FROM (FROM {winners} ORDER BY _day, strlen({key}), {key}))
        TO {literal(str(target))} (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {_STAGING_GROUP_ROWS})
        """
    )
    return target


def _keep(
    database: duckdb.DuckDBPyConnection,
    staged: Staged,
    standing: Standing,
    *,
    days: Collection[date | None] | None,
    own: date,
) -> tuple[Kept, int]:
    """Make the table `kept`: rows of an old partition that stay, whatever columns it has.

    Returns how many they are and what they hash to.
    """
    key, columns = quoted(staged.record_type.key), vendor_columns(staged.record_type)
    source = _parquet([standing.file])
    have = [name for name, *_ in database.execute(f"DESCRIBE FROM {source}").fetchall()]
    vendor = [
        f"{quoted(name) if name in have else 'NULL'}::{kind} AS {quoted(name)}"
        for name, kind in columns.items()
    ]
    others = [quoted(name) for name in have if name not in columns and name not in LINEAGE_COLUMNS]
    names = ", ".join(map(quoted, columns))
    # A column that is gone counts where it says something: such a row is not equal to one without it.
    more = "".join(f" + coalesce(hash({name}), 0)::HUGEINT" for name in others)
    winners = _winners(staged.record_type, staged.files, staged.losers, staged.without)
    landed, first = _on({*(days or ()), own, *standing.elsewhere}), _date(standing.undated_in)
    there = (
        f"SELECT {key} AS key, _partition_date AS day FROM {_parquet(list(standing.others))}"
        if standing.others
        else "SELECT NULL::VARCHAR AS key, NULL::DATE AS day LIMIT 0"
    )
    database.execute(
        f"""
        CREATE TEMP TABLE kept AS
        WITH sent AS (
            SELECT {key} AS key, coalesce(_day, {first}) AS day, {landed} AS has_landed
            FROM {winners}
        ), gone AS (
            SELECT key FROM sent WHERE has_landed
            UNION ALL
            SELECT sent.key FROM sent JOIN ({there}) AS there ON there.key = sent.key AND there.day = sent.day
        )
        SELECT *, (hash({names})::HUGEINT{more}) AS _hash, {key} IN (SELECT key FROM sent) AS _is_sent,
               {key} IN (SELECT key FROM sent WHERE day >= {first} AND day < {_date(own)}) AS _moved_back
        FROM (SELECT {", ".join([*vendor, *others, *map(quoted, LINEAGE_COLUMNS)])} FROM {source}
              WHERE {key} NOT IN (SELECT key FROM gone))
        """
    )
    [(moving, not_sent, moved_back, digest)] = database.execute(
        """
        SELECT count(*) FILTER (_is_sent), count(*) FILTER (NOT _is_sent), count(*) FILTER (_moved_back),
               coalesce(sum(_hash), 0) FROM kept
        """
    ).fetchall()
    return Kept(moving, not_sent, moved_back), int(digest)


def _no_rows(record_type: RecordType) -> str:
    types = vendor_columns(record_type) | {
        "_report_id": "VARCHAR", "_row": "BIGINT", "_hash": "UBIGINT", "_day": "DATE",
        "_changed": "TIMESTAMPTZ",
    }  # fmt: skip
    return f"(SELECT {', '.join(f'NULL::{kind} AS {quoted(name)}' for name, kind in types.items())} LIMIT 0)"


def _files_of(staged: Staged, days: Collection[date | None]) -> tuple[Path, ...]:
    found = {file for day in days for file in staged.files_by_day.get(day, ())}
    return tuple(file for file in staged.files if file in found)


def _on(days: Collection[date | None] | None) -> str:
    if days is None:
        return "true"
    known = [_date(day) for day in days if day is not None]
    conditions = [f"_day IN ({', '.join(known)})"] if known else []
    conditions += ["_day IS NULL"] if None in days else []
    return f"({' OR '.join(conditions)})" if conditions else "false"


def _date(day: date) -> str:
    return f"DATE '{day}'"


def _parquet(files: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(literal(str(file)) for file in files)}], hive_partitioning = false)"


def _opened(spill: Path) -> duckdb.DuckDBPyConnection:
    """A database for pieces, each of which has a thread of its own, so that its rows stay in order."""
    spill.mkdir(exist_ok=True)
    database = duckdb.connect(
        config={"memory_limit": _STAGING_MEMORY, "threads": 1, "temp_directory": str(spill)}
    )
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database
