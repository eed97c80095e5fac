"""What was measured of the columns of a visit report: counts and shapes, never a value.

Belongs here: that as values. Does not belong here: measuring (`measuring.py`), and what follows from it
(`proposal.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

IdShape = Literal["uuid", "id"]


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the rows that were looked at. Shares are from 0 to 1.

    `filled`: the share of rows that have a value, which is neither NULL nor blank; the other shares are of
    these. `different`: how many values there are. `unique`: no row is without a value, and no two of a day
    share one. `shape`: that of an id, which all values have; None for any other. `times`: which can be read
    as times. `near`: which of these are within 60 days of the partition's day. `clocked`: which of these have
    a time of day. `states`: values that are words for the state of a visit.
    """

    name: str
    filled: float
    different: int
    unique: bool = False
    shape: IdShape | None = None
    times: float = 0
    near: float = 0
    clocked: float = 0
    states: float = 0


@dataclass(frozen=True)
class KeyFacts:
    """A column as a key, of whole days. `broken`: days in which a row has none, or that of another row.

    `repeated`: keys that are in several days. `clashes`: those of them whose rows are not of one visit.
    """

    days: int
    rows: int
    broken: tuple[str, ...] = ()
    repeated: int = 0
    clashes: int = 0

    @property
    def is_contradicted(self) -> bool:
        # A visit that was changed beyond recognition is rarer than this; a number that starts anew is not.
        return bool(self.broken) or self.clashes * 20 > self.repeated


@dataclass(frozen=True)
class Pair:
    """Two times of one row, `a` and `b`: shares of the rows that have both.

    `both`: how many do. `not_after`: a ≤ b. `same`: a = b. `close`: no more than twelve hours lie between.
    `together`: rows with both, of those with either.
    """

    both: int
    not_after: float
    same: float
    close: float
    together: float


@dataclass(frozen=True)
class Profile:
    """`columns`: in the order of the report. `keys`: of those that may be one. `pairs`: of two times each.

    `telling`: columns in which hardly two visits have the same.
    """

    rows: int
    days: int
    columns: tuple[ColumnProfile, ...] = ()
    keys: Mapping[str, KeyFacts] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], Pair] = field(default_factory=dict)
    telling: tuple[str, ...] = ()
