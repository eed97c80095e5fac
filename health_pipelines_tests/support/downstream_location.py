"""The project's definitions with an asset below them, as its users write one."""

from dagster import (
    AssetKey,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    DefaultSensorStatus,
    Definitions,
    asset,
)

from health_pipelines import definitions

# `eager()`, but for its rule about missing days, of which a table has many, and of which days count.
_WHENEVER_SOMETHING_IS_NEW = (
    AutomationCondition.any_deps_updated().since_last_handled()
    & ~AutomationCondition.any_deps_in_progress()
    & ~AutomationCondition.in_progress()
)


@asset(
    deps=[AssetKey(["dexcare", "provider_histories"]), AssetKey(["drchrono", "eligibility_checks"])],
    automation_condition=_WHENEVER_SOMETHING_IS_NEW,
)
def users_own_table() -> None:
    """Woken by everything that Dagster takes for news of a table."""


_AUTOMATION = AutomationConditionSensorDefinition(
    "users_automation",
    target=[users_own_table],
    default_status=DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=5,
)
defs = Definitions.merge(definitions.defs, Definitions(assets=[users_own_table], sensors=[_AUTOMATION]))
