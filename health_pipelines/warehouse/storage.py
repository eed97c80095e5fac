"""The storage resource with a warehouse beside the lake.

Belongs here: where the warehouse of a place is, and that its trouble stays its own. Does not belong here: how
it is built (`build.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from health_pipelines.dexcare.columns.guesses import file_of, find, visit_columns
from health_pipelines.lake.disk import NO_ROOM
from health_pipelines.lake.locks import locked
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.partitions import Table
from health_pipelines.lake.store_problems import UnusableStoreError
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import Settings
from health_pipelines.vendors.known import lake_tables
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.making import Making, Tell
from health_pipelines.warehouse.problems import (
    NoRoomError,
    UnreachableLakeError,
    UnusableError,
    WarehouseError,
)
from health_pipelines.warehouse.published import BuildReport

if TYPE_CHECKING:
    import duckdb


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse of the place that has these settings."""
    making = Making(settings.timezone, visit_columns(settings), settings.drchrono_timezone)
    return Warehouse(settings.data_dir, lake_to_read(settings), lake_tables(settings), making)


def build_warehouse(
    settings: Settings,
    look: Callable[[duckdb.DuckDBPyConnection], None] | None = None,
    tell: Tell = lambda _: None,
    *,
    anew: bool = False,
) -> BuildReport:
    """`Warehouse.build`, after looking for the columns that no setting names. `tell`: as `Warehouse.tell`.

    Once more if a day landed meanwhile that contradicts them: nobody would look until something else lands.
    """

    def build() -> BuildReport:
        warehouse = warehouse_of(settings)
        warehouse.tell = tell
        return warehouse.build(look, anew=anew)

    try:
        find(settings)
        report = build()
        return build() if find(settings) else report
    except UnusableStoreError as error:
        raise UnreachableLakeError(error) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise NoRoomError(file_of(settings).parent, error.strerror or "no room") from None
        raise UnusableError(file_of(settings), error.strerror or "no access") from None


def rebuild_warehouse(settings: Settings) -> BuildReport | None:
    """Make the whole file from the lake as it is now, so that nothing of the old one is in it; None if there
    is none. Work files that a killed process left go, too. Raises `WarehouseError`.
    """
    file = settings.data_dir / "warehouse.duckdb"
    report = build_warehouse(settings, anew=True) if file.exists() else None
    work = settings.data_dir / ".warehouse"
    if work.is_dir():
        # As `Warehouse.build` and `Warehouse.show` take them: nobody else is making a file.
        with locked(work, wait=True), locked(settings.data_dir, wait=True):
            for left in work.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return report


class WarehouseStorage(Storage):
    """Everything below `HEALTH_DATA_DIR`, the warehouse included."""

    @property
    def warehouse(self) -> Warehouse:
        return warehouse_of(Settings.of_this_process())

    def show_landed(self, table: Table, columns: Mapping[str, str]) -> str | None:
        try:
            self.warehouse.show(table, columns)
        except WarehouseError as error:
            why = str(error)
        except Exception as error:
            # Whatever it is: a landing depends on the lake alone. What libraries say may quote a value.
            why = f"The warehouse cannot be used ({type(error).__name__})."
        else:
            return None
        return f"{table} has landed, but its view is not there yet: {why} The next landing or build makes it."
