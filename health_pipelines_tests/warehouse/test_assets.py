"""What Dagster is told of a build: on a real instance and a real lake."""

import pytest
from dagster import AssetKey, DagsterEventType, ExecuteInProcessResult

from health_pipelines.settings import Settings
from health_pipelines.warehouse.assets import warehouse_asset, warehouse_keys
from health_pipelines.warehouse.lake_tables import TABLES
from health_pipelines.warehouse.models import marts
from health_pipelines_tests.warehouse.hospital import Hospital
from health_pipelines_tests.warehouse.project import Project, materialized
from health_pipelines_tests.warehouse.test_models import APPOINTMENTS, LINES, visit

EVERYTHING = {*(f"current.{table.name}" for table in TABLES), *(mart.full_name for mart in marts())}
PATIENT = "Quentin Testcase"


def test_every_table_is_an_asset_with_its_lineage_and_columns_before_anything_landed() -> None:
    declared = warehouse_asset(Settings({}))
    specs = declared.specs_by_key

    assert len(specs) == 21
    assert set(specs) == set(warehouse_keys())
    line_items = specs[AssetKey(["current", "line_items"])]
    assert {dep.asset_key for dep in line_items.deps} == {
        AssetKey(["drchrono", "line_items"]),
        AssetKey(["drchrono", "line_item_deletions"]),
        AssetKey(["drchrono", "gone_records"]),
    }
    charges = specs[AssetKey(["marts", "charges"])]
    assert {dep.asset_key.path[-1] for dep in charges.deps} == {"line_items", "transactions", "appointments"}
    assert {dep.asset_key.path[0] for dep in charges.deps} == {"current"}
    assert charges.group_name == "marts"
    assert "- **Key**: `line_item_id`." in (charges.description or "")
    assert "duckdb" in charges.kinds
    columns = charges.metadata["dagster/column_schema"].columns
    assert (columns[0].name, columns[0].description) == ("line_item_id", "DrChrono's id of the billing line.")
    assert declared.op.pool is None


def test_a_place_with_a_prefix_has_it_before_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTH_ASSET_PREFIX", "uat")

    declared = warehouse_asset(Settings.of_this_process())

    keys = {*declared.keys, *declared.dependency_keys, *(check.asset_key for check in declared.check_keys)}
    assert {key.path[0] for key in keys} == {"uat"}
    assert set(warehouse_keys()) == declared.keys


def test_what_changed_is_materialized_with_numbers_and_what_did_not_wakes_nobody(
    project: Project, clinic: Hospital
) -> None:
    clinic.land_visits(
        "virtual", "2026-10-01", [visit("v1", "2026-10-01 10:00:00", PATIENT), visit(None, "soon", "x")]
    )
    clinic.land_visits("virtual", "2026-10-02", [visit("v2", "soon", "completed")])
    clinic.land_records("appointments", "2026-10-01", APPOINTMENTS)

    first = project.materialize()

    told = materialized(first)
    assert set(told) == EVERYTHING
    virtual = told["current.avr_virtual"]
    assert virtual["dagster/row_count"] == 2
    assert virtual["made"] == "whole"
    assert virtual["values_that_do_not_fit"] == 1
    assert virtual["rows_without_key"] == 1
    assert 0 <= virtual["seconds_from_landing"] < 300
    assert 0 <= told["marts.daily_visits"]["seconds_from_landing"] <= virtual["seconds_from_landing"]
    assert "seconds_from_landing" not in told["current.patients"]
    types = {one.name: (one.type, one.description) for one in virtual["dagster/column_schema"].columns}
    assert types["visit_time"][0] == "TIMESTAMP WITH TIME ZONE"
    assert types["room"] == ("VARCHAR", "As the vendor sends it; not documented.")
    assert told["marts.appointments"]["dagster/row_count"] == 3
    assert told["marts.visits"]["made"] == "view"
    assert any(str(value).startswith("![") for value in told["marts.daily_visits"].values()), "a chart"
    assert PATIENT not in words_of(project, first)

    again = project.materialize()
    assert again.success
    assert materialized(again) == {}
    # And yet no check is left without a word.
    assert checks_told(again) == checks_told(first)
    assert not project.check("avr_virtual", "values_fit_their_types").passed

    # A late correction of a visit concerns what is made of visits and nothing else.
    clinic.land_visits("virtual", "2026-10-02", [visit("v2", "2026-10-02 09:00:00", "x")], extracted=2)
    correction = project.materialize()
    assert set(materialized(correction)) == {"current.avr_virtual", "marts.visits", "marts.daily_visits"}
    assert correction.success
    assert {one[:2] for one in checks_told(correction)} == {one[:2] for one in checks_told(first)}
    assert project.check("avr_virtual", "values_fit_their_types").passed
    # A billing line concerns the marts of money, but no table that it is not in.
    clinic.land_records("line_items", "2026-10-01", LINES)
    assert set(materialized(project.materialize())) == {
        "current.line_items", "marts.charges", "marts.appointments", "marts.aging_receivables",
        "marts.daysheet",
    }  # fmt: skip


def test_a_build_that_cannot_be_made_fails_with_one_sentence_and_leaves_the_old_file(
    project: Project, clinic: Hospital
) -> None:
    file = clinic.land_visits("retail", "2026-10-01", [visit("1", None, "x")])
    assert project.materialize().success
    file.write_bytes(file.read_bytes()[:40])

    failed = project.materialize()

    assert not failed.success
    assert materialized(failed) == {}
    [failure] = [event for event in failed.all_events if event.event_type is DagsterEventType.STEP_FAILURE]
    error = failure.step_failure_data.error
    assert error is not None
    assert "dexcare/avr_retail 2026-10-01 cannot be read" in error.message
    assert not [
        event for event in failed.all_events if event.event_type is DagsterEventType.STEP_UP_FOR_RETRY
    ]
    assert clinic.query("SELECT visit_id FROM current.avr_retail") == [("1",)]


def test_a_table_that_cannot_be_made_is_red_with_a_sentence_and_the_others_are_fresh(
    project: Project, clinic: Hospital
) -> None:
    damaged = clinic.land_visits("retail", "2026-10-01", [visit("1", None, "x")])
    sound = damaged.read_bytes()
    clinic.land_visits("virtual", "2026-10-01", [visit("1", None, "x")])
    assert project.materialize().success
    damaged.write_bytes(b"PAR1 no longer")
    clinic.land_visits("virtual", "2026-10-02", [visit("2", None, "x")])

    failed = project.materialize()

    assert not failed.success
    assert set(materialized(failed)) == {"current.avr_virtual", "marts.visits", "marts.daily_visits"}
    red = project.check("avr_retail", "rows_reconcile_with_landed")
    assert not red.passed
    assert "dexcare/avr_retail 2026-10-01 cannot be read" in (red.description or "")
    assert project.check("avr_virtual", "rows_reconcile_with_landed").passed

    damaged.write_bytes(sound)
    assert project.materialize().success
    assert project.check("avr_retail", "rows_reconcile_with_landed").passed


def test_a_setting_that_names_no_column_is_told_where_the_table_is(
    project: Project, clinic: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXCARE_AVR_VIRTUAL_STATUS", "stat")
    clinic.land_visits("virtual", "2026-10-01", [visit("v1", None, "x")])

    result = project.materialize()

    said = "DEXCARE_AVR_VIRTUAL_STATUS is 'stat', and dexcare/avr_virtual has no such column"
    assert said in materialized(result)["current.avr_virtual"]["settings_to_correct"]
    assert said in words_of(project, result)


def checks_told(result: ExecuteInProcessResult) -> set[tuple[str, str, bool, str]]:
    return {
        (one.asset_key.to_user_string(), one.check_name, one.passed, one.description or "")
        for one in result.get_asset_check_evaluations()
    }


def words_of(project: Project, result: ExecuteInProcessResult) -> str:
    """Everything that Dagster has stored of a run."""
    return "\n".join(str(entry) for entry in project.instance.all_logs(result.run_id))
