"""The page of the data says what the warehouse has, and nobody forgot to decide what can be PHI."""

from collections import Counter
from pathlib import Path

import duckdb
import pytest

from health_pipelines.drchrono.records import RecordType
from health_pipelines.warehouse.column_sources import Source, column_sources
from health_pipelines.warehouse.dictionary import page, tables, types_json
from health_pipelines.warehouse.making import sources
from health_pipelines.warehouse.phi import NOT_PHI, PHI, verdict
from health_pipelines_tests.warehouse.hospital import TYPES, Hospital

ROOT = Path(__file__).parents[2]
COLUMNS = {entry.model.full_name: {one.name: one for one in entry.columns} for entry in tables()}


def test_the_page_is_made_from_the_tables() -> None:
    assert (ROOT / "docs" / "data.md").read_text() == page(), "make data-page"


def test_the_types_that_assets_show_are_those_of_the_tables() -> None:
    written = ROOT / "health_pipelines" / "warehouse" / "column_types.json"
    assert written.read_text() == types_json(), "make data-page"


def test_every_column_of_the_warehouse_is_on_the_page_with_its_type(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_records("patients", "2026-10-01", [{"id": 1}])
    hospital.land_records("appointments", "2026-10-01", [{"id": 1, "patient": 1}])
    hospital.build()
    found = hospital.query(
        "SELECT schema_name || '.' || table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE schema_name IN ('current', 'marts') ORDER BY ALL"
    )
    assert found == sorted(
        (table, one.name, one.type.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"))
        for table, columns in COLUMNS.items()
        for one in columns.values()
    )


def test_of_every_column_somebody_has_decided_whether_it_can_be_phi() -> None:
    undecided = {
        f"{table}.{one.name}"
        for table, columns in COLUMNS.items()
        for one in columns.values()
        if one.can_be_phi is None
    }
    assert undecided == set(), "list them in warehouse/phi.py, in doubt as PHI"


def test_no_name_is_decided_on_twice_or_without_a_column() -> None:
    names = Counter(name for reasons in (PHI, NOT_PHI) for names in reasons.values() for name in names)
    assert [name for name, times in names.items() if times > 1] == []
    assert set(names) - {name for columns in COLUMNS.values() for name in columns} == set()


def test_what_nobody_has_decided_on_has_no_verdict() -> None:
    assert verdict("favourite_colour") is None


@pytest.mark.parametrize(
    "column",
    [
        "current.patients.first_name",
        "current.patients.date_of_birth",
        "current.patients.zip_code",
        "current.patients.social_security_number",
        "current.patients.custom_demographics",
        "current.patients._extra",
        "current.patients.created_at_text",
        "current.appointments.notes",
        "current.appointments.vitals",
        "current.clinical_note_field_values.value",
        "current.line_items.code",
        "current.provider_histories.providerEmailAddress",
        "marts.appointments.patient_id",
        "marts.appointments.scheduled_day",
        "marts.visits.visit_id",
        "marts.visits._partition_date",
    ],
)
def test_what_tells_of_a_person_is_phi(column: str) -> None:
    table, name = column.rsplit(".", 1)
    assert COLUMNS[table][name].can_be_phi is True


def test_every_date_and_every_id_of_a_patient_is_phi() -> None:
    """By type rather than by name. What is no PHI is listed here by hand."""
    harmless = {"_as_sent", "_extracted_at", "_report_id", "as_of_day"}
    for table, columns in COLUMNS.items():
        for one in columns.values():
            is_date = one.type in ("DATE", "TIMESTAMPTZ")
            leads_to_a_patient = one.type == "VARCHAR" and (one.name == "id" or "patient" in one.name.lower())
            if (is_date or leads_to_a_patient) and one.name not in harmless:
                assert one.can_be_phi, f"{table}.{one.name}"


@pytest.mark.parametrize("record_type", TYPES.values(), ids=TYPES)
def test_every_list_and_object_is_phi(record_type: RecordType) -> None:
    for field, kind in record_type.columns.items():
        if kind == "json":
            assert COLUMNS[f"current.{record_type.name}"][field].can_be_phi, field


def test_what_is_told_of_a_field_is_told_anew_when_it_changes_and_the_page_builds_nothing() -> None:
    names = {path.name for path in sources()}
    assert {"meanings.json", "fields.json", "current.py", "charges.sql"} <= names
    assert names & {"dictionary.py", "column_sources.py", "phi.py"} == set()


def test_a_column_of_a_mart_says_what_it_is_made_of() -> None:
    assert COLUMNS["marts.charges"]["patient_id"].source == "`current.line_items.patient`"
    assert COLUMNS["marts.charges"]["transactions"].source == "ours"
    assert COLUMNS["marts.charges"]["last_transaction_date"].source == (
        "ours, from `current.transactions.posted_date`"
    )
    assert COLUMNS["marts.visits"]["report_type"].source == "ours"
    assert COLUMNS["marts.visits"]["visit_id"].source == (
        "`current.avr_provider_booking.visit_id`, `current.avr_retail.visit_id`, "
        "`current.avr_virtual.visit_id`"
    )
    assert COLUMNS["current.appointments"]["scheduled_time_text"].source == "DrChrono: `scheduled_time`"
    assert COLUMNS["current.avr_retail"]["wait_until"].source == (
        "DexCare: the column that `DEXCARE_AVR_RETAIL_WAIT_UNTIL` names"
    )


def test_sources_are_found_through_stars_ctes_joins_and_unions() -> None:
    sql = """
        WITH every AS (SELECT a, 'x', 1 FROM s.one UNION ALL SELECT c, d, d FROM s.two), whole AS (
            SELECT two.*, one.b AS more FROM s.one JOIN s.two AS two ON one.a = two.c
        )
        SELECT every.a, whole.d, more + c AS added, count(*) FILTER (more > 1) AS counted
        FROM every, whole
    """
    with duckdb.connect() as connection:
        found = column_sources(connection, sql, {"s.one": ("a", "b"), "s.two": ("c", "d")})
    assert found == {
        "a": Source(frozenset({"s.one.a", "s.two.c"}), as_it_is=True),
        "d": Source(frozenset({"s.two.d"}), as_it_is=True),
        "added": Source(frozenset({"s.one.b", "s.two.c"}), as_it_is=False),
        "counted": Source(frozenset({"s.one.b"}), as_it_is=False),
    }
