"""Publishing one table: the order of it all.

Belongs here: what is compared with what, and what follows. Does not belong here: SQL of any database
(`postgres/`, `mssql/`), and when a table is due (`due.py`).

Two ways lead to the same rows. Where it is known what the target has, since this machine published it last,
only what differs by its hash is sent; where the warehouse says which records it made anew since then, no
others are looked at. Otherwise, and once a day, and when somebody asks for it, all rows are
sent into a temporary table and the server compares every cell, so that what somebody changed by hand is found
and put right.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import duckdb

from health_pipelines.publish.due import is_due_for_comparison
from health_pipelines.publish.memory import Memory, Remembered
from health_pipelines.publish.rows import TableRows
from health_pipelines.publish.source import Source, made_alike, version_of
from health_pipelines.publish.tables import PublishError, WantedTable, alterations
from health_pipelines.publish.target import Merged, Note, Target, Totals, Transaction
from health_pipelines.warehouse.models import Model

# With more, all rows are looked at and remembered in one file again.
MOST_FILES = 50

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
            self._memory.tidy(name)
            return Published(f"{schema}.{model.name}", "unchanged", trusted.totals, trusted.compared_at)
        self._target.prepare([schema])
        wanted = self._source.wanted(name, schema, model.key, self._target)
        rows = self._rows(wanted, trusted)
        with self._target.publishing(rows.table) as there:
            sent = self._sent(there, rows, trusted) if trusted else None
            if sent is None or sent.way != "changes":
                rows = rows if rows.is_whole else self._source.read(wanted, self._target)
                sent = self._compared(there, rows, sent.merged if sent else Merged())
            compared_at = trusted.compared_at if sent.way == "changes" and trusted else self._now
            note = Note(uuid.uuid4().hex, sent.totals, self._now, compared_at)
            there.note(rows.table, note)
            bytes_sent = there.bytes_sent
        remembered = Remembered(
            note.version, made_of, sent.totals, self._now, compared_at, is_altered=bool(rows.altered)
        )
        self._remember(name, remembered, rows, trusted)
        return Published(
            rows.table.full_name,
            sent.way,
            sent.totals,
            compared_at,
            sent.merged,
            bytes_sent,
            time.monotonic() - begun,
            rows.altered,
            rows.table.shortened,
        )

    def _is_trusted(self, known: Remembered, made_of: str) -> bool:
        """For a day, and as long as equal hashes mean equal rows in the target."""
        return made_alike(known.made_of, made_of) and not is_due_for_comparison(known, self._now)

    def _rows(self, wanted: WantedTable, known: Remembered | None) -> TableRows:
        """Those that may differ from what is known, or all."""
        # What the target could not hold is counted in all rows.
        if known and 0 < len(known.files) < MOST_FILES and not known.is_altered:
            rows = self._source.read_changed(wanted, self._target, version_of(known.made_of))
            if rows and rows.table.key:
                return rows
        return self._source.read(wanted, self._target)

    def _sent(self, there: Transaction, rows: TableRows, known: Remembered) -> "_Sent | None":
        """Send what differs from what is known, if the target has that; None if nothing could be sent so.

        Its `way` is "compared" if every row has to be, after all.
        """
        existing, noted, table = there.existing(), there.noted(), rows.table
        if existing is None or noted is None or noted.version != known.version:
            return None
        changes = alterations(table, existing, self._target.most_columns)
        if changes or not table.key or not known.files:
            return None
        differing = rows.changed_since(known)
        if differing is None:
            return None
        there.stage(table, differing.rows)
        there.stage_gone(table, differing.gone)
        there.alter(changes)
        merged = there.merge_changes(changes.table)
        found = there.totals(table)
        # Another sum if somebody else has been at it.
        return _Sent("changes" if found == differing.totals else "compared", merged, found)

    def _compared(self, there: Transaction, rows: TableRows, merged: Merged) -> "_Sent":
        """Send every row. `merged`: what was done before.

        Raises `PublishError` if the target does not have those rows afterwards, and no others.
        """
        existing, table = there.existing(), rows.table
        way: Way = "made" if existing is None else "compared"
        if existing is None:
            merged += there.create(table, rows.all())
        else:
            changes = alterations(table, existing, self._target.most_columns)
            there.stage(changes.table, rows.all())
            there.alter(changes)
            if table.key and not changes.drop_key and not changes.add_key:
                merged += there.merge_all(changes.table)
            else:
                merged += there.replace_all(changes.table)
            if changes.add_key:
                there.add_key(changes.table)
        found = there.totals(table)
        if found != rows.totals:
            raise PublishError(
                f"{table.full_name} is as it was: it would have {found.rows} rows of {rows.totals.rows}, or "
                "others; does a trigger or a rule in the target change rows?"
            )
        return _Sent(way, merged, found)

    def _remember(self, name: str, remembered: Remembered, rows: TableRows, known: Remembered | None) -> None:
        if not rows.table.key:
            self._memory.keep(name, remembered, None)
        elif rows.is_whole:
            self._memory.keep(name, remembered, rows.remember)
        else:
            assert known is not None
            self._memory.keep(name, replace(remembered, files=known.files), rows.remember_changes)


@dataclass(frozen=True)
class _Sent:
    """`totals`: those of the target now."""

    way: Way
    merged: Merged
    totals: Totals
