"""The seam: what a database has to be able to do so that tables are published into it.

Belongs here: the protocols and the values that pass through them. Does not belong here: SQL of any database
(`postgres/`, `mssql/`), and the order in which a table is published (`publisher.py`), which is the same for
all of them:

    with target.publishing(wanted) as there:          # a transaction, and the lock of that table
        existing, noted = there.existing(), there.noted()
        ...                                            # `changes.py` finds out what differs:
        there.read_hashes(into, "known", wanted)       #   from the hashes that stand in the target, or
        there.read_cells(into, "known", wanted)        #   from all that stands there, once a day
        there.stage(altered, upserts, gone)            # bulk copy; nobody is kept waiting
        there.create(wanted) or there.alter(changes)   # from here on readers may have to wait
        merged = there.merge(altered)
        there.add_key(altered)                         #   if it has none
        there.note(noted)
    # the block's end commits; an exception in it rolls back

A target promises:

- One transaction. Whoever reads sees the table as it was until it is committed, and after that as it is; if
  the process, the connection or the server dies anywhere, it is as it was, and nothing of ours is left
  (staging is in temporary tables of the session).
- One publisher a table: `publishing` waits for its turn a bounded time (`TURN_WITHIN_SECONDS`).
- Rows change; the table stays. It is never dropped, swapped or truncated, so that views, grants and indexes
  of others stay. Columns that the warehouse does not have are not touched.
- Every name is quoted. What goes wrong is a `PublishError`: one sentence with the setting or the table and
  what to do, without any value, password or word of the server's.
- Connections are encrypted and the server's certificate is verified, unless the address says otherwise.

What DuckDB does and the target does not: hashes (`_row_hash` is a signed 64-bit integer that only DuckDB
computes), finding differences, and turning values into what the target can hold (`value`).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from duckdb import DuckDBPyConnection

from health_pipelines.publish.names import NameLimit
from health_pipelines.publish.tables import Alterations, ExistingTable, WantedTable
from health_pipelines.publish.types import ColumnType

# How long one publisher waits for another that publishes the same table, and for other people's locks.
TURN_WITHIN_SECONDS = 900
LOCK_WITHIN_SECONDS = 30
# In every schema we publish into: what was published when. One row a table; people may read it.
NOTES = "_published"


@dataclass(frozen=True)
class Note:
    """What a table in the target was made of, as the row of `NOTES` says it. Times are aware, in UTC.

    `version`: another one for each state that was ever published (a UUID as text). `rows`, `combined_hash`:
    of the published state; the hash is the sum of all `_row_hash` as a decimal number. `hashed_by`: what made
    the hashes; those of another maker cannot be compared. `compared_at`: when every cell was last
    compared with the warehouse.
    """

    version: str
    rows: int
    combined_hash: str
    hashed_by: str
    published_at: datetime
    compared_at: datetime


@dataclass(frozen=True)
class Rows:
    """Rows in DuckDB, to be carried: a SELECT on `connection`, whose columns are named as in the target.

    `sql` gives the table's columns in their order (each already what `Target.value` made of it), then
    `_row_hash`; for rows that have to go only the key's columns, or, without a key, `_row_hash` and `copies`
    (how many rows with this hash have to go).
    """

    connection: DuckDBPyConnection
    sql: str
    count: int


@dataclass(frozen=True)
class Merged:
    """What a merge did, in rows."""

    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class Access:
    """What the doctor asks. `version`: of the server. `problems`, `warnings`: sentences."""

    version: str
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()


class Transaction(Protocol):
    """One table in one transaction that holds its lock."""

    def existing(self) -> ExistingTable | None:
        """The table as it is; None if there is none.

        Raises `PublishError` if the name is that of something else, such as a view.
        """
        ...

    def noted(self) -> Note | None:
        """What was published last; None if nothing ever was, or if the table is gone."""
        ...

    def read_hashes(self, into: DuckDBPyConnection, name: str, table: WantedTable) -> None:
        """Make the temporary table `name` in DuckDB: the key's columns with their DuckDB types, and
        `_row_hash`."""
        ...

    def read_cells(self, into: DuckDBPyConnection, name: str, table: WantedTable) -> None:
        """The same with every column of `table` that the target has, with its DuckDB type, and `_row_hash`.

        A column that it has not is NULL. A value that the DuckDB type cannot hold is NULL.
        """
        ...

    def stage(self, table: WantedTable, upserts: Rows, gone: Rows) -> None:
        """Copy rows into temporary tables, by the bulk way.

        `table` has the types that its columns have after `alter`.
        """
        ...

    def create(self, table: WantedTable) -> None:
        """Make the schema and `NOTES` if they are missing, and the table with comments, without a key."""
        ...

    def alter(self, changes: Alterations) -> None:
        """Carry out alterations, but no `add_key`, and set comments that have changed."""
        ...

    def merge(self, table: WantedTable, *, replace_all: bool) -> Merged:
        """Let what is staged count.

        With a key: delete what is gone, update rows that are there, insert the others, whatever somebody did
        to the table since it was compared. Without: delete so many copies of each hash, insert all. With
        `replace_all` delete every row first, and insert all that is staged.
        """
        ...

    def add_key(self, table: WantedTable) -> None:
        """Make the key of the table, whose rows have it now."""
        ...

    def totals(self, table: WantedTable) -> tuple[int, str]:
        """Rows in the table now, and the sum of their `_row_hash` as a decimal number; 0 for none."""
        ...

    def note(self, note: Note) -> None:
        """Write the table's row of `NOTES`."""
        ...

    @property
    def bytes_sent(self) -> int:
        """How much was copied to the server."""
        ...


class Target(Protocol):
    """A database that tables are published into."""

    @property
    def identity(self) -> str:
        """Which database it is, without user and password: another one for another server or database."""
        ...

    @property
    def name_limit(self) -> NameLimit: ...

    @property
    def most_columns(self) -> int: ...

    def value(self, type_: ColumnType, sql: str) -> str:
        """SQL for DuckDB: the value of `sql`, a column of that type, as this target can hold it.

        Hashes are made of these values, and so what comes back is compared with them.
        """
        ...

    def alters(self, type_: ColumnType, sql: str) -> str | None:
        """SQL for DuckDB: whether `value` makes another value of `sql`; None if it never does.

        Such values are counted and told.
        """
        ...

    def publishing(self, table: WantedTable) -> AbstractContextManager[Transaction]:
        """Begin a transaction and take the table's lock. Raises `PublishError`, also for what happens inside
        and for what is not the block's own error."""
        ...

    def examine(self, schemas: Sequence[str]) -> Access:
        """Whether it answers and this user may do what publishing into those schemas takes. Changes nothing.

        Raises `PublishError` if it cannot be reached.
        """
        ...
