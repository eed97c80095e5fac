"""The Dagster resource for what this project keeps: lake, claims of runs, what DrChrono needs.

Belongs here: which folder of the data directory is what, and what a landing step tells of a partition. Does
not belong here: how any of them works, and the warehouse, which is made from the lake and not by landings
(`warehouse/storage.py`).
"""

from collections.abc import Mapping
from pathlib import Path

from dagster import ConfigurableResource

from health_pipelines.lake.host_locks import host_locks
from health_pipelines.lake.opening import lake_of
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.run_claims import RunClaims
from health_pipelines.settings import Settings


def run_claims(settings: Settings) -> RunClaims:
    """Where the runs of an installation are claimed."""
    return RunClaims(settings.data_dir / "runs", host_locks(settings.postgres_url))


class Storage(ConfigurableResource[None]):
    """Everything below `HEALTH_DATA_DIR`, which is read when a run or a tick needs it."""

    @property
    def lake(self) -> Lake:
        return lake_of(Settings.of_this_process())

    @property
    def run_claims(self) -> RunClaims:
        return run_claims(Settings.of_this_process())

    @property
    def drchrono(self) -> Path:
        """What calls to DrChrono need to remember: tokens, quota, pace, and sweeps under way."""
        return self._folder / "drchrono"

    def show_landed(self, table: Table, columns: Mapping[str, str]) -> str | None:
        """A partition with these columns (with SQL types) has landed: let readers see it.

        Returns what is in the way, in one sentence; what reads the lake is no reason to stop a landing.
        """
        return None

    @property
    def _folder(self) -> Path:
        return Settings.of_this_process().data_dir
