"""Visits over HTTP: what a setting leaves out is nowhere, and who is erased stays away."""

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from dagster import AssetCheckKey

from health_pipelines.commands.erase import Wish, erase
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.publish import publish
from health_pipelines.dexcare.tables import VisitReport
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.verdicts import ROW_COUNT_MATCHES_VENDOR
from health_pipelines.settings import Settings, use_settings
from health_pipelines.warehouse.storage import build_warehouse
from health_pipelines_tests.dexcare.project import RETAIL, VIRTUAL, Project, failure_of
from health_pipelines_tests.support.everywhere import files_with
from health_pipelines_tests.support.sandbox_process import SandboxProcess

MONDAY, TUESDAY = "2026-03-09", "2026-03-10"
KEY = "0123456789abcdef0123456789abcdef"
NAME, SSN, PATIENT = "Planted-Quixotic", "987-65-4321", "PLANTED-77-PATIENT"
HEADER = '"visit_id","PatientId","SSN","name"\n'
THEIRS = f'"1","{PATIENT}","{SSN}","{NAME}"\n'
OTHERS = '"2","P-2","123-45-6789","Somebody Else"\n'
BOTH = HEADER + THEIRS + OTHERS
COLUMN = ("HEALTH_PATIENT_COLUMNS", "dexcare/*.PatientId")


def land(
    project: Project, vendor: SandboxProcess, body: str, day: str = MONDAY, report: VisitReport = VIRTUAL
) -> Any:
    project.materialize([report.request_key], day)
    newest = [one for one in vendor.reports() if one["type"] == report.type.value][-1]
    vendor.add_fault("data", {"kind": "body", "text": body}, report_id=newest["id"])
    return project.materialize([report.asset_key], day)


def rows(data: Path, report: VisitReport = VIRTUAL, day: str = MONDAY) -> list[dict[str, Any]]:
    file = Lake(data / "lake").partition_file(report.table, day)
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT * EXCLUDE (_partition_date, _report_id, _extracted_at) "
            "FROM read_parquet(?, hive_partitioning = false)",
            [str(file)],
        )
        names = [name for name, *_ in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def inode(data: Path, day: str = MONDAY) -> int:
    return Lake(data / "lake").partition_file(VIRTUAL.table, day).stat().st_ino


def hashed(text: str) -> str:
    return "hmac:" + hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def rows_are_all_there(project: Project) -> bool:
    key = AssetCheckKey(VIRTUAL.asset_key, ROW_COUNT_MATCHES_VENDOR)
    [record] = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return record.status.value == "SUCCEEDED"


def remove(*patients: str, **more: Any) -> int:
    try:
        return erase(Wish(patients=patients, **{"reason": "request 4711", "is_agreed": True, **more}))
    finally:
        use_settings(os.environ)  # a command is a process of its own


def test_a_column_that_is_left_out_is_in_no_byte_and_a_hash_joins_tables_and_days(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_LEAVE_OUT", "dexcare/*.ssn, dexcare/avr_virtual.name")
    monkeypatch.setenv("HEALTH_HASHED", "dexcare/*.PatientId")
    monkeypatch.setenv("HEALTH_HASH_KEY", KEY)

    assert land(project, vendor, BOTH).success
    assert land(project, vendor, BOTH, TUESDAY).success
    assert land(project, vendor, BOTH, report=RETAIL).success

    assert (
        rows(data)
        == rows(data, day=TUESDAY)
        == [
            {"visit_id": "1", "PatientId": hashed(PATIENT)},
            {"visit_id": "2", "PatientId": hashed("P-2")},
        ]
    )
    assert [row["PatientId"] for row in rows(data, RETAIL)] == [hashed(PATIENT), hashed("P-2")]
    assert files_with(data, SSN, PATIENT) == []
    assert rows_are_all_there(project)


def test_a_day_that_says_the_same_is_written_again_when_the_setting_changes_and_not_before(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert land(project, vendor, BOTH).success
    assert files_with(data / "lake", SSN) != []

    monkeypatch.setenv("HEALTH_LEAVE_OUT", "dexcare/avr_virtual.SSN")
    assert files_with(data / "lake", SSN) != []  # until it lands again
    assert land(project, vendor, BOTH).success
    assert files_with(data / "lake", SSN) == []

    before = inode(data)
    assert land(project, vendor, BOTH).success
    assert inode(data) == before

    monkeypatch.delenv("HEALTH_LEAVE_OUT")
    assert land(project, vendor, BOTH).success
    assert [row["SSN"] for row in rows(data)] == [SSN, "123-45-6789"]


def test_without_the_key_of_the_hashes_nothing_lands(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_HASHED", "dexcare/*.PatientId")

    assert "HEALTH_HASH_KEY is not set" in failure_of(land(project, vendor, BOTH))
    assert files_with(data / "lake", PATIENT) == []


def test_an_erased_patient_is_nowhere_and_stays_away(  # noqa: PLR0917 - fixtures, by name
    project: Project,
    vendor: SandboxProcess,
    data: Path,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(*COLUMN)
    monkeypatch.setenv("DEXCARE_AVR_VIRTUAL_KEY", "visit_id")
    monkeypatch.setenv("PUBLISH_URL", postgres_url)
    monkeypatch.setenv("PUBLISH_TABLES", "current.avr_virtual")
    monkeypatch.setenv("PUBLISH_DELETED", "mark")
    for day in (MONDAY, TUESDAY):
        assert land(project, vendor, BOTH, day).success
    assert land(project, vendor, BOTH, report=RETAIL).success
    build_warehouse(Settings.of_this_process())
    assert publish(None, compare=False) == 0
    assert published(postgres_url) == {"1", "2"}
    unfinished = data / "lake/dexcare/avr_virtual/date=2026-03-11/.download"
    unfinished.parent.mkdir()
    unfinished.write_text(BOTH)
    (data / ".warehouse" / "showing.duckdb.part").write_text(NAME)
    assert files_with(data, NAME, PATIENT) != []

    assert remove(f"dexcare:{PATIENT}", dry_run=True) == 0
    assert [row["visit_id"] for row in rows(data)] == ["1", "2"]
    assert not (data / "privacy").exists()
    capsys.readouterr()
    assert remove(f"dexcare:{PATIENT}", as_json=True) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["removed"] == [
        {"table": table, "day": day, "rows": 1, "whole_day": False}
        for table, day in (
            ("dexcare/avr_retail", MONDAY),
            ("dexcare/avr_virtual", MONDAY),
            ("dexcare/avr_virtual", TUESDAY),
        )
    ]
    assert files_with(data, NAME, PATIENT, SSN) == []
    assert published(postgres_url) == {"2"}
    record = (data / "privacy" / "record.jsonl").read_text()
    assert "request 4711" in record
    assert PATIENT not in record

    # The vendor sends it again: the same, another version, another day.
    assert land(project, vendor, BOTH).success
    assert land(project, vendor, BOTH + '"3","P-3","","New"\n').success
    assert land(project, vendor, BOTH, "2026-03-12").success
    assert [row["visit_id"] for row in rows(data)] == ["2", "3"]
    assert rows_are_all_there(project)
    assert files_with(data, NAME, PATIENT, SSN) == []

    # What says the same is not written again and again for it.
    before = inode(data)
    assert land(project, vendor, BOTH + '"3","P-3","","New"\n').success
    assert inode(data) == before


def published(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT visit_id FROM health_current.avr_virtual").fetchall()
        everything = repr(connection.execute("SELECT t::text FROM health_current.avr_virtual t").fetchall())
    ids = {visit for (visit,) in found}
    assert (NAME in everything) == ("1" in ids)
    return ids


def test_nobody_is_erased_where_nobody_said_which_column_names_the_patient(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert land(project, vendor, BOTH).success

    with pytest.raises(ProblemError) as problem:
        remove(f"dexcare:{PATIENT}")

    assert "HEALTH_PATIENT_COLUMNS" in str(problem.value)
    assert "dexcare/avr_virtual: PatientId (1 rows)" in str(problem.value)
    assert PATIENT not in str(problem.value)
    assert len(rows(data)) == 2


def test_a_report_without_the_patients_column_does_not_bring_anybody_back(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*COLUMN)
    assert land(project, vendor, BOTH).success
    remove(f"dexcare:{PATIENT}")

    renamed = BOTH.replace("PatientId", "Patient")
    assert "avr_virtual has no column PatientId" in failure_of(land(project, vendor, renamed))
    assert len(rows(data)) == 1
    monkeypatch.setenv("HEALTH_PATIENT_COLUMNS", "dexcare/*.PatientId, dexcare/*.Patient")
    assert land(project, vendor, renamed).success
    assert [row["visit_id"] for row in rows(data)] == ["2"]


def test_a_patient_whose_id_is_hashed_is_erased_by_the_id_and_stays_away_with_another_key(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*COLUMN)
    monkeypatch.setenv("HEALTH_HASHED", "dexcare/*.PatientId")
    monkeypatch.setenv("HEALTH_HASH_KEY", KEY)
    assert land(project, vendor, BOTH).success

    remove(f"dexcare:{PATIENT}")
    assert [row["visit_id"] for row in rows(data)] == ["2"]

    monkeypatch.setenv("HEALTH_HASH_KEY", KEY[::-1])
    assert land(project, vendor, BOTH, TUESDAY).success
    assert [row["visit_id"] for row in rows(data, day=TUESDAY)] == ["2"]
