"""Puts `warehouse.duckdb` in place: built beside and renamed over, never written while people read it.

Belongs here: when the file has to be built and how it is swapped. Does not belong here: what is in it.

Nobody, this project included, opens the published file for writing: while one process has a DuckDB file
open for writing, no other can read it. Nor does this project open it for reading, since a user who opened
it for writing would lock it out: what the file contains stands in a note beside it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import duckdb

from health_pipelines.lake import Lake, Table
from health_pipelines.locks import locked
from health_pipelines.partition_file import quoted
from health_pipelines.warehouse.landed_views import table_columns, view_sql, without_repeats


class Warehouse:
    """`warehouse.duckdb` in `folder`, with a view for each of `tables` of the lake."""

    def __init__(self, folder: Path, lake: Lake, tables: Sequence[Table]) -> None:
        self.file = folder / "warehouse.duckdb"
        self._note = folder / "warehouse.json"
        self._lake = lake
        self._tables = tables

    def show(self, table: Table, columns: Sequence[str]) -> bool:
        """Make sure that a partition with these columns, which just landed, is seen whole by readers.

        The views read whatever files are there, so that only a table's first partition or a new column
        asks for a new file. Returns whether one was built.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.file.parent, wait=True):
            known = self._known_columns().get(str(table))
            # DuckDB names a log by the file's name: one here is that of a user who writes into this file, or
            # into one that was replaced, and then nobody can open this one until it is built again.
            is_sound = not _wal(self.file).exists()
            if is_sound and known is not None and len(without_repeats([*known, *columns])) == len(known):
                return False
            self._build()
            return True

    def build(self) -> None:
        """Build the file from the lake as it is now."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.file.parent, wait=True):
            self._build()

    def _build(self) -> None:
        columns = {table: table_columns(self._lake, table) for table in self._tables}
        building = self.file.with_name(".warehouse.building")
        for leftover in (building, _wal(building)):
            leftover.unlink(missing_ok=True)
        with duckdb.connect(str(building)) as connection:
            for schema in dict.fromkeys(table.source for table in self._tables):
                connection.execute(f"CREATE SCHEMA {quoted(schema)}")
            for table, names in columns.items():
                connection.execute(view_sql(self._lake, table, names))
        # The write-ahead log of somebody who wrote into the old file would be replayed into the new one.
        _wal(self.file).unlink(missing_ok=True)
        building.replace(self.file)
        shown = {str(table): names for table, names in columns.items() if self._lake.partition_files(table)}
        self._write_note(shown)

    def _known_columns(self) -> dict[str, list[str]]:
        """What the published file shows; nothing if there is none or it is of another lake."""
        try:
            note = json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        if not self.file.exists() or note.get("lake") != str(self._lake.root):
            return {}
        columns: dict[str, list[str]] = note["columns"]
        return columns

    def _write_note(self, columns: dict[str, list[str]]) -> None:
        beside = self._note.with_name(f".{self._note.name}.building")
        beside.write_text(json.dumps({"lake": str(self._lake.root), "columns": columns}, indent=1))
        beside.replace(self._note)


def _wal(file: Path) -> Path:
    return file.with_name(file.name + ".wal")
