"""The DrChrono assets: what a range run lands, rewrites, says and refuses, by the sandbox's own truth."""

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from dagster import AssetCheckEvaluation, AssetCheckKey, DagsterInstance, ExecuteInProcessResult
from dagster._core.event_api import PartitionKeyFilter

from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RecordType
from health_pipelines.drchrono.sweep.journal import Question, opened
from health_pipelines.drchrono.tables import SWEPT, key_of
from health_pipelines.http import origin_of
from health_pipelines.lake.manifests import Manifest
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines.landing.verdicts import (
    COLUMNS_ARE_KNOWN,
    KEYS_ARE_UNIQUE,
    ROW_COUNT_IS_USUAL,
    ROW_COUNT_MATCHES_VENDOR,
)
from health_pipelines_tests.dexcare.project import failure_of, logged
from health_pipelines_tests.drchrono.project import (
    ACCOUNT_ZONE,
    BY_NAME,
    TOKEN,
    Project,
    changed_on,
    drchrono_settings,
    inodes,
    lists_are_quick,
    set_variables,
    true_rows,
    without_lineage,
)
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess
from health_pipelines_tests.support.small_disk import files_of_at_most
from health_pipelines_tests.support.waiting import wait_for
from health_pipelines_tests.support.warehouse_trouble import TROUBLES

# Sunday, the 5th, has 25 hours. "Today" is the 9th.
DAYS = days_from("2026-04-03", 4)
FIRST, LAST, BEFORE = DAYS[0], DAYS[-1], "2026-04-02"
LATER = "2026-04-09"
APPOINTMENTS, PATIENTS, LINE_ITEMS = (BY_NAME[name] for name in ("appointments", "patients", "line_items"))
CHECKS, NOTES, MESSAGES = (
    BY_NAME[name] for name in ("eligibility_checks", "clinical_notes", "prescription_messages")
)
VALUES = BY_NAME["clinical_note_field_values"]
WITHOUT_CHANGE_TIME = [record_type for record_type in SWEPT if record_type.changed is None]
LANDED_CHECKS = (ROW_COUNT_MATCHES_VENDOR, COLUMNS_ARE_KNOWN, KEYS_ARE_UNIQUE, ROW_COUNT_IS_USUAL)


@pytest.mark.parametrize("record_type", SWEPT, ids=lambda one: one.name)
def test_a_range_lands_the_vendors_truth_by_change_day_in_one_sweep_and_is_not_rewritten(
    project: Project, still_practice: SandboxProcess, record_type: RecordType
) -> None:
    lists_before = len(still_practice.drchrono_lists())
    result = project.materialize(record_type, FIRST, LAST)
    assert result.success
    assert project.materialized(record_type) == DAYS
    calls = still_practice.drchrono_calls()[record_type.name]
    started = still_practice.drchrono_lists()[lists_before:]

    truth = true_rows(still_practice, record_type, BEFORE)
    for day in DAYS:
        if record_type.changed:
            expected = changed_on(truth, record_type, day)
            assert expected or record_type is LINE_ITEM_DELETIONS
        else:
            expected = truth if day == FIRST else {}
        assert without_lineage(project.rows(record_type, day)) == expected
        assert {row["_partition_date"] for row in project.raw_rows(record_type, day)} <= {
            date.fromisoformat(day)
        }
    if record_type is not LINE_ITEM_DELETIONS:
        assert calls == {"POST": 1, "GET": 1}
        midnight = datetime.fromisoformat(BEFORE).replace(tzinfo=ACCOUNT_ZONE).timestamp()
        assert [(one["list"], one["since"], one["verbose"]) for one in started] == [
            (record_type.name, midnight, False)
        ]
        assert {row["_report_id"] for row in project.raw_rows(record_type, FIRST)} == {started[0]["uuid"]}

    written = inodes(project, record_type, DAYS)
    assert project.materialize(record_type, FIRST, LAST).success
    assert inodes(project, record_type, DAYS) == written
    assert (project.materialized(record_type), project.observed(record_type)) == (DAYS, DAYS)
    assert project.facts(record_type, FIRST)["changed"] is False


def test_the_sandboxs_week_has_what_the_test_above_is_about(still_practice: SandboxProcess) -> None:
    """Otherwise it would prove less than it says."""
    truth = true_rows(still_practice, VALUES, BEFORE)
    texts = {row["updated_at_text"] for row in truth.values()}
    for day in DAYS:
        assert {f"{day}T00:00:00", f"{day}T23:59:59"} <= texts
    assert min(texts) < FIRST
    assert max(texts) > f"{LAST}T23:59:59"
    moments = [row["updated_at"] for row in changed_on(truth, VALUES, "2026-04-05").values()]
    # From midnight to midnight 25 hours, half of them on the day before in UTC.
    assert (min(moments), max(moments)) == (
        datetime(2026, 4, 4, 11, tzinfo=UTC),
        datetime(2026, 4, 5, 11, 59, 59, tzinfo=UTC),
    )
    assert any("_" in key for key in true_rows(still_practice, APPOINTMENTS, BEFORE))


def test_deletions_land_from_several_pages(project: Project, still_practice: SandboxProcess) -> None:
    project.materialize(LINE_ITEM_DELETIONS, "2026-04-01", "2026-04-07")
    truth = true_rows(still_practice, LINE_ITEM_DELETIONS, "2026-04-01")
    days = days_from("2026-04-01", 7)
    assert len(truth) > 3
    assert project.keys(LINE_ITEM_DELETIONS, *days) == {
        key for day in days for key in changed_on(truth, LINE_ITEM_DELETIONS, day)
    }
    assert project.facts(LINE_ITEM_DELETIONS, "2026-04-01")["records_swept"] == len(truth)


def test_money_is_exact_and_a_time_is_an_instant_with_the_text_it_came_as(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    records = changing_practice.drchrono_records("line_items", since=FIRST)
    key = next(str(one["id"]) for one in records if one["updated_at"].startswith("2026-04-05"))
    amounts = {"billed": 0.1, "allowed": "123456789012.3456", "price": "1.10"}
    # Half past two is there twice on that day; the first of the two is still summer time.
    changing_practice.change_records(
        "line_items", plant={key: {**amounts, "updated_at": "2026-04-05T02:30:00"}}
    )
    live_project.materialize(LINE_ITEMS, "2026-04-05")
    [row] = [row for row in live_project.raw_rows(LINE_ITEMS, "2026-04-05") if row["id"] == key]
    assert [row[name] for name in amounts] == [Decimal("0.1"), Decimal("123456789012.3456"), Decimal("1.1")]
    assert all(isinstance(row[name], Decimal) for name in amounts)
    assert row["updated_at"] == datetime(2026, 4, 4, 13, 30, tzinfo=UTC)
    assert row["updated_at_text"] == "2026-04-05T02:30:00"


def test_the_fields_that_are_sent_on_request_only_land_by_setting(
    project: Project, still_practice: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRCHRONO_VERBOSE", "true")
    project.materialize(APPOINTMENTS, FIRST)
    truth = changed_on(true_rows(still_practice, APPOINTMENTS, BEFORE, verbose=True), APPOINTMENTS, FIRST)
    assert without_lineage(project.rows(APPOINTMENTS, FIRST)) == truth
    assert all(row["vitals"]["pulse"] for row in truth.values())
    assert still_practice.drchrono_lists()[-1]["verbose"]


def test_what_landed_can_be_queried_by_its_name(project: Project) -> None:
    project.materialize(PATIENTS, FIRST, LAST)
    with duckdb.connect(str(project.data / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT id, _partition_date FROM drchrono.patients").fetchall()
    assert {(key, day.isoformat()) for key, day in found} == {
        (key, day) for day in DAYS for key in project.rows(PATIENTS, day)
    }


def test_every_landed_day_is_checked_and_green(project: Project) -> None:
    for record_type in (CHECKS, NOTES, LINE_ITEM_DELETIONS):
        project.materialize(record_type, FIRST, LAST)
        for day in DAYS:
            assert_green(project, record_type, day)


@pytest.mark.parametrize("record_type", WITHOUT_CHANGE_TIME, ids=lambda one: one.name)
def test_without_a_change_time_the_first_day_holds_all_and_covers_the_others(
    project: Project, record_type: RecordType
) -> None:
    project.materialize(record_type, DAYS[1])
    alone = inodes(project, record_type, [DAYS[1]])
    had = project.keys(record_type, DAYS[1])

    project.materialize(record_type, FIRST, LAST)

    assert project.keys(record_type, FIRST) > had
    assert "covered_by" not in project.facts(record_type, FIRST)
    for day in DAYS[1:]:
        assert project.facts(record_type, day)["covered_by"] == FIRST
    # A day that had rows keeps them, and is not written; the others are there without rows.
    assert inodes(project, record_type, [DAYS[1]]) == alone
    assert project.keys(record_type, *DAYS[2:]) == set()
    assert project.observed(record_type) == [DAYS[1]]
    for day in DAYS:
        assert_green(project, record_type, day)


def test_without_a_change_time_the_first_day_alone_again_is_a_superset(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    live_project.materialize(MESSAGES, FIRST, LAST)
    had = live_project.keys(MESSAGES, FIRST)
    [new] = changing_practice.change_records("prescription_messages", insert=1)
    live_project.materialize(MESSAGES, FIRST)
    assert live_project.keys(MESSAGES, FIRST) == had | {new}


def test_a_late_change_moves_its_record_to_the_new_day(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    live_project.materialize(CHECKS, FIRST, LATER)
    untouched = inodes(live_project, CHECKS, DAYS[1:])
    key = min(live_project.keys(CHECKS, FIRST))
    changing_practice.change_records("eligibility_checks", update=[key], set={"eligibility": "Changed"})

    live_project.materialize(CHECKS, FIRST, "2026-04-08")
    assert key in live_project.keys(CHECKS, FIRST), "its new day is not in this range"
    changing_practice.advance_clock(86400)
    live_project.materialize(CHECKS, FIRST, LATER)

    assert key not in live_project.keys(CHECKS, FIRST)
    assert live_project.rows(CHECKS, LATER)[key]["eligibility"] == "Changed"
    assert inodes(live_project, CHECKS, DAYS[1:]) == untouched
    truth = true_rows(changing_practice, CHECKS, BEFORE)
    for day in days_from(FIRST, 7):
        landed = without_lineage(live_project.rows(CHECKS, day))
        # What changed after the range waits for its day.
        on_the_move = {key for key in landed if truth[key]["updated_at_text"] >= "2026-04-10"}
        assert {key: landed[key] for key in landed.keys() - on_the_move} == changed_on(truth, CHECKS, day)


def test_a_record_that_changed_after_the_range_stays_until_its_new_day_lands(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    live_project.materialize(CHECKS, FIRST, LAST)
    key = min(live_project.keys(CHECKS, DAYS[1]))
    was = live_project.rows(CHECKS, DAYS[1])[key]
    before = inodes(live_project, CHECKS, DAYS)
    changing_practice.change_records("eligibility_checks", update=[key], set={"eligibility": "Changed"})

    result = live_project.materialize(CHECKS, FIRST, LAST)
    assert live_project.rows(CHECKS, DAYS[1])[key] == was
    assert inodes(live_project, CHECKS, DAYS) == before
    assert live_project.facts(CHECKS, DAYS[1])["rows_kept_until_their_new_day_lands"] == 1
    assert "rows_kept_until_their_new_day_lands" not in live_project.facts(CHECKS, FIRST)
    assert f"changed after {LAST}; they land with their days" in logged(result, live_project.instance)
    assert_green(live_project, CHECKS, DAYS[1])

    changing_practice.advance_clock(86400)
    live_project.materialize(CHECKS, LATER)
    assert live_project.rows(CHECKS, LATER)[key]["eligibility"] == "Changed"
    live_project.materialize(CHECKS, DAYS[1])
    assert key not in live_project.keys(CHECKS, DAYS[1])
    assert "rows_kept_until_their_new_day_lands" not in live_project.facts(CHECKS, DAYS[1])
    assert_green(live_project, CHECKS, DAYS[1])


def test_a_deleted_line_item_stays_in_its_day_and_its_deletion_lands(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    live_project.materialize(LINE_ITEMS, FIRST, LAST)
    key = min(live_project.keys(LINE_ITEMS, FIRST))
    changing_practice.change_records("line_items", remove=[key])
    changing_practice.advance_clock(86400)
    live_project.materialize(LINE_ITEMS, FIRST, LAST)
    live_project.materialize(LINE_ITEM_DELETIONS, LATER)
    # Not sent any more, which a correction of the vendor's clock can do, too: the deletion tells.
    assert key in live_project.keys(LINE_ITEMS, FIRST)
    assert live_project.facts(LINE_ITEMS, FIRST)["rows_kept_that_were_not_sent"] == 1
    assert key in live_project.keys(LINE_ITEM_DELETIONS, LATER)


def test_drift_is_warned_about_by_name_and_nothing_of_it_is_lost(
    live_project: Project, changing_practice: SandboxProcess
) -> None:
    live_project.materialize(PATIENTS, FIRST)
    one, two = sorted(live_project.keys(PATIENTS, FIRST))[:2]
    planted: dict[str, dict[str, Any]] = {
        one: {"shoe_size": {"eu": 42.5, "name": "Zebulon"}, "date_of_birth": "Zebulon", "_report_id": "x"},
        two: {"shoe_size": None, "first_name": ["Zebulon"]},
    }
    changing_practice.change_records("patients", plant=planted)
    result = live_project.materialize(PATIENTS, FIRST)
    said = logged(result, live_project.instance)
    assert (
        "Undocumented or ill-typed, and kept in _extra: _report_id (1 rows), date_of_birth (1 rows), "
        "first_name (1 rows), shoe_size (2 rows)." in said
    )
    assert live_project.facts(PATIENTS, FIRST)["fields_kept_in_extra"] == [
        "_report_id",
        "date_of_birth",
        "first_name",
        "shoe_size",
    ]
    truth = changed_on(true_rows(changing_practice, PATIENTS, BEFORE), PATIENTS, FIRST)
    landed = live_project.rows(PATIENTS, FIRST)
    assert without_lineage(landed) == truth
    for key, fields in planted.items():
        assert fields.items() <= landed[key]["_extra"].items()
    assert_green(live_project, PATIENTS, FIRST)


def deny(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DRCHRONO_ACCESS_TOKEN", "wrong-and-secret")


def no_token(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("DRCHRONO_ACCESS_TOKEN")
    patch.delenv("DRCHRONO_CLIENT_ID", raising=False)


def unknown_host(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DRCHRONO_BASE_URL", "https://no-such-host.invalid")
    (project.lake.root / "drchrono" / "patients" / "_origin").unlink()


def other_origin(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DRCHRONO_BASE_URL", "https://drchrono.example.com")


def unknown_zone(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DRCHRONO_TIMEZONE", "Middle/Earth")


def dead_lists(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    vendor.add_fault("list_poll", {"kind": "dead"}, list="patients")


def dead_server(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    vendor.add_fault("list_start", {"kind": "http", "status": 503, "body": {}}, list="patients")


def damaged_quota(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    [file] = (project.data / "drchrono" / "quota").glob("*.sqlite")
    file.write_bytes(b"this is no database" * 1000)


def no_folder_for_pages(project: Project, vendor: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
    folder = project.data / "drchrono" / "sweeps" / "patients"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("a file where a folder should be")


@pytest.fixture(scope="module")
def landed_before(still_practice: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a project in which patients have landed; to be copied."""
    data = tmp_path_factory.mktemp("landed") / "data"
    with pytest.MonkeyPatch.context() as patch, DagsterInstance.ephemeral() as instance:
        set_variables(patch, drchrono_settings(still_practice, data))
        lists_are_quick(data)
        assert Project(instance, data).materialize(PATIENTS, FIRST, LAST).success
    return data


Trouble = Callable[[Project, SandboxProcess, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    "case",
    [
        (deny, "Check DRCHRONO_ACCESS_TOKEN"),
        (no_token, "DRCHRONO_CLIENT_ID is not set"),
        (unknown_host, "the host no-such-host.invalid is not known; check DRCHRONO_BASE_URL"),
        (other_origin, "is now to be filled by drchrono.example.com; give each its own HEALTH_DATA_DIR"),
        (unknown_zone, "DRCHRONO_TIMEZONE"),
        (dead_lists, "DrChrono gave up the list of patients (failed); ask for it again"),
        (dead_server, "DrChrono answered 503"),
        (damaged_quota, "The file of the quota"),
        (no_folder_for_pages, "sweeps/patients; check the disk of HEALTH_DATA_DIR"),
    ],
    ids=lambda case: case[0].__name__,
)
def test_a_failed_sweep_says_why_in_one_sentence_and_leaves_the_partitions_as_they_were(
    project: Project,
    landed_before: Path,
    still_practice: SandboxProcess,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[Trouble, str],
) -> None:
    trouble, says = case
    shutil.copytree(landed_before, project.data, dirs_exist_ok=True)
    before = inodes(project, PATIENTS, DAYS)
    with monkeypatch.context() as patch:
        trouble(project, still_practice, patch)
        result = project.materialize(PATIENTS, FIRST, LAST)
    assert_failed_in_one_sentence(project, result, says)
    assert inodes(project, PATIENTS, DAYS) == before
    assert project.observed(PATIENTS) == []


def test_a_disk_that_is_full_of_pages_fails_in_one_sentence_and_the_next_run_lands(
    project: Project, still_practice: SandboxProcess
) -> None:
    with files_of_at_most(100_000):
        result = project.materialize(APPOINTMENTS, FIRST, LAST)
    assert_failed_in_one_sentence(project, result, "File too large: make room on the disk of HEALTH_DATA_DIR")
    assert project.materialized(APPOINTMENTS) == []
    assert project.lake.partition_files(APPOINTMENTS.table) == []
    assert project.materialize(APPOINTMENTS, FIRST, LAST).success


def test_a_list_that_never_settles_fails_with_its_numbers_and_lands_nothing(
    changing_practice: SandboxProcess, live_project: Project
) -> None:
    small = Project(live_project.instance, live_project.data, page_size=120)
    changing_practice.change_settings(drchrono_churn=360)
    result = small.materialize(CHECKS, FIRST, LAST)
    assert_failed_in_one_sentence(small, result, "list of eligibility_checks did not settle")
    assert "The partitions are as they were" in failure_of(result)
    assert small.lake.partition_files(CHECKS.table) == []


def test_a_sweep_that_was_refused_half_way_goes_on_without_asking_again(
    project: Project, still_practice: SandboxProcess
) -> None:
    small = Project(project.instance, project.data, page_size=40)
    still_practice.add_fault(
        "list_start", {"kind": "http", "status": 401, "body": {"detail": "Invalid token."}}, page=3
    )
    assert "Check DRCHRONO_ACCESS_TOKEN" in failure_of(small.materialize(CHECKS, FIRST, LAST))
    still_practice.clear_faults()
    before = still_practice.drchrono_lists()
    result = small.materialize(CHECKS, FIRST, LAST)
    assert result.success
    asked = [(one["page"], one["page_size"]) for one in still_practice.drchrono_lists()[len(before) :]]
    assert asked
    assert not set(asked) & {(one["page"], one["page_size"]) for one in before if one["polls"]}
    truth = true_rows(still_practice, CHECKS, BEFORE)
    for day in DAYS:
        assert without_lineage(small.rows(CHECKS, day)) == changed_on(truth, CHECKS, day)


def test_a_day_that_another_run_is_writing_fails_alone_and_by_name(project: Project) -> None:
    project.materialize(CHECKS, FIRST, LAST)
    project.file(CHECKS, FIRST).unlink()
    with project.lake.writing(CHECKS.table, DAYS[2]):
        result = project.materialize(CHECKS, FIRST, LAST)
    assert_failed_in_one_sentence(
        project, result, f"1 of 4 days could not be landed, {DAYS[2]} the first: drchrono/eligibility_checks"
    )
    assert project.file(CHECKS, FIRST).exists()
    assert project.observed(CHECKS) == [DAYS[1], DAYS[3]]


def test_a_day_whose_event_was_lost_in_a_crash_is_told_when_it_lands_again(project: Project) -> None:
    project.materialize(CHECKS, FIRST)
    before = inodes(project, CHECKS, [FIRST])
    with DagsterInstance.ephemeral() as without_events:
        again = Project(without_events, project.data)
        again.materialize(CHECKS, FIRST)
        assert again.materialized(CHECKS) == [FIRST]
    assert inodes(project, CHECKS, [FIRST]) == before


def test_a_second_run_of_a_record_type_waits_for_the_first_and_says_so(
    project: Project, still_practice: SandboxProcess, tmp_path: Path
) -> None:
    question = Question(origin_of(still_practice.url), "patients", date(2026, 1, 1), verbose=False)
    folder = project.data / "drchrono" / "sweeps" / "patients"
    results: list[ExecuteInProcessResult] = []
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        waiting = Project(instance, project.data)
        second = threading.Thread(target=lambda: results.append(waiting.materialize(PATIENTS, FIRST)))
        with opened(folder, question, datetime.now(UTC)):
            second.start()
            sentence = "patients is being swept by another run. This run begins its own sweep when that one"
            wait_for(lambda: sentence in everything_said(instance), "the word that it waits")
            assert still_practice.drchrono_calls() == {}
        second.join(60)
        assert results
        assert results[0].success
        assert waiting.materialized(PATIENTS) == [FIRST]
        assert everything_said(instance).count(sentence) == 1


def test_no_patient_and_no_token_in_any_event_log_or_file_but_the_lakes(
    live_project: Project, changing_practice: SandboxProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    live_project.materialize(PATIENTS, FIRST)
    key = min(live_project.keys(PATIENTS, FIRST))
    fields = {
        "first_name": "Zebulon",
        "new_field": "Zebulon",
        "date_of_birth": "Zebulon",
        "copay": "Zebulon",
        "updated_at": "2026-04-03T99:Zebulon",
    }
    changing_practice.change_records("patients", plant={key: fields})
    runs = [live_project.materialize(PATIENTS, FIRST)]
    assert "Zebulon" in str(live_project.rows(PATIENTS, FIRST)[key])
    for body in ('{"status": "Complete", "results": [{"id": "Zebulon"', '{"status": "Zebulon"}'):
        changing_practice.add_fault("list_poll", {"kind": "body", "text": body})
        runs.append(live_project.materialize(PATIENTS, FIRST))
        changing_practice.clear_faults()
    assert [run.success for run in runs] == [True, False, False]
    said = repr(list(live_project.instance.all_logs(runs[0].run_id))) + repr(
        [entry for run in runs[1:2] for entry in live_project.instance.all_logs(run.run_id)]
    )
    printed = capfd.readouterr()
    assert "Undocumented or ill-typed" in said
    assert "Undocumented or ill-typed" in printed.err
    for text in (said, *printed):
        assert "Zebulon" not in text.replace("'Zebulon'", "")
        assert TOKEN not in text
    kept_outside = [
        file
        for file in live_project.data.rglob("*")
        if file.is_file() and "lake" not in file.parts and "sweeps" not in file.parts
    ]
    assert any("quota" in file.parts for file in kept_outside)
    for file in kept_outside:
        assert TOKEN.encode() not in file.read_bytes()
        assert b"Zebulon" not in file.read_bytes()


def test_nothing_of_a_sweep_stays_once_it_has_landed(project: Project) -> None:
    project.materialize(PATIENTS, FIRST)
    assert list((project.data / "drchrono" / "sweeps" / "patients").iterdir()) == []


def assert_green(project: Project, record_type: RecordType, day: str) -> None:
    for check in LANDED_CHECKS:
        [record] = project.instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(key_of(record_type), check), limit=1, partition_filter=PartitionKeyFilter(key=day)
        )
        evaluation = record.evaluation
        assert isinstance(evaluation, AssetCheckEvaluation)
        assert evaluation.passed, (check, evaluation.description)
        if check == ROW_COUNT_MATCHES_VENDOR:
            rows = pl.scan_parquet(project.file(record_type, day)).select(pl.len()).collect().item()
            assert evaluation.metadata["rows_landed"].value == rows


def assert_failed_in_one_sentence(project: Project, result: ExecuteInProcessResult, says: str) -> None:
    assert not result.success
    sentence = failure_of(result)
    assert sentence.startswith("drchrono/")
    assert says in sentence
    assert "\n" not in sentence
    everything = repr(list(project.instance.all_logs(result.run_id)))
    assert TOKEN not in everything
    assert "wrong-and-secret" not in everything


def everything_said(instance: DagsterInstance) -> str:
    return "\n".join(
        entry.user_message for run in instance.get_runs() for entry in instance.all_logs(run.run_id)
    )


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_of_the_warehouse_stops_no_landing(project: Project, trouble: str) -> None:
    project.data.mkdir(exist_ok=True)
    TROUBLES[trouble](project.data)

    result = project.materialize(CHECKS, FIRST, LAST)

    assert result.success
    assert project.materialized(CHECKS) == DAYS
    assert "has landed, but its view is not there yet" in logged(result, project.instance)


def test_the_manifest_of_a_day_has_what_the_sweep_counted(
    project: Project, still_practice: SandboxProcess
) -> None:
    lists_before = len(still_practice.drchrono_lists())
    assert project.materialize(APPOINTMENTS, FIRST, LAST).success

    [one_list] = still_practice.drchrono_lists()[lists_before:]
    truth = true_rows(still_practice, APPOINTMENTS, BEFORE)
    for day in DAYS:
        file = project.lake.partition_file(APPOINTMENTS.table, day).with_name("_manifest.json")
        facts, rows = Manifest.of_text(file.read_bytes()).facts, len(changed_on(truth, APPOINTMENTS, day))
        assert (facts.rows_sent, facts.rows, facts.keys) == (rows, rows, rows)
        assert (facts.vendor_count, facts.vendor_counted) == (
            len(truth),
            f"all that changed since {BEFORE}",
        )
        assert facts.report_ids == [one_list["uuid"]]
    # The 5th has 25 hours.
    file = project.lake.partition_file(APPOINTMENTS.table, "2026-04-05").with_name("_manifest.json")
    window = Manifest.of_text(file.read_bytes()).facts.window
    assert window == "2026-04-04T11:00:00+00:00 to 2026-04-05T12:00:00+00:00"
    found = TableVerification(project.lake, APPOINTMENTS.table)
    assert [found.of_day(day).state for day in found.days] == [State.AS_LANDED] * len(DAYS)
