"""Which columns may be left out or hashed, and what the doctor sees of it."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from health_pipelines.doctor.finding import Mark
from health_pipelines.doctor.installation import Installation
from health_pipelines.doctor.privacy_check import privacy
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.landed_partition import put_in_place
from health_pipelines.privacy.erased import Erased
from health_pipelines.settings import SettingError, Settings
from health_pipelines.vendors.privacy_names import refuse_wrong_names

KEY = "0123456789abcdef0123456789abcdef"
VISITS = Table("dexcare", "avr_virtual")


@pytest.mark.parametrize(
    ("setting", "name", "says"),
    [
        ("HEALTH_LEAVE_OUT", "drchrono/patiens.email", "there is no table drchrono/patiens"),
        ("HEALTH_HASHED", "drcrono/*.email", "there is no table drcrono/*"),
        ("HEALTH_PATIENT_COLUMNS", "dexcare/visits.id", "there is no table dexcare/visits"),
        ("HEALTH_LEAVE_OUT", "drchrono/*.ID", "the key of drchrono/appointments"),
        ("HEALTH_LEAVE_OUT", "drchrono/clinical_notes.appointment", "the key of drchrono/clinical_notes"),
        ("HEALTH_LEAVE_OUT", "dexcare/provider_histories.id", "the key of dexcare/provider_histories"),
        ("HEALTH_LEAVE_OUT", "dexcare/*.Visit_Id", "the key of dexcare/avr_virtual"),
        ("HEALTH_LEAVE_OUT", "drchrono/line_items.patient", "a patient's rows of drchrono/line_items"),
        ("HEALTH_LEAVE_OUT", "drchrono/patients.updated_at", "to which day a record belongs"),
        ("HEALTH_HASHED", "drchrono/patients.updated_at", "to which day a record belongs"),
        ("HEALTH_LEAVE_OUT", "dexcare/*._extracted_at", "no column of the vendor's"),
        ("HEALTH_HASHED", "drchrono/patients.date_of_birth", "whose type is date"),
        ("HEALTH_HASHED", "drchrono/patients.primary_insurance", "whose type is json"),
        ("HEALTH_HASHED", "drchrono/line_items.billed", "whose type is decimal"),
    ],
)
def test_what_cannot_be_left_out_or_hashed_is_one_sentence(setting: str, name: str, says: str) -> None:
    environment = {setting: name, "HEALTH_HASH_KEY": KEY, "DEXCARE_AVR_VIRTUAL_KEY": "visit_id"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXCARE_AVR_VIRTUAL_KEY", "visit_id")
        with pytest.raises(SettingError) as refused:
            refuse_wrong_names(Settings(environment))

    assert str(refused.value).startswith(f"{setting} names {name}")
    assert says in str(refused.value)


def test_keys_and_ids_may_be_hashed_and_anything_else_left_out() -> None:
    refuse_wrong_names(
        Settings(
            {
                "HEALTH_LEAVE_OUT": "identifiers, free_text, dexcare/*.SSN, drchrono/*.anything",
                "HEALTH_HASHED": "drchrono/patients.id, drchrono/*.patient, dexcare/*.PatientId",
                "HEALTH_HASH_KEY": KEY,
            }
        )
    )


def test_the_key_is_missed_before_anything_runs() -> None:
    with pytest.raises(SettingError, match="HEALTH_HASH_KEY is not set"):
        refuse_wrong_names(Settings({"HEALTH_HASHED": "dexcare/*.PatientId"}))


def test_the_doctor_names_what_nothing_has_old_days_and_erasures_that_did_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    lake = Lake(tmp_path / "lake")

    def doctor(**environment: str) -> list[tuple[Mark, str]]:
        values = {"HEALTH_DATA_DIR": str(tmp_path), **environment}
        found = privacy(Installation(values, values, {}, lambda: datetime(2026, 3, 12, tzinfo=UTC)))
        return [(one.mark, one.says) for one in found]

    def land(day: str) -> None:
        with lake.writing(VISITS, day) as writer:
            pl.DataFrame({"id": ["1"], "SSN": ["x"]}).write_parquet(writer.candidate)
            put_in_place(writer, rows_sent=1, key=None)

    assert doctor() == [(Mark.OK, "No column is left out or hashed, and nobody was erased.")]
    land("2026-03-09")
    monkeypatch.setenv("HEALTH_LEAVE_OUT", "dexcare/*.ssn")
    land("2026-03-10")
    [(mark, says)] = doctor(HEALTH_LEAVE_OUT="dexcare/*.ssn")
    assert mark is Mark.WARNING
    assert says.startswith("dexcare/avr_virtual: 1 day: 2026-03-09 landed by other settings")
    land("2026-03-09")
    assert doctor(HEALTH_LEAVE_OUT="dexcare/*.ssn") == [(Mark.OK, "1 columns are left out, 0 hashed.")]

    wrong = "dexcare/*.ssn, dexcare/avr_virtual.SNS"
    assert any("column of dexcare/avr_virtual.SNS" in says for _, says in doctor(HEALTH_LEAVE_OUT=wrong))

    known = Erased.beside(lake.root)
    known.add("dexcare", ["hash"])
    said = {says: mark for mark, says in doctor(HEALTH_LEAVE_OUT="dexcare/*.ssn")}
    assert any("erase --again" in says for says, mark in said.items() if mark is Mark.PROBLEM)
    assert any("HEALTH_PATIENT_COLUMNS" in says for says, mark in said.items() if mark is Mark.PROBLEM)
    known.settle("dexcare", ["hash"])
    columns = {"HEALTH_LEAVE_OUT": "dexcare/*.ssn", "HEALTH_PATIENT_COLUMNS": "dexcare/*.id"}
    assert doctor(**columns) == [
        (Mark.OK, "1 columns are left out, 0 hashed; patients of dexcare are kept out.")
    ]
