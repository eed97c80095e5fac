"""The table of PostgreSQL that keeps DrChrono's tokens between runs, for all hosts of an installation.

Belongs here: its rows, its rights, its lock, and taking over what the file of one machine had. Does not
belong here: what is kept (`token_store.py`), when tokens are renewed, and how (`tokens.py`).

Whoever can read the table can read patients' records. So nobody but the role that owns it may: rights that a
database gives to others for every new table are taken back before the first token is in it, and a table that
others may read is refused. No error says anything of what is in it.

New tokens that are not stored are lost, and with them the way into DrChrono. So storing them outlasts a
restart of the server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from health_pipelines.drchrono.api.token_file import TokenFile
from health_pipelines.drchrono.api.token_store import KeptTokens, from_json, to_json
from health_pipelines.http import PermanentError, TransientError
from health_pipelines.lake.host_locks import HostLock, HostLocks
from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError, has_table

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql
else:
    sql = loaded_when_used("psycopg.sql")

T = TypeVar("T")

TABLE = "health_pipelines_drchrono_tokens"
_LOOK_AGAIN_SECONDS = 0.05
# What a database server needs to restart, or to fail over.
PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_OTHERS = """
    SELECT CASE grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(grantee) END
    FROM pg_class, aclexplode(relacl) AS granted
    WHERE pg_class.oid = to_regclass(%s) AND grantee <> relowner
    GROUP BY grantee ORDER BY grantee
"""


class TokenTableError(PermanentError):
    """The table is damaged or open to others. One sentence that says what to do."""


class TokensUnreachableError(TransientError):
    """The database that keeps the tokens does not answer."""


class TokenTable:
    """A `TokenStore` for all places of an installation; each forgets chains of its own alone.

    `hosts`: locks at the same server. `file`: where the tokens of this host were before; what it has of a
    chain is taken over, and the file removed.
    """

    def __init__(
        self,
        url: Secret,
        place: str,
        hosts: HostLocks,
        file: TokenFile,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._url = url
        self._place = place
        self._hosts = hosts
        self._file = file
        self._patience_seconds = patience_seconds

    @property
    def shown(self) -> str:
        return "the database of DAGSTER_POSTGRES_URL"

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        lock = await self._take()
        try:
            self._ask(_make)
            yield
        finally:
            self._hosts.release(lock)

    def read(self, chain: str) -> KeptTokens | None:
        row = self._ask(lambda connection: _select(connection, chain))
        known = None if row is None else _from_text(row)
        if known is None or known.access_token is None:
            # What never had an access token, another host may have begun that did not have this file.
            before = self._file.read(chain)
            if before is not None:
                self._ask(lambda connection: self._upsert(connection, chain, before))
                self._file.remove()
                return before
        return known

    async def write(self, chain: str, tokens: KeptTokens, *, forget_others: bool = False) -> None:
        def work(connection: psycopg.Connection[Any]) -> None:
            self._upsert(connection, chain, tokens)
            if forget_others:
                # Not those of other places, which may well belong to the same application.
                others = f"DELETE FROM {TABLE} WHERE place = %s AND chain <> %s"
                connection.execute(others, (self._place, chain))

        give_up_at = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            try:
                return self._ask(work)
            except TokensUnreachableError:
                if asyncio.get_running_loop().time() >= give_up_at:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _take(self) -> HostLock:
        while True:
            try:
                return self._hosts.take("DrChrono's tokens")
            except LockedElsewhereError:
                # Whoever holds it is asking the vendor for a token, which has time limits of its own.
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            except PostgresError as error:
                problem = error
                break
        raise _unreachable(problem)

    def _ask(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Do the work in a transaction, which is durable when this returns."""
        try:
            with PostgresAddress.of(self._url).connected() as connection:
                # Whatever the server does with what matters less.
                connection.execute("SET LOCAL synchronous_commit TO on")
                return work(connection)
        except PostgresError as error:
            problem = error
        # Raised out here: nothing of the connection is to be kept by the error.
        raise _unreachable(problem)

    def _upsert(self, connection: psycopg.Connection[Any], chain: str, tokens: KeptTokens) -> None:
        connection.execute(
            f"INSERT INTO {TABLE} (chain, place, tokens) VALUES (%s, %s, %s) "
            "ON CONFLICT (chain) DO UPDATE SET place = excluded.place, tokens = excluded.tokens",
            (chain, self._place, json.dumps(to_json(tokens))),
        )


def _make(connection: psycopg.Connection[Any]) -> None:
    """See that the table is there, and that it is its owner's alone."""
    if not has_table(connection, TABLE):
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} "
            "(chain text PRIMARY KEY, place text NOT NULL, tokens text NOT NULL)"
        )
        for role in _others(connection):
            who = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
            connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.Identifier(TABLE), who))
    if others := _others(connection):
        whom = ", ".join("PUBLIC" if role is None else f'"{role}"' for role in others)
        raise TokenTableError(
            f"Others may read DrChrono's tokens; run `REVOKE ALL ON TABLE {TABLE} FROM {whom}` in the "
            "database of DAGSTER_POSTGRES_URL, and if somebody may have read them, authorise the application "
            "again in DrChrono and set DRCHRONO_REFRESH_TOKEN."
        )


def _select(connection: psycopg.Connection[Any], chain: str) -> str | None:
    row = connection.execute(f"SELECT tokens FROM {TABLE} WHERE chain = %s", (chain,)).fetchone()
    return None if row is None else str(row[0])


def _others(connection: psycopg.Connection[Any]) -> list[str | None]:
    """Who else than its owner has any right to the table; None is everybody."""
    return [role for (role,) in connection.execute(_OTHERS, (TABLE,))]


def _from_text(text: str) -> KeptTokens:
    try:
        return from_json(json.loads(text))
    except (ValueError, TypeError, AttributeError, KeyError):
        pass
    # Raised out here: the exceptions above hold the text.
    raise TokenTableError(
        f"A row of the table of DrChrono's tokens, {TABLE} in the database of DAGSTER_POSTGRES_URL, is "
        "damaged; remove it, and if DRCHRONO_REFRESH_TOKEN is refused then, authorise the application again "
        "in DrChrono and set DRCHRONO_REFRESH_TOKEN."
    )


def _unreachable(problem: PostgresError) -> TokensUnreachableError:
    return TokensUnreachableError(f"DrChrono's tokens cannot be asked for. {problem}", tried_enough=True)
