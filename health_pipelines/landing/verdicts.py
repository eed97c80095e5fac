"""What the checks of a landed day say of it. Pure.

Belongs here: the statements, from what is known of a day to a verdict with a sentence. Does not belong here:
where that is read and how it is told to Dagster (`checks.py`). No verdict says a value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from dagster import AssetCheckSeverity, AssetKey

from health_pipelines.lake.partitions import Table
from health_pipelines.landing.usual_rows import Odd
from health_pipelines.settings import Settings

ROW_COUNT_MATCHES_VENDOR = "row_count_matches_vendor"
COLUMNS_ARE_KNOWN = "columns_are_known"
KEYS_ARE_UNIQUE = "keys_are_unique"
ROW_COUNT_IS_USUAL = "row_count_is_usual"
CHANGES_ARE_PAST = "changes_are_past"
DESCRIPTIONS = {
    ROW_COUNT_MATCHES_VENDOR: "The day's file has as many rows as the vendor sent.",
    COLUMNS_ARE_KNOWN: "The day's columns are those that the table had when it last landed. A new, missing "
    "or renamed one is a warning; all columns land.",
    KEYS_ARE_UNIQUE: "Each row of the day has a key and no other row of the day has the same.",
    ROW_COUNT_IS_USUAL: "The day has not far fewer rows than it had before, or than its weekday usually has "
    "(HEALTH_UNUSUAL_ROWS_BELOW, HEALTH_UNUSUAL_ROWS_FROM).",
}
_CHANGES_ARE_PAST_ABOUT = (
    "No record says that it changed after it was read. One that does lands in the newest day."
)


# A body without a header line can make thousands of names; an event shows a few.
_MOST_NAMES = 20


@dataclass(frozen=True)
class CheckedTable:
    """A table and what its checks go by.

    `key`: the column that tells rows apart; None if `key_setting` is to name it and does not. `empty_days_
    have_columns`: whether a day of no rows has a header all the same, as a CSV does and JSON does not.
    `changed`: the column with the time of the last change, which decides about a row's day; None without one.
    `days_are_alike`: whether days are comparable, which they are not where one holds the rows of all.
    `zone`: whose calendar days the partitions are.
    """

    asset: AssetKey
    table: Table
    key: str | None
    key_setting: str | None
    empty_days_have_columns: bool
    changed: str | None = None
    days_are_alike: bool = True
    zone: Callable[[Settings], ZoneInfo] = lambda settings: settings.timezone

    @property
    def checks(self) -> dict[str, str]:
        """The checks of a landed day, and what each says."""
        return DESCRIPTIONS | ({CHANGES_ARE_PAST: _CHANGES_ARE_PAST_ABOUT} if self.changed else {})


@dataclass(frozen=True)
class Verdict:
    """What a check says. `description`: a sentence, None where there is nothing to add to a green mark."""

    passed: bool
    description: str | None = None
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KeyCounts:
    """Rows of a day whose key is NULL or empty, and rows that repeat the key of another."""

    without: int
    repeated: int


@dataclass(frozen=True)
class Standing:
    """A partition as its file says. `columns`: the vendor's. `keys`: None without a key column.

    `from_the_future`: rows that say they changed days after the partition's day. `rows_erased`: rows of
    erased patients that were sent and are kept out.
    """

    rows: int
    columns: tuple[str, ...]
    keys: KeyCounts | None
    from_the_future: int = 0
    rows_erased: int = 0


@dataclass(frozen=True)
class Compared:
    """Rows that a day is compared with. `before`: those of its version before; `usual`: those of its weekday.

    None: nothing is known, or the comparison says nothing of this table.
    """

    before: int | None = None
    usual: float | None = None


def row_count_verdict(sent: int | None, landed: int, erased: int = 0) -> Verdict:
    """`sent`: None if nothing recorded it. `erased`: rows that were kept out, at the landing or since."""
    if sent is None:
        return Verdict(
            False,
            "How many rows the vendor sent was not recorded for this day; land it again.",
            AssetCheckSeverity.WARN,
            {"rows_landed": landed},
        )
    metadata = {"rows_sent": sent, "rows_landed": landed}
    if erased:
        metadata["rows_kept_out"] = sent - landed
    if landed <= sent <= landed + erased:
        return Verdict(True, metadata=metadata)
    return Verdict(
        False,
        f"The vendor sent {sent} rows and the day's file has {landed}; land it again.",
        metadata=metadata,
    )


def columns_verdict(known: Sequence[str] | None, columns: Sequence[str]) -> Verdict:
    """`known`: the columns of the landing before; None if there was none. Another order is no difference."""
    if known is None:
        return Verdict(
            True, "The first columns of this table that are known.", metadata={"columns": len(columns)}
        )
    new = [name for name in columns if name not in set(known)]
    missing = [name for name in known if name not in set(columns)]
    if not new and not missing:
        return Verdict(True, metadata={"columns": len(columns)})
    at_one_place = [
        (before, now)
        for before, now in zip(known, columns, strict=False)
        if before in set(missing) and now in set(new)
    ]
    said = [f"new: {_named(new)}"] if new else []
    said += [f"missing: {_named(missing)}"] if missing else []
    if at_one_place:
        said.append(f"perhaps renamed: {_listed([f'{before!r} to {now!r}' for before, now in at_one_place])}")
    return Verdict(
        False,
        f"Other columns than before, {'; '.join(said)}. All that came has landed.",
        AssetCheckSeverity.WARN,
        {
            "columns": len(columns),
            "columns_new": new[:_MOST_NAMES],
            "columns_missing": missing[:_MOST_NAMES],
            "columns_perhaps_renamed": [list(pair) for pair in at_one_place[:_MOST_NAMES]],
        },
    )


def keys_verdict(checked: CheckedTable, standing: Standing) -> Verdict:
    if checked.key is None:
        return Verdict(
            True,
            f"No key is set; put the name of the column that tells rows apart into {checked.key_setting}.",
            AssetCheckSeverity.WARN,
        )
    if standing.keys is None:
        if not standing.rows and not checked.empty_days_have_columns:
            return Verdict(True, "A day of no rows has no keys.")
        change = f" or change {checked.key_setting}" if checked.key_setting else ""
        return Verdict(False, f"The day has no column {checked.key!r}; ask the vendor{change}.")
    without, repeated = standing.keys.without, standing.keys.repeated
    metadata = {"key": checked.key, "rows_without_key": without, "rows_repeating_a_key": repeated}
    if not without and not repeated:
        return Verdict(True, metadata=metadata)
    said = [f"{without} have none"] if without else []
    said += [f"{repeated} repeat that of another row"] if repeated else []
    return Verdict(
        False,
        f"Of {standing.rows} rows, by the key {checked.key!r}, {' and '.join(said)}. All rows have landed.",
        metadata=metadata,
    )


def usual_verdict(day: str, rows: int, compared: Compared, odd: Odd) -> Verdict:
    metadata: dict[str, Any] = {"rows_landed": rows}
    said = []
    if compared.before is not None:
        metadata["rows_before"] = compared.before
        if odd.is_few(rows, compared.before):
            said.append(f"it had {compared.before} before")
    if compared.usual is not None:
        metadata["rows_usual"] = compared.usual
        if odd.is_few(rows, compared.usual):
            said.append(f"a {date.fromisoformat(day):%A} usually has {compared.usual:g}")
    if not said:
        return Verdict(True, metadata=metadata)
    return Verdict(
        False,
        f"The day has {rows} rows; {' and '.join(said)}. It has landed as it came; ask the vendor if that "
        "is all.",
        AssetCheckSeverity.WARN,
        metadata,
    )


def past_verdict(rows: int) -> Verdict:
    """`rows`: how many say that they changed after they were read."""
    if not rows:
        return Verdict(True, metadata={"rows_from_the_future": 0})
    return Verdict(
        False,
        f"Rows whose change time lies after they were read: {rows}. They have landed in this day, and move "
        "on with the newest day until their time is put right; ask the vendor about the clock.",
        AssetCheckSeverity.WARN,
        {"rows_from_the_future": rows},
    )


def _named(names: Sequence[str]) -> str:
    return _listed([repr(name) for name in names])


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMES
    return ", ".join(words[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
