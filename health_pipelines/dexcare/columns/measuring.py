"""Measuring the columns of a visit report in the files of the lake, with DuckDB.

Belongs here: which rows are looked at, and counting. Does not belong here: what follows from it
(`proposal.py`). No value leaves the database.

What it costs is bounded: a sample of the newest days tells the shape of columns, and only a column that may
be the key is read for all rows of days.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from health_pipelines.dexcare.columns.profile import ColumnProfile, IdShape, KeyFacts, Pair, Profile
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, parquet_rows, quoted, text_literal
from health_pipelines.lake.local_time import LOCAL_TIME, OFFSET_TIME, USUAL_TIME, utc_of_local, zone_variables
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

# Of the newest days with rows so many, and of each so many rows, which are in no order.
MOST_DAYS, MOST_ROWS = 7, 2_000
_MOST_COLUMNS, _MOST_KEYS, _MOST_TIMES, _MOST_TELLING = 500, 8, 16, 12
_MOST_REPEATED = 1_000
_MEMORY = "1GB"
_UUID = r"[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32}"
_ID = r"[0-9A-Za-z][0-9A-Za-z_.:/-]{2,63}"
_ENDS = "complete|done|finish|ended|close|seen|discharge|cancel|noshow|miss|abandon|lwbs|leftwithoutbeingseen"
_BEGINS = "schedule|book|request|pending|confirm|arrive|checkedin|checkedout|waiting|inwaitingroom|roomed"
_OTHERS = "inprogress|start|active|decline|reject|expire|reschedule|fail|review|accept|queue|assign|draft"
# Of a text in small letters without blanks, hyphens and underscores.
_STATE = rf"(visit|appointment)?({_ENDS}|{_BEGINS}|{_OTHERS})(d|ed|led|ped|ue)?(by[a-z]+)?"
# As the warehouse reads a time: Athena prints one with a zone as `... UTC`.
_TEXT = "CASE WHEN suffix({v}, ' UTC') THEN {v}[:-5] || 'Z' ELSE {v} END"


@contextmanager
def connected(zone: ZoneInfo, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that knows the zone of local times. `spill`: a folder for what needs more room."""
    with duckdb.connect() as connection:
        connection.execute(f"SET temp_directory = {text_literal(str(spill))}")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        for statement in zone_variables(zone):
            connection.execute(statement)
        yield connection


def names_in(connection: duckdb.DuckDBPyConnection, file: Path) -> tuple[list[str], int]:
    """The vendor's columns of a partition in their order, and how many rows it has."""
    names = [name for name, *_ in connection.execute(f"DESCRIBE FROM {_parquet([file])}").fetchall()]
    [(rows,)] = connection.execute(f"SELECT count(*) FROM {_parquet([file])}").fetchall()
    return [name for name in names if name not in LINEAGE_COLUMNS], rows


def measured(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> Profile:
    """The columns of the newest of a table's partitions, `files` with the oldest first.

    Only those that have the columns of the newest day with rows. Raises `duckdb.Error`.
    """
    newest = _newest_days(connection, files)
    if not newest:
        return Profile(0, 0)
    names = names_in(connection, newest[0])[0][:_MOST_COLUMNS]
    _take_sample(connection, newest, names)
    [(rows, day_count)] = connection.execute("SELECT count(*), count(DISTINCT day) FROM sample").fetchall()
    columns = _columns(connection, names, rows)
    telling = tuple(one.name for one in columns if one.different * 2 >= rows * one.filled > rows / 2)
    keys: dict[str, KeyFacts] = {}
    candidates = [one for one in columns if one.unique and one.shape and not one.times]
    for one in sorted(candidates, key=lambda one: one.shape != "uuid")[:_MOST_KEYS]:
        facts = key_facts(connection, one.name, newest, newest, telling)
        if not facts.broken:
            keys[one.name] = facts
    return Profile(rows, day_count, tuple(columns), keys, _pairs(connection, columns, rows), telling)


def _newest_days(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> list[Path]:
    """The newest first: those that have rows, as far back as they have the same columns."""
    found: list[Path] = []
    columns: set[str] = set()
    for file in reversed(files):
        names, rows = names_in(connection, file)
        if not rows:
            continue
        columns = columns or set(names)
        if set(names) != columns or len(found) == MOST_DAYS:
            break
        found.append(file)
    return found


def key_facts(
    connection: duckdb.DuckDBPyConnection,
    key: str,
    changed: Sequence[Path],
    every: Sequence[Path],
    telling: Sequence[str],
) -> KeyFacts:
    """Whether a column tells the rows of the days `changed` apart, and from those of `every` other day.

    The same key in two days is well if it is the same visit there, found twice: then the rows agree in a
    quarter of `telling`, columns that nearly every visit has another value in. Raises `duckdb.Error`.
    """
    value, theirs = _key(connection, key, changed), _key(connection, key, every)
    per_day = connection.execute(
        f"SELECT _partition_date::VARCHAR, count(*), count(DISTINCT {value}) "
        f"FROM {_parquet(changed)} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    broken = tuple(day for day, rows, keys in per_day if keys < rows)
    facts = KeyFacts(len(per_day), sum(rows for _, rows, _ in per_day), broken)
    if broken or len(every) < 2:
        return facts
    # Only the key of the other days is read, and of them what repeats.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE repeated AS
        WITH mine AS (SELECT DISTINCT {value} AS key, _partition_date AS day FROM {_parquet(changed)}),
        others AS (
            SELECT {theirs} AS key, _partition_date AS day FROM {_parquet(every)}
            WHERE {theirs} IN (SELECT key FROM mine)
        )
        SELECT DISTINCT mine.key FROM mine JOIN others ON mine.key = others.key AND mine.day <> others.day
        """
    )
    [(repeated,)] = connection.execute("SELECT count(*) FROM repeated").fetchall()
    if not repeated:
        return facts
    there = _folded_names(connection, every)
    compared = [name for name in telling if name != key and name.lower() in there][:_MOST_TELLING]
    alike = " + ".join(f"coalesce((a.{quoted(n)} = b.{quoted(n)})::INT, 0)" for n in compared) or "0"
    chosen = ", ".join([f"{theirs} AS key", "_partition_date AS day", *map(quoted, compared)])
    [(looked_at, clashes)] = connection.execute(
        f"""
        WITH few AS (SELECT key FROM repeated ORDER BY hash(key) LIMIT {_MOST_REPEATED}),
        found AS (SELECT {chosen} FROM {_parquet(every)} WHERE {theirs} IN (SELECT key FROM few)),
        pairs AS (
            SELECT a.key, {alike} AS alike FROM found AS a JOIN found AS b ON a.key = b.key AND a.day < b.day
        )
        SELECT count(DISTINCT key), count(DISTINCT key) FILTER (alike < {max(1, len(compared) / 4)})
        FROM pairs
        """
    ).fetchall()
    return KeyFacts(facts.days, facts.rows, (), looked_at, clashes)


def _key(connection: duckdb.DuckDBPyConnection, key: str, files: Sequence[Path]) -> str:
    """Neither NULL nor an empty text is a key, as in `current`."""
    there = key.lower() in _folded_names(connection, files)
    return f"nullif({quoted(key)}::VARCHAR, '')" if there else "NULL::VARCHAR"


def _folded_names(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> set[str]:
    return {name.lower() for name, *_ in connection.execute(f"DESCRIBE FROM {_parquet(files)}").fetchall()}


def _take_sample(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], names: Sequence[str]) -> None:
    r"""The table of values: a line for each of a row and a column, which has its place for a name.

    None where nothing or `\N` is, as some write NULL.
    """
    rows = " UNION ALL BY NAME ".join(
        f"(SELECT * FROM {_parquet([file])} LIMIT {MOST_ROWS})" for file in files
    )
    chosen = "".join(
        rf", nullif(nullif(trim({quoted(name)}::VARCHAR), ''), '\N') AS v{place}"
        for place, name in enumerate(names)
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sample AS
        SELECT row_number() OVER () AS line, _partition_date AS day{chosen} FROM ({rows});
        CREATE OR REPLACE TEMP TABLE long AS
        SELECT line, day, place[2:]::INT AS place, v
        FROM (UNPIVOT sample ON COLUMNS(* EXCLUDE (line, day)) INTO NAME place VALUE v)
        """
    )


def _columns(connection: duckdb.DuckDBPyConnection, names: Sequence[str], rows: int) -> list[ColumnProfile]:
    """Also makes the table of times, in which those columns are that can be read as times."""
    counted = connection.execute(
        rf"""
        SELECT place, sum(n)::INT, count(*), sum(days)::INT, bool_and(regexp_full_match(v, '{_UUID}')),
               bool_and(regexp_full_match(v, '{_ID}') AND regexp_matches(v, '[0-9]')),
               coalesce(sum(n) FILTER (regexp_full_match(
                   regexp_replace(lower(v), '[ _-]', '', 'g'), '{_STATE}')), 0)::INT,
               coalesce(sum(n) FILTER (regexp_matches(v, '^\d{{4}}-\d\d-\d\d')), 0)::INT
        FROM (SELECT place, v, count(*) AS n, count(DISTINCT day) AS days FROM long GROUP BY ALL)
        GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    dated = [place for place, filled, *_, dates in counted if dates * 10 >= filled * 9][:_MOST_TIMES]
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE times AS
        SELECT line, day, place, strlen(v) > 10 AS is_clocked, {_instant("v")} AS t
        FROM long WHERE list_contains({dated}::INT[], place)
        """
    )
    timed = {
        place: counts
        for place, *counts in connection.execute(
            "SELECT place, count(t), count(*) FILTER (abs(epoch(t) - epoch(day)) < 60 * 86400), "
            "count(t) FILTER (is_clocked) FROM times GROUP BY place"
        ).fetchall()
    }
    found = {place: ColumnProfile(name, 0, 0) for place, name in enumerate(names)}
    for place, filled, different, of_days, are_uuids, are_ids, states, _ in counted:
        times, near, clocked = timed.get(place, (0, 0, 0))
        shape: IdShape | None = "uuid" if are_uuids else "id" if are_ids else None
        found[place] = ColumnProfile(
            names[place],
            filled / rows,
            different,
            unique=filled == of_days == rows,
            shape=shape,
            times=_share(times, filled),
            near=_share(near, times),
            clocked=_share(clocked, times),
            states=_share(states, filled),
        )
    return list(found.values())


def _pairs(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[ColumnProfile], rows: int
) -> Mapping[tuple[str, str], Pair]:
    """Of each two columns of the table of times, both ways."""
    found = {}
    for first, second, both, not_after, same, close in connection.execute(
        """
        SELECT a.place, b.place, count(*), count(*) FILTER (a.t <= b.t), count(*) FILTER (a.t = b.t),
               count(*) FILTER (abs(epoch(a.t) - epoch(b.t)) <= 12 * 3600)
        FROM times AS a JOIN times AS b ON a.line = b.line AND a.place <> b.place
        WHERE a.t IS NOT NULL AND b.t IS NOT NULL GROUP BY ALL
        """
    ).fetchall():
        a, b = columns[first], columns[second]
        either = round((a.filled * a.times + b.filled * b.times) * rows) - both
        found[a.name, b.name] = Pair(
            both, _share(not_after, both), _share(same, both), _share(close, both), _share(both, either)
        )
    return found


def _instant(value: str) -> str:
    text = f"({_TEXT.format(v=value)})"
    usual = f"({USUAL_TIME.format(value=text)})"
    local = LOCAL_TIME.format(value=text, usual=usual)
    return f"coalesce({utc_of_local(f'({local})')}, {OFFSET_TIME.format(value=text, usual=usual)})"


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _parquet(files: Sequence[Path]) -> str:
    return parquet_rows(files, by_name=True)
