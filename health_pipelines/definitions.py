"""What the project consists of. Loads without any variable set.

Belongs here: how what the vendors provide is put together, and what is added for all of them. Does not belong
here: which vendors there are (`vendors/known.py`), and anything that they provide.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from dagster import (
    AssetCheckEvaluation,
    AssetsDefinition,
    DagsterInstance,
    Definitions,
    SensorDefinition,
    in_process_executor,
)

from health_pipelines.alerts.sensor import alerts_sensor
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.ownership import OwnershipError, close, keep_new_files_private
from health_pipelines.landing.asset_pages import with_page
from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.checks import table_checks
from health_pipelines.landing.freshness import Expectation, freshness_sensor
from health_pipelines.landing.housekeeping import housekeeping_sensor
from health_pipelines.landing.missing_days import missing_checks, missing_evaluations
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings
from health_pipelines.status.calendar_asset import calendar_asset, calendar_sensor
from health_pipelines.status.late import late_changes_asset, late_changes_weekly
from health_pipelines.vendors.known import landing_tables, vendors
from health_pipelines.vendors.privacy_names import refuse_wrong_names
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
    refuse_wrong_names(settings)
    days = daily_partitions(settings.start_date, settings.timezone)
    expectation = Expectation.of(settings)
    known, tables = vendors(settings), landing_tables(settings)
    landing_keys = [checked.asset for checked in tables]
    publish_assets, publish_sensors = _publishing(settings)
    assets = [
        with_page(asset, settings)
        for asset in (
            *(asset for vendor in known for asset in vendor.assets(days)),
            warehouse_asset(settings),
            *publish_assets,
            calendar_asset(),
            late_changes_asset(tables),
        )
    ]
    holes = partial(_missing_days, tables)
    return Definitions(
        assets=assets,
        asset_checks=[
            *(check for vendor in known for check in vendor.more_checks()),
            *table_checks(tables, days, expectation),
            *missing_checks(tables),
        ],
        sensors=[
            *(sensor for vendor in known for sensor in vendor.sensors(settings)),
            freshness_sensor(landing_keys, expectation, others=holes),
            housekeeping_sensor(
                [key for asset in assets for key in asset.keys],
                landing_keys,
                [key for asset in assets if asset.partitions_def == days for key in asset.keys],
                [vendor.forget for vendor in known],
            ),
            alerts_sensor(landing_keys, expectation, holes=holes),
            calendar_sensor(),
            warehouse_sensor(
                warehouse_keys(),
                is_on=settings.build_warehouse,
                is_listing_dear=settings.lake_url is not None,
            ),
            *publish_sensors,
        ],
        schedules=[
            *(schedule for vendor in known for schedule in vendor.schedules(settings)),
            late_changes_weekly(settings, tables),
        ],
        resources={
            "storage": WarehouseStorage(),
            **{name: resource for vendor in known for name, resource in vendor.resources().items()},
        },
        # A run with one process per step costs 10 s where this costs 5, and the steps are asynchronous
        # inside.
        executor=in_process_executor,
    )


def _publishing(settings: Settings) -> tuple[Sequence[AssetsDefinition], Sequence[SensorDefinition]]:
    if settings.publish_url is None:
        return [], []
    # Not before it is needed: every run loads the definitions, and most places publish nothing.
    from health_pipelines.publish.assets import publish_assets  # noqa: PLC0415
    from health_pipelines.publish.sensor import publish_sensors  # noqa: PLC0415

    return publish_assets(settings), publish_sensors(settings)


def _missing_days(
    tables: Sequence[CheckedTable], instance: DagsterInstance, now: datetime
) -> list[AssetCheckEvaluation]:
    settings = Settings.of_this_process()
    return missing_evaluations(instance, lake_to_read(settings), tables, settings, now)


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
