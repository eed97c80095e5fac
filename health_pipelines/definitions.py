"""What the project consists of. Loads without any variable set.

Belongs here: the list. Does not belong here: anything in it.
"""

from dagster import Definitions, in_process_executor

from health_pipelines.dexcare.assets import visit_report_assets
from health_pipelines.dexcare.checks import report_checks
from health_pipelines.dexcare.histories_asset import provider_histories_asset
from health_pipelines.dexcare.histories_resource import ProviderHistoriesResource
from health_pipelines.dexcare.resource import DexCareResource
from health_pipelines.dexcare.schedule import daily_schedule
from health_pipelines.dexcare.sensor import report_sensor
from health_pipelines.partitions import daily_partitions
from health_pipelines.settings import Settings
from health_pipelines.storage import Storage

settings = Settings.of_this_process()
days = daily_partitions(settings.start_date, settings.timezone)

defs = Definitions(
    assets=[*visit_report_assets(days), provider_histories_asset(days)],
    asset_checks=report_checks(),
    sensors=[report_sensor(settings.dexcare_poll_seconds)],
    schedules=[daily_schedule(settings)],
    resources={
        "dexcare": DexCareResource(),
        "dexcare_apr": ProviderHistoriesResource(),
        "storage": Storage(),
    },
    # A run with one process per step costs 10 s where this costs 5, and the steps are asynchronous inside.
    executor=in_process_executor,
)
