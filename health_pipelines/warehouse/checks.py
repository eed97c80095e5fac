"""What is said of a current table when it was made: its keys, its rows, its values, its columns.

Belongs here: the statements, and counting what they need in the file that is being built. Does not belong
here: how Dagster is told (`assets.py`). No check holds a build back, and none says a value.

A table that was kept is not looked at again: what was said of it when it was made goes on to hold, and a
build carries it along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.drchrono.landing.columns import EXTRA
from health_pipelines.lake.csv_partition import matching_column
from health_pipelines.lake.partitions import Table
from health_pipelines.warehouse.counts import Counts
from health_pipelines.warehouse.current import Current
from health_pipelines.warehouse.landed_views import Shape

if TYPE_CHECKING:
    import duckdb

KEYS_ARE_UNIQUE = "keys_are_unique"
ROWS_RECONCILE = "rows_reconcile_with_landed"
VALUES_FIT = "values_fit_their_types"
COLUMNS_ARE_KNOWN = "columns_are_known"
APPOINTMENTS_EXIST = "appointments_exist"
# Told by the step (`assets.py`): it is about settings, and not about what the table is made of.
COLUMNS_ARE_CHOSEN = "columns_are_chosen"

_OF_EVERY_TABLE = {
    KEYS_ARE_UNIQUE: "Each row has a key and no other row has the same.",
    ROWS_RECONCILE: "There are as many rows as different keys have landed; without a key, as many as landed.",
    COLUMNS_ARE_KNOWN: "What landed has only documented columns, each of one type; where none is documented, "
    "every partition has the same columns.",
}
_VALUES_FIT_ABOUT = (
    "Every value fits its column's type. One that does not is NULL there, and its text is kept."
)
_APPOINTMENTS_EXIST_ABOUT = "The appointment of every billing line that is not deleted has landed."
_COLUMNS_ARE_CHOSEN_ABOUT = (
    "No column is used as the key, the time, the status or the wait of visits because it was guessed."
)
LINE_ITEMS, APPOINTMENTS = "current.line_items", "current.appointments"

# A body without a header line can make thousands of names; an event shows some.
_MOST_NAMES = 50

Shown = Mapping[str, str | int | None]


@dataclass(frozen=True)
class CheckReport:
    """What a check says. `warns`: not to hold is a warning and no error. `description`: None if all is said.

    `numbers`: what was counted. `columns`: a line for each column that there is something to say of.
    """

    name: str
    passed: bool
    warns: bool = False
    description: str | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    columns: Sequence[Shown] = ()


def checks_of(table: Table) -> dict[str, str]:
    """The names of the checks of `current.<table>`, with their descriptions."""
    described = dict(_OF_EVERY_TABLE)
    # Every column of provider histories is text, which fits whatever comes.
    if table != PROVIDER_HISTORIES:
        described[VALUES_FIT] = _VALUES_FIT_ABOUT
    if table in [report.table for report in VISIT_REPORTS]:
        described[COLUMNS_ARE_CHOSEN] = _COLUMNS_ARE_CHOSEN_ABOUT
    if f"current.{table.name}" == LINE_ITEMS:
        described[APPOINTMENTS_EXIST] = _APPOINTMENTS_EXIST_ABOUT
    return described


def once_each(reports: Sequence[CheckReport]) -> Counts | None:
    """What was counted of a table that has every key that landed, once; None if it has not, or has no key."""
    numbers: dict[str, int] = {}
    for one in reports:
        if one.name in (KEYS_ARE_UNIQUE, ROWS_RECONCILE):
            numbers |= one.numbers
    try:
        counts = Counts(
            numbers["rows_current"],
            numbers["rows_deleted"],
            numbers["keys"],
            numbers["rows_landed"],
            numbers["keys_landed"],
            numbers["rows_without_key"],
        )
    except KeyError:
        return None
    return counts if counts.rows == counts.keys == counts.landed_keys else None


def keys_are_unique(counts: Counts, key_setting: str | None) -> CheckReport:
    """`key_setting`: the setting that names the key, if there is one."""
    if counts.keys is None:
        return CheckReport(
            KEYS_ARE_UNIQUE,
            True,
            description=f"No key is set; put the name of the column that tells rows apart into "
            f"{key_setting}.",
            numbers={"rows": counts.rows},
        )
    without = counts.rows - counts.keys
    return CheckReport(
        KEYS_ARE_UNIQUE,
        passed=not without,
        description=f"Of {counts.rows} rows, {without} have no key of their own; delete warehouse.duckdb to "
        "have it built anew from the lake."
        if without
        else None,
        numbers={"rows": counts.rows, "keys": counts.keys},
    )


def rows_reconcile(counts: Counts, has_landed_meanwhile: Callable[[], bool]) -> CheckReport:
    """`has_landed_meanwhile`: whether the lake's files are others than those the table was made of."""
    expected = counts.landed if counts.landed_keys is None else counts.landed_keys
    what = "rows" if counts.landed_keys is None else "different keys"
    passed = counts.rows == expected
    warns = not passed and has_landed_meanwhile()
    description = None
    if warns:
        description = "A partition landed while this was built; the next build compares again."
    elif not passed:
        description = (
            f"{expected} {what} have landed and {counts.rows} rows are current; delete warehouse.duckdb to "
            "have it built anew from the lake."
        )
    keys = {} if counts.landed_keys is None else {"keys_landed": counts.landed_keys}
    return CheckReport(
        ROWS_RECONCILE,
        passed,
        warns,
        description,
        {
            "rows_landed": counts.landed,
            **keys,
            "rows_without_key": counts.landed_without_key,
            "rows_current": counts.rows,
            "rows_deleted": counts.deleted,
        },
    )


def values_fit(failed_casts: Mapping[str, int]) -> CheckReport:
    """`failed_casts`: by column, the values that do not fit."""
    failed = sum(failed_casts.values())
    lines: list[Shown] = [{"column": name, "values": number} for name, number in failed_casts.items()]
    return CheckReport(
        VALUES_FIT,
        passed=not failed,
        warns=True,
        description=f"{failed} values do not fit their column's type; they are NULL there and kept as text."
        if failed
        else None,
        numbers={"values": failed},
        columns=lines[:_MOST_NAMES],
    )


def columns_are_known(connection: duckdb.DuckDBPyConnection, current: Current, shape: Shape) -> CheckReport:
    """Reads of the rows only those in which something does not fit or is not documented."""
    unknown = _odd_columns(shape, current.documented)
    fields = _extra_fields(connection, current) if EXTRA in current.model.columns else []
    unknown += [
        _line(name, "undocumented field", *found) for name, *found in fields if not _knows(current, name)
    ]
    # Those are no news of the columns, and `values_fit_their_types` counts them.
    misfits = [
        _line(name, "does not fit its column", *found) for name, *found in fields if _knows(current, name)
    ]
    return CheckReport(
        COLUMNS_ARE_KNOWN,
        passed=not unknown,
        warns=True,
        description=f"{len(unknown)} columns or fields are not as documented, or not the same everywhere. "
        "All that came has landed."
        if unknown
        else None,
        numbers={"columns": len(shape.seen), "columns_to_look_at": len(unknown)},
        columns=[*unknown, *misfits][:_MOST_NAMES],
    )


def _knows(current: Current, name: str) -> bool:
    return current.documented is not None and matching_column(current.documented, name) is not None


def _odd_columns(shape: Shape, documented: Sequence[str] | None) -> list[Shown]:
    lines = []
    for name, kinds in shape.seen.items():
        partitions = sum(kinds.values())
        if documented is not None and matching_column(documented, name) is None:
            lines.append(_line(name, "undocumented column", None, partitions))
        elif documented is None and partitions < shape.files_with_columns:
            lines.append(_line(name, f"not in all {shape.files_with_columns} partitions", None, partitions))
        if len(kinds) > 1:
            said = ", ".join(f"{kind} in {number}" for kind, number in sorted(kinds.items()))
            lines.append(_line(name, f"several types: {said}", None, partitions))
    return lines


def _extra_fields(connection: duckdb.DuckDBPyConnection, current: Current) -> list[tuple[str, int, int]]:
    """Of each field in `_extra`: its name, in how many rows it is, and in how many partitions."""
    return connection.execute(
        f"""
        WITH rows AS (
            SELECT unnest(CASE WHEN json_valid({EXTRA}) THEN json_keys({EXTRA}) END) AS field, _partition_date
            FROM {current.model.sql_name}
            WHERE {EXTRA} IS NOT NULL
        )
        SELECT field, count(*), count(DISTINCT _partition_date) FROM rows GROUP BY field ORDER BY field
        """
    ).fetchall()


def _line(column: str, what: str, rows: int | None, partitions: int) -> Shown:
    return {"column": column, "what": what, "rows": rows, "partitions": partitions}


def appointments_exist(connection: duckdb.DuckDBPyConnection) -> CheckReport:
    """Of billing lines and appointments as they are in the file now."""
    [(lines, orphans, of_deleted)] = connection.execute(
        f"""
        SELECT count(*), count(*) FILTER (appointments.id IS NULL), count(*) FILTER (appointments.is_deleted)
        FROM {LINE_ITEMS} AS lines LEFT JOIN {APPOINTMENTS} AS appointments
          ON appointments.id = lines.appointment
        WHERE NOT lines.is_deleted
        """
    ).fetchall()
    return CheckReport(
        APPOINTMENTS_EXIST,
        passed=not orphans,
        warns=True,
        description=f"The appointments of {orphans} billing lines have not landed; land the days on which "
        "they last changed."
        if orphans
        else None,
        numbers={
            "line_items": lines,
            "without_appointment": orphans,
            "of_deleted_appointments": of_deleted,
        },
    )
