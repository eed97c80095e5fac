"""The README keeps what it says about commands and names."""

import re
from pathlib import Path

from health_pipelines.definitions import defs
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings.variables import ALL_SETTINGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"make ([a-z][a-z-]+)", README)) - {"sure"}
    targets = set(re.findall(r"^([a-z][a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


def test_the_paths_of_the_lake_are_the_ones_in_the_code() -> None:
    lake = Lake(Path("data/lake"))
    shown = str(lake.partition_file(VISIT_REPORTS[0].table, "2026-03-10")).removeprefix("data/")
    assert shown in README
    for report in VISIT_REPORTS:
        assert f"lake/dexcare/{report.table.name}/date=" in README


def test_every_asset_sensor_and_schedule_that_is_named_exists() -> None:
    assets = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    assert set(re.findall(r"--select (dexcare/\w+)", README)) <= assets
    repository = defs.get_repository_def()
    for name in ("dexcare_report_sensor",):
        assert name in README
        assert repository.has_sensor_def(name)
    assert "dexcare_daily" in README
    assert repository.has_schedule_def("dexcare_daily")


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_example_settings_are_settings() -> None:
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(names) <= {setting.name for setting in ALL_SETTINGS}
