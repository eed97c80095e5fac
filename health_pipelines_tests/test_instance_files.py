"""Dagster accepts the instance files that this project ships."""

from importlib.resources import files
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.instance.config import dagster_instance_config

ROOT = Path(__file__).parents[1]


def test_the_production_instance_is_valid_and_asks_for_its_database_by_variable() -> None:
    config, _ = dagster_instance_config(str(ROOT))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == 4


def test_the_embedded_instance_retries_crashed_runs_only(tmp_path: Path) -> None:
    text = (files("health_pipelines.commands") / "embedded_home.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
