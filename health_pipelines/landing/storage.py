"""The Dagster resource for what this project keeps on disk: the lake, the warehouse, the claims of runs.

Belongs here: which folder of the data directory is what. Does not belong here: how any of them works.
"""

from pathlib import Path

from dagster import ConfigurableResource

from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import Settings
from health_pipelines.warehouse.build import Making, Warehouse
from health_pipelines.warehouse.lake_tables import TABLES


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse of the place that has these settings."""
    making = Making(settings.timezone, settings.dexcare_visit_columns)
    return Warehouse(settings.data_dir, Lake(settings.data_dir / "lake"), TABLES, making)


class Storage(ConfigurableResource[None]):
    """Everything below `HEALTH_DATA_DIR`, which is read when a run or a tick needs it."""

    @property
    def lake(self) -> Lake:
        return Lake(self._folder / "lake")

    @property
    def run_claims(self) -> Path:
        return self._folder / "runs"

    @property
    def warehouse(self) -> Warehouse:
        return warehouse_of(Settings.of_this_process())

    @property
    def drchrono(self) -> Path:
        """What calls to DrChrono need to remember: tokens, quota, pace, and sweeps under way."""
        return self._folder / "drchrono"

    @property
    def _folder(self) -> Path:
        return Settings.of_this_process().data_dir
