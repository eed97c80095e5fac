"""How long pages stay on disk: until the sweep has landed or is given up, which it is after an hour."""

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, build_sensor_context

from health_pipelines.definitions import build_definitions
from health_pipelines.drchrono.sweep.journal import LIST_LIFE, Question, forget_given_up, opened
from health_pipelines.drchrono.sweep.pages import Page
from health_pipelines.landing.housekeeping import SENSOR_NAME
from health_pipelines.settings import Settings
from health_pipelines.warehouse.storage import WarehouseStorage

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
QUESTION = Question("vendor", "patients", date(2026, 3, 1), verbose=False)
SECOND = timedelta(seconds=1)


def leave_a_page(folder: Path, *, written_at: datetime) -> Path:
    """What a run leaves that was killed: a page, notes, and files of the work with it."""
    with opened(folder, QUESTION, written_at) as journal:
        journal.keep(Page(1, 100), "uuid", b'{"results": [{"first_name": "Zebulon"}]}', written_at)
        (journal.work_folder() / "staged.parquet").write_bytes(b"Zebulon")
    for file in folder.rglob("*"):
        os.utime(file, (written_at.timestamp(),) * 2)
    return folder


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("later", "forgotten"),
    [
        (timedelta(), []),
        (LIST_LIFE - SECOND, []),
        (LIST_LIFE, ["patients"]),
        (timedelta(days=30), ["patients"]),
        # As if the clock had been a day ahead when it was written.
        (-timedelta(days=1), ["patients"]),
    ],
)
def test_a_journal_that_nobody_goes_on_with_is_kept_for_an_hour(
    tmp_path: Path, later: timedelta, forgotten: list[str]
) -> None:
    folder = leave_a_page(tmp_path / "patients", written_at=NOW)
    assert forget_given_up(tmp_path, NOW + later) == forgotten
    assert bool(files_in(folder)) is not bool(forgotten)
    # Nothing is told twice.
    assert forget_given_up(tmp_path, NOW + later) == []


def test_a_journal_of_a_sweep_under_way_stays_however_slow_it_is(tmp_path: Path) -> None:
    folder = leave_a_page(tmp_path / "patients", written_at=NOW)
    leave_a_page(tmp_path / "appointments", written_at=NOW)
    with opened(folder, QUESTION, NOW):
        kept = files_in(folder)
        assert forget_given_up(tmp_path, NOW + timedelta(days=1)) == ["appointments"]
        assert files_in(folder) == kept
    assert forget_given_up(tmp_path, NOW + timedelta(days=1)) == ["patients"]


def test_where_no_sweep_ever_was_nothing_is_forgotten(tmp_path: Path) -> None:
    assert forget_given_up(tmp_path / "sweeps", NOW) == []
    (tmp_path / "patients").mkdir()
    assert forget_given_up(tmp_path, NOW) == []


def test_housekeeping_removes_the_pages_of_sweeps_that_nobody_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    now = datetime.now(UTC)
    old = [
        leave_a_page(tmp_path / "drchrono" / kind / "patients", written_at=now - LIST_LIFE)
        for kind in ("sweeps", "reconciliations")
    ]
    young = leave_a_page(tmp_path / "drchrono" / "sweeps" / "appointments", written_at=now)
    repository = build_definitions(Settings.of_this_process()).get_repository_def()
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(
            instance=instance, repository_def=repository, resources={"storage": WarehouseStorage()}
        )
        data = repository.get_sensor_def(SENSOR_NAME).evaluate_tick(context)
    assert "Sweeps given up: 2." in (data.skip_message or "")
    assert [files_in(folder) for folder in old] == [[], []]
    assert files_in(young)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_pages_are_their_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    code = """
import sys
from pathlib import Path
from health_pipelines import definitions
from health_pipelines_tests.drchrono.sweep.test_journal import NOW, leave_a_page
leave_a_page(Path(sys.argv[1]), written_at=NOW)
"""
    data = tmp_path / "data"
    folder = data / "drchrono" / "sweeps" / "patients"
    environment: Mapping[str, str] = os.environ | {"HEALTH_DATA_DIR": str(data)}
    subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=True, umask=umask)
    found = [folder, *folder.rglob("*")]
    assert len(found) == 5
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in found} == {0}
