"""Dagster's event log on SQLite, with connections that stay open.

Belongs here: how the embedded home (`commands/embedded_home.yaml`) connects to the files of Dagster's event
log. Does not belong here: what is in them; tables, queries and their locking are Dagster's own, and so are
the files: the stock storage reads and writes them as well.

Dagster 1.13 makes an engine, a connection and a cache of compiled statements for each statement, and drops
them after it: three quarters of what it costs to store an event, and a landed day is eight. A dagster.yaml
that does not name this class keeps the stock storage, and everything works alike.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

# The index, which every asset event goes to, and the newest of the runs' own files: of these a run's process
# writes one, and the daemon and the UI look at many, each for a moment.
MOST_OPEN = 4


@dataclass(frozen=True)
class _Opened:
    engine: Engine
    # What is written to a file after it was deleted would be lost, and nobody would notice.
    file: tuple[int, int] | None


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """One connection for each of the `MOST_OPEN` files used last, closed before this process forks."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._found_tables: set[str] = set()
        super().__init__(base_dir, inst_data)
        _storages.add(self)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def close_connections(self) -> None:
        """The next statement opens its file again. One that is under way in another thread goes on."""
        for opened in list(self._opened.values()):
            opened.engine.dispose()

    def dispose(self) -> None:
        super().dispose()
        self.close_connections()

    def has_table(self, table_name: str) -> bool:
        # Asked with almost every event, on a connection of its own. No migration of Dagster removes a table.
        if table_name not in self._found_tables and super().has_table(table_name):
            self._found_tables.add(table_name)
        return table_name in self._found_tables

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        if shard not in self._initialized_dbs:
            # Creates the tables where there are none, and switches the file to WAL.
            with super()._connect(shard):
                pass
        # As in the stock storage, threads take turns: they never need a second connection to a file.
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        file = _identity(self.path_for_shard(shard))
        opened = self._opened.get(shard)
        if opened is None or opened.file != file:
            if opened is not None:
                opened.engine.dispose()
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                max_overflow=0,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            opened = self._opened[shard] = _Opened(engine, file)
        self._opened.move_to_end(shard)
        if len(self._opened) > MOST_OPEN:
            _, unused_longest = self._opened.popitem(last=False)
            unused_longest.engine.dispose()
        return opened.engine


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


# SQLite must not be carried over a fork: the locks of its open files stay with the parent.
_storages: WeakSet[PooledSqliteEventLogStorage] = WeakSet()


def _close_all_connections() -> None:
    for storage in list(_storages):
        storage.close_connections()


os.register_at_fork(before=_close_all_connections)
