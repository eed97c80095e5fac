"""Locks among hosts: advisory locks of PostgreSQL, held by one connection of each process.

Belongs here: taking them, holding them, and noticing that they are lost. Does not belong here: what is
locked, and locks among the processes of one machine (`locks.py`).

The server frees a lock when its connection ends: at once if the process is killed, after about a minute if
its host is gone without a word. A connection can also break under a process that lives. What such a lock
is for decides what follows: one that is kept is taken again as soon as the server answers; any other is lost
for good, since somebody else may have had it meanwhile, and its holder can ask.

The connection stays in one transaction, so that a pooler between us and the server cannot hand each statement
to another connection, which would lose the locks without a word. It writes nothing, and keeps no snapshot
between two statements as long as these have no parameters of their own: so it holds up no VACUUM.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import (
    CONNECT_WITHIN_SECONDS,
    PostgresAddress,
    cannot_be_used,
)

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql
else:
    psycopg = loaded_when_used("psycopg")
    sql = loaded_when_used("psycopg.sql")

APPLICATION_NAME = "health_pipelines locks"
# How often a process looks whether it still has what it keeps.
LOOK_EVERY_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.1
# A host that went without a word is noticed 30 + 3 * 10 seconds later, by either side.
_OURS = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_OURS["tcp_user_timeout"] = "60000"
_SERVERS = {f"tcp_{name}": value for name, value in _OURS.items() if name.startswith("keepalives")}
# What an administrator may have set for connections that have no business being silent for hours.
_SERVERS |= dict.fromkeys(("idle_in_transaction_session_timeout", "transaction_timeout"), "0")
_TAKE, _FREE = "SELECT pg_try_advisory_lock({})", "SELECT pg_advisory_unlock({})"
# Others may keep the same, and nobody can take it.
_KEEP = "SELECT pg_try_advisory_lock_shared({})"
_SET = "SELECT set_config(name, {0}::jsonb ->> name, true) FROM pg_settings WHERE {0}::jsonb ? name"
_TAKEN = """
    SELECT coalesce(array_agg(key), '{{}}')
    FROM (
        SELECT DISTINCT (classid::bigint << 32) | objid::bigint AS key
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS locks
    WHERE key = ANY ({}::bigint[])
"""


@dataclass(frozen=True, eq=False)
class HostLock:
    """A lock that was taken. `connection`: the one that it ends with."""

    name: str
    connection: psycopg.Connection[Any]


class HostLocks:
    """The locks of this process at one server; threads may share it.

    Connects when something is taken, and lets go of the connection with the last lock. Methods raise
    `PostgresError` if the server cannot be asked.
    """

    def __init__(self, url: Secret) -> None:
        self._url = url
        self._begin()

    def _begin(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None
        self._taken: dict[str, HostLock] = {}
        self._kept: set[str] = set()
        self._keeper: threading.Thread | None = None
        self._closed = threading.Event()
        self._guard = threading.RLock()

    @contextmanager
    def holding(self, name: str, *, wait: bool) -> Iterator[HostLock]:
        """Hold the lock. Without `wait`: `LockedElsewhereError` if anybody has it, this process too."""
        lock = self._take_waiting(name) if wait else self.take(name)
        try:
            yield lock
        finally:
            self.release(lock)

    def take(self, name: str) -> HostLock:
        """Take the lock until it is released; raises `LockedElsewhereError` if anybody has it."""
        return self._take(name, _TAKE)

    def keep(self, name: str) -> None:
        """Have the lock while the process lives, waiting for it, and again after a broken connection.

        Several processes may keep the same one; it is free when all of them have ended.
        """
        while not self._is_kept(name):
            time.sleep(_LOOK_AGAIN_SECONDS)

    def is_held(self, lock: HostLock) -> bool:
        """Whether the lock was never lost since it was taken; asks the server."""
        with self._guard:
            if self._taken.get(lock.name) is not lock or lock.connection is not self._connection:
                return False
            try:
                # Over this connection or over none: another one would not have the lock.
                lock.connection.execute("SELECT 1")
            except psycopg.Error:
                self._drop_connection()
                return False
            return True

    def taken(self, names: Iterable[str]) -> set[str]:
        """Those of the locks that a process anywhere has; only looks, once for all of them."""
        by_key = {_key(name): name for name in names}
        if not by_key:
            return set()
        with self._guard:
            try:
                return {by_key[key] for key in self._answer(_TAKEN, list(by_key))}
            finally:
                self._let_go_if_unused()

    def release(self, lock: HostLock) -> None:
        """Free the lock; one that was lost is nobody's business any more."""
        with self._guard:
            if self._taken.get(lock.name) is lock:
                del self._taken[lock.name]
            if lock.connection is not self._connection:
                return
            self._let_go_if_unused()
            if self._connection is not None:
                try:
                    _said(self._connection, _FREE, _key(lock.name))
                except psycopg.Error:
                    self._drop_connection()

    def close(self) -> None:
        """Free everything, what is kept as well."""
        with self._guard:
            self._kept.clear()
            self._taken.clear()
            self._drop_connection()
            keeper, self._keeper = self._keeper, None
            self._closed.set()
            self._closed = threading.Event()
        if keeper is not None:
            keeper.join()

    def _take(self, name: str, how: str) -> HostLock:
        with self._guard:
            if name in self._kept or self._has(name):
                raise LockedElsewhereError(f"{name} is locked by this process")
            if not self._answer(how, _key(name)):
                self._let_go_if_unused()
                raise LockedElsewhereError(f"{name} is locked by another process")
            assert self._connection is not None
            lock = self._taken[name] = HostLock(name, self._connection)
            return lock

    def _take_waiting(self, name: str) -> HostLock:
        while True:
            try:
                return self.take(name)
            except LockedElsewhereError:
                time.sleep(_LOOK_AGAIN_SECONDS)

    def _is_kept(self, name: str) -> bool:
        with self._guard:
            if name not in self._kept:
                try:
                    self._take(name, _KEEP)
                except LockedElsewhereError:
                    return False
                self._kept.add(name)
            if self._keeper is None:
                self._keeper = threading.Thread(
                    target=self._look_after, args=(self._closed,), name="kept locks", daemon=True
                )
                self._keeper.start()
            return True

    def _has(self, name: str) -> bool:
        lock = self._taken.get(name)
        return lock is not None and lock.connection is self._connection

    def _answer(self, query: str, key: int | list[int]) -> Any:
        """What the server says, over a new connection if the one that there was is broken."""
        if self._connection is not None:
            try:
                return _said(self._connection, query, key)
            except psycopg.Error:
                self._drop_connection()
        self._connection = connection = _connected(self._url)
        problem = None
        try:
            return _said(connection, query, key)
        except psycopg.Error as error:
            self._drop_connection()
            problem = cannot_be_used(error)
        # Raised out here: the exception above may hold the address.
        raise problem

    def _look_after(self, closed: threading.Event) -> None:
        while not closed.wait(LOOK_EVERY_SECONDS):
            # Whatever it was, a server that is away or a process without a handle to spare: without this
            # thread a run that lives would be taken for dead. The next look may find better.
            with suppress(Exception), self._guard:
                if not closed.is_set():
                    self._have_what_is_kept()

    def _have_what_is_kept(self) -> None:
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error:
                self._drop_connection()
        for name in self._kept:
            # Somebody who looks after dead runs may have it at this moment.
            if not self._has(name) and self._answer(_KEEP, _key(name)):
                assert self._connection is not None
                self._taken[name] = HostLock(name, self._connection)

    def _let_go_if_unused(self) -> None:
        if not self._kept and not any(self._has(name) for name in self._taken):
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _leave_to_parent(self) -> None:
        """In a fork: the connection, its locks and the thread are the parent's."""
        if self._connection is not None:
            _of_parents.append(self._connection)
        self._begin()


def host_locks(url: Secret | None) -> HostLocks | None:
    """Those of this process at that server; None without one, where there is only one host."""
    if url is None:
        return None
    with _making:
        return _made.setdefault(url.reveal(), HostLocks(url))


_made: dict[str, HostLocks] = {}
_making = threading.Lock()
# Never closed here: that would say goodbye over the parent's connection.
_of_parents: list[object] = []


def _connected(url: Secret) -> psycopg.Connection[Any]:
    address = PostgresAddress.of(url)
    patience = {"connect_timeout": str(CONNECT_WITHIN_SECONDS), **_OURS}
    given: dict[str, Any] = {**patience, **address.parts, "application_name": APPLICATION_NAME}
    problem = None
    try:
        connection = psycopg.connect("", prepare_threshold=None, **given)
        # Begins the transaction, and counts until its end. A server has not all of them.
        _said(connection, _SET, json.dumps(_SERVERS))
    except (psycopg.Error, OSError) as error:
        problem = cannot_be_used(error)
    if problem is not None:
        raise problem
    return connection


def _said(connection: psycopg.Connection[Any], query: str, value: int | str | list[int]) -> Any:
    row = connection.execute(sql.SQL(query).format(value)).fetchone()
    assert row is not None
    return row[0]


def _key(name: str) -> int:
    return int.from_bytes(sha256(f"health_pipelines {name}".encode()).digest()[:8], signed=True)


def _leave_all_to_parent() -> None:
    global _making  # noqa: PLW0603 - another thread of the parent may have been in it
    _making = threading.Lock()
    for locks in _made.values():
        locks._leave_to_parent()


os.register_at_fork(after_in_child=_leave_all_to_parent)
