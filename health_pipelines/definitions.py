"""What the project consists of. Loads without any variable set.

Belongs here: the list. Does not belong here: anything in it.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from dagster import AssetCheckEvaluation, AssetKey, DagsterInstance, Definitions, in_process_executor

from health_pipelines.alerts.sensor import alerts_sensor
from health_pipelines.dexcare import checks as dexcare_checks
from health_pipelines.dexcare.histories.asset import provider_histories_asset
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS, provider_histories_key
from health_pipelines.dexcare.visits.assets import visit_report_assets
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.dexcare.visits.sensor import report_sensor
from health_pipelines.drchrono import checks as drchrono_checks
from health_pipelines.drchrono.assets import record_assets
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.schedule import drchrono_daily
from health_pipelines.drchrono.tables import SWEPT, key_of
from health_pipelines.lake.ownership import OwnershipError, close, keep_new_files_private
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.freshness import Expectation, freshness_sensor
from health_pipelines.landing.housekeeping import housekeeping_sensor
from health_pipelines.landing.missing_days import missing_checks, missing_evaluations
from health_pipelines.settings import Settings
from health_pipelines.warehouse.assets import warehouse_asset, warehouse_keys
from health_pipelines.warehouse.sensor import warehouse_sensor
from health_pipelines.warehouse.storage import WarehouseStorage


def build_definitions(settings: Settings) -> Definitions:
    """`settings`: those of this process, which asset keys and every step read as well.

    What this process writes from now on is for its owner alone, and what an older version left open is
    closed: every process that writes data loads these definitions. Raises `SettingError` if a setting that
    is needed before anything runs cannot be understood.
    """
    _keep_private(settings)
    days = daily_partitions(settings.start_date, settings.timezone)
    expectation = Expectation.of(settings)
    landing_keys = [*dexcare_checks.landing_keys(), *drchrono_checks.landing_keys()]
    landing_tables = landing_tables_of_all()
    return Definitions(
        assets=[
            *visit_report_assets(days),
            provider_histories_asset(days),
            *record_assets(days),
            warehouse_asset(settings),
        ],
        asset_checks=[
            *dexcare_checks.report_checks(),
            *dexcare_checks.table_checks(days, expectation),
            *drchrono_checks.table_checks(days, expectation),
            *missing_checks(landing_tables),
        ],
        sensors=[
            report_sensor(settings.dexcare_poll_seconds),
            freshness_sensor(landing_keys, expectation, others=partial(_missing_days, landing_tables)),
            housekeeping_sensor(landing_keys),
            alerts_sensor(landing_keys, expectation, holes=partial(_missing_days, landing_tables)),
            warehouse_sensor(warehouse_keys(), is_on=settings.build_warehouse),
        ],
        schedules=[dexcare_daily(settings), drchrono_daily(settings)],
        resources={
            "dexcare": DexCareResource(),
            "dexcare_apr": ProviderHistoriesResource(),
            "drchrono": DrChronoResource(),
            "storage": WarehouseStorage(),
        },
        # A run with one process per step costs 10 s where this costs 5, and the steps are asynchronous
        # inside.
        executor=in_process_executor,
    )


def landing_tables_of_all() -> dict[AssetKey, Table]:
    """The assets that data land in, and their tables in the lake."""
    return {
        **{report.asset_key: report.table for report in VISIT_REPORTS},
        provider_histories_key(): PROVIDER_HISTORIES,
        **{key_of(record_type): record_type.table for record_type in SWEPT},
    }


def _missing_days(
    tables: Mapping[AssetKey, Table], instance: DagsterInstance, now: datetime
) -> list[AssetCheckEvaluation]:
    settings = Settings.of_this_process()
    return missing_evaluations(instance, Lake(settings.data_dir / "lake"), tables, settings, now)


def _keep_private(settings: Settings) -> None:
    keep_new_files_private(settings.data_group)
    log = logging.getLogger(__name__)
    try:
        if opened := close(settings.data_dir, settings.data_group):
            log.warning(
                "%d files and folders of %s were open to all, and are closed.", opened, settings.data_dir
            )
    except OwnershipError as error:
        log.warning("%s", error)  # the doctor says it, too


defs = build_definitions(Settings.of_this_process())
