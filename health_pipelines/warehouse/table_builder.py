"""Making the tables of the warehouse in a file that nobody reads yet: whole, in part, or not at all.

Belongs here: which rows of a current table have to be made anew, and the SQL that does it. Does not belong
here: what a row is (`current.py`, `models`), and how the file gets into its place (`build.py`).

A current table is made anew in part where few of its partitions changed: the records which those partitions
have, or had, are taken out, looked up in all partitions by their key alone, and made again from the
partitions that have them. Of the whole history only the key column is read.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import matching_column, quoted, text_literal
from health_pipelines.lake.partitions import Table
from health_pipelines.warehouse import changed_keys, checks
from health_pipelines.warehouse.checks import CheckReport
from health_pipelines.warehouse.current import Current
from health_pipelines.warehouse.landed_views import Shape, rows_sql
from health_pipelines.warehouse.models import Model

if TYPE_CHECKING:
    import duckdb

# With more than one in so many partitions changed, making all of a table is cheaper than looking for a part.
_PART_OF_PARTITIONS = 3


@dataclass(frozen=True)
class ModelReport:
    """What became of a model. `failed_casts`: by column, the values that did not fit its type.

    `made`: whole, part (only records of changed partitions), kept (it is made of nothing new) or view.
    `landed_at`: when the newest partition landed that it was made for, in seconds since 1970; None if no
    partition is new. `corrections`: as in `BuildReport`. `version`: another one for each time it was made.
    Where it was kept, all else is as it was reported when it was made.
    """

    name: str
    rows: int
    seconds: float
    made: str
    failed_casts: Mapping[str, int] = field(default_factory=dict)
    rows_without_key: int = 0
    landed_at: float | None = None
    checks: tuple[CheckReport, ...] = ()
    corrections: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True)
class Landed:
    """A table's files, and the days on which they differ from those that the file was made of.

    `newest`: when the newest of them landed that no build has seen, in seconds since 1970; None if there is
    none. `is_other_now`: whether there are other files than these by now.
    """

    shape: Shape
    files: Mapping[str, Path]
    changed_days: frozenset[str]
    newest: float | None
    is_other_now: Callable[[], bool]


class TableMaker:
    """Makes tables through `connection`, which has the zone's variables and the macro `local_day`.

    `known`: for each model the fingerprint of what it was made by, where the file has it already. `reports`:
    what was said of those. `made_by`: what is part of all fingerprints.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        known: Mapping[str, str],
        reports: Mapping[str, ModelReport],
        made_by: str,
    ) -> None:
        self._connection = connection
        self._known = known
        self._reports = reports
        self._made_by = made_by
        self._landed_at: dict[str, float | None] = {}
        self._changed: set[str] = set()
        self._changed_keys: set[Table] = set()
        self.fingerprints: dict[str, str] = {}

    def make_current(self, current: Current, landed: Landed) -> ModelReport:
        begun = time.monotonic()
        if current.key is not None and matching_column(landed.shape.columns, current.key) is None:
            # Before anything landed; rows that land without their key are left out and counted.
            columns = {current.key: "VARCHAR", **landed.shape.columns}
            landed = replace(landed, shape=replace(landed.shape, columns=columns))
        model = current.model
        types = json.dumps(dict(landed.shape.columns))
        digest = self._fingerprint(model, [current.select, *current.steps, str(current.key), types])
        deletions = current.deleted_by and f"{model.schema}.{current.deleted_by.name}"
        deletions_changed = deletions in self._changed
        gone_changed = current.gone_by and f"{model.schema}.{current.gone_by.name}" in self._changed
        if self._known.get(model.full_name) != digest or gone_changed:
            made = "whole"
        elif not landed.changed_days and not deletions_changed:
            made = "kept"
        else:
            few = len(landed.changed_days) * _PART_OF_PARTITIONS <= len(landed.files)
            known = not deletions_changed or current.deleted_by in self._changed_keys
            made = "part" if few and known else "whole"
        if made == "kept":
            return replace(self._reports[model.full_name], made=made, seconds=time.monotonic() - begun)
        version = changed_keys.whole_version()
        if made == "whole":
            self._make_whole(current, landed)
        else:
            if current.key is not None and (before := self._reports.get(model.full_name)):
                version = changed_keys.next_version(before.version)
            self._make_part(current, landed, version)
        self._changed.add(model.full_name)
        landed_at = _newest_of(landed.newest, self._landed_at.get(str(deletions)))
        self._landed_at[model.full_name] = landed_at
        self._comment(model)
        return self._report(current, landed, made, begun, version)

    def check_across(self, reports: Sequence[ModelReport]) -> list[ModelReport]:
        """The reports, with what can be said only when all current tables are made."""
        both = {checks.LINE_ITEMS, checks.APPOINTMENTS}
        if not both & self._changed or not both <= {one.name for one in reports}:
            return list(reports)
        found = checks.appointments_exist(self._connection)
        return [_with_check(one, found) if one.name == checks.LINE_ITEMS else one for one in reports]

    def make_mart(self, model: Model) -> ModelReport:
        begun = time.monotonic()
        digest = self._fingerprint(model, [model.sql])
        sources_changed = bool(self._changed.intersection(model.sources))
        if not sources_changed and self._known.get(model.full_name) == digest:
            return replace(self._reports[model.full_name], made="kept", seconds=time.monotonic() - begun)
        kind = model.kept_as.upper()
        self._connection.execute(f"CREATE OR REPLACE {kind} {_name(model)} AS {model.sql}")
        self._comment(model)
        self._changed.add(model.full_name)
        landed_at = _newest_of(*(self._landed_at.get(source) for source in model.sources))
        self._landed_at[model.full_name] = landed_at
        return ModelReport(
            model.full_name,
            self._rows(model),
            time.monotonic() - begun,
            "view" if model.kept_as == "view" else "whole",
            landed_at=landed_at,
            version=changed_keys.whole_version(),
        )

    def _make_whole(self, current: Current, landed: Landed) -> None:
        rows = _newest(current, landed.shape, rows_sql(landed.shape))
        self._connection.execute(f"CREATE OR REPLACE TABLE {_name(current.model)} AS {rows}")

    def _make_part(self, current: Current, landed: Landed, version: str) -> None:
        name = _name(current.model)
        days = ", ".join(f"DATE {text_literal(day)}" for day in sorted(landed.changed_days)) or "NULL"
        anew = [file for day, file in landed.files.items() if day in landed.changed_days]
        if current.key is None:
            with self._all_or_nothing():
                self._connection.execute(f"DELETE FROM {name} WHERE _partition_date IN ({days})")
                rows = rows_sql(landed.shape, anew)
                self._connection.execute(f"INSERT INTO {name} {_newest(current, landed.shape, rows)}")
            return
        key, kept_key = f"{quoted(current.key)}::VARCHAR", f"{quoted(current.kept_key)}::VARCHAR"
        keys = quoted(f"changed {current.table}")
        others = (
            f"UNION SELECT key FROM {quoted(f'changed {current.deleted_by}')}"
            if current.deleted_by in self._changed_keys
            else ""
        )
        self._connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {keys} AS
            SELECT {kept_key} AS key FROM {name} WHERE _partition_date IN ({days})
            UNION SELECT {key} FROM ({rows_sql(landed.shape, anew)}) {others}
            """
        )
        self._changed_keys.add(current.table)
        theirs = f"{key} IN (SELECT key FROM {keys})"
        found = self._connection.execute(
            f"SELECT DISTINCT {landed.shape.file} FROM ({rows_sql(landed.shape)}) WHERE {theirs}"
        ).fetchall()
        rows = f"SELECT * FROM ({rows_sql(landed.shape, [Path(file) for (file,) in found])}) WHERE {theirs}"
        with self._all_or_nothing():
            self._connection.execute(f"DELETE FROM {name} WHERE {kept_key} IN (SELECT key FROM {keys})")
            self._connection.execute(f"INSERT INTO {name} {_newest(current, landed.shape, rows)}")
            changed_keys.write_down(
                self._connection, current.model.full_name, version, f"SELECT key FROM {keys}"
            )

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """A table that cannot be made anew stays as it was, and the others are made all the same."""
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def keep(self, model: Model) -> ModelReport | None:
        """The model could not be made: what is known of the version that the file has, if it has one."""
        self.fingerprints.pop(model.full_name, None)
        if model.full_name not in self._known or model.full_name not in self._reports:
            return None
        self.fingerprints[model.full_name] = self._known[model.full_name]
        report = self._reports[model.full_name]
        # It may have been made and not be reported: then it is no version that anybody knows.
        version = changed_keys.whole_version() if model.full_name in self._changed else report.version
        return replace(report, made="kept", seconds=0.0, version=version)

    def _report(self, current: Current, landed: Landed, made: str, begun: float, version: str) -> ModelReport:
        counts = checks.count(self._connection, current, rows_sql(landed.shape))
        failed = self._failed_casts(current)
        said = [
            checks.keys_are_unique(counts, current.key_setting),
            checks.rows_reconcile(counts, landed.is_other_now),
            checks.values_fit(failed),
            checks.columns_are_known(self._connection, current, landed.shape),
        ]
        wanted = checks.checks_of(current.table)
        return ModelReport(
            current.model.full_name,
            counts.rows,
            time.monotonic() - begun,
            made,
            failed,
            counts.landed_without_key,
            self._landed_at[current.model.full_name],
            tuple(one for one in said if one.name in wanted),
            current.corrections,
            version,
        )

    def _failed_casts(self, current: Current) -> dict[str, int]:
        if not current.failed:
            return {}
        counted = ", ".join(f"count(*) FILTER ({sql})" for sql in current.failed.values())
        [failed] = self._connection.execute(f"SELECT {counted} FROM {_name(current.model)}").fetchall()
        return {column: count for column, count in zip(current.failed, failed, strict=True) if count}

    def _rows(self, model: Model) -> int:
        [(rows,)] = self._connection.execute(f"SELECT count(*) FROM {_name(model)}").fetchall()
        return int(rows)

    def _fingerprint(self, model: Model, parts: Sequence[str]) -> str:
        digest = hashlib.sha256("\0".join([self._made_by, model.description, *parts]).encode()).hexdigest()
        self.fingerprints[model.full_name] = digest
        return digest

    def _comment(self, model: Model) -> None:
        kind = model.kept_as.upper()
        statements = [f"COMMENT ON {kind} {_name(model)} IS {text_literal(model.description)}"]
        statements += [
            f"COMMENT ON COLUMN {_name(model)}.{quoted(column)} IS {text_literal(about)}"
            for column, about in model.columns.items()
        ]
        # In one transaction: each alone would wait for the disk.
        self._connection.execute("; ".join(["BEGIN", *statements, "COMMIT"]))


def _with_check(report: ModelReport, check: CheckReport) -> ModelReport:
    others = (one for one in report.checks if one.name != check.name)
    return replace(report, checks=(*others, check))


def _newest_of(*times: float | None) -> float | None:
    return max((time for time in times if time is not None), default=None)


def _name(model: Model) -> str:
    return f"{quoted(model.schema)}.{quoted(model.name)}"


def _newest(current: Current, shape: Shape, rows: str) -> str:
    """The current records of `rows`, which are as `rows_sql` makes them of a table of that shape."""
    file, place = shape.file, shape.place
    if current.key is not None:
        key = f"{quoted(current.key)}::VARCHAR"
        # Deciding by narrow rows which ones are beaten is cheaper than sorting wide ones.
        rows = f"""
            WITH candidates AS (
                SELECT {key} AS key, _extracted_at, _partition_date, {file}, {place} FROM ({rows})
            ), beaten AS (
                SELECT {file}, {place} FROM candidates
                WHERE key IN (SELECT key FROM candidates GROUP BY key HAVING count(*) > 1)
                QUALIFY row_number() OVER (
                    PARTITION BY key ORDER BY _extracted_at DESC, _partition_date DESC, {place} DESC
                ) > 1
            )
            SELECT * FROM ({rows}) AS rows
            WHERE {key} <> '' AND NOT EXISTS (
                FROM beaten WHERE beaten.{file} = rows.{file} AND beaten.{place} = rows.{place})
            """
    for step in current.steps:
        rows = f"SELECT *, {step} FROM ({rows})"
    return f"SELECT {current.select} FROM ({rows}) AS landed"
