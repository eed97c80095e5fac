"""DrChrono's records over HTTP: what is left out is nowhere, who is erased stays away with all of theirs."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.journal import Question, opened
from health_pipelines.http import origin_of
from health_pipelines.privacy.erased import Erased
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.warehouse.storage import build_warehouse
from health_pipelines_tests.drchrono.project import BY_NAME, Project
from health_pipelines_tests.privacy.test_visits import KEY, hashed, remove
from health_pipelines_tests.support.everywhere import files_with
from health_pipelines_tests.support.sandbox_process import SandboxProcess

FIRST, LAST = "2026-04-03", "2026-04-06"
APPOINTMENTS, PATIENTS, VALUES, DELETIONS = (
    BY_NAME[name]
    for name in ("appointments", "patients", "clinical_note_field_values", "line_item_deletions")
)
NAME, SSN, DEEP = "Planted-Quixotic", "987-65-4321", "PLANTED-DEEP-555"


def lake_rows(project: Project, record_type: RecordType, columns: str) -> list[tuple[Any, ...]]:
    pattern = project.lake.pattern(record_type.table)
    source = f"read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM {source}").fetchall()


def patient_in_range(practice: SandboxProcess) -> str:
    return str(practice.drchrono_records("patients", since=FIRST)[0]["id"])


def visits_in_range(practice: SandboxProcess) -> list[dict[str, Any]]:
    found = practice.drchrono_records("appointments", since=FIRST)
    return [one for one in found if FIRST <= one["updated_at"][:10] <= LAST]


def plant(practice: SandboxProcess, record_type: RecordType, key: str, **fields: Any) -> None:
    # Appointments are sorted by it, and by what it is for the vendor.
    when = {} if record_type is APPOINTMENTS else {"updated_at": f"{FIRST}T10:00:00"}
    practice.change_records(record_type.name, plant={key: when | fields})


def land(project: Project, *record_types: RecordType) -> None:
    for record_type in record_types:
        assert project.materialize(record_type, FIRST, LAST).success


def test_a_left_out_field_is_in_no_byte_of_the_lake_and_hashed_ids_join(
    live_project: Project, changing_practice: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, visit = patient_in_range(changing_practice), visits_in_range(changing_practice)[0]
    plant(changing_practice, APPOINTMENTS, str(visit["id"]), notes=DEEP, patient=int(patient))
    # In its field, as what does not fit it, in another spelling, and inside of other fields.
    plant(
        changing_practice,
        PATIENTS,
        patient,
        last_name=NAME,
        social_security_number=SSN,
        Social_Security_Number=SSN,
        patient_photo={"url": DEEP},
        custom_demographics=[{"social_security_number": SSN, "kept": 1.10}],
        unheard_of={"deep": {"social_security_number": [SSN]}},
    )
    monkeypatch.setenv("HEALTH_LEAVE_OUT", "identifiers, drchrono/appointments.notes")
    monkeypatch.setenv("HEALTH_HASHED", "drchrono/patients.id, drchrono/*.patient")
    monkeypatch.setenv("HEALTH_HASH_KEY", KEY)

    land(live_project, PATIENTS, APPOINTMENTS)

    assert files_with(live_project.data / "lake", SSN, DEEP) == []
    assert files_with(live_project.data, SSN, DEEP) == []  # nor in what sweeps leave behind
    [(id_, ssn, custom, extra)] = [
        row[1:]
        for row in lake_rows(
            live_project, PATIENTS, "last_name, id, social_security_number, custom_demographics, _extra"
        )
        if row[0] == NAME
    ]
    assert (id_, ssn, json.loads(custom)) == (hashed(patient), None, [{"kept": 1.1}])
    assert '"kept":1.1' in custom.replace("1.10", "1.1")
    assert json.loads(extra)["unheard_of"] == {"deep": {}}
    visits = dict(lake_rows(live_project, APPOINTMENTS, "id, patient"))
    assert visits[str(visit["id"])] == hashed(patient)

    before = {file: file.stat().st_ino for file in live_project.lake.partition_files(PATIENTS.table)}
    land(live_project, PATIENTS)
    assert {file: file.stat().st_ino for file in before} == before
    assert live_project.facts(PATIENTS, FIRST)["changed"] is False


def test_days_that_landed_before_the_setting_lose_the_field_when_they_land_again_kept_rows_included(
    live_project: Project, changing_practice: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients = changing_practice.drchrono_records("patients", since=FIRST)
    stays, goes = str(patients[0]["id"]), str(patients[1]["id"])
    for key in (stays, goes):
        plant(changing_practice, PATIENTS, key, social_security_number=SSN, last_name=NAME)
    land(live_project, PATIENTS)
    assert len(files_with(live_project.data / "lake", SSN)) == 1

    # The vendor no longer sends the one: its old row stays in its day.
    changing_practice.change_records("patients", vanish=[goes])
    monkeypatch.setenv("HEALTH_LEAVE_OUT", "identifiers")
    monkeypatch.setenv("HEALTH_HASHED", "drchrono/patients.id")
    monkeypatch.setenv("HEALTH_HASH_KEY", KEY)
    land(live_project, PATIENTS)

    assert files_with(live_project.data / "lake", SSN) == []
    assert {id_ for id_, name in lake_rows(live_project, PATIENTS, "id, last_name") if name == NAME} == {
        hashed(stays),
        hashed(goes),
    }


def test_an_erased_patient_goes_with_all_that_refers_to_them_and_stays_away(
    live_project: Project,
    changing_practice: SandboxProcess,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = live_project.data
    values = changing_practice.drchrono_records("clinical_note_field_values", since=FIRST)
    visits = {str(one["id"]) for one in visits_in_range(changing_practice)}
    value = next(one for one in values if str(one["appointment"]) in visits)
    visit, patient = str(value["appointment"]), patient_in_range(changing_practice)
    plant(changing_practice, PATIENTS, patient, last_name=NAME, social_security_number=SSN)
    plant(changing_practice, APPOINTMENTS, visit, notes=NAME, patient=int(patient))
    plant(changing_practice, VALUES, str(value["id"]), value=DEEP)
    tables = (PATIENTS, APPOINTMENTS, BY_NAME["line_items"], VALUES)
    land(live_project, *tables)
    build_warehouse(Settings.of_this_process())
    theirs = {id_ for id_, who in lake_rows(live_project, APPOINTMENTS, "id, patient") if who == patient}
    assert visit in theirs
    patients_before = {id_ for (id_,) in lake_rows(live_project, PATIENTS, "id")}
    # A sweep that was killed left its pages.
    question = Question(origin_of(changing_practice.url), "patients", utc_now().date(), verbose=False)
    with opened(data / "drchrono" / "sweeps" / "patients", question, utc_now()):
        (data / "drchrono" / "sweeps" / "patients" / "page-00001.json").write_text(SSN)
    assert len(files_with(data, NAME, SSN, DEEP)) >= 5

    assert remove(f"drchrono:{patient}") == 0

    assert files_with(data, NAME, SSN, DEEP) == []
    for table in tables[1:3]:
        assert patient not in {who for (who,) in lake_rows(live_project, table, "patient")}
    assert not theirs & {who for (who,) in lake_rows(live_project, VALUES, "appointment")}
    assert patient in patients_before
    there = {id_ for (id_,) in lake_rows(live_project, PATIENTS, "id")}
    assert there
    assert patient not in there
    record = Erased.beside(live_project.lake.root)
    assert record.pending("drchrono") == []
    assert f'"{patient}"' not in json.dumps(record.record())

    # All of it is sent again, with a visit that nobody knew, whose values land before it does.
    new = next(
        visit for one in values if (visit := str(one["appointment"])) in visits and visit not in theirs
    )
    land(live_project, VALUES)
    assert new in {who for (who,) in lake_rows(live_project, VALUES, "appointment")}
    plant(changing_practice, APPOINTMENTS, new, patient=int(patient), notes=NAME)
    land(live_project, PATIENTS, APPOINTMENTS, BY_NAME["line_items"])

    assert files_with(data, NAME, SSN, DEEP) == []
    assert not {new, *theirs} & {who for (who,) in lake_rows(live_project, VALUES, "appointment")}
    assert record.pending("drchrono") == []
    capsys.readouterr()


def test_a_sweep_that_was_read_before_an_erasure_brings_nobody_back(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    patient = str(changing_practice.drchrono_records("patients", since=FIRST)[0]["id"])
    plant(changing_practice, PATIENTS, patient, last_name=NAME)
    land(live_project, PATIENTS)
    remove(f"drchrono:{patient}")
    assert files_with(live_project.data, NAME) == []

    # As if the list had been written in the middle of a sweep: the rows are staged as they came.
    land(live_project, PATIENTS)

    assert files_with(live_project.data, NAME) == []
    # What was kept out was sent all the same, and the check knows.
    assert live_project.facts(PATIENTS, FIRST)["rows_sent"] == len(live_project.rows(PATIENTS, FIRST)) + 1


def test_no_file_of_the_lists_is_readable_by_others(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    patient = str(changing_practice.drchrono_records("patients", since=FIRST)[0]["id"])
    land(live_project, PATIENTS)
    remove(f"drchrono:{patient}")

    folder: Path = live_project.data / "privacy"
    assert {one.name for one in folder.iterdir()} == {"key", "erased.jsonl", "record.jsonl"}
    assert {one.stat().st_mode & 0o077 for one in (folder, *folder.iterdir())} == {0}
