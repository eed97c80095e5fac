"""Dagster's storage in PostgreSQL, for the dagster.yaml at the top of the project.

Belongs here: how Dagster's stock storage comes by its address and its connections. Does not belong here: what
is in it; tables and queries are Dagster's own, and `storage: postgres:` in a dagster.yaml reads them as well.

Two things are not as in the stock storage. A setting that is missing or wrong, or a server that cannot be
used, ends `dagster-daemon`, `dagster-webserver` and `dagster` with one sentence, where an unset `{env: …}` or
a wrong password gives a page of code with parts of the address in it. And connections stay open: the stock
storage makes one for each statement, which is most of what an event costs (46 ms instead of 7 to 13 over TCP
with a password, 15 instead of 2 over a socket; two busy cores).
"""

import os
import time
from collections.abc import Mapping
from typing import Any, Self
from weakref import WeakSet

# Dagster's commands are made with click, and show this exception of its as one line.
from click import ClickException
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import DagsterPostgresException, create_pg_engine
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError, cannot_be_used
from health_pipelines.settings.variables import DAGSTER_POSTGRES_HOST, DAGSTER_POSTGRES_URL

# Some 6 s in all, as the stock storage tries: a failover ends no service and fails no run.
_PAUSES_SECONDS = (0.2, 0.4, 0.8, 1.6, 3.2)
# Of each process; storing an event takes two at once. Threads that need more at the same moment get them, and
# those are closed after use.
_KEPT_OPEN = 2
# Firewalls forget connections that are silent for longer.
_RENEWED_AFTER_SECONDS = 300


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's storage at the address that the settings of this process give."""

    def __init__(self, url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(url, inst_data=inst_data)
        # The tables are there by now.
        self._event_log_storage = _PooledPostgresEventLogStorage(url, should_autocreate_tables=False)
        engine = create_pg_engine(
            url,
            # As in the stock storage.
            isolation_level="AUTOCOMMIT",
            pool_size=_KEPT_OPEN,
            max_overflow=-1,
            pool_recycle=_RENEWED_AFTER_SECONDS,
            # A server that was restarted in between fails no statement.
            pool_pre_ping=True,
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine
        _engines.add(engine)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: everything is in the settings."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Raises `ClickException` with one sentence."""
        try:
            return cls.of(Settings.of_this_process(), inst_data)
        except (SettingError, PostgresError) as error:
            problem = str(error)
        raise ClickException(problem)

    @classmethod
    def of(cls, settings: Settings, inst_data: ConfigurableClassData | None = None) -> Self:
        """With the tables of a new instance made. Raises `SettingError` or `PostgresError`."""
        address = _answering(settings)
        try:
            return cls(address.url.reveal(), inst_data)
        except (SQLAlchemyError, DagsterPostgresException) as error:
            problem = cannot_be_used(error)
        # Raised out here: the exception above may hold the address.
        raise problem


class _PooledPostgresEventLogStorage(PostgresEventLogStorage):
    """Closes the connections when an instance is disposed of, whose last storage to be asked this is."""

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


def _answering(settings: Settings) -> PostgresAddress:
    """The address of a server that answers."""
    url = settings.postgres_url
    if url is None:
        raise SettingError(
            f"{DAGSTER_POSTGRES_URL.name} is not set, and this instance's storage is PostgreSQL; set it, or "
            f"{DAGSTER_POSTGRES_URL.file_name} to the path of a file that holds it, or "
            f"{DAGSTER_POSTGRES_HOST.name} and its kin."
        )
    address = PostgresAddress.of(url)
    for pause in _PAUSES_SECONDS:
        try:
            with address.connected():
                return address
        except PostgresError as error:
            if not error.may_pass:
                raise
        time.sleep(pause)
    with address.connected():
        return address


# Two processes must not talk over one connection.
_engines: WeakSet[Engine] = WeakSet()


def _leave_connections_to_the_parent() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections_to_the_parent)
