"""A place on this machine, with a Dagster home in files, in which a test plants what is to be told."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetSpec,
    DagsterInstance,
    DailyPartitionsDefinition,
    Definitions,
)
from dagster._core.execution.backfill import PartitionBackfill

from health_pipelines.commands.places import embedded_home
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.dagster_names import asset_key

# As a patient's name would look, in the lake and nowhere else.
PATIENT = "Zebulon Quartermain"


def make_home(home: Path) -> Path:
    """As `make dev` makes it."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(embedded_home(home))
    return home


@contextmanager
def instance_in(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(make_home(home))) as instance:
        yield instance


def land(data: Path, instance: DagsterInstance, table: Table, *days: str, rows: int = 10) -> None:
    """Put those days in the lake, and tell Dagster."""
    for day in days:
        put(data, table, day, rows=rows)
        event = AssetMaterialization(
            key_of(table), partition=day, metadata={"dagster/partition_row_count": rows, "changed": True}
        )
        instance.report_runless_asset_event(event)


def put(data: Path, table: Table, day: str, *, rows: int = 10) -> None:
    """Put a day in the lake, and tell nobody."""
    with Lake(data / "lake").writing(table, day) as writer:
        duckdb.sql(
            f"COPY (SELECT '{PATIENT}' AS name, range::VARCHAR AS id, DATE '{day}' AS _partition_date, "
            f"'r' AS _report_id, TIMESTAMPTZ '2026-03-20 00:00:00Z' AS _extracted_at FROM range({rows})) "
            f"TO '{writer.candidate}' (FORMAT parquet)"
        )
        writer.replace()


def take_away(data: Path, table: Table, day: str) -> None:
    Lake(data / "lake").partition_file(table, day).unlink()


def key_of(table: Table) -> AssetKey:
    return asset_key(table.source, table.name)


def everything_in(*folders: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and when it was written, but for what SQLite makes to read."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def backfill(instance: DagsterInstance, days: Sequence[str], at: datetime) -> PartitionBackfill:
    """Of the first two reports, as the UI's dialog launches it at `at`; the daemon has not looked at it."""
    keys = [report.request_key for report in VISIT_REPORTS[:2]]
    partitions = DailyPartitionsDefinition("2026-01-01", end_date="2026-04-01")
    assets = [AssetSpec(key, partitions_def=partitions) for key in keys]
    return PartitionBackfill.from_asset_partitions(
        backfill_id=f"{at:%H}",
        asset_graph=Definitions(assets=assets).resolve_asset_graph(),
        partition_names=list(days),
        asset_selection=keys,
        backfill_timestamp=at.timestamp(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )


def forget_settings() -> None:
    """Nothing of the developer who runs this, and nothing of another test."""
    ours = ("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_", "ALERT_", "DAGSTER_")
    for name in [name for name in os.environ if name.startswith(ours)]:
        del os.environ[name]
