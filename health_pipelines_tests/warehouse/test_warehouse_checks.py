"""The checks of the current tables, each on a lake that deserves it."""

from typing import Any

import duckdb
import pytest
from dagster import AssetCheckEvaluation, AssetCheckSeverity

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.partitions import Table
from health_pipelines.settings import VisitColumns
from health_pipelines.warehouse.checks import keys_are_unique, once_each, rows_reconcile
from health_pipelines.warehouse.counts import Counts, Part, count, count_with_part
from health_pipelines.warehouse.current import current_tables
from health_pipelines_tests.warehouse.hospital import Hospital, Row
from health_pipelines_tests.warehouse.project import Project
from health_pipelines_tests.warehouse.test_models import line

RETAIL = Table("dexcare", "avr_retail")
WARN = AssetCheckSeverity.WARN
DRIFT = ("column", "what", "rows", "partitions")


def numbers(evaluation: AssetCheckEvaluation) -> dict[str, Any]:
    return {label: found.value for label, found in evaluation.metadata.items() if label != "details"}


def details(evaluation: AssetCheckEvaluation, *labels: str) -> list[tuple[Any, ...]]:
    found: Any = evaluation.metadata["details"]
    return [tuple(record.data[label] for label in labels) for record in found.records]


def test_rows_are_compared_with_the_different_keys_that_landed(project: Project, clinic: Hospital) -> None:
    day_1: list[Row] = [{"visit_id": "a"}, {"visit_id": "b"}, {"visit_id": None}, {"visit_id": ""}]
    clinic.land_visits("retail", "2026-10-01", day_1)
    clinic.land_visits("retail", "2026-10-02", [{"visit_id": "b"}, {"visit_id": "c"}, {"visit_id": "c"}])
    clinic.land_records("line_items", "2026-10-01", [line(1, 1, "8"), line(2, 1, "8")])
    clinic.land_records("line_item_deletions", "2026-10-02", [{"billing_line_item_id": 2}], extracted=2)

    assert project.materialize().success

    retail = project.check("avr_retail", "rows_reconcile_with_landed")
    assert retail.passed
    assert numbers(retail) == {
        "rows_landed": 7, "keys_landed": 3, "rows_without_key": 2, "rows_current": 3, "rows_deleted": 0,
    }  # fmt: skip
    assert numbers(project.check("avr_retail", "keys_are_unique")) == {"rows": 3, "keys": 3}
    assert numbers(project.check("line_items", "rows_reconcile_with_landed"))["rows_deleted"] == 1


def test_without_a_key_all_landed_rows_count_and_the_setting_is_named(
    project: Project, clinic: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEXCARE_AVR_RETAIL_KEY")
    for day in ("2026-10-01", "2026-10-02"):
        clinic.land_visits("retail", day, [{"visit_id": "a"}, {"visit_id": "a"}])

    project.materialize()

    unique = project.check("avr_retail", "keys_are_unique")
    assert unique.passed
    assert "DEXCARE_AVR_RETAIL_KEY" in (unique.description or "")
    assert numbers(project.check("avr_retail", "rows_reconcile_with_landed")) == {
        "rows_landed": 4, "rows_without_key": 0, "rows_current": 4, "rows_deleted": 0,
    }  # fmt: skip


def test_a_key_that_is_there_twice_and_a_row_that_is_lost_are_errors() -> None:
    [current] = current_tables({RETAIL: LINEAGE_COLUMNS}, {"retail": VisitColumns(key="id")})
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA current")
        connection.execute(
            "CREATE TABLE current.avr_retail AS SELECT unnest(['a', 'a', 'b', '', NULL]) AS visit_id, "
            "false AS is_deleted"
        )
        counts = count(connection, current, "SELECT unnest(['a', 'b', 'c', 'd', 'd', '']) AS id")

    assert counts == Counts(rows=5, deleted=0, keys=2, landed=6, landed_keys=4, landed_without_key=1)
    unique = keys_are_unique(counts, "SETTING")
    assert (unique.passed, unique.warns) == (False, False)
    assert "Of 5 rows, 3 have no key of their own" in (unique.description or "")
    rows = rows_reconcile(counts, lambda: False)
    assert (rows.passed, rows.warns) == (False, False)
    assert "4 different keys have landed and 5 rows are current" in (rows.description or "")
    # What landed while it was counted is no loss.
    meanwhile = rows_reconcile(counts, lambda: True)
    assert (meanwhile.passed, meanwhile.warns) == (False, True)


@pytest.mark.parametrize(
    ("rows", "keys", "unique", "reconcile"),
    # Of a, b and c before, c was taken out, and c and d, which is new, were put in.
    [
        (["a", "b", "c", "d"], 4, True, True),
        (["a", "c", "d"], 3, True, False),
        (list("abbcd"), 4, False, False),
    ],
)
def test_of_a_part_only_the_part_is_counted_and_a_row_lost_or_doubled_elsewhere_is_an_error(
    rows: list[str], keys: int, unique: bool, reconcile: bool
) -> None:
    [current] = current_tables({RETAIL: LINEAGE_COLUMNS}, {"retail": VisitColumns(key="id")})
    before = once_each(
        [
            keys_are_unique(Counts(3, 0, 3, 5, 3, 1), None),
            rows_reconcile(Counts(3, 0, 3, 5, 3, 1), lambda: False),
        ]
    )
    assert before == Counts(rows=3, deleted=0, keys=3, landed=5, landed_keys=3, landed_without_key=1)
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA current")
        connection.execute(
            f"CREATE TABLE current.avr_retail AS SELECT unnest({rows}) AS visit_id, true AS is_deleted"
        )
        part = Part(landed=7, landed_without_key=2, landed_keys=2, removed=1, added_keys=2)
        counts = count_with_part(connection, current, before, part)

    assert counts == Counts(len(rows), len(rows), keys, 7, 4, 2)
    assert keys_are_unique(counts, None).passed is unique
    assert rows_reconcile(counts, lambda: False).passed is reconcile


def test_what_was_not_right_or_has_no_key_is_counted_whole_the_next_time() -> None:
    for counts in (Counts(3, 0, 2, 5, 3, 0), Counts(3, 0, 3, 5, 4, 0), Counts(3, 0, None, 3, None, 0)):
        reports = [keys_are_unique(counts, "SETTING"), rows_reconcile(counts, lambda: False)]
        assert once_each(reports) is None
    assert once_each([]) is None


def test_values_that_do_not_fit_are_a_warning_with_a_number_for_each_column(
    project: Project, clinic: Hospital
) -> None:
    clinic.land_visits(
        "retail",
        "2026-10-01",
        [
            {"visit_id": "a", "scheduled_at": "soon", "entered_at": "2026-10-01 10:00:00"},
            {"visit_id": "b", "scheduled_at": "later", "entered_at": "now"},
            {"visit_id": "c", "scheduled_at": "", "entered_at": None},
        ],
    )
    clinic.land_records("line_items", "2026-10-01", [line(1, 1, "8", billed="much")])

    project.materialize()

    retail = project.check("avr_retail", "values_fit_their_types")
    assert (retail.passed, retail.severity) == (False, WARN)
    assert numbers(retail) == {"values": 3}
    assert details(retail, "column", "values") == [("visit_time", 2), ("wait_from", 1)]
    assert details(project.check("line_items", "values_fit_their_types"), "column", "values") == [
        ("billed", 1)
    ]
    assert project.check("appointments", "values_fit_their_types").passed
    assert "soon" not in str(retail)


def test_billing_lines_without_their_appointment_are_counted_apart_from_those_of_deleted_ones(
    project: Project, clinic: Hospital
) -> None:
    lines = [line(1, 1, "8"), line(2, 2, "8"), line(3, 3, "8"), line(4, 3, "8"), line(5, 3, "8")]
    clinic.land_records("line_items", "2026-10-01", lines)
    clinic.land_records("line_item_deletions", "2026-10-02", [{"billing_line_item_id": 5}], extracted=2)
    clinic.land_records("appointments", "2026-10-01", [{"id": 1}, {"id": 2, "deleted_flag": True}])
    project.materialize()

    orphans = project.check("line_items", "appointments_exist")
    assert (orphans.passed, orphans.severity) == (False, WARN)
    assert numbers(orphans) == {"line_items": 4, "without_appointment": 2, "of_deleted_appointments": 1}
    before = numbers(project.check("line_items", "rows_reconcile_with_landed"))

    # Its appointment lands; the lines are kept, and still the check is another one.
    clinic.land_records("appointments", "2026-10-02", [{"id": 3}])
    project.materialize()

    assert project.check("line_items", "appointments_exist").passed
    assert numbers(project.check("line_items", "rows_reconcile_with_landed")) == before


def test_undocumented_fields_are_a_warning_with_their_rows_and_partitions(
    project: Project, clinic: Hospital
) -> None:
    clinic.land_records(
        "line_items", "2026-10-01", [line(1, 1, "8", shade="grey"), line(2, 1, "8", shade=None)]
    )
    clinic.land_records("line_items", "2026-10-02", [line(3, 1, "8", shade=7, billed="much")])
    clinic.land_records("appointments", "2026-10-01", [{"id": 1, "duration": "long"}])

    project.materialize()

    lines = project.check("line_items", "columns_are_known")
    assert (lines.passed, lines.severity) == (False, WARN)
    assert numbers(lines)["columns_to_look_at"] == 1
    assert details(lines, *DRIFT) == [
        ("shade", "undocumented field", 3, 2),
        ("billed", "does not fit its column", 1, 1),
    ]
    assert "grey" not in str(lines)
    # A value of another type is another check's business.
    assert project.check("appointments", "columns_are_known").passed


def test_columns_that_not_every_partition_has_are_a_warning(project: Project, clinic: Hospital) -> None:
    for day in ("2026-10-01", "2026-10-02"):
        clinic.land_visits("retail", day, [{"visit_id": day, "room": "1"}])
    project.materialize()
    assert project.check("avr_retail", "columns_are_known").passed

    clinic.land_visits("retail", "2026-10-03", [{"visit_id": "3", "Room": "1", "floor": "2"}])
    # A day without events has but its key, and that is no news.
    clinic.land_histories("2026-10-01", [])
    clinic.land_histories("2026-10-02", [{"id": "1", "visitId": "v", "at": 5}])
    clinic.land_histories("2026-10-03", [{"id": "2", "visitId": "v", "at": 6}])
    project.materialize()

    retail = project.check("avr_retail", "columns_are_known")
    assert (retail.passed, retail.severity) == (False, WARN)
    assert details(retail, *DRIFT) == [("floor", "not in all 3 partitions", None, 1)]
    assert project.check("provider_histories", "columns_are_known").passed

    # A list of another vendor's making, with another type.
    file = clinic.lake.partition_file(Table("dexcare", "provider_histories"), "2026-10-03")
    with duckdb.connect() as connection:
        rows = f"read_parquet('{file}', hive_partitioning = false)"
        copy = f'SELECT * REPLACE (7::BIGINT AS "visitId") FROM {rows}'
        connection.execute(f"COPY ({copy}) TO '{file}.new' (FORMAT parquet)")
    file.with_name(f"{file.name}.new").replace(file)
    project.materialize()

    histories = project.check("provider_histories", "columns_are_known")
    assert details(histories, *DRIFT) == [("visitId", "several types: BIGINT in 1, VARCHAR in 1", None, 2)]
