"""Dagster accepts the instance files that this project ships."""

from pathlib import Path

from dagster import DagsterInstance
from dagster._core.instance.config import dagster_instance_config

from health_pipelines.commands.places import embedded_home
from health_pipelines.event_log import PooledSqliteEventLogStorage

ROOT = Path(__file__).parents[1]


def test_the_production_instance_is_valid_and_asks_for_its_database_by_variable() -> None:
    config, _ = dagster_instance_config(str(ROOT))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == 4


def test_the_embedded_instance_retries_crashed_runs_only(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(embedded_home(tmp_path))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled


def test_the_embedded_instance_keeps_its_event_log_where_dagster_does(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(embedded_home(tmp_path))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, PooledSqliteEventLogStorage)
        assert Path(storage.path_for_shard("index")) == tmp_path / "history" / "runs" / "index.db"
