"""Making the tables of the warehouse in a file that nobody reads yet: whole, in part, or not at all.

Belongs here: whether a table is made, and what is said of it. Does not belong here: how rows of a current
table are found (`current_rows.py`), what a row is (`current.py`, `models`), and how the file gets into its
place (`build.py`).

A current table is made anew in part where few of its partitions changed, and then only the part is counted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from health_pipelines.lake.csv_partition import matching_column, quoted, text_literal
from health_pipelines.lake.partitions import Table
from health_pipelines.warehouse import changed_keys, checks
from health_pipelines.warehouse.checks import CheckReport
from health_pipelines.warehouse.counts import Counts, count, count_with_part
from health_pipelines.warehouse.current import Current
from health_pipelines.warehouse.current_rows import Landed, make_days, make_part, make_whole
from health_pipelines.warehouse.landed_views import rows_sql
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
            few = len(landed.changed_days) * _PART_OF_PARTITIONS <= len(landed.shape.files)
            known = not deletions_changed or current.deleted_by in self._changed_keys
            made = "part" if few and known else "whole"
        if made == "kept":
            return replace(self._reports[model.full_name], made=made, seconds=time.monotonic() - begun)
        version, counts = changed_keys.whole_version(), None
        before = self._reports.get(model.full_name)
        if made == "whole":
            make_whole(self._connection, current, landed)
        elif current.key is None:
            make_days(self._connection, current, landed)
        else:
            version = changed_keys.next_version(before.version) if before else version
            deleted_by = current.deleted_by if current.deleted_by in self._changed_keys else None
            part = make_part(self._connection, current, landed, version=version, deleted_by=deleted_by)
            self._changed_keys.add(current.table)
            if before and (counted := checks.once_each(before.checks)):
                counts = count_with_part(self._connection, current, counted, part)
        self._changed.add(model.full_name)
        landed_at = _newest_of(landed.newest, self._landed_at.get(str(deletions)))
        self._landed_at[model.full_name] = landed_at
        self._comment(model)
        counts = counts or count(self._connection, current, rows_sql(landed.shape))
        return self._report(current, landed, counts, made=made, begun=begun, version=version)

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
        self._connection.execute(f"CREATE OR REPLACE {kind} {model.sql_name} AS {model.sql}")
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

    def _report(
        self,
        current: Current,
        landed: Landed,
        counts: Counts,
        *,
        made: str,
        begun: float,
        version: str,
    ) -> ModelReport:
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
        [failed] = self._connection.execute(f"SELECT {counted} FROM {current.model.sql_name}").fetchall()
        return {column: count for column, count in zip(current.failed, failed, strict=True) if count}

    def _rows(self, model: Model) -> int:
        [(rows,)] = self._connection.execute(f"SELECT count(*) FROM {model.sql_name}").fetchall()
        return int(rows)

    def _fingerprint(self, model: Model, parts: Sequence[str]) -> str:
        digest = hashlib.sha256("\0".join([self._made_by, model.description, *parts]).encode()).hexdigest()
        self.fingerprints[model.full_name] = digest
        return digest

    def _comment(self, model: Model) -> None:
        kind = model.kept_as.upper()
        statements = [f"COMMENT ON {kind} {model.sql_name} IS {text_literal(model.description)}"]
        statements += [
            f"COMMENT ON COLUMN {model.sql_name}.{quoted(column)} IS {text_literal(about)}"
            for column, about in model.columns.items()
        ]
        # In one transaction: each alone would wait for the disk.
        self._connection.execute("; ".join(["BEGIN", *statements, "COMMIT"]))


def _with_check(report: ModelReport, check: CheckReport) -> ModelReport:
    others = (one for one in report.checks if one.name != check.name)
    return replace(report, checks=(*others, check))


def _newest_of(*times: float | None) -> float | None:
    return max((time for time in times if time is not None), default=None)
