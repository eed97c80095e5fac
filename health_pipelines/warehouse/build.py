"""Puts `warehouse.duckdb` in place: built beside and renamed over, never written while people read it.

Belongs here: when the file has to be built, from which state of the lake, and how it is swapped. Does not
belong here: what is in it (`landed_views.py`, `current.py`, `models`) and how tables are made
(`table_builder.py`).

Nobody, this project included, opens the published file for writing: while one process has a DuckDB file
open for writing, no other can read it. Nor does this project open it for reading, since a user who opened
it for writing would lock it out: what the file contains stands in a note beside it. A build begins with a
copy of the file, if it is still the one that the note tells of, and makes anew what has changed since.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, quoted
from health_pipelines.lake.locks import locked
from health_pipelines.lake.partitions import Lake, Table, day_of, signature
from health_pipelines.warehouse.backlog import (
    Backlog,
    changed_days,
    has_changed,
    signatures,
    unseen,
    utc_time,
    written_at,
)
from health_pipelines.warehouse.current import current_tables
from health_pipelines.warehouse.current_rows import Landed
from health_pipelines.warehouse.landed_views import Shape, shows, table_shape, view_sql
from health_pipelines.warehouse.making import Connection, Made, Making, Tell, drop_others, made_by, prepare
from health_pipelines.warehouse.models import Model, marts
from health_pipelines.warehouse.problems import (
    LostError,
    MissingPartitionError,
    NoRoomError,
    UnreadablePartitionError,
    WarehouseError,
)
from health_pipelines.warehouse.published import BuildReport, PublishedFile, State, with_views
from health_pipelines.warehouse.sentences import in_a_sentence, naming
from health_pipelines.warehouse.table_builder import ModelReport, TableMaker
from health_pipelines.warehouse.work_file import (
    STORAGE_VERSION,
    can_be_read,
    gone_afterwards,
    opened,
    remove,
    storage_version,
)


class Warehouse:
    """`warehouse.duckdb` in `folder`: a view of each of `tables` of the lake; the models with `making`."""

    def __init__(
        self, folder: Path, lake: Lake, tables: Sequence[Table], making: Making | None = None
    ) -> None:
        self.file = folder / "warehouse.duckdb"
        self._work = folder / ".warehouse"
        self.published = PublishedFile(self.file, folder / "warehouse.json", self._work, str(lake))
        self._lake = lake
        self._tables = tables
        self._making = making
        self.tell: Tell = lambda _: None  # for whoever waits for a build

    def models(self) -> tuple[Model, ...]:
        """Every model in the order of building, with the columns that it has or will have.

        Raises `UnreadablePartitionError`.
        """
        if self._making is None:
            return ()
        columns = {table: table_shape(self._lake, table).columns for table in self._tables}
        return (*(one.model for one in current_tables(columns, self._making.visits)), *marts())

    def show(self, table: Table, columns: Mapping[str, str]) -> bool:
        """Make sure that a partition with these columns, which just landed, is seen whole by readers.

        `columns`: with SQL types. The views read whatever files are there, so that only a table's first
        partition, a new column or another type asks for a new file. Returns whether one was built. The models
        stay as they were. Raises `WarehouseError`.
        """
        with in_a_sentence(self._work, self.file), locked(self._folder(), wait=True):
            state = self.published.state()
            if state and state.shows(table, columns, are_copies=self._lake.has_copies):
                return False
            building = self._work / "showing.duckdb"
            with gone_afterwards(building):
                # A file of views alone is made anew rather than left in a format that few can read.
                is_old = state and state.report is None and state.storage_version != STORAGE_VERSION
                state = (None if is_old else self._copied(building)) or State()
                shapes = {table: table_shape(self._lake, table)}
                problems: dict[Table, WarehouseError] = {}
                with opened(building) as connection:
                    self._show(connection, shapes)
                    for other in self._tables:
                        if str(other) not in state.columns and other != table:
                            with self._noting(problems, other, shapes):
                                shapes[other] = table_shape(self._lake, other)
                                self._show(connection, {other: shapes[other]})
                    version = storage_version(connection)
                state = replace(with_views(state, shapes), storage_version=version)
                self.published.replace(building, state)
            return True

    def build(self, look: Callable[[Connection], None] | None = None, *, anew: bool = False) -> BuildReport:
        """Build the file from the lake as it is now; at most one process does at a time, others wait.

        What has not changed since the last build is taken over from the file, unless `anew`. `look` sees the
        new file before anybody else does; it is not called if there is none. A table that cannot be made
        stops no other: it is in the report's `problems`. Raises `WarehouseError` for what concerns all, and
        then the file is as it was.
        """
        with in_a_sentence(self._work, self.file), locked(self._folder() / self._work.name, wait=True):
            # Before anything is read: a file that is replaced meanwhile is another one next time.
            partitions = {table: signatures(self._lake, table) for table in self._tables}
            state = None if anew else self.published.state()
            if state is not None and state.report is not None and self._is_of(state, partitions):
                return replace(state.report, published=False)
            building = self._work / "building.duckdb"
            with gone_afterwards(building):
                # What other code or other settings made has to be made anew: a copy would only take room.
                is_of_use = state is not None and state.making == made_by(self._making)
                known = self._copied(building) if is_of_use else None
                published = state or State()
                try:
                    return self._build(building, known or State(), published, partitions, look)
                except LostError as lost:
                    remove(building)
                    # All is made in a copy after all, which has those that cannot be made.
                    old = None if known else self._copied(building)
                    if old is None:
                        raise lost.problem from None
                    known = replace(old, fingerprints=dict.fromkeys(old.fingerprints, ""))
                    return self._build(building, known, published, partitions, look)

    def is_current(self) -> bool:
        """Whether a build would find nothing to do. Looks at the lake's files, not into them."""
        return self.backlog().is_current

    def backlog(self) -> Backlog:
        """What a build would find to do, by a look at the lake's files, not into them.

        Raises `UnreadablePartitionError` if a partition goes meanwhile.
        """
        state = self.published.state()
        partitions = {table: signatures(self._lake, table) for table in self._tables}
        seen = state.partitions if state is not None else {}
        landed = [written_at(file) for files in partitions.values() for file in files.values()]
        waiting = [
            at for table, files in partitions.items() for at in unseen(files, seen.get(str(table), {}))
        ]
        said = json.dumps({str(table): files for table, files in partitions.items()})
        return Backlog(
            state is not None and self._is_of(state, partitions),
            utc_time(max(landed, default=None)),
            utc_time(min(waiting, default=None)),
            hashlib.sha256(f"{made_by(self._making)}\0{said}".encode()).hexdigest()[:16],
        )

    def _is_of(self, state: State, partitions: Mapping[Table, Mapping[str, str]]) -> bool:
        said = {str(table): files for table, files in partitions.items()}
        has_models = self._making is None or (state.report is not None and not state.report.problems)
        return has_models and state.making == made_by(self._making) and state.partitions == said

    def _build(
        self,
        building: Path,
        known: State,
        published: State,
        partitions: Mapping[Table, Mapping[str, str]],
        look: Callable[[Connection], None] | None,
    ) -> BuildReport:
        """`known`: what `building` has. `published`: what the file has that people read."""
        begun, built_of = time.monotonic(), published.partitions
        problems: dict[Table, WarehouseError] = {}
        shapes = self._shapes(built_of, partitions, problems)
        with opened(building) as connection:
            for table in list(shapes):
                with self._noting(problems, table, shapes):
                    self._show(connection, {table: shapes[table]})
            made = self._make_models(
                connection,
                shapes=shapes,
                known=known,
                built_of=built_of,
                partitions=partitions,
                problems=problems,
            )
            there = {model.name for model in made.models}
            for problem in (*problems.values(), *made.problems):
                if published.report and {one.name for one in published.report.models} - there:
                    raise LostError(problem)
            if look is not None:
                look(connection)
            connection.execute("CHECKPOINT")
            said = tuple(str(problem) for problem in [*problems.values(), *made.problems])
            of_current = {f"current.{table.name}": str(problem) for table, problem in problems.items()}
            report = BuildReport(True, time.monotonic() - begun, made.models, said, of_current)
            # What could not be made is made of what it was made of: the next build tries again.
            unmade = {*problems, *made.unmade}
            state = State(
                columns={
                    str(table): known.columns[str(table)] for table in unmade if str(table) in known.columns
                },
                listed=[str(table) for table in unmade if str(table) in known.listed],
                partitions={
                    str(table): known.partitions.get(str(table), {}) if table in unmade else files
                    for table, files in partitions.items()
                },
                fingerprints=made.fingerprints,
                making=made_by(self._making),
                report=report if self._making else None,
                storage_version=storage_version(connection),
            )
            # Only now: those who show what just landed must not wait for a build.
            with locked(self.file.parent, wait=True):
                newer = self.published.state() or State()
                for table in list(shapes):
                    seen = newer.columns.get(str(table), {})
                    if not shows(shapes[table].columns, seen) or shapes[table].is_listed:
                        shapes[table] = table_shape(self._lake, table)
                        self._show(connection, {table: shapes[table]})
                connection.close()
                self.published.replace(building, with_views(state, shapes))
        self._lake.forget_older_copies(shapes, unused=True)
        return report

    def _shapes(
        self,
        built_of: Mapping[str, Mapping[str, str]],
        partitions: Mapping[Table, Mapping[str, str]],
        problems: dict[Table, WarehouseError],
    ) -> dict[Table, Shape]:
        shapes: dict[Table, Shape] = {}
        for table, files in partitions.items():
            try:
                missing = sorted(set(built_of.get(str(table), {})) - set(files))
                if missing:
                    raise MissingPartitionError(table, missing[0], self.file)
                shape = table_shape(self._lake, table)
                if gone := sorted(set(files) - {day_of(file) for file in shape.files}):
                    file = self._lake.partition_file(table, gone[0])
                    raise UnreadablePartitionError(table, file, "was deleted meanwhile")
                shapes[table] = shape
            except WarehouseError as problem:
                problems[table] = problem
        return shapes

    @contextmanager
    def _noting(
        self, problems: dict[Table, WarehouseError], table: Table, shapes: dict[Table, Shape]
    ) -> Iterator[None]:
        """Go on with the other tables if this one cannot be made."""
        try:
            yield
        except NoRoomError:
            raise  # there is none for the others, either
        except WarehouseError as problem:
            problems[table] = problem
            shapes.pop(table, None)

    def _make_models(
        self,
        connection: Connection,
        *,
        shapes: Mapping[Table, Shape],
        known: State,
        built_of: Mapping[str, Mapping[str, str]],
        partitions: Mapping[Table, Mapping[str, str]],
        problems: dict[Table, WarehouseError],
    ) -> Made:
        if self._making is None:
            return Made()
        prepare(connection, self._making, self._work)
        # Those that cannot be looked into are here, too, as if nothing had landed: for their names alone.
        columns = {
            table: shapes[table].columns if table in shapes else LINEAGE_COLUMNS for table in self._tables
        }
        before = {one.name: one for one in known.report.models} if known.report else {}
        drop_others(connection, current_tables(columns, self._making.visits))
        maker = TableMaker(connection, known.fingerprints, before, made_by(self._making))
        reports: list[ModelReport] = []
        for current in current_tables(columns, self._making.visits):
            table, now = current.table, partitions[current.table]
            if table in shapes:
                landed = Landed(
                    shapes[table],
                    changed_days(shapes[table], now, known.partitions.get(str(table), {})),
                    max(unseen(now, built_of.get(str(table), {})), default=None),
                    partial(has_changed, self._lake, table, now),
                )
                with (
                    self._noting(problems, table, {}),
                    naming(self._work, current.model, table, shapes[table]),
                ):
                    reports.append(maker.make_current(current, landed))
            if table in problems and (kept := maker.keep(current.model)):
                reports.append(kept)
            self.tell(reports)
        reports = maker.check_across(reports)
        there, others = {one.name for one in reports}, list[WarehouseError]()
        for mart in marts():
            if not there.issuperset(mart.sources):
                continue
            try:
                with naming(self._work, mart):
                    reports.append(maker.make_mart(mart))
            except NoRoomError:
                raise
            except WarehouseError as problem:
                others.append(problem)
                if kept := maker.keep(mart):
                    reports.append(kept)
            there.add(mart.full_name)
            self.tell(reports)
        unmade = frozenset(table for table in problems if table in shapes)
        return Made(tuple(reports), maker.fingerprints, tuple(others), unmade)

    def _show(self, connection: Connection, shapes: Mapping[Table, Shape]) -> None:
        for table, shape in shapes.items():
            with naming(self._work, table, table, shape):
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table.source)}")
                connection.execute(view_sql(self._lake, table, shape))

    def _folder(self) -> Path:
        """The folder of the file, with the one in which files are made."""
        self._work.mkdir(parents=True, exist_ok=True)
        return self.file.parent

    def _copied(self, building: Path) -> State | None:
        """Make `building` a copy of the published file and return what is in it; None if nobody knows."""
        state = self.published.state()
        if state is None:
            return None
        before = signature(self.file)
        shutil.copyfile(self.file, building)
        if signature(self.file) == before and can_be_read(building):
            return state
        building.unlink()
        return None
