"""Dagster accepts the instance files that this project ships, and they say what they should."""

from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager

from health_pipelines.commands.places import embedded_home
from health_pipelines.instance.postgres_storage import PostgresStorage
from health_pipelines.instance.sqlite_event_log import PooledSqliteEventLogStorage

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

ROOT = Path(__file__).parents[2]


def test_the_production_instance_is_in_postgres_and_within_bounds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    with DagsterInstance.from_config(str(ROOT)) as instance:
        assert isinstance(instance.get_ref().storage, PostgresStorage)
        concurrency = instance.get_concurrency_config()
        assert concurrency.run_queue_config is not None
        assert concurrency.run_queue_config.max_concurrent_runs == 8
        [of_a_place] = concurrency.run_queue_config.tag_concurrency_limits
        assert (of_a_place["key"], of_a_place["limit"]) == ("dagster/code_location", 4)
        assert of_a_place["value"] == {"applyLimitPerUniqueValue": True}
        assert concurrency.pool_config.default_pool_limit == 2
        assert instance.run_monitoring_enabled
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 60
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.get_settings("sensors") == {"use_threads": True, "num_workers": 8}
        assert instance.get_settings("schedules") == {"use_threads": True, "num_workers": 4}
        assert instance.get_tick_retention_settings(InstigatorType.SENSOR)[TickStatus.SKIPPED] == 3
        assert instance.get_tick_retention_settings(InstigatorType.SCHEDULE)[TickStatus.SUCCESS] == 90
        assert isinstance(instance.compute_log_manager, NoOpComputeLogManager)
        assert not instance.telemetry_enabled


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
