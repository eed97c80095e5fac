"""A vendor is a package with a VENDOR in it: it lands through the daemon and has all that the others have."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance
from dagster._core.execution.backfill import BulkActionStatus
from starlette.responses import JSONResponse

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.places import embedded_home
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import SettingError, Settings
from health_pipelines.vendors.known import vendors
from health_pipelines_tests.drchrono.scripted_vendor import ScriptedVendor, Seen, scripted_vendor
from health_pipelines_tests.end_to_end.test_backfill import start_ui, status_of
from health_pipelines_tests.support.dagster_processes import ROOT, DagsterHome, dagster_home, instance_of
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.waiting import wait_for
from health_pipelines_tests.vendors.wards import BEDS as BEDS_TABLE
from health_pipelines_tests.vendors.wards import BERLIN

BEDS = AssetKey(["wards", "beds"])
DAYS = days_from("2026-03-09", 3)
MODULE = "health_pipelines_tests.vendors.wards"


@pytest.fixture
def wards() -> Iterator[ScriptedVendor]:
    def beds(seen: Seen) -> JSONResponse:
        day = seen.query.removeprefix("day=")
        return JSONResponse({"beds": [{"bed": f"{day} {bed}", "is_free": bed % 2 == 0} for bed in range(4)]})

    with scripted_vendor() as vendor:
        vendor.handler = beds
        yield vendor


@pytest.fixture
def home(wards: ScriptedVendor, tmp_path: Path) -> Iterator[DagsterHome]:
    ours = ("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_", "ALERT_", "DAGSTER_POSTGRES_")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "DAGSTER_HOME": str(tmp_path / "home"),
        "HEALTH_DATA_DIR": str(tmp_path / "data"),
        "HEALTH_START_DATE": DAYS[0],
        "HEALTH_BUILD_WAREHOUSE": "false",
        "HEALTH_VENDORS": MODULE,
        "WARDS_BASE_URL": wards.url,
    }
    with dagster_home(environment, embedded_home(tmp_path / "home")) as home:
        yield home


def test_a_third_vendor_lands_through_the_daemon_and_has_all_that_the_others_have(home: DagsterHome) -> None:
    home.start_quick_daemon()
    with instance_of(home) as instance:
        backfill = DagsterApi(start_ui(home)).launch_backfill([BEDS.path], DAYS)
        wait_for(
            lambda: status_of(instance, backfill) is BulkActionStatus.COMPLETED_SUCCESS,
            "the end of the backfill",
            within_seconds=120,
        )
        assert instance.get_materialized_partitions(BEDS) == set(DAYS)
        assert passed(instance, "row_count_matches_vendor")
        assert passed(instance, "keys_are_unique")
        # The days are long ago.
        assert not passed(instance, "newest_day_has_landed")

    data = home.environment["HEALTH_DATA_DIR"]
    # Days are days of the vendor's own zone, and not of the place's, which nobody has set.
    assert Lake(Path(data) / "lake").days_of_other_zones(BEDS_TABLE, BERLIN.key) == {}
    assert Lake(Path(data) / "lake").days_of_other_zones(BEDS_TABLE, "UTC") == dict.fromkeys(DAYS, BERLIN.key)
    with duckdb.connect(f"{data}/warehouse.duckdb", read_only=True) as connection:
        assert connection.sql("SELECT count(*), count(DISTINCT bed) FROM wards.beds").fetchall() == [(12, 12)]
    doctor = subprocess.run(
        [sys.executable, "-m", "health_pipelines", "doctor"],
        env=home.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "wards: the sandbox on this machine answers and takes the key." in doctor.stdout, doctor.stdout


def passed(instance: DagsterInstance, check: str) -> bool:
    """What a check said last; it has to have said something."""
    key = AssetCheckKey(BEDS, check)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    evaluation = record.evaluation
    assert evaluation is not None, check
    return evaluation.passed


@pytest.mark.parametrize(
    "module", ["no.such.module", "json", "health_pipelines_tests.vendors.test_third_vendor"]
)
def test_what_is_no_vendor_is_refused_by_the_settings_name(module: str) -> None:
    with pytest.raises(SettingError, match=f"HEALTH_VENDORS names '{module}'"):
        vendors(Settings({"HEALTH_VENDORS": module}))


VENDOR = "no Vendor"
