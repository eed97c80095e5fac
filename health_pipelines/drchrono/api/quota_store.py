"""Where calls are counted: in memory, in a file for one machine, or in PostgreSQL for many.

Belongs here: the buckets of the rate-limit library in those three places, and being alone with them. Does not
belong here: which limits there are and how long anybody waits (`quota.py`).

The library's buckets decide one at a time; a call has to pass several at the same moment. So every store has
a lock around a whole decision, which the operating system or the server frees when its holder dies.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pyrate_limiter import (
    AbstractBucket,
    InMemoryBucket,
    LogAlgorithm,
    PostgresBucket,
    Rate,
    RateItem,
    SQLiteBucket,
)

from health_pipelines.http import PermanentError, TransientError
from health_pipelines.lake.locks import locked
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import (
    PostgresAddress,
    PostgresError,
    cannot_be_used,
    has_table,
)

if TYPE_CHECKING:
    import psycopg
    import psycopg_pool
    from psycopg import sql
else:
    psycopg = loaded_when_used("psycopg")
    psycopg_pool = loaded_when_used("psycopg_pool")
    sql = loaded_when_used("psycopg.sql")

T = TypeVar("T")

# A machine that loses its power while it is alone with the counts must not keep the others waiting for
# hours, which is when a server notices by itself.
LONGEST_HOLD_MS = 10_000
# Less than it takes to restart a database server.
DATABASE_PATIENCE_SECONDS = 30.0


class QuotaFileError(PermanentError):
    """The file of the quota cannot be used."""


class QuotaUnreachableError(TransientError):
    """The database that keeps the quota does not answer."""


class QuotaStore(ABC):
    """A place for buckets. `bucket` and `alone` block; call them inside `run` only."""

    @abstractmethod
    async def run(self, work: Callable[[], T]) -> T:
        """Do what may block, one after the other, without blocking the event loop.

        Raises `QuotaFileError` or `QuotaUnreachableError` when the place cannot be used.
        """

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """While it is held nobody else who shares the place, in any process, decides anything."""

    @abstractmethod
    def bucket(self, name: str, rate: Rate, algorithm: LogAlgorithm) -> AbstractBucket:
        """The bucket of that name, made if it does not exist. `name`: letters and underscores."""

    @abstractmethod
    def entries(self, name: str, *, since: int) -> list[int]:
        """The times of what is in a bucket from `since` on, in milliseconds since 1970.

        Makes and changes nothing: a bucket that was never made has none. Raises as `run` does.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files, connections and the thread. What was counted stays, except in memory."""


class MemoryStore(QuotaStore):
    """Shared by whoever holds this object in one event loop. Uses no thread and no real time."""

    def __init__(self) -> None:
        self._buckets: dict[str, AbstractBucket] = {}

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def bucket(self, name: str, rate: Rate, algorithm: LogAlgorithm) -> AbstractBucket:
        if name not in self._buckets:
            self._buckets[name] = InMemoryBucket([rate], algorithm=algorithm)
        return self._buckets[name]

    def entries(self, name: str, *, since: int) -> list[int]:
        bucket = self._buckets.get(name)
        found = [bucket.peek(index) for index in range(_count(bucket))] if bucket else []
        return [item.timestamp for item in found if isinstance(item, RateItem) and item.timestamp >= since]

    def close(self) -> None:
        pass


class FileStore(QuotaStore):
    """Shared by all processes that name the same file: SQLite, and a lock file beside it."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written before the first use; missing folders are made then."""
        self._path = path
        # SQLite would lose its own locks if somebody else in this process closed the file.
        self._lock = path.with_name(f"{path.name}.lock")
        self._buckets: list[AbstractBucket] = []
        self._worker = _one_thread()

    async def run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.touch()
        with locked(self._lock, wait=True):
            yield

    def bucket(self, name: str, rate: Rate, algorithm: LogAlgorithm) -> AbstractBucket:
        # Without the library's own file lock, which polls and covers one bucket only.
        made = SQLiteBucket.init_from_file([rate], table=name, db_path=str(self._path), algorithm=algorithm)
        self._buckets.append(made)
        return made

    def entries(self, name: str, *, since: int) -> list[int]:
        if not self._path.exists():
            return []
        try:
            with closing(
                sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
            ) as connection:
                if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone():
                    return []
                found = connection.execute(
                    f"SELECT item_timestamp FROM '{name}' WHERE item_timestamp >= ?",
                    (since,),
                ).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None
        return [int(at) for (at,) in found]

    def close(self) -> None:
        self._worker.shutdown()
        for bucket in self._buckets:
            bucket.close()

    def _unusable(self, error: Exception) -> QuotaFileError:
        return QuotaFileError(
            f"The file of the quota, {self._path}, cannot be used ({error}): make room on its disk, and see "
            "that this user may write there. If that does not help, remove the file: calls are then counted "
            "from zero."
        )


class PostgresStore(QuotaStore):
    """Shared by all processes on all machines that use the same database, schema and `name`."""

    def __init__(
        self, url: Secret, name: str, *, patience_seconds: float = DATABASE_PATIENCE_SECONDS
    ) -> None:
        """`name` (letters, digits, underscores) begins the tables' names. Connects at the first use."""
        self._name = name
        self._lock_key = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
        self._worker = _one_thread()
        self._patience_seconds = patience_seconds
        self._url = url
        self._pool: psycopg_pool.ConnectionPool[psycopg.Connection[Any]] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except PostgresError as error:
            problem = error
        except psycopg.Error as error:
            problem = cannot_be_used(error)
        # Raised out here: the exceptions above may hold the address with its password.
        raise _unreachable(problem)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._connections().connection() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock_key,))
            yield

    def bucket(self, name: str, rate: Rate, algorithm: LogAlgorithm) -> AbstractBucket:
        return PostgresBucket(self._connections(), f"{self._name}_{name}", [rate], algorithm=algorithm)

    def entries(self, name: str, *, since: int) -> list[int]:
        # As the library calls the table of a bucket, and keeps times in it: UTC, without a zone.
        table = sql.Identifier(f"ratelimit___{self._name}_{name}".lower())
        query = sql.SQL(
            "SELECT round(extract(epoch FROM item_timestamp) * 1000)::bigint FROM {} "
            "WHERE item_timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC'"
        ).format(table)
        try:
            with PostgresAddress.of(self._url).connected() as connection:
                there = has_table(connection, table.as_string(connection))
                found = connection.execute(query, (since / 1000,)).fetchall() if there else []
        except PostgresError as error:
            problem = error
        else:
            return [int(at) for (at,) in found]
        raise _unreachable(problem)

    def close(self) -> None:
        self._worker.shutdown()
        if self._pool is not None:
            self._pool.close()

    def _connections(self) -> psycopg_pool.ConnectionPool[psycopg.Connection[Any]]:
        if self._pool is None:
            # Read first, because the pool would log the words of an error, which hold the whole address.
            self._pool = psycopg_pool.ConnectionPool(
                PostgresAddress.of(self._url).url.reveal(),
                # None while nobody calls; one for being alone and one for the buckets.
                min_size=0,
                max_size=2,
                max_idle=60,
                timeout=self._patience_seconds,
                configure=_configure,
                check=psycopg_pool.ConnectionPool.check_connection,
                # A pooler between us and the server may hand each transaction to another connection.
                kwargs={"prepare_threshold": None, "connect_timeout": 10},
                open=True,
            )
        return self._pool


def _configure(connection: psycopg.Connection[Any]) -> None:
    # The library writes timestamps without a zone: every session has to mean the same one.
    connection.execute("SET timezone TO 'UTC'")
    connection.execute(f"SET idle_in_transaction_session_timeout TO {LONGEST_HOLD_MS}")
    connection.commit()


def _unreachable(problem: PostgresError) -> QuotaUnreachableError:
    return QuotaUnreachableError(f"DrChrono's quota cannot be asked. {problem}")


def _count(bucket: AbstractBucket) -> int:
    number = bucket.count()
    assert isinstance(number, int)  # an awaitable for asynchronous buckets, which no store has
    return number


def _one_thread() -> ThreadPoolExecutor:
    # One: a bucket remembers its last verdict and may not be asked by two threads at once.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="quota")
