"""The asset of provider histories as Dagster shows it: name, partitions, configuration, description.

Belongs here: declarations. Does not belong here: what the step does (`step.py`).
"""

from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Config,
    DailyPartitionsDefinition,
    Output,
    asset,
)
from pydantic import Field

from health_pipelines.dexcare.histories.client import HistorySearch
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.histories.step import NARROWED, land_provider_histories
from health_pipelines.dexcare.tables import (
    GROUP,
    PROVIDER_HISTORIES,
    dexcare_pool,
    provider_histories_key,
)
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.landing.asset_pages import DOCS, LINEAGE_ABOUT, columns, described
from health_pipelines.landing.freshness import FRESHNESS
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA
from health_pipelines.landing.run_step import carried_out
from health_pipelines.landing.step import by_day
from health_pipelines.landing.storage import Storage


class ProviderHistoriesConfig(Config):
    """The vendor's twelve optional search terms; with any of them the pull is a narrowed one.

    Terms are combined with AND, and upper and lower case are the same. Dagster stores the configuration of a
    run and shows it to everybody who may see the run: prefer ids to names and addresses.
    """

    action: str | None = Field(default=None, description="What happened, e.g. `assigned`.")
    visit_id: str | None = Field(default=None, description="The visit it happened to.")
    provider_id: str | None = Field(default=None, description="The provider's id.")
    provider_email_address: str | None = Field(default=None, description="The provider's e-mail address.")
    provider_name: str | None = Field(default=None, description="The provider's whole name.")
    provider_first_name: str | None = Field(default=None, description="The provider's first name.")
    provider_last_name: str | None = Field(default=None, description="The provider's last name.")
    provider_credentials: str | None = Field(
        default=None, description="Part of the provider's credentials: `MD` finds `MD DO` as well."
    )
    actor_id: str | None = Field(default=None, description="The id of whoever did it.")
    actor_email: str | None = Field(default=None, description="The actor's e-mail address.")
    actor_first_name: str | None = Field(default=None, description="The actor's first name.")
    actor_last_name: str | None = Field(default=None, description="The actor's last name.")

    def search(self) -> HistorySearch:
        return HistorySearch(**self.model_dump())


def provider_histories_asset(days: DailyPartitionsDefinition) -> AssetsDefinition:
    """The asset that reads provider histories and lands them; the vendor makes no report of them first."""

    @asset(
        key=provider_histories_key(),
        group_name=GROUP,
        **by_day(days),
        pool=dexcare_pool(),
        kinds={"parquet", "duckdb"},
        metadata={
            DOCS: "reports.md",
            COLUMN_SCHEMA: columns(
                (name, kind, LINEAGE_ABOUT[name]) for name, kind in LINEAGE_COLUMNS.items()
            ),
        },
        description=described(
            "DexCare's All Providers Report: what happened to visits, and which provider and actor were part "
            "of it.",
            {
                "A row is": "an event of a visit.",
                "A partition is": "what DexCare finds for one day: one Parquet file, every field as text, "
                "nested ones as JSON.",
                "In DuckDB": f"{PROVIDER_HISTORIES.source}.{PROVIDER_HISTORIES.name}.",
                "Freshness": FRESHNESS,
            },
            f"A run whose configuration has search terms lands in the lake table `{NARROWED}` instead and "
            "leaves this one alone.",
        ),
    )
    def provider_histories(
        context: AssetExecutionContext,
        config: ProviderHistoriesConfig,
        dexcare_apr: ProviderHistoriesResource,
        storage: Storage,
    ) -> Iterator[Output[None]]:
        with carried_out(context, storage, PROVIDER_HISTORIES):
            land_provider_histories(context, dexcare_apr, storage, config.search())
        # Only a step that yields can end without an output, which would stand for every day of the range.
        yield from ()

    return provider_histories
