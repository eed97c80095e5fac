"""The seam: what a database has to be able to do so that tables are published into it.

Belongs here: the protocols and the values that pass through them. Does not belong here: SQL of any database
(`postgres/`, `mssql/`), and the order in which a table is published (`publisher.py`), which is the same for
all.

A target promises:

- One transaction. Whoever reads sees the table as it was until it is committed, and after that as it is; if
  the process, the connection or the server dies anywhere, it is as it was, and nothing of ours is left:
  staging is in temporary tables.
- One publisher a table: `publishing` waits for its turn a bounded time.
- Rows change; the table stays. It is never dropped or swapped, so that views, grants and indexes of others
  stay. Columns that the warehouse does not have are not touched.
- What goes wrong is a `PublishError`: one sentence with the setting or the table and what to do, without any
  value, password or word of the server's.
- Connections are encrypted and the server's certificate is verified, unless the address says otherwise.
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

# In every schema that is published into: what was published when. One row a table; people may read it.
NOTES = "_published"


@dataclass(frozen=True)
class Totals:
    """Rows of a table, and the sum of their `_row_hash`; 0 of no rows."""

    rows: int
    combined_hash: int


@dataclass(frozen=True)
class Note:
    """What was published last, as the table's row of `NOTES` says it. Times are aware, in UTC.

    `version`: another one for each state that was ever published. `compared_at`: when every row was last
    compared with the warehouse.
    """

    version: str
    totals: Totals
    published_at: datetime
    compared_at: datetime


@dataclass(frozen=True)
class Rows:
    """Rows in DuckDB, to be carried: a SELECT on `connection`.

    It gives the table's columns in their order, each as `Target.value` makes it, then `_row_hash`; for rows
    that have to go only the key's columns.
    """

    connection: DuckDBPyConnection
    sql: str


@dataclass(frozen=True)
class Merged:
    """What a merge did, in rows."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted)

    def __add__(self, more: "Merged") -> "Merged":
        return Merged(self.inserted + more.inserted, self.updated + more.updated, self.deleted + more.deleted)


@dataclass(frozen=True)
class Access:
    """What the doctor asks. `version`: of the server. `problems`: sentences."""

    version: str
    problems: Sequence[str] = ()


class Transaction(Protocol):
    """One table in one transaction that holds its lock."""

    def existing(self) -> ExistingTable | None:
        """The table as it is; None if there is none.

        Raises `PublishError` if the name is that of something else, such as a view.
        """
        ...

    def noted(self) -> Note | None:
        """What was published last; None if nothing ever was."""
        ...

    def stage(self, table: WantedTable, rows: Rows) -> None:
        """Copy rows into a temporary table, by the bulk way; what was staged before is gone.

        `table` has the types that its columns have after `alter`.
        """
        ...

    def stage_gone(self, table: WantedTable, rows: Rows) -> None:
        """The same with the keys of rows that have to go."""
        ...

    def create(self, table: WantedTable, rows: Rows) -> Merged:
        """Make the table, with comments and key, and copy rows into it."""
        ...

    def alter(self, changes: Alterations) -> None:
        """Carry out alterations, but no `add_key`, and set comments that have changed.

        From here on nobody else writes into the table, until the transaction ends.
        """
        ...

    def merge_changes(self, table: WantedTable) -> Merged:
        """Delete what is staged to go, and let staged rows replace those of their key or be inserted."""
        ...

    def merge_all(self, table: WantedTable) -> Merged:
        """Let the table have exactly the staged rows, by key and by comparing every cell."""
        ...

    def replace_all(self, table: WantedTable) -> Merged:
        """Let the table have exactly the staged rows, without a key: all of them anew if any differs."""
        ...

    def add_key(self, table: WantedTable) -> None:
        """Make the key of the table, whose rows have it now."""
        ...

    def totals(self, table: WantedTable) -> Totals:
        """Of the table as this transaction sees it."""
        ...

    def note(self, table: WantedTable, note: Note) -> None:
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

        Hashes are made of these values.
        """
        ...

    def alters(self, type_: ColumnType, sql: str) -> str | None:
        """SQL for DuckDB: whether `value` makes another value of `sql`; None if it never does.

        Such values are counted and told.
        """
        ...

    def prepare(self, schemas: Sequence[str]) -> None:
        """Make schemas and their `NOTES` if they are missing. Raises `PublishError`."""
        ...

    def publishing(self, table: WantedTable) -> AbstractContextManager[Transaction]:
        """A transaction that has the table's lock; it is committed at the block's end.

        Raises `PublishError`, also for what the database says inside the block.
        """
        ...

    def examine(self, schemas: Sequence[str]) -> Access:
        """Whether it answers and this user may do what publishing into those schemas takes. Changes nothing.

        Raises `PublishError` if it cannot be reached.
        """
        ...
