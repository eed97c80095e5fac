"""The event log of the embedded home: its connections stay open, and nobody else is to notice."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance
from sqlalchemy.exc import OperationalError

from health_pipelines.commands.places import embedded_home
from health_pipelines.instance.sqlite_event_log import MOST_OPEN, PooledSqliteEventLogStorage

ASSET = AssetKey("one")
WRITE_FIFTY = """
import sys
from dagster import AssetMaterialization, DagsterInstance

with DagsterInstance.from_config(sys.argv[1]) as instance:
    for number in range(50):
        instance.report_runless_asset_event(AssetMaterialization("one", partition=f"process {number}"))
"""
WRITE_AROUND_A_FORK = """
import os, sys
from pathlib import Path
from dagster import AssetMaterialization, DagsterInstance

home = Path(sys.argv[1])
with DagsterInstance.from_config(str(home)) as instance:
    instance.report_runless_asset_event(AssetMaterialization("one", partition="before"))
    was_open = {file.name for file in (home / "history" / "runs").glob("*.db-wal")}
    assert "index.db-wal" in was_open, was_open
    fork = os.fork()
    if fork == 0:
        still_open = list((home / "history" / "runs").glob("*.db-wal"))
        instance.report_runless_asset_event(AssetMaterialization("one", partition="child"))
        os._exit(1 if still_open else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0, "the fork has inherited an open file"
    instance.report_runless_asset_event(AssetMaterialization("one", partition="parent"))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    # What YAML and URLs could take for something else.
    folder = tmp_path / "a: 'home' #1"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(embedded_home(folder))
    return folder


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_the_files_are_those_of_the_stock_storage_in_both_directions(home: Path, tmp_path: Path) -> None:
    ours, stocks = (home / "dagster.yaml").read_text(), ""
    for number, dagster_yaml in enumerate([stocks, ours, stocks]):
        (home / "dagster.yaml").write_text(dagster_yaml)
        with DagsterInstance.from_config(str(home)) as instance:
            assert isinstance(instance.event_log_storage, PooledSqliteEventLogStorage) == bool(dagster_yaml)
            land(instance, str(number))
            assert landed(instance) == {str(one) for one in range(number + 1)}


def test_a_connection_stays_open_until_the_instance_is_closed(home: Path) -> None:
    with DagsterInstance.from_config(str(home)) as instance:
        land(instance, "x")
        assert "index" in open_files(home)
    assert open_files(home) == set()


def test_the_runs_last_looked_at_are_open_and_no_others(home: Path, instance: DagsterInstance) -> None:
    for number in range(2 * MOST_OPEN):
        assert instance.all_logs(f"run-{number}") == []
    assert open_files(home) == {f"run-{number}" for number in range(MOST_OPEN, 2 * MOST_OPEN)}


def test_new_files_are_in_write_ahead_mode(home: Path, instance: DagsterInstance) -> None:
    assert instance.all_logs("run") == []
    for name in ("index", "run"):
        connection = sqlite3.connect(files_of(home) / f"{name}.db")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_threads_and_another_process_write_at_once_and_no_event_is_lost(
    home: Path, instance: DagsterInstance
) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE_FIFTY, str(home)]) as process:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: land(instance, f"thread {number}"), range(100)))
        assert process.wait(60) == 0
    expected = {f"process {number}" for number in range(50)} | {f"thread {number}" for number in range(100)}
    assert landed(instance) == expected


def test_no_connection_is_carried_over_a_fork_and_both_sides_go_on(home: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITE_AROUND_A_FORK, str(home)], check=True, timeout=60)
    with DagsterInstance.from_config(str(home)) as instance:
        assert landed(instance) == {"before", "child", "parent"}


def test_after_a_wipe_events_go_to_new_files(home: Path, instance: DagsterInstance) -> None:
    assert instance.all_logs("run") == []
    land(instance, "before")
    instance.event_log_storage.wipe()
    assert not (files_of(home) / "run.db").exists()

    assert instance.all_logs("run") == []
    assert (files_of(home) / "run.db").exists()
    land(instance, "after")
    assert landed(instance) == {"after"}


def test_a_file_that_was_deleted_underneath_is_an_error_and_not_written_to(
    home: Path, instance: DagsterInstance
) -> None:
    assert instance.all_logs("run") == []
    for file in files_of(home).glob("run.db*"):
        file.unlink()
    with pytest.raises(OperationalError, match="no such table"):
        instance.all_logs("run")


def land(instance: DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(AssetMaterialization(ASSET, partition=partition))


def landed(instance: DagsterInstance) -> set[str]:
    return instance.get_materialized_partitions(ASSET)


def files_of(home: Path) -> Path:
    return home / "history" / "runs"


def open_files(home: Path) -> set[str]:
    """SQLite removes the write-ahead log of a file with the last connection to it."""
    return {file.name.removesuffix(".db-wal") for file in files_of(home).glob("*.db-wal")}
