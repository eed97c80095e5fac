"""Bringing Dagster's record and the lake together again, once one of them was lost or restored.

Belongs here: what is done about each day that differs, and doing it. Does not belong here: where the two
differ (`recorded.py`), and asking a person first (`commands/adopt.py`). No vendor is asked anything here:
what is in the lake is told to Dagster; for what is not, a backfill is left to Dagster's daemon.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, AssetSpec, DagsterInstance, Definitions, MetadataValue
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from health_pipelines.lake.csv_partition import RowChanges, column_types, content_hash_of, row_count
from health_pipelines.lake.partitions import Lake
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.checks import standing_evaluations
from health_pipelines.landing.landed_partition import Landed, landed_event
from health_pipelines.landing.recorded import Difference, manifest_of
from health_pipelines.landing.run_tags import MISSING, REASON_TAG
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Settings

if TYPE_CHECKING:
    import polars as pl
else:
    pl = loaded_when_used("polars")

# On the event of a day that was adopted: when it had landed.
ADOPTED, LANDED_AT = "adopted", "landed_at"


@dataclass(frozen=True)
class Plan:
    """What is to be done about one table; days are YYYY-MM-DD, the oldest first.

    `adopt`: told to Dagster. `ask`: asked for again, by materializing `asked_by`. `left`: neither, and why.
    """

    checked: CheckedTable
    asked_by: AssetKey
    adopt: Sequence[str]
    ask: Mapping[str, str]
    left: Mapping[str, str]


def planned(
    lake: Lake,
    checked: CheckedTable,
    apart: Mapping[str, Difference],
    *,
    settings: Settings,
    now: datetime,
    asked_by: AssetKey,
    under_way: Collection[str],
) -> Plan:
    """What to do about the days that are `apart`. Reads those that only the lake has: a day is adopted only
    if it is what landed.

    `now`: aware. `under_way`: days that somebody has asked for already.
    """
    verification = TableVerification(lake, checked.table)
    adopt, ask, left = [], {}, {}
    for day, difference in apart.items():
        why = _WHY[difference]
        if difference.is_adopted:
            finding = verification.of_day(day)
            if finding.state is State.EXTRA:
                left[day] = finding.says
                continue
            if finding.state not in (State.CHANGED, State.UNREADABLE) and _is_readable(lake, checked, day):
                adopt.append(day)
                continue
            why = "is not what landed (health-pipelines verify)"
        if reason := _why_not(checked, day, settings, now, under_way):
            left[day] = f"{checked.table} {day} {why}, and {reason}."
        else:
            ask[day] = why
    return Plan(checked, asked_by, adopt, ask, left)


_WHY = {
    Difference.UNKNOWN_TO_DAGSTER: "is in the lake alone",
    Difference.NEWER_IN_LAKE: "is newer in the lake",
    Difference.NOT_IN_LAKE: "landed for Dagster, and is not in the lake",
    Difference.OLDER_IN_LAKE: "is older in the lake than in Dagster's record",
}


def adopt(instance: DagsterInstance, lake: Lake, checked: CheckedTable, day: str) -> None:
    """Tell Dagster of a day that is in the lake, as a landing would have, with what its checks say.

    Raises `OSError` or `PolarsError` for a file that cannot be read.
    """
    file, manifest = lake.partition_file(checked.table, day), manifest_of(lake, checked, day)
    rows, facts = row_count(file), manifest.facts if manifest else None
    sent = facts.rows_sent if facts and facts.rows_sent is not None else rows
    told: dict[str, Any] = {ADOPTED: True}
    if manifest:
        told[LANDED_AT] = MetadataValue.timestamp(datetime.fromisoformat(manifest.at))
    if facts and len(facts.report_ids) == 1:
        told["report_id"] = facts.report_ids[0]
    landed = Landed(
        replaced=True,
        rows_sent=sent,
        rows=rows,
        columns=column_types(file),
        changes=RowChanges(added=rows, removed=0),
        content_hash=content_hash_of(file) or "",
        file=file,
        chain_head=lake.chain(checked.table).head,
    )
    instance.report_runless_asset_event(
        landed_event(checked.asset, checked.table, day, landed, told, changed=True)
    )
    for evaluation in standing_evaluations(instance, lake, checked, [day]):
        instance.report_runless_asset_event(evaluation)


def ask_again(instance: DagsterInstance, plan: Plan, settings: Settings, now: datetime) -> None:
    """Leave a backfill of the days to Dagster's daemon at `now` (aware), as the UI's dialog does."""
    days = daily_partitions(settings.start_date, settings.timezone)
    assets = [AssetSpec(plan.asked_by, partitions_def=days)]
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=make_new_backfill_id(),
            asset_graph=Definitions(assets=assets).resolve_asset_graph(),
            partition_names=list(plan.ask),
            asset_selection=[plan.asked_by],
            backfill_timestamp=now.timestamp(),
            tags={REASON_TAG: MISSING},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description="Days that Dagster knows as landed and that are not so in the lake.",
            run_config=None,
        )
    )


def _why_not(
    checked: CheckedTable, day: str, settings: Settings, now: datetime, under_way: Collection[str]
) -> str | None:
    """Why a day is not asked for."""
    if day in under_way:
        return "has been asked for already"
    if any(one.covers(str(checked.table), date.fromisoformat(day)) for one in settings.days_left_out):
        return "is left out by HEALTH_DAYS_LEFT_OUT"
    if not settings.start_date <= date.fromisoformat(day) < now.astimezone(settings.timezone).date():
        return f"cannot be asked for, as days begin with HEALTH_START_DATE, {settings.start_date}"
    return None


def _is_readable(lake: Lake, checked: CheckedTable, day: str) -> bool:
    try:
        content_hash_of(lake.footer_file(checked.table, day))
    except (OSError, pl.exceptions.PolarsError):
        return False
    return True
