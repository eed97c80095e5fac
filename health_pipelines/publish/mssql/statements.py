"""T-SQL, made of names and types.

Belongs here: the text of every statement. Does not belong here: carrying it out (`transaction.py`,
`target.py`), and how a type is spelled (`types.py`). Pure.

A name is in brackets, and a value is bound at a `?`. There is no MERGE, whose bugs are known. What is
compared as text has a full stop behind it, since SQL Server ignores blanks at the end of a text.
"""

import hashlib
from collections.abc import Iterable, Sequence

from health_pipelines.publish.mssql.types import COLLATION, spelled
from health_pipelines.publish.tables import Column, WantedTable
from health_pipelines.publish.types import Kind

STAGED, GONE = "#staged", "#gone"
# As much as an extended property holds.
LONGEST_COMMENT = 3750
# What a server or a user is set to otherwise is for people. Messages are in English, since `errors.py` reads
# them.
SETTINGS = (
    "SET XACT_ABORT ON; SET NOCOUNT OFF; SET LANGUAGE us_english; SET ANSI_NULLS ON; SET ANSI_PADDING ON; "
    "SET ANSI_WARNINGS ON; SET ARITHABORT ON; SET CONCAT_NULL_YIELDS_NULL ON; SET NUMERIC_ROUNDABORT OFF; "
    "SET QUOTED_IDENTIFIER ON; SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
)
BEGIN, COMMIT = "BEGIN TRANSACTION", "COMMIT TRANSACTION"
ROLLBACK = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
# Of the server: version, edition (5 and more are Azure's), whether the database takes changes.
SERVER = (
    "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)), "
    "CAST(SERVERPROPERTY('EngineEdition') AS int), "
    "CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(128)), "
    "HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), 'DATABASE', 'CREATE SCHEMA'), "
    "HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), 'DATABASE', 'CREATE TABLE')"
)
SCHEMA = "SELECT s.schema_id, HAS_PERMS_BY_NAME(QUOTENAME(s.name), 'SCHEMA', 'ALTER') " + (
    "FROM sys.schemas AS s WHERE s.name = ?"
)
# Schema and name. The type of a table is `U`.
OBJECT = (
    "SELECT o.object_id, o.type, USER_NAME(OBJECTPROPERTY(o.object_id, 'OwnerId')), "
    "HAS_PERMS_BY_NAME(QUOTENAME(s.name) + '.' + QUOTENAME(o.name), 'OBJECT', 'ALTER') "
    "FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id "
    "WHERE s.name = ? AND o.name = ?"
)
# The three below ask about an `object_id`.
COLUMNS = (
    "SELECT c.name, t.name, c.max_length, c.precision, c.scale, c.collation_name, "
    "CASE WHEN c.is_nullable = 0 AND c.is_identity = 0 AND c.is_computed = 0 AND c.default_object_id = 0 "
    "THEN 1 ELSE 0 END "
    "FROM sys.columns AS c JOIN sys.types AS t ON t.user_type_id = c.user_type_id "
    "WHERE c.object_id = ? ORDER BY c.column_id"
)
KEY = (
    "SELECT k.name, c.name FROM sys.key_constraints AS k "
    "JOIN sys.index_columns AS i ON i.object_id = k.parent_object_id AND i.index_id = k.unique_index_id "
    "JOIN sys.columns AS c ON c.object_id = i.object_id AND c.column_id = i.column_id "
    "WHERE k.type = 'PK' AND k.parent_object_id = ? AND i.key_ordinal > 0 ORDER BY i.key_ordinal"
)
COMMENTS = (
    f"SELECT COALESCE(c.name, ''), CAST(p.value AS nvarchar({LONGEST_COMMENT})) "
    "FROM sys.extended_properties AS p LEFT JOIN sys.columns AS c "
    "ON c.object_id = p.major_id AND c.column_id = p.minor_id AND p.minor_id > 0 "
    "WHERE p.class = 1 AND p.name = 'MS_Description' AND p.major_id = ?"
)
# Who has held a lock the longest on a table that another session waits for.
HOLDER = (
    "SELECT TOP (1) s.session_id, s.login_name, s.program_name, s.last_request_start_time "
    "FROM sys.dm_tran_locks AS l JOIN sys.dm_exec_sessions AS s ON s.session_id = l.request_session_id "
    "WHERE l.resource_type = 'OBJECT' AND l.resource_database_id = DB_ID() AND l.request_status = 'GRANT' "
    "AND l.resource_associated_entity_id = OBJECT_ID(?) AND l.request_session_id <> @@SPID "
    "ORDER BY s.last_request_start_time"
)


def quoted(*parts: str) -> str:
    """A name, or a dotted one."""
    return ".".join("[" + part.replace("]", "]]") + "]" for part in parts)


def of(table: WantedTable) -> str:
    return quoted(table.schema, table.name)


def turn(name: str, milliseconds: int) -> str:
    """Wait for a lock of the whole transaction; below 0 is what did not get it."""
    # A name of 255 characters at most, whatever is in it.
    digest = hashlib.sha256(name.encode()).hexdigest()
    return (
        f"DECLARE @got int; EXEC @got = sp_getapplock @Resource = 'health_pipelines {digest}', "
        "@LockMode = 'Exclusive', @LockOwner = 'Transaction', "
        f"@LockTimeout = {milliseconds}; SELECT @got"
    )


def lock_timeout(milliseconds: int) -> str:
    return f"SET LOCK_TIMEOUT {milliseconds}"


def lock(table: WantedTable) -> str:
    """Nobody else reads or writes from here on. One row is read, since nothing is locked for none."""
    return f"SELECT TOP (1) 1 FROM {of(table)} WITH (TABLOCKX, HOLDLOCK)"


def create_schema(schema: str) -> str:
    return f"CREATE SCHEMA {quoted(schema)}"


def create_notes(notes: str) -> str:
    return (
        f"CREATE TABLE {notes} (table_name nvarchar(128) COLLATE {COLLATION} NOT NULL PRIMARY KEY, "
        "version nvarchar(64) NOT NULL, [rows] bigint NOT NULL, combined_hash decimal(38,0) NOT NULL, "
        "published_at datetimeoffset(6) NOT NULL, compared_at datetimeoffset(6) NOT NULL)"
    )


def noted(notes: str) -> str:
    return (
        f"SELECT version, [rows], combined_hash, published_at, compared_at FROM {notes} WHERE table_name = ?"
    )


def note_again(notes: str) -> str:
    return (
        f"UPDATE {notes} SET version = ?, [rows] = ?, combined_hash = CAST(? AS decimal(38,0)), "
        "published_at = ?, compared_at = ? WHERE table_name = ?"
    )


def note_first(notes: str) -> str:
    return (
        f"INSERT INTO {notes} (version, [rows], combined_hash, published_at, compared_at, table_name) "
        "VALUES (?, ?, CAST(? AS decimal(38,0)), ?, ?, ?)"
    )


def create(name: str, columns: Sequence[Column], key: Sequence[str]) -> str:
    """`name`: of a table, as it is written. Parts of the key are not NULL; the key itself comes later."""
    return f"CREATE TABLE {name} ({', '.join(_declared(one, key) for one in columns)})"


def drop(name: str) -> str:
    return f"DROP TABLE IF EXISTS {name}"


def index(name: str, key: Sequence[str]) -> str:
    """So that a merge finds rows by their key, and the server knows how many there are."""
    return f"CREATE UNIQUE CLUSTERED INDEX [by_key] ON {name} ({_names(key)})"


def fill(name: str, columns: Sequence[Column]) -> str:
    """Of one row, to be carried out with many."""
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {name} ({_names(one.name for one in columns)}) VALUES ({marks})"


def add(table: WantedTable, column: Column) -> str:
    return f"ALTER TABLE {of(table)} ADD {_declared(column, ())}"


def alter(table: WantedTable, column: Column, key: Sequence[str]) -> str:
    return f"ALTER TABLE {of(table)} ALTER COLUMN {_declared(column, key)}"


def drop_key(table: WantedTable, constraint: str) -> str:
    return f"ALTER TABLE {of(table)} DROP CONSTRAINT {quoted(constraint)}"


def add_key(table: WantedTable) -> str:
    """Clustered, unless somebody else has made an index that is."""
    return f"ALTER TABLE {of(table)} ADD PRIMARY KEY ({_names(table.key)})"


def delete_gone(table: WantedTable) -> str:
    return (
        f"DELETE t FROM {of(table)} AS t "
        f"WHERE EXISTS (SELECT 1 FROM {GONE} AS g WHERE {_same(table.key, 't', 'g')})"
    )


def delete_others(table: WantedTable) -> str:
    return (
        f"DELETE t FROM {of(table)} AS t "
        f"WHERE NOT EXISTS (SELECT 1 FROM {STAGED} AS s WHERE {_same(table.key, 't', 's')})"
    )


def update(table: WantedTable, columns: Sequence[Column]) -> str:
    """The key too: somebody may have put blanks behind it."""
    set_ = ", ".join(f"{quoted(one.name)} = {quoted('s', one.name)}" for one in columns)
    return (
        f"UPDATE t SET {set_} FROM {of(table)} AS t JOIN {STAGED} AS s ON {_same(table.key, 't', 's')} "
        f"WHERE EXISTS (SELECT {_compared(columns, 's')} EXCEPT SELECT {_compared(columns, 't')})"
    )


def insert_missing(table: WantedTable, columns: Sequence[Column]) -> str:
    names = _names(one.name for one in columns)
    return (
        f"INSERT INTO {of(table)} ({names}) SELECT {names} FROM {STAGED} AS s "
        f"WHERE NOT EXISTS (SELECT 1 FROM {of(table)} AS t WHERE {_same(table.key, 't', 's')})"
    )


def differs(table: WantedTable, columns: Sequence[Column], row_hash: str) -> str:
    """Whether the table has a row that is not staged, or another number of one that is.

    They are counted by their hash, which is that of one row where all rows are staged ones.
    """
    there, staged = f"FROM {of(table)} AS t", f"FROM {STAGED} AS s"
    mine, theirs = f"{_compared(columns, 's')} {staged}", f"{_compared(columns, 't')} {there}"
    counted, group = f"{quoted(row_hash)}, COUNT_BIG(*)", f"GROUP BY {quoted(row_hash)}"
    return (
        f"SELECT CASE WHEN EXISTS (SELECT {theirs} EXCEPT SELECT {mine}) "
        f"OR EXISTS (SELECT {counted} {staged} {group} EXCEPT SELECT {counted} {there} {group}) "
        "THEN 1 ELSE 0 END"
    )


def delete_all(table: WantedTable) -> str:
    return f"DELETE FROM {of(table)}"


def insert_all(table: WantedTable, columns: Sequence[Column]) -> str:
    names = _names(one.name for one in columns)
    return f"INSERT INTO {of(table)} ({names}) SELECT {names} FROM {STAGED}"


def totals(table: WantedTable, row_hash: str) -> str:
    summed = f"SUM(CAST({quoted(row_hash)} AS decimal(38,0)))"
    return f"SELECT COUNT_BIG(*), COALESCE({summed}, 0) FROM {of(table)}"


def comment(*, known: bool, wanted: bool, on_column: bool) -> str:
    """Bind the text if it is `wanted`, then schema, table, and column if it is one. `known`: there is one."""
    what = ("update" if known else "add") if wanted else "drop"
    text = " @value = ?," if wanted else ""
    column = ", @level2type = 'COLUMN', @level2name = ?" if on_column else ""
    return (
        f"EXEC sp_{what}extendedproperty @name = 'MS_Description',{text} @level0type = 'SCHEMA', "
        f"@level0name = ?, @level1type = 'TABLE', @level1name = ?{column}"
    )


def _declared(column: Column, key: Sequence[str]) -> str:
    in_key = column.name in key
    collation = f" COLLATE {COLLATION}" if column.type.kind is Kind.TEXT else ""
    null = "NOT NULL" if in_key else "NULL"
    return f"{quoted(column.name)} {spelled(column.type, in_key=in_key)}{collation} {null}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def _same(key: Sequence[str], one: str, other: str) -> str:
    return " AND ".join(f"{quoted(one, name)} = {quoted(other, name)}" for name in key)


def _compared(columns: Sequence[Column], of: str) -> str:
    return ", ".join(
        f"{quoted(of, one.name)} + N'.' COLLATE {COLLATION}"
        if one.type.kind is Kind.TEXT
        else quoted(of, one.name)
        for one in columns
    )
