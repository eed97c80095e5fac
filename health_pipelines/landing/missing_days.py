"""Whether a table has a hole behind its newest day, told to Dagster.

Belongs here: the check `no_day_is_missing` of every landing table. Does not belong here: which days are holes
(`holes.py`), and whether the newest day is there (`freshness.py`).
"""

from collections.abc import Sequence
from datetime import date, datetime

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    DagsterInstance,
    asset_check,
)

from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.freshness import Expectation, result_of
from health_pipelines.landing.holes import Holes, holes_in
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now

NO_DAY_IS_MISSING = "no_day_is_missing"
DESCRIPTION = (
    "Every day between the first that landed and the newest expected one is in the lake, but for those that "
    "HEALTH_DAYS_LEFT_OUT names, and all are days of one time zone, so that no hour is missing between them. "
    "The daily schedule asks for what is missing, HEALTH_CATCH_UP_DAYS a night."
)
MISSING, OF_OTHER_ZONES = "missing_days", "days_of_other_zones"
# The day that the daily schedule asks for first.
OLDEST_MISSING = "oldest_missing_day"


def holes_of(
    instance: DagsterInstance,
    lake: Lake,
    tables: Sequence[CheckedTable],
    settings: Settings,
    now: datetime,
) -> dict[AssetKey, Holes]:
    """The holes of each table at `now` (aware), the newest expected day not counted."""
    newest = Expectation.of(settings).newest_day(now) or date.min
    return {
        checked.asset: holes_in(
            lake,
            checked,
            settings,
            before=newest,
            once_there=instance.get_materialized_partitions(checked.asset),
        )
        for checked in tables
    }


def missing_evaluations(
    instance: DagsterInstance,
    lake: Lake,
    tables: Sequence[CheckedTable],
    settings: Settings,
    now: datetime,
) -> list[AssetCheckEvaluation]:
    """The evaluation of each table at `now` (aware), by a look at the lake's folders and at its events."""
    return [
        AssetCheckEvaluation(
            asset_key=key,
            check_name=NO_DAY_IS_MISSING,
            passed=not holes.days,
            severity=AssetCheckSeverity.ERROR,
            description=_sentence(holes),
            metadata={
                MISSING: len(holes.missing),
                OF_OTHER_ZONES: len(holes.of_other_zones),
                OLDEST_MISSING: holes.days[0] if holes.days else "none",
            },
        )
        for key, holes in holes_of(instance, lake, tables, settings, now).items()
    ]


def missing_checks(tables: Sequence[CheckedTable]) -> list[AssetChecksDefinition]:
    """The check of each table, to be executed by a person; otherwise the sensor tells what it says."""
    return [_missing_check(checked) for checked in tables]


def _missing_check(checked: CheckedTable) -> AssetChecksDefinition:
    @asset_check(asset=checked.asset, name=NO_DAY_IS_MISSING, description=DESCRIPTION)
    def check(context: AssetCheckExecutionContext, storage: Storage) -> AssetCheckResult:
        settings = Settings.of_this_process()
        [evaluation] = missing_evaluations(context.instance, storage.lake, [checked], settings, utc_now())
        return result_of(evaluation)

    return check


def _sentence(holes: Holes) -> str:
    if not holes.days:
        return "No day is missing."
    return (
        f"{'. '.join(holes.sentences)}. The daily schedule asks for them, the oldest first; "
        "if they are meant to be so, name them in HEALTH_DAYS_LEFT_OUT."
    )
