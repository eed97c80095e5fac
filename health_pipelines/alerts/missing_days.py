"""Which tables are without their newest expected day, and which that were are no more.

Belongs here: reading that. Does not belong here: which day is expected when (`landing/freshness.py`), and
what is said of it (`news.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetKey, DagsterEventType, DagsterInstance

from health_pipelines.alerts.news import MissingDay
from health_pipelines.landing.freshness import EXPECTED_DAY, Expectation, freshness_evaluations
from health_pipelines.landing.missing_days import OLDEST_MISSING


def missing_days(
    instance: DagsterInstance, assets: Sequence[AssetKey], expectation: Expectation, now: datetime
) -> list[MissingDay]:
    """The tables whose check `newest_day_has_landed` is red at `now` (aware), shown already or not.

    A table into which nothing ever landed is not among them: its check is a warning.
    """
    return [
        MissingDay(
            evaluation.asset_key.to_user_string(),
            str(evaluation.metadata[EXPECTED_DAY].value),
            evaluation.description or "",
        )
        for evaluation in freshness_evaluations(instance, assets, expectation, now)
        if not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR
    ]


def with_holes(evaluations: Sequence[AssetCheckEvaluation], but: Collection[str]) -> list[MissingDay]:
    """The tables with missing days behind their newest, each by its oldest one; `but`: told of already."""
    return [
        MissingDay(asset, str(evaluation.metadata[OLDEST_MISSING].value), evaluation.description or "")
        for evaluation in evaluations
        if not evaluation.passed and (asset := evaluation.asset_key.to_user_string()) not in but
    ]


def landed_since(instance: DagsterInstance, told: Mapping[str, str]) -> dict[str, str]:
    """Of the days that were told as missing (asset to day), those that are there now."""
    return {
        asset: day
        for asset, day in told.items()
        if instance.get_latest_storage_id_by_partition(
            AssetKey.from_user_string(asset), DagsterEventType.ASSET_MATERIALIZATION, {day}
        )
    }
