"""Both vendors land into a bucket, and all that reads the lake reads it there: with real steps over HTTP."""

import os
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from dagster import DagsterInstance

from health_pipelines.commands.erase import Wish, erase
from health_pipelines.commands.verify import verify
from health_pipelines.dexcare.columns.guesses import guesses_now
from health_pipelines.doctor.bucket_check import object_storage
from health_pipelines.doctor.finding import Mark
from health_pipelines.doctor.folder_checks import lake as landed_tables
from health_pipelines.doctor.installation import Installation
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.settings import Settings, use_settings
from health_pipelines.status.reading import Reading
from health_pipelines.warehouse.problems import UnreachableLakeError
from health_pipelines.warehouse.storage import build_warehouse, warehouse_of
from health_pipelines_tests.conftest import ZONE_NAME
from health_pipelines_tests.dexcare.project import RETAIL, VIRTUAL, failure_of, logged
from health_pipelines_tests.dexcare.project import Project as DexCareProject
from health_pipelines_tests.drchrono.project import BY_NAME, changed_on, true_rows, without_lineage
from health_pipelines_tests.drchrono.project import Project as DrChronoProject
from health_pipelines_tests.lake.test_verification import states
from health_pipelines_tests.support import landed
from health_pipelines_tests.support.bucket_tree import objects, written_to
from health_pipelines_tests.support.everywhere import files_with
from health_pipelines_tests.support.s3_server import (
    KEY,
    SECRET,
    Server,
    credentials,
    error,
    in_environment,
    running_proxy,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess

MONDAY, TUESDAY = "2026-03-09", "2026-03-10"
PATIENT = "PLANTED-77-PATIENT"
BODY = f'"visit_id","PatientId"\n"1","{PATIENT}"\n"2","P-2"\n'


def settings() -> Settings:
    return Settings.of_this_process()


def land_body(project: DexCareProject, vendor: SandboxProcess, body: str, day: str = MONDAY) -> Any:
    project.materialize([VIRTUAL.request_key], day)
    newest = [one for one in vendor.reports() if one["type"] == VIRTUAL.type.value][-1]
    vendor.add_fault("data", {"kind": "body", "text": body}, report_id=newest["id"])
    return project.materialize([VIRTUAL.asset_key], day)


def cells(warehouse: Path) -> dict[str, Counter[tuple[Any, ...]]]:
    """Every row of every table and view that people query, but for when it was made."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        names = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema IN ('current', 'marts', 'dexcare', 'drchrono')"
        ).fetchall()
        return {
            f"{schema}.{name}": Counter(connection.execute(f'FROM "{schema}"."{name}"').fetchall())
            for schema, name in names
        }


def test_a_range_of_visits_lands_as_the_vendor_has_it_and_the_warehouse_is_that_of_a_folder(
    visits: DexCareProject, vendor: SandboxProcess, data: Path, lake_url: str, tmp_path: Path
) -> None:
    days = landed.days_from("2026-03-06", 5)
    for kind in (VIRTUAL, RETAIL):
        assert visits.materialize([kind.request_key], days[0], days[-1]).success
        assert visits.materialize([kind.asset_key], days[0], days[-1]).success
        assert sorted(visits.landed(kind.asset_key)) == days

    assert not (data / "lake").exists()
    lake = lake_to_read(settings())
    assert lake.days(VIRTUAL.table) == lake.days(RETAIL.table) == days
    assert states(lake, VIRTUAL.table) == states(lake, RETAIL.table) == {}
    report = build_warehouse(settings())
    assert (report.published, report.problems) == (True, ())
    for day in days:
        columns, rows = landed.true_rows(vendor, RETAIL, day, ZoneInfo(ZONE_NAME))
        assert rows.total() > 0
        assert landed.rows_in_warehouse(data, RETAIL, columns)[day] == rows
    assert warehouse_of(settings()).is_current()
    # Nothing is to do, and nothing is fetched for that.
    assert not build_warehouse(settings()).published

    # The same tree in a folder makes the same warehouse.
    home = tmp_path / "home"
    written_to(lake_url, home / "lake")
    without = {name: text for name, text in os.environ.items() if name != "HEALTH_LAKE_URL"}
    at_home = Settings({**without, "HEALTH_DATA_DIR": str(home)})
    build_warehouse(at_home)
    assert cells(data / "warehouse.duckdb") == cells(home / "warehouse.duckdb")
    assert guesses_now(settings(), VIRTUAL).of == guesses_now(at_home, VIRTUAL).of


@pytest.mark.long
def test_a_day_that_says_the_same_stays_and_one_that_changed_is_replaced_and_seen(
    visits: DexCareProject, vendor: SandboxProcess, data: Path, lake_url: str
) -> None:
    assert land_body(visits, vendor, BODY).success
    build_warehouse(settings())
    before = objects(lake_url)

    assert land_body(visits, vendor, BODY).success
    assert objects(lake_url) == before
    assert warehouse_of(settings()).is_current()

    changed = land_body(visits, vendor, BODY.replace('"P-2"', '"P-3"'))
    [event] = changed.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert (metadata["rows_changed"].value if "rows_changed" in metadata else 1) == 1
    assert not warehouse_of(settings()).is_current()
    build_warehouse(settings())
    assert cells(data / "warehouse.duckdb")["current.avr_virtual"].total() == 2
    with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as connection:
        patients = connection.execute(
            "SELECT PatientId FROM dexcare.avr_virtual ORDER BY visit_id"
        ).fetchall()
    assert patients == [(PATIENT,), ("P-3",)]


def test_a_sweep_lands_its_range_and_lands_nothing_again(
    records: DrChronoProject, changing_practice: SandboxProcess, lake_url: str
) -> None:
    appointments = BY_NAME["appointments"]
    days = landed.days_from("2026-04-03", 4)
    assert records.materialize(appointments, days[0], days[-1]).success

    truth = true_rows(changing_practice, appointments, "2026-04-02")
    for day in days:
        assert without_lineage(records.rows(appointments, day)) == changed_on(truth, appointments, day)
    assert states(records.lake, appointments.table) == {}
    assert records.materialized(appointments) == days

    before = objects(lake_url)
    assert records.materialize(appointments, days[0], days[-1]).success
    assert objects(lake_url) == before


def test_who_is_erased_is_in_no_object_and_no_copy_and_stays_away(
    visits: DexCareProject, vendor: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, lake_url = settings().data_dir, settings().lake_url
    assert lake_url is not None
    monkeypatch.setenv("HEALTH_PATIENT_COLUMNS", "dexcare/*.PatientId")
    for day in (MONDAY, TUESDAY):
        assert land_body(visits, vendor, BODY, day).success
    # An older copy of a day, which is not what is in the bucket any more.
    assert land_body(visits, vendor, BODY.replace('"P-2"', '"P-3"')).success
    build_warehouse(settings())
    assert files_with(data, PATIENT)

    try:
        assert erase(Wish(patients=(f"dexcare:{PATIENT}",), reason="request 4711", is_agreed=True)) == 0
    finally:
        use_settings(os.environ)  # a command is a process of its own

    assert not files_with(data, PATIENT)
    written_to(lake_url, tmp_path / "everything")
    assert not files_with(tmp_path / "everything", PATIENT)
    lake = lake_to_read(settings())
    assert states(lake, VIRTUAL.table) == {}
    assert land_body(visits, vendor, BODY).success
    assert not files_with(data / "lake_copy", PATIENT)

    # Days that are not kept go as objects.
    try:
        wish = Wish(before=date.fromisoformat(TUESDAY), reason="retention", is_agreed=True)
        assert erase(wish) == 0
    finally:
        use_settings(os.environ)
    assert lake.days(VIRTUAL.table) == [TUESDAY]
    assert states(lake, VIRTUAL.table) == {}


def test_trouble_with_the_bucket_fails_the_run_with_a_sentence_and_the_next_one_lands(
    vendor: SandboxProcess,
    data: Path,
    s3_server: Server,
    lake_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEALTH_LAKE_URL", lake_url)
    changed = BODY.replace('"P-2"', '"P-3"')
    with (
        running_proxy(s3_server) as proxy,
        in_environment(credentials(proxy.url)),
        DagsterInstance.ephemeral() as instance,
    ):
        visits = DexCareProject(instance)
        assert land_body(visits, vendor, BODY).success
        build_warehouse(settings())
        before = partitions(lake_url)

        proxy.always(lambda call: call.writes("avr_virtual.parquet"), error(400, "ExpiredToken"))
        failed = land_body(visits, vendor, changed)
        assert "The session of the credentials for the bucket of HEALTH_LAKE_URL" in failure_of(failed)
        everything = logged(failed, instance) + "".join(map(str, failed.all_events))
        assert KEY not in everything
        assert SECRET not in everything
        proxy.nothing()
        assert partitions(lake_url) == before

        proxy.always(lambda _: True, error(503, "SlowDown"))
        with pytest.raises(UnreachableLakeError, match="The warehouse is as it was: Again and again 503"):
            build_warehouse(settings())
        with pytest.raises(UnreachableLakeError):
            warehouse_of(settings()).backlog()
        proxy.nothing()
        assert land_body(visits, vendor, changed).success
        assert states(lake_to_read(settings()), VIRTUAL.table) == {}


def partitions(url: str) -> dict[str, bytes]:
    return {key: text for key, text in objects(url).items() if "date=" in key}


def test_the_commands_say_the_address_and_see_what_is_there(
    visits: DexCareProject,
    vendor: SandboxProcess,
    data: Path,
    lake_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert land_body(visits, vendor, BODY).success
    installation = Installation(dict(os.environ), dict(os.environ), {}, now=lambda: datetime.now(UTC))

    finding = object_storage(installation)
    assert finding.mark is Mark.OK
    assert lake_url in finding.says
    assert not [key for key in objects(lake_url) if "_doctor" in key], "nothing is left"
    assert landed_tables(installation).says.startswith("1 of ")

    try:
        assert verify(None) == 0
    finally:
        use_settings(os.environ)
    assert f"{lake_url}: 1 partitions of 1 tables; 1 as landed." in capsys.readouterr().out

    status = Reading(visits.instance, settings(), datetime.now(UTC)).status()
    [virtual] = [one for one in status.tables if one.table == str(VIRTUAL.table)]
    assert virtual.rows is not None
    assert (virtual.newest_day, virtual.rows.landed) == (MONDAY, 2)


def test_a_bucket_that_takes_any_put_is_told_by_the_doctor(
    lake_url: str, s3_server: Server, tmp_path: Path
) -> None:
    installation = Installation(
        {"HEALTH_DATA_DIR": str(tmp_path), "HEALTH_LAKE_URL": f"{lake_url}/lax"},
        {},
        {},
        now=lambda: datetime.now(UTC),
    )
    with running_proxy(s3_server) as proxy, in_environment(credentials(proxy.url)):
        proxy.is_lax = True
        finding = object_storage(installation)
        assert finding.mark is Mark.PROBLEM
        assert "HEALTH_LAKE_URL" in finding.says
    in_folder = Installation({"HEALTH_DATA_DIR": str(tmp_path)}, {}, {}, now=lambda: datetime.now(UTC))
    assert object_storage(in_folder).mark is Mark.OK
