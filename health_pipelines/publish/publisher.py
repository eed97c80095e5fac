"""Publishing one table: the order of it all.

Belongs here: what is compared with what, and what follows. Does not belong here: SQL of any database
(`postgres/`, `mssql/`), and when a table is due (`due.py`).

Two ways lead to the same rows. Where it is known what the target has, since this machine published it last,
only what differs by its hash is sent. Otherwise, and once a day, and when somebody asks for it, all rows are
sent into a temporary table and the server compares every cell, so that what somebody changed by hand is found
and put right.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import duckdb

from health_pipelines.publish.due import is_due_for_comparison
from health_pipelines.publish.memory import Memory, Remembered
from health_pipelines.publish.source import Source, TableRows, made_alike
from health_pipelines.publish.tables import PublishError, alterations
from health_pipelines.publish.target import Merged, Note, Target, Totals, Transaction
from health_pipelines.warehouse.models import Model

Way = Literal["unchanged", "made", "changes", "compared"]


@dataclass(frozen=True)
class Published:
    """What became of a table.

    `way`: unchanged (the target was not asked), made (the table was not there), changes (only those were
    sent) or compared (every row was). `altered`: by column, values that the target cannot hold and got
    otherwise. `shortened`: target name by warehouse name, of names that are too long.
    """

    full_name: str
    way: Way
    totals: Totals
    compared_at: datetime
    merged: Merged = field(default_factory=Merged)
    bytes_sent: int = 0
    seconds: float = 0.0
    altered: Mapping[str, int] = field(default_factory=dict)
    shortened: Mapping[str, str] = field(default_factory=dict)


class Publisher:
    """Publishes tables of one open warehouse into one target. `schemas`: by the schema in the warehouse."""

    def __init__(
        self, source: Source, target: Target, memory: Memory, schemas: Mapping[str, str], now: datetime
    ) -> None:
        self._source = source
        self._target = target
        self._memory = memory
        self._schemas = schemas
        self._now = now

    def publish(self, model: Model, *, compare: bool) -> Published:
        """Let the target have the table as the warehouse has it.

        `compare`: whether every row is compared, whatever is known. Raises `PublishError`; the table in the
        target is as it was then, or, if nothing was left but to remember it, as it is in the warehouse.
        """
        try:
            return self._publish(model, compare=compare)
        except (duckdb.Error, OSError) as error:
            # Its words may quote a value.
            raise PublishError(
                f"{model.full_name} could not be read to its end, or what was published not be remembered "
                f"({type(error).__name__}); see that there is room in HEALTH_DATA_DIR. The next publishing "
                "tries again."
            ) from None

    def _publish(self, model: Model, *, compare: bool) -> Published:
        begun, name, schema = time.monotonic(), model.full_name, self._schemas[model.schema]
        made_of = self._source.made_of(name, schema, self._target)
        known = self._memory.of(name)
        trusted = None if compare or known is None or not self._is_trusted(known, made_of) else known
        if trusted and trusted.made_of == made_of:
            return Published(f"{schema}.{model.name}", "unchanged", trusted.totals, trusted.compared_at)
        self._target.prepare([schema])
        rows = self._source.read(self._source.wanted(name, schema, model.key, self._target), self._target)
        with self._target.publishing(rows.table) as there:
            way, merged, found = self._merge(there, rows, trusted)
            if found != rows.totals:
                raise PublishError(
                    f"{rows.table.full_name} is as it was: it would have {found.rows} rows of "
                    f"{rows.totals.rows}, or others; does a trigger or a rule in the target change rows?"
                )
            compared_at = trusted.compared_at if way == "changes" and trusted else self._now
            note = Note(uuid.uuid4().hex, rows.totals, self._now, compared_at)
            there.note(rows.table, note)
            sent = there.bytes_sent
        remembered = Remembered(note.version, made_of, rows.totals, self._now, compared_at, None)
        self._memory.keep(name, remembered, rows.remember if rows.table.key else None)
        return Published(
            rows.table.full_name,
            way,
            rows.totals,
            compared_at,
            merged,
            sent,
            time.monotonic() - begun,
            rows.altered,
            rows.table.shortened,
        )

    def _is_trusted(self, known: Remembered, made_of: str) -> bool:
        """For a day, and as long as equal hashes mean equal rows in the target."""
        return made_alike(known.made_of, made_of) and not is_due_for_comparison(known, self._now)

    def _merge(
        self, there: Transaction, rows: TableRows, known: Remembered | None
    ) -> tuple[Way, Merged, Totals]:
        """`known`: what the target has, if that may be trusted. The totals are those of the target now."""
        existing, noted, table = there.existing(), there.noted(), rows.table
        if existing is None:
            return "made", there.create(table, rows.all()), there.totals(table)
        changes = alterations(table, existing, self._target.most_columns)
        merged = Merged()
        is_known = known is not None and noted is not None and noted.version == known.version
        may_be_compared = known and known.file and is_known and table.key and not changes
        if known and known.file and may_be_compared and (differing := rows.changed_since(known.file)):
            there.stage(table, differing[0])
            there.stage_gone(table, differing[1])
            there.alter(changes)
            merged = there.merge_changes(changes.table)
            if (found := there.totals(table)) == rows.totals:
                return "changes", merged, found
            # Somebody else has been at it.
        there.stage(changes.table, rows.all())
        there.alter(changes)
        if table.key and not changes.drop_key and not changes.add_key:
            merged += there.merge_all(changes.table)
        else:
            merged += there.replace_all(changes.table)
        if changes.add_key:
            there.add_key(changes.table)
        return "compared", merged, there.totals(table)
