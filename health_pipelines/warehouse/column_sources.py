"""Which columns a column of a mart is made of, read from the mart's own SQL.

Belongs here: finding what a column of a SELECT refers to, through its CTEs and unions. Does not belong here:
running the SQL (`table_builder.py`), and what a column means (the models' headers).

DuckDB tells of no lineage, but it parses: `json_serialize_sql` gives the tree of a statement. What a column
is filtered or joined by is not among its sources, except in a `FILTER` of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

# A node of the tree: what it has depends on its type.
_Node = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """`columns`: `<schema>.<table>.<column>` of what is read. `as_it_is`: nothing is done to the value."""

    columns: frozenset[str]
    as_it_is: bool


_Columns = Mapping[str, Source]


def column_sources(
    connection: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, Sequence[str]]
) -> dict[str, Source]:
    """Of each column of a SELECT, in order. `tables`: the columns of every `<schema>.<table>` it may read."""
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise ValueError(tree["error_message"])
    known = {
        table: {name: Source(frozenset({f"{table}.{name}"}), True) for name in names}
        for table, names in tables.items()
    }
    return dict(_query(tree["statements"][0]["node"], known))


def _query(node: _Node, known: Mapping[str, _Columns]) -> list[tuple[str, Source]]:
    """Columns in order, with names that may come twice. `known`: the columns of tables and of CTEs."""
    known = dict(known)
    for cte in node["cte_map"]["map"]:
        known[cte["key"]] = dict(_query(cte["value"]["query_node"], known))
    if node["type"] == "SET_OPERATION_NODE":
        rows = zip(*(_query(child, known) for child in node["children"]), strict=True)
        return [(row[0][0], _merged([source for _, source in row])) for row in rows]
    assert node["type"] == "SELECT_NODE", node["type"]
    read = list(_from(node["from_table"], known))
    columns: list[tuple[str, Source]] = []
    for item in node["select_list"]:
        if item["class"] == "STAR":
            wanted = [of_table for alias, of_table in read if item["relation_name"] in ("", alias)]
            columns += [column for of_table in wanted for column in of_table.items()]
        elif item["class"] == "COLUMN_REF":
            names = item["column_names"]
            columns.append((item["alias"] or names[-1], _resolved(names, read)))
        else:
            found = [_resolved(names, read).columns for names in _references(item)]
            columns.append((item["alias"], Source(frozenset().union(*found), as_it_is=False)))
    return columns


def _from(node: _Node, known: Mapping[str, _Columns]) -> Iterator[tuple[str, _Columns]]:
    """The tables of a FROM, each with the name that the SELECT calls it by."""
    if node["type"] == "JOIN":
        yield from _from(node["left"], known)
        yield from _from(node["right"], known)
        return
    assert node["type"] == "BASE_TABLE", node["type"]
    path = [part for part in (node["schema_name"], node["table_name"]) if part]
    yield node["alias"] or node["table_name"], known[".".join(path)]


def _references(node: Any) -> Iterator[Sequence[str]]:
    """The names of every column that is read somewhere below a node."""
    if isinstance(node, Mapping):
        if node.get("class") == "COLUMN_REF":
            yield node["column_names"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _resolved(names: Sequence[str], read: Sequence[tuple[str, _Columns]]) -> Source:
    *qualifiers, name = names
    found = [
        columns[name]
        for alias, columns in read
        if name in columns and qualifiers in ([], [alias], ["current", alias], ["marts", alias])
    ]
    assert len(found) == 1, f"{'.'.join(names)} is a column of {len(found)} of the tables that are read"
    return found[0]


def _merged(sources: Sequence[Source]) -> Source:
    columns = frozenset().union(*(source.columns for source in sources))
    return Source(columns, all(source.as_it_is for source in sources))
