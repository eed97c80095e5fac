"""Puts `warehouse.duckdb` in place: built beside and renamed over, never written while people read it.

Belongs here: when the file has to be built, from which state of the lake, and how it is swapped. Does not
belong here: what is in it (`landed_views.py`, `current.py`, `models`) and how tables are made
(`table_builder.py`).

Nobody, this project included, opens the published file for writing: while one process has a DuckDB file
open for writing, no other can read it. Nor does this project open it for reading, since a user who opened
it for writing would lock it out: what the file contains stands in a note beside it. A build begins with a
copy of the file, if it is still the one that the note tells of, and makes anew what has changed since.
"""

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, quoted, text_literal
from health_pipelines.lake.local_time import day_of_instant, zone_variables
from health_pipelines.lake.locks import locked
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import VisitColumns
from health_pipelines.warehouse.current import ACCOUNT, Current, current_tables
from health_pipelines.warehouse.landed_views import Shape, shows, table_shape, view_sql
from health_pipelines.warehouse.models import Model, marts
from health_pipelines.warehouse.problems import (
    MissingPartitionError,
    NoRoomError,
    UnbuildableError,
    UnreadablePartitionError,
    UnusableError,
    WarehouseError,
    day_of,
)
from health_pipelines.warehouse.published import BuildReport, PublishedFile, State, signature, wal
from health_pipelines.warehouse.table_builder import Landed, ModelReport, TableMaker

# Modules of this package that have no part in what a model is: when it is built, and how Dagster shows it.
_ONLY_TELL = ("assets.py", "sensor.py", "rebuilds.py", "charts.py", "chart_series.py")
_NO_ROOM = ("no space left", "file too large", "disk quota", "out of memory", "failed to offload")
# Each build takes this much of the machine at most: other steps work beside it.
_MEMORY = "50%"
# The oldest format that holds all of this, so that every shell, driver and BI tool since DuckDB 1.0 opens it.
STORAGE_VERSION = "v1.0.0"


@dataclass(frozen=True)
class Making:
    """What models need to know. `zone`: the health system's. `visits`: `Settings.dexcare_visit_columns`.
    `account_zone`: the DrChrono account's; None if it is the same.
    """

    zone: ZoneInfo
    visits: Mapping[str, VisitColumns]
    account_zone: ZoneInfo | None = None


@dataclass(frozen=True)
class Backlog:
    """What has landed since the file was built. Times are aware, in UTC.

    `is_current`: whether a build would find nothing to do. `newest`: when a partition last landed; None in an
    empty lake. `waiting_since`: when the first one landed that the file does not have; None if there is none.
    `state`: stands for all that a build is made of: the lake's files, the settings, the code.
    """

    is_current: bool
    newest: datetime | None
    waiting_since: datetime | None
    state: str


class _LostError(Exception):
    """What cannot be made would be missing from a file that is made from nothing."""

    def __init__(self, problem: WarehouseError) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class _Made:
    """What became of the models. `unmade`: tables whose views could be made and whose records could not."""

    models: tuple[ModelReport, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[WarehouseError, ...] = ()
    unmade: frozenset[Table] = frozenset()


class Warehouse:
    """`warehouse.duckdb` in `folder`: a view of each of `tables` of the lake; the models with `making`."""

    def __init__(
        self, folder: Path, lake: Lake, tables: Sequence[Table], making: Making | None = None
    ) -> None:
        self.file = folder / "warehouse.duckdb"
        self._work = folder / ".warehouse"
        self._published = PublishedFile(self.file, folder / "warehouse.json", self._work, lake.root)
        self._lake = lake
        self._tables = tables
        self._making = making

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
        with self._in_a_sentence(), locked(self._folder(), wait=True):
            state = self._published.state()
            known = state.columns.get(str(table)) if state else None
            if state and known is not None and str(table) not in state.listed and shows(known, columns):
                return False
            building = self._work / "showing.duckdb"
            with _gone_afterwards(building):
                # A file of views alone is made anew rather than left in a format that few can read.
                is_old = state and state.report is None and state.storage_version != STORAGE_VERSION
                state = (None if is_old else self._copied(building)) or State()
                shapes = {table: table_shape(self._lake, table)}
                problems: dict[Table, WarehouseError] = {}
                with self._opened(building) as connection:
                    self._show(connection, shapes)
                    for other in self._tables:
                        if str(other) not in state.columns and other != table:
                            with self._noting(problems, other, shapes):
                                shapes[other] = table_shape(self._lake, other)
                                self._show(connection, {other: shapes[other]})
                    storage_version = _storage_version(connection)
                state = replace(_with_views(state, shapes), storage_version=storage_version)
                self._published.replace(building, state)
            return True

    def build(self, look: Callable[[duckdb.DuckDBPyConnection], None] | None = None) -> BuildReport:
        """Build the file from the lake as it is now; at most one process does at a time, others wait.

        What has not changed since the last build is taken over from the file. `look` sees the new file before
        anybody else does; it is not called if there is none. A table that cannot be made stops no other: it
        is in the report's `problems`. Raises `WarehouseError` for what concerns all, and then the file is as
        it was.
        """
        with self._in_a_sentence(), locked(self._folder() / self._work.name, wait=True):
            # Before anything is read: a file that is replaced meanwhile is another one next time.
            partitions = {table: self._signatures(table) for table in self._tables}
            state = self._published.state()
            if state is not None and state.report is not None and self._is_of(state, partitions):
                return replace(state.report, published=False)
            building = self._work / "building.duckdb"
            with _gone_afterwards(building):
                # What other code or other settings made has to be made anew: a copy would only take room.
                is_of_use = state is not None and state.making == self._made_by()
                known = self._copied(building) if is_of_use else None
                published = state or State()
                try:
                    return self._build(building, known or State(), published, partitions, look)
                except _LostError as lost:
                    _remove(building)
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
        state = self._published.state()
        partitions = {table: self._signatures(table) for table in self._tables}
        seen = state.partitions if state is not None else {}
        landed = [_written_at(file) for files in partitions.values() for file in files.values()]
        waiting = [
            at for table, files in partitions.items() for at in _unseen(files, seen.get(str(table), {}))
        ]
        said = json.dumps({str(table): files for table, files in partitions.items()})
        return Backlog(
            state is not None and self._is_of(state, partitions),
            _utc(max(landed, default=None)),
            _utc(min(waiting, default=None)),
            hashlib.sha256(f"{self._made_by()}\0{said}".encode()).hexdigest()[:16],
        )

    def _is_of(self, state: State, partitions: Mapping[Table, Mapping[str, str]]) -> bool:
        said = {str(table): files for table, files in partitions.items()}
        has_models = self._making is None or (state.report is not None and not state.report.problems)
        return has_models and state.making == self._made_by() and state.partitions == said

    def _made_by(self) -> str:
        """Everything that decides what the models are, except the lake: the code and the settings."""
        files = (path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".sql"))
        sources = sorted(path for path in files if path.name not in _ONLY_TELL)
        texts = [repr(self._making), *(path.read_text(encoding="utf-8") for path in sources)]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()

    def _build(
        self,
        building: Path,
        known: State,
        published: State,
        partitions: Mapping[Table, Mapping[str, str]],
        look: Callable[[duckdb.DuckDBPyConnection], None] | None,
    ) -> BuildReport:
        """`known`: what `building` has. `published`: what the file has that people read."""
        begun, built_of = time.monotonic(), published.partitions
        problems: dict[Table, WarehouseError] = {}
        shapes = self._shapes(built_of, partitions, problems)
        with self._opened(building) as connection:
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
                    raise _LostError(problem)
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
                making=self._made_by(),
                report=report if self._making else None,
                storage_version=_storage_version(connection),
            )
            # Only now: those who show what just landed must not wait for a build.
            with locked(self.file.parent, wait=True):
                newer = self._published.state() or State()
                for table in list(shapes):
                    seen = newer.columns.get(str(table), {})
                    if not shows(shapes[table].columns, seen) or not shapes[table].agrees:
                        shapes[table] = table_shape(self._lake, table)
                        self._show(connection, {table: shapes[table]})
                connection.close()
                self._published.replace(building, _with_views(state, shapes))
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
        connection: duckdb.DuckDBPyConnection,
        *,
        shapes: Mapping[Table, Shape],
        known: State,
        built_of: Mapping[str, Mapping[str, str]],
        partitions: Mapping[Table, Mapping[str, str]],
        problems: dict[Table, WarehouseError],
    ) -> "_Made":
        if self._making is None:
            return _Made()
        self._prepare(connection, self._making)
        # Those that cannot be looked into are here, too, as if nothing had landed: for their names alone.
        columns = {
            table: shapes[table].columns if table in shapes else LINEAGE_COLUMNS for table in self._tables
        }
        before = {one.name: one for one in known.report.models} if known.report else {}
        self._drop_others(connection, current_tables(columns, self._making.visits))
        maker = TableMaker(connection, known.fingerprints, before, self._made_by())
        reports: list[ModelReport] = []
        for current in current_tables(columns, self._making.visits):
            table, now = current.table, partitions[current.table]
            if table in shapes:
                landed = Landed(
                    shapes[table],
                    {day_of(file): file for file in shapes[table].files},
                    _changed_days(shapes[table], now, known.partitions.get(str(table), {})),
                    max(_unseen(now, built_of.get(str(table), {})), default=None),
                    partial(self._has_other_files, table, now),
                )
                with self._noting(problems, table, {}), self._naming(current.model, table, shapes[table]):
                    reports.append(maker.make_current(current, landed))
            if table in problems and (kept := maker.keep(current.model)):
                reports.append(kept)
        reports = maker.check_across(reports)
        there, others = {one.name for one in reports}, list[WarehouseError]()
        for mart in marts():
            if not there.issuperset(mart.sources):
                continue
            try:
                with self._naming(mart):
                    reports.append(maker.make_mart(mart))
            except NoRoomError:
                raise
            except WarehouseError as problem:
                others.append(problem)
                if kept := maker.keep(mart):
                    reports.append(kept)
            there.add(mart.full_name)
        unmade = frozenset(table for table in problems if table in shapes)
        return _Made(tuple(reports), maker.fingerprints, tuple(others), unmade)

    @contextmanager
    def _opened(self, building: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        config: dict[str, str | bool | int | float | list[str]] = {
            "storage_compatibility_version": STORAGE_VERSION
        }
        with duckdb.connect(str(building), config=config) as connection:
            yield connection

    def _prepare(self, connection: duckdb.DuckDBPyConnection, making: Making) -> None:
        connection.execute(f"SET temp_directory = {text_literal(str(self._work / 'spill'))}")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        account_zone = making.account_zone or making.zone
        for statement in (*zone_variables(making.zone), *zone_variables(account_zone, ACCOUNT)):
            connection.execute(statement)
        connection.execute(f"CREATE TEMP MACRO local_day(instant) AS {day_of_instant('instant')}")
        for schema in ("current", "marts"):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")

    def _drop_others(self, connection: duckdb.DuckDBPyConnection, currents: Sequence[Current]) -> None:
        """What other code made, and is no model any more or is kept as something else."""
        models = [*(current.model for current in currents), *marts()]
        known = {(model.schema, model.name, model.kept_as) for model in models}
        for kind in ("table", "view"):
            for schema, name in connection.execute(
                f"SELECT schema_name, {kind}_name FROM duckdb_{kind}s() "
                "WHERE schema_name IN ('current', 'marts')"
            ).fetchall():
                if (schema, name, kind) not in known:
                    connection.execute(f"DROP {kind} {quoted(schema)}.{quoted(name)}")

    def _show(self, connection: duckdb.DuckDBPyConnection, shapes: Mapping[Table, Shape]) -> None:
        for table, shape in shapes.items():
            with self._naming(table, table, shape):
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table.source)}")
                connection.execute(view_sql(self._lake, table, shape))

    def _folder(self) -> Path:
        """The folder of the file, with the one in which files are made."""
        self._work.mkdir(parents=True, exist_ok=True)
        return self.file.parent

    def _signatures(self, table: Table) -> dict[str, str]:
        found = {}
        for file in self._lake.partition_files(table):
            try:
                found[day_of(file)] = signature(file)
            except FileNotFoundError:
                raise UnreadablePartitionError(table, file, "was deleted meanwhile") from None
        return found

    def _has_other_files(self, table: Table, than: Mapping[str, str]) -> bool:
        return self._signatures(table) != than

    def _copied(self, building: Path) -> State | None:
        """Make `building` a copy of the published file and return what is in it; None if nobody knows."""
        state = self._published.state()
        if state is None:
            return None
        before = signature(self.file)
        shutil.copyfile(self.file, building)
        if signature(self.file) == before and _can_be_read(building):
            return state
        building.unlink()
        return None

    @contextmanager
    def _naming(
        self, what: Model | Table, table: Table | None = None, shape: Shape | None = None
    ) -> Iterator[None]:
        """Turn what the database says into a sentence that names the partition or the model."""
        try:
            yield
        except duckdb.Error as error:
            # `from None`: DuckDB quotes values, and rows are patients.
            if _is_about_room(error):
                raise NoRoomError(self._work, "the database has no room") from None
            if table is not None and shape is not None:
                for file in shape.files:
                    if why := _damage(file):
                        raise UnreadablePartitionError(table, file, why) from None
            name = what.full_name if isinstance(what, Model) else str(what)
            raise UnbuildableError(name, _kind(error)) from None

    @contextmanager
    def _in_a_sentence(self) -> Iterator[None]:
        """Turn what file system and database say of the warehouse as a whole into a sentence."""
        try:
            yield
        except duckdb.Error as error:
            if _is_about_room(error):
                raise NoRoomError(self._work, "the database has no room") from None
            raise UnbuildableError("warehouse.duckdb", _kind(error)) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise NoRoomError(self._work, error.strerror or "no room") from None
            raise UnusableError(Path(error.filename or self.file), error.strerror or "no access") from None


def _changed_days(shape: Shape, now: Mapping[str, str], before: Mapping[str, str]) -> frozenset[str]:
    days = {*(day_of(file) for file in shape.files), *before}
    return frozenset(day for day in days if now.get(day) != before.get(day) or day not in now)


def _unseen(now: Mapping[str, str], seen: Mapping[str, str]) -> list[float]:
    """When those files landed that are not the ones that were seen, in seconds since 1970."""
    return [_written_at(signature) for day, signature in now.items() if seen.get(day) != signature]


def _with_views(state: State, shapes: Mapping[Table, Shape]) -> State:
    columns = {**state.columns, **{str(table): dict(shape.columns) for table, shape in shapes.items()}}
    listed = {str(table) for table, shape in shapes.items() if not shape.agrees}
    listed |= set(state.listed) - {str(table) for table in shapes}
    return replace(state, columns=columns, listed=sorted(listed))


def _storage_version(connection: duckdb.DuckDBPyConnection) -> str:
    """`STORAGE_VERSION`, or what the file was made with before."""
    [(version,)] = connection.execute(
        "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall()
    # It says from which release on: v1.0.0+.
    return str(version).removesuffix("+")


def _can_be_read(file: Path) -> bool:
    """A file that cannot is made anew: all of it comes from the lake."""
    try:
        with duckdb.connect(str(file), read_only=True):
            return True
    except duckdb.Error:
        return False


def _written_at(signature: str) -> float:
    """When the file was written, in seconds since 1970."""
    return int(signature.rsplit("-", 1)[1]) / 1e9


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _damage(file: Path) -> str | None:
    """What is wrong with a partition file; it is read whole to see."""
    if not file.exists():
        return "was deleted meanwhile"
    try:
        with duckdb.connect() as connection:
            source = f"read_parquet({text_literal(str(file))}, hive_partitioning = false)"
            connection.execute(f"SELECT hash(rows) FROM {source} AS rows").fetchall()
    except duckdb.Error:
        return "is not a whole Parquet file"
    return None


def _kind(error: duckdb.Error) -> str:
    """The kind of an error; its words too if they are about SQL, since then they quote no value."""
    about_sql = isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException)
    return str(error).splitlines()[0] if about_sql else type(error).__name__


def _is_about_room(error: duckdb.Error) -> bool:
    return any(words in str(error).lower() for words in _NO_ROOM)


@contextmanager
def _gone_afterwards(building: Path) -> Iterator[None]:
    """No work file before, so that a crash leaves nothing behind for long, and none after."""
    _remove(building)
    try:
        yield
    finally:
        _remove(building)


def _remove(building: Path) -> None:
    for leftover in (building, wal(building)):
        leftover.unlink(missing_ok=True)
