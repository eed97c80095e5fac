"""What has landed since the warehouse was built, told from the lake's files without looking into them.

Belongs here: comparing files that are there with files that were seen. Does not belong here: what follows
from it (`build.py`, `rebuilds.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from health_pipelines.lake.partitions import Lake, Table, day_of
from health_pipelines.lake.store_problems import UnusableStoreError
from health_pipelines.warehouse.landed_views import Shape
from health_pipelines.warehouse.problems import UnreachableLakeError, UnreadablePartitionError


@dataclass(frozen=True)
class Backlog:
    """What has landed since the file was built. Times are aware, in UTC.

    `is_current`: whether a build would find nothing to do. `newest`: when a partition last landed; None in an
    empty lake. `waiting_since`: when the first one landed that the file does not have; None if there is none.
    `state`: stands for all that a build is made of: the lake's files, the settings, the code.
    """

    is_current: bool
    newest: datetime | None
    waiting_since: datetime | None
    state: str


def signatures(lake: Lake, table: Table) -> dict[str, str]:
    """The state of each partition file of a table, by day. Raises `UnreadablePartitionError` if one goes, and
    `UnreachableLakeError`.
    """
    try:
        return lake.signatures(table)
    except FileNotFoundError as error:
        raise UnreadablePartitionError(table, Path(error.filename), "was deleted meanwhile") from None
    except UnusableStoreError as error:
        raise UnreachableLakeError(error) from None


def has_changed(lake: Lake, table: Table, than: Mapping[str, str]) -> bool:
    """Whether the partitions of a table are others than those of these signatures."""
    return signatures(lake, table) != than


def changed_days(shape: Shape, now: Mapping[str, str], before: Mapping[str, str]) -> frozenset[str]:
    days = {*(day_of(file) for file in shape.files), *before}
    return frozenset(day for day in days if now.get(day) != before.get(day) or day not in now)


def unseen(now: Mapping[str, str], seen: Mapping[str, str]) -> list[float]:
    """When those files landed that are not the ones that were seen, in seconds since 1970."""
    return [written_at(signature) for day, signature in now.items() if seen.get(day) != signature]


def written_at(signature: str) -> float:
    """When the file was written, in seconds since 1970."""
    return int(signature.rsplit("-", 1)[1]) / 1e9


def utc_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
