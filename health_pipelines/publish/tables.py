"""A table as it should be in the target, a table as it is there, and what has to be altered.

Belongs here: the comparison of the two, as values. Does not belong here: looking and altering (`target.py`).
Pure.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from health_pipelines.publish.names import NameLimit, shortened
from health_pipelines.publish.types import BIGINT, ColumnType, holding_both

# The column of ours that every published table has: a hash of the row's other published columns, made by
# DuckDB.
ROW_HASH = "_row_hash"
ROW_HASH_ABOUT = "A hash of the row that says whether it has changed. Made and used by the publisher."


class PublishError(Exception):
    """A table could not be published and is as it was. One sentence that says what to do; no value in it."""


@dataclass(frozen=True)
class Column:
    """`source`: its name in the warehouse. `name`: in the target."""

    source: str
    name: str
    type: ColumnType
    about: str


@dataclass(frozen=True)
class WantedTable:
    """What a table of the warehouse should be in the target.

    `source` is `<schema>.<table>` in the warehouse. `key`: names in the target; empty if nothing tells rows
    apart, or if some part of the key is NULL somewhere. `shortened`: target name by warehouse name, of all
    that are too long.
    """

    source: str
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    about: str

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def without_key(self) -> "WantedTable":
        return replace(self, key=())

    @property
    def shortened(self) -> Mapping[str, str]:
        names = {column.source: column.name for column in self.columns}
        names[self.source.split(".", 1)[1]] = self.name
        return {long: short for long, short in names.items() if long != short}

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class ExistingTable:
    """What the target has. `columns`: each with its type, or None for a type that no published column has.

    `spelled`: the target's own words for each type. `key`: the columns of its primary key, in order.
    `is_ours`: whether this user may alter it, which is to own it. `owner`: to say who does. `required`:
    columns that allow no NULL.
    """

    columns: Mapping[str, ColumnType | None]
    spelled: Mapping[str, str]
    key: tuple[str, ...]
    is_ours: bool
    owner: str
    required: Collection[str] = ()


@dataclass(frozen=True)
class Alterations:
    """What makes an existing table hold a wanted one. `table` has the types that the columns have afterwards.

    `drop_key`: the primary key has to go, since the table has another one or none. `add_key`: it has to be
    made, when the rows are right.
    """

    table: WantedTable
    add: tuple[Column, ...] = ()
    widen: tuple[Column, ...] = ()
    drop_key: bool = False
    add_key: bool = False

    def __bool__(self) -> bool:
        return bool(self.add or self.widen or self.drop_key or self.add_key)


def wanted_table(
    source: str,
    schema: str,
    *,
    columns: Collection[tuple[str, ColumnType, str]],
    key: Collection[str],
    about: str,
    limit: NameLimit,
) -> WantedTable:
    """`columns`: name in the warehouse, type and comment, in order. `key`: names in the warehouse."""
    taken = {name for name, _, _ in columns if limit.allows(name)} | {ROW_HASH}
    made = []
    for name, type_, comment in columns:
        mine = name if limit.allows(name) and name != ROW_HASH else shortened(name, limit, taken)
        taken.add(mine)
        made.append(Column(name, mine, type_, comment))
    names = {column.source: column.name for column in made}
    return WantedTable(
        source,
        schema,
        shortened(source.split(".", 1)[1], limit),
        tuple(made),
        tuple(names[name] for name in key),
        about,
    )


def alterations(wanted: WantedTable, existing: ExistingTable, most_columns: int) -> Alterations:
    """Raises `PublishError` if the existing table cannot become one that holds the wanted one."""
    name = wanted.full_name
    if not existing.is_ours:
        raise PublishError(
            f"{name} belongs to {existing.owner} in the target, so that it cannot be kept up to date: let "
            "PUBLISH_URL's user own it, or move it away or choose another PUBLISH_SCHEMA."
        )
    if existing.columns.get(ROW_HASH) != BIGINT:
        raise PublishError(
            f"{name} exists in the target and was not made by this project (it has no column {ROW_HASH}): "
            "move it away, or choose another PUBLISH_SCHEMA."
        )
    add, widen, columns = [], [], []
    for column in wanted.columns:
        if column.name not in existing.columns:
            add.append(column)
            columns.append(column)
            continue
        there = existing.columns[column.name]
        wider = there and holding_both(there, column.type)
        if there is None or wider is None:
            raise PublishError(
                f"{name} has the column {column.name} as {existing.spelled[column.name]} in the target, and "
                f"the warehouse has it as {column.type}; no type holds both: drop or rename that column in "
                "the target, and it is filled anew."
            )
        columns.append(replace(column, type=wider))
        if wider != there:
            widen.append(columns[-1])
    foreign = sorted(set(existing.required) - {column.name for column in wanted.columns} - {ROW_HASH})
    if foreign:
        raise PublishError(
            f"{name} has the column {foreign[0]} in the target, which must not be NULL and is not in the "
            "warehouse: let it be NULL, or give it away."
        )
    if len(existing.columns) + len(add) > most_columns:
        raise PublishError(
            f"{name} would have {len(existing.columns) + len(add)} columns in the target, which allows "
            f"{most_columns}: leave it out of PUBLISH_TABLES, or drop columns that the warehouse no longer "
            "has."
        )
    return Alterations(
        replace(wanted, columns=tuple(columns)),
        tuple(add),
        tuple(widen),
        drop_key=bool(existing.key) and existing.key != wanted.key,
        add_key=bool(wanted.key) and existing.key != wanted.key,
    )
