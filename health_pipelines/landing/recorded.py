"""What Dagster's record says of the days of a table, held against what is in the lake.

Belongs here: reading the record with few queries, and where the two differ. Does not belong here: what is
done about it (`adoption.py`), and whether a file is what was landed (`lake/verification.py`).

Either half may be older than the other: the database was lost or restored, or the lake was. Which of two
versions of a day is the newer one is told by when the lake got its own and when Dagster heard of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance

from health_pipelines.lake.csv_partition import content_hash_of
from health_pipelines.lake.manifests import Manifest, ManifestError
from health_pipelines.lake.partitions import Lake
from health_pipelines.lake.verification import Finding, State, TableVerification
from health_pipelines.landing.landed_partition import CHAIN_HEAD, DATA_VERSION_TAG
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import polars as pl
else:
    pl = loaded_when_used("polars")

# Others may have observed or reported the asset since the last landing.
_EVENTS = 20


class Difference(StrEnum):
    """Of a day, between the lake and Dagster's record. Stable names, for scripts."""

    # In the lake alone, or newer there.
    UNKNOWN_TO_DAGSTER = "unknown_to_dagster"
    NEWER_IN_LAKE = "newer_in_lake"
    # In Dagster's record alone, or newer there.
    NOT_IN_LAKE = "not_in_lake"
    OLDER_IN_LAKE = "older_in_lake"

    @property
    def is_adopted(self) -> bool:
        """Whether Dagster is told; otherwise the day is asked for again."""
        return self in (Difference.UNKNOWN_TO_DAGSTER, Difference.NEWER_IN_LAKE)


@dataclass(frozen=True)
class Recorded:
    """What Dagster knows of one table; read when it is asked for."""

    instance: DagsterInstance
    asset: AssetKey

    @cached_property
    def days(self) -> frozenset[str]:
        """Those that landed once (YYYY-MM-DD)."""
        return frozenset(self.instance.get_materialized_partitions(self.asset))

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """The content hash of the newest version of each day; none of what somebody reported by hand."""
        found = self.instance.event_log_storage.get_latest_tags_by_partition(
            self.asset, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
        return {day: tags[DATA_VERSION_TAG] for day, tags in found.items() if day in self.days}

    @cached_property
    def chain_head(self) -> str | None:
        """Of the table's chain of manifests, as the newest landing told it; None if none ever did."""
        records = [
            *self.instance.fetch_materializations(self.asset, limit=_EVENTS).records,
            *self.instance.fetch_observations(self.asset, limit=_EVENTS).records,
        ]
        for record in sorted(records, key=lambda one: one.storage_id, reverse=True):
            event = record.asset_materialization or record.event_log_entry.asset_observation
            if event and (head := event.metadata.get(CHAIN_HEAD)) is not None:
                return str(head.value)
        return None

    def told_at(self, day: str) -> datetime | None:
        """When Dagster heard of the newest version of the day (aware, UTC)."""
        of_day = AssetRecordsFilter(self.asset, asset_partitions=[day])
        records = self.instance.fetch_materializations(of_day, limit=1).records
        return datetime.fromtimestamp(records[0].timestamp, UTC) if records else None


def days_apart(lake: Lake, checked: CheckedTable, recorded: Recorded) -> dict[str, Difference]:
    """The days that only one of the two has, the oldest first, by a look at the names of folders."""
    there = set(lake.days(checked.table))
    return {
        day: Difference.UNKNOWN_TO_DAGSTER if day in there else Difference.NOT_IN_LAKE
        for day in sorted(there ^ recorded.days)
        if day in there or not _was_removed(lake, checked, day)
    }


def versions_apart(lake: Lake, checked: CheckedTable, recorded: Recorded) -> dict[str, Difference]:
    """The days that both have, in another version, the oldest first, by a look into each file's footer."""
    found = {}
    for day in lake.days(checked.table):
        known = recorded.hashes.get(day)
        if known is None or known == _content_hash(lake, checked, day):
            continue
        landed_at, told_at = landed(lake, checked, day), recorded.told_at(day)
        is_newer = landed_at is not None and told_at is not None and landed_at > told_at
        found[day] = Difference.NEWER_IN_LAKE if is_newer else Difference.OLDER_IN_LAKE
    return found


def against_record(
    lake: Lake, checked: CheckedTable, recorded: Recorded, found: TableVerification
) -> Iterator[Finding]:
    """What Dagster's record says that the lake is not, for `health-pipelines verify`.

    `found`: the look at the same table. Days that the lake alone has, or has in a newer version, are no
    finding: the next landing or `health-pipelines adopt` tells Dagster.
    """
    table = str(checked.table)
    if (head := recorded.chain_head) is not None and not found.knows(head):
        yield Finding(
            table,
            None,
            State.CHAIN_BROKEN,
            f"{table}: the chain has no line that Dagster was told of: lines were taken off it, or the lake "
            "was restored from an older copy, which health-pipelines adopt and the next landing put right.",
        )
    for day, difference in days_apart(lake, checked, recorded).items():
        if difference is Difference.NOT_IN_LAKE and day not in found.days:
            says = f"{table} {day} landed for Dagster and is gone; health-pipelines adopt asks for it again."
            yield Finding(table, day, State.MISSING, says)
    for day, difference in versions_apart(lake, checked, recorded).items():
        if difference is Difference.OLDER_IN_LAKE and not found.rewritten(day):
            says = (
                f"{table} {day} is another version than Dagster knows, and an older one; health-pipelines "
                "adopt asks for it again."
            )
            yield Finding(table, day, State.CHANGED, says)


def apart(lake: Lake, checked: CheckedTable, recorded: Recorded) -> dict[str, Difference]:
    """Every day in which the two differ, the oldest first."""
    found = {**days_apart(lake, checked, recorded), **versions_apart(lake, checked, recorded)}
    return dict(sorted(found.items()))


def manifest_of(lake: Lake, checked: CheckedTable, day: str) -> Manifest | None:
    """None if there is none that can be read."""
    try:
        text = lake.manifest_text(checked.table, day)
        return None if text is None else Manifest.of_text(text)
    except (OSError, ManifestError):
        return None


def landed(lake: Lake, checked: CheckedTable, day: str) -> datetime | None:
    """When the day was put in place, by its manifest (aware)."""
    manifest = manifest_of(lake, checked, day)
    return datetime.fromisoformat(manifest.at) if manifest else None


def _was_removed(lake: Lake, checked: CheckedTable, day: str) -> bool:
    """Whether the day was taken out of the lake for a stated reason, and so is not to come back."""
    manifest = manifest_of(lake, checked, day)
    return manifest is not None and manifest.file_hash is None


def _content_hash(lake: Lake, checked: CheckedTable, day: str) -> str | None:
    try:
        return content_hash_of(lake.footer_file(checked.table, day))
    except (OSError, pl.exceptions.PolarsError):
        return None
