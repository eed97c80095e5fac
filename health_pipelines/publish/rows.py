"""The rows of one table of the warehouse as the target gets them: all, or those that may have changed.

Belongs here: SQL that reads, hashes and counts them, and finds which differ from those published before. Does
not belong here: opening the warehouse (`source.py`), and what is done about the rows (`publisher.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.publish.memory import Remembered
from health_pipelines.publish.tables import ROW_HASH, PublishError, WantedTable
from health_pipelines.publish.target import Rows, Target, Totals

# Temporary tables in DuckDB: keys and hashes of the rows that are looked at, keys of those that differ from
# what is known, keys that may differ as text, and where in the table those are.
_NOW, _DIFFERENT = "published_now", "published_different"
_KEYS, _NUMBERS = "published_keys", "published_numbers"


@dataclass(frozen=True)
class Changes:
    """Rows that are new or differ, the keys that are gone, and what the target has when both are done."""

    rows: Rows
    gone: Rows
    totals: Totals


class TableRows:
    """The rows of one table.

    `keys`: SQL of the keys, as the column `key` of texts, of the rows that are looked at; None for all rows.
    `table`: without its key if some part of it is NULL somewhere, for then it tells no rows apart. `totals`:
    of the rows that are looked at. `altered`: by column, how many of their values the target cannot hold and
    gets otherwise. Looking at them reads them once; changed rows are found by their keys and hashes alone.
    Raises `PublishError` if a key repeats.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: WantedTable,
        target: Target,
        condition: str,
        keys: str | None = None,
    ) -> None:
        self._connection = connection
        self.is_whole = keys is None
        schema, name = table.source.split(".", 1)
        self._every = self._from = f"{quoted(schema)}.{quoted(name)} WHERE {condition}"
        # A view has no numbers of rows.
        self._has_numbers = bool(
            connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [schema, name]
            ).fetchall()
        )
        if keys is not None:
            [key] = table.key
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {_KEYS} AS {keys}")
            # By numbers: only then all columns are read of these rows alone.
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {_NUMBERS} AS SELECT rowid AS number FROM {self._from} "
                f"AND {quoted(table.column(key).source)}::VARCHAR IN (SELECT key FROM {_KEYS})"
            )
            self._from += f" AND rowid IN (SELECT number FROM {_NUMBERS})"
        self.altered = self._look(table, target)
        # What the target can hold as it is, which is nearly everything, is not looked at once more.
        values = [
            target.value(one.type, quoted(one.source))
            if one.name in self.altered
            else f"{quoted(one.source)}::{one.type.duckdb}"
            for one in table.columns
        ]
        named = (f"{sql} AS {quoted(one.name)}" for sql, one in zip(values, table.columns, strict=True))
        self._rows = f"SELECT {', '.join(named)}, {_hash(table)}"
        self.table, self.totals = self._counted(table)

    def all(self) -> Rows:
        """Every row."""
        return Rows(self._connection, f"{self._rows} FROM {self._from}")

    def changed_since(self, known: Remembered) -> Changes | None:
        """How these rows differ from those that were published then.

        None if what is remembered is damaged, its keys are of another type than they are now, or there are
        more or fewer rows than it all adds up to.
        """
        names = [quoted(one) for one in self.table.key]
        then = self._known(known.files)
        try:
            self._connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {_DIFFERENT} AS "
                f"SELECT {', '.join(names)}, now.{ROW_HASH}, known.{ROW_HASH} AS hash_then, now.number "
                f"FROM {_NOW} AS now FULL JOIN ({then}) AS known USING ({', '.join(names)}) "
                f"WHERE now.{ROW_HASH} IS DISTINCT FROM known.{ROW_HASH}"
            )
        except duckdb.Error:
            return None
        [(rows, combined)] = self._connection.execute(
            f"SELECT count({ROW_HASH}) - count(hash_then), coalesce(sum({ROW_HASH}::HUGEINT), 0) "
            f"- coalesce(sum(hash_then::HUGEINT), 0) FROM {_DIFFERENT}"
        ).fetchall()
        totals = Totals(known.totals.rows + int(rows), known.totals.combined_hash + int(combined))
        adds_up = totals == self.totals if self.is_whole else totals.rows == self._rows_of_the_table()
        if not adds_up:
            return None
        of_rows, of_sent = ", ".join(self._keys.values()), ", ".join(names)
        if self._has_numbers:
            of_rows, of_sent = "rowid", "number"
        is_there = f"{ROW_HASH} IS NOT NULL"
        these = f"({of_rows}) IN (SELECT {of_sent} FROM {_DIFFERENT} WHERE {is_there})"
        gone = f"SELECT {', '.join(names)} FROM {_DIFFERENT} WHERE NOT {is_there}"
        return Changes(
            Rows(self._connection, f"{self._rows} FROM {self._from} AND {these}"),
            Rows(self._connection, gone),
            totals,
        )

    def remember(self, file: Path) -> None:
        """Write keys and hashes of these rows, to be compared with next time."""
        self._write(file, _NOW)

    def remember_changes(self, file: Path) -> None:
        """Write those that `changed_since` found; without a hash where they are gone."""
        self._write(file, _DIFFERENT)

    def _write(self, file: Path, table: str) -> None:
        columns = ", ".join(quoted(one) for one in (*self.table.key, ROW_HASH))
        self._connection.execute(
            f"COPY (SELECT {columns} FROM {table}) TO {text_literal(str(file))} (FORMAT parquet)"
        )

    def _rows_of_the_table(self) -> int:
        [(rows,)] = self._connection.execute(f"SELECT count(*) FROM {self._every}").fetchall()
        return int(rows)

    def _known(self, files: Sequence[Path]) -> str:
        """SQL of keys and hashes that are remembered, of the rows that are looked at."""
        names = ", ".join(quoted(one) for one in self.table.key)
        looked_at = "true"
        if not self.is_whole:
            looked_at = f"{names}::VARCHAR IN (SELECT key FROM {_KEYS})"
        read = [
            f"SELECT {names}, {ROW_HASH}, {number} AS file FROM read_parquet({text_literal(str(file))}) "
            f"WHERE {looked_at}"
            for number, file in enumerate(files)
        ]
        if len(read) == 1:
            return read[0]
        later = (
            f"SELECT * FROM ({' UNION ALL '.join(read[1:])}) "
            f"QUALIFY row_number() OVER (PARTITION BY {names} ORDER BY file DESC) = 1"
        )
        return (
            f"WITH later AS MATERIALIZED ({later}) "
            f"SELECT * FROM ({read[0]}) ANTI JOIN later USING ({names}) "
            f"UNION ALL SELECT * FROM later WHERE {ROW_HASH} IS NOT NULL"
        )

    def _look(self, table: WantedTable, target: Target) -> Mapping[str, int]:
        """Keep the keys and hashes of all rows; returns the values that are altered."""
        conditions = {one.name: target.alters(one.type, quoted(one.source)) for one in table.columns}
        asked = {name: sql for name, sql in conditions.items() if sql}
        odd = " OR ".join(f"coalesce({sql}, false)" for sql in asked.values()) or "false"
        # As the target gets them: two that differ in what it cannot hold are one there.
        self._keys = {
            one: target.value(table.column(one).type, quoted(table.column(one).source)) for one in table.key
        }
        keys = "".join(f"{sql} AS {quoted(name)}, " for name, sql in self._keys.items())
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_NOW} AS SELECT {keys}{_hash(table)}, "
            f"{odd} AS is_odd, {'rowid' if self._has_numbers else 'NULL'} AS number FROM {self._from}"
        )
        [(odd_rows,)] = self._connection.execute(f"SELECT count(*) FROM {_NOW} WHERE is_odd").fetchall()
        if not odd_rows:
            return {}
        counted = ", ".join(f"count(*) FILTER ({sql})" for sql in asked.values())
        [counts] = self._connection.execute(f"SELECT {counted} FROM {self._from}").fetchall()
        return {name: count for name, count in zip(asked, counts, strict=True) if count}

    def _counted(self, table: WantedTable) -> tuple[WantedTable, Totals]:
        """The table, without its key if that tells no rows apart. Raises `PublishError` if it repeats."""
        incomplete = " OR ".join(f"{quoted(one)} IS NULL" for one in table.key) or "false"
        [(rows, combined, without)] = self._connection.execute(
            f"SELECT count(*), coalesce(sum({ROW_HASH}::HUGEINT), 0), count(*) FILTER ({incomplete}) "
            f"FROM {_NOW}"
        ).fetchall()
        totals = Totals(int(rows), int(combined))
        if without:
            return table.without_key(), totals
        if table.key:
            keys = ", ".join(map(quoted, table.key))
            [(different,)] = self._connection.execute(
                f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {_NOW})"
            ).fetchall()
            if different != rows:
                raise PublishError(
                    f"{table.source} has rows that share a key ({', '.join(table.key)}), so that "
                    f"{table.full_name} is as it was: build the warehouse again, and look at its checks."
                )
        return table, totals


def _hash(table: WantedTable) -> str:
    """SQL of the hash of a row of the warehouse. What the target gets is made of nothing else."""
    columns = ", ".join(quoted(column.source) for column in table.columns)
    return f"(hash({columns}) >> 1)::BIGINT AS {ROW_HASH}"
