"""Nobody but the owner, and a group if one is set, reads what this project keeps, whatever the umask."""

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from health_pipelines.lake.ownership import OwnershipError, close, keep_new_files_private, open_paths

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to a group it is not in")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A data folder as an older version left it."""
    folder = tmp_path / "data"
    for name in (
        "lake/dexcare/avr_virtual/date=2026-03-10/avr_virtual.parquet",
        "warehouse.duckdb",
        "drchrono/quota",
    ):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a patient")
        file.chmod(0o644)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return folder


def test_what_was_open_is_closed_once_and_counted(opened: Path) -> None:
    assert close(opened, None) == 1 + len(list(opened.rglob("*")))

    assert {mode(path) for path in opened.rglob("*") if path.is_file()} == {0o600}
    assert {mode(path) for path in (opened, *opened.rglob("*")) if path.is_dir()} == {0o700}
    assert close(opened, None) == 0
    assert open_paths(opened, None) == []


@AS_ROOT
def test_a_group_reads_lake_and_warehouse_and_nothing_else(opened: Path) -> None:
    group = grp.getgrgid(1).gr_name

    close(opened, group)
    keep_new_files_private(group)
    new = opened / "lake" / "new"
    new.mkdir()
    (new / "file").write_text("a patient")

    assert (mode(opened / "warehouse.duckdb"), (opened / "warehouse.duckdb").group()) == (0o640, group)
    assert mode(opened / "drchrono") == 0o700
    assert mode(opened / "drchrono" / "quota") == 0o600
    assert (mode(new / "file"), (new / "file").group()) == (0o640, group)
    assert mode(new) & 0o777 == 0o750
    assert open_paths(opened, group) == []
    assert open_paths(opened, None) != []


def test_a_group_that_does_not_exist_is_said_in_a_sentence(opened: Path) -> None:
    with pytest.raises(OwnershipError, match="there is no group nobody-of-that-name"):
        close(opened, "nobody-of-that-name")


def test_what_is_open_is_found(opened: Path) -> None:
    assert len(open_paths(opened, None)) == 1 + len(list(opened.rglob("*")))
    opened.chmod(0o700)
    assert open_paths(opened, None) == []


def test_a_folder_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    assert close(tmp_path / "data", None) == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_process_with_the_definitions_writes_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    code = """
import duckdb, pathlib, shutil, sqlite3, sys
import polars as pl
import health_pipelines.definitions

folder = pathlib.Path(sys.argv[1])
(folder / "made").mkdir()
pl.DataFrame({"a": [1]}).write_parquet(folder / "made" / "polars.parquet")
duckdb.connect(str(folder / "made" / "database.duckdb")).execute("CREATE TABLE t AS SELECT 1 AS a")
connection = sqlite3.connect(folder / "made" / "quota.sqlite")
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE t (a)")
connection.commit()
shutil.copyfile(folder / "made" / "polars.parquet", folder / "made" / "copy.parquet")
"""
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"HEALTH_DATA_DIR": str(tmp_path / "data")},
        check=True,
        umask=umask,
    )

    made = list((tmp_path / "made").iterdir())
    assert len(made) >= 4
    assert {mode(path) for path in made} == {0o600}
    assert mode(tmp_path / "made") == 0o700
