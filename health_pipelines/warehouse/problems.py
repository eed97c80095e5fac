"""What can be wrong with a build of the warehouse, each in one sentence that says what to do.

Belongs here: the errors. Does not belong here: finding out (`build.py`). No error says a value.
"""

from pathlib import Path

from health_pipelines.lake.partitions import Table, day_of
from health_pipelines.lake.store_problems import UnusableStoreError


class WarehouseError(Exception):
    """The warehouse could not be built and is as it was. One sentence that says what to do."""


class UnreadablePartitionError(WarehouseError):
    """A partition's file is damaged, or went while it was read."""

    def __init__(self, table: Table, file: Path, why: str) -> None:
        super().__init__(
            f"{table} {day_of(file)} cannot be read ({file} {why}); the warehouse has that table as it was: "
            "materialize that partition again."
        )


class MissingPartitionError(WarehouseError):
    """A partition that the warehouse has is no longer in the lake."""

    def __init__(self, table: Table, day: str, warehouse: Path) -> None:
        super().__init__(
            f"{table} {day} is in the warehouse but its file is gone from the lake; the warehouse has that "
            f"table as it was: materialize that partition again, or delete {warehouse} to build it without."
        )


class UnreachableLakeError(WarehouseError):
    """The lake is elsewhere, and cannot be read."""

    def __init__(self, why: UnusableStoreError) -> None:
        super().__init__(f"The warehouse is as it was: {why}")


class NoRoomError(WarehouseError):
    """The disk is full, or a limit on the size of files or of memory was met."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(
            f"The warehouse cannot be written to {folder} ({why}) and is as it was: make room there, twice "
            "the size of warehouse.duckdb, and build it again."
        )


class UnusableError(WarehouseError):
    """A file or folder of the warehouse cannot be read or written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The warehouse cannot use {path} ({why}) and is as it was: see that this user may read and "
            "write there, or move away what is in its place, and build it again."
        )


class UnbuildableError(WarehouseError):
    """Anything else that the database refuses, named by its kind alone, since its words may quote a value."""

    def __init__(self, what: str, kind: str) -> None:
        super().__init__(
            f"{what} cannot be built ({kind}) and is as it was; the next build tries again. If that does not "
            "help, report it with this sentence."
        )


class LostError(Exception):
    """What cannot be made would be missing from a file that is made from nothing."""

    def __init__(self, problem: WarehouseError) -> None:
        super().__init__(str(problem))
        self.problem = problem
