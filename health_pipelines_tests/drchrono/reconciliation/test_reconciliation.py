"""What DrChrono deletes without a word is found by comparing all ids, and marked in `current`."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import (
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    build_schedule_context,
    in_process_executor,
    instance_for_test,
)
from dagster._core.storage.tags import PARTITION_NAME_TAG

from health_pipelines.drchrono.reconciliation.asset import (
    compared_types,
    drchrono_reconciliation,
    gone_records_asset,
)
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES, RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.tables import GONE_RECORDS, gone_records_key
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import SettingError, Settings
from health_pipelines.warehouse.storage import WarehouseStorage, warehouse_of
from health_pipelines_tests.drchrono.project import (
    BY_NAME,
    Project,
    drchrono_settings,
    lists_are_quick,
    set_variables,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess

APPOINTMENTS, PATIENTS, LINE_ITEMS = (BY_NAME[name] for name in ("appointments", "patients", "line_items"))
NOTES = BY_NAME["clinical_notes"]
FIRST, LAST = "2026-04-06", "2026-04-08"
PAGE = 64


class Practice:
    """The project that reads a practice in which a test changes what it likes."""

    def __init__(self, instance: DagsterInstance, data: Path, sandbox: SandboxProcess) -> None:
        self.project, self.sandbox, self.data = Project(instance, data, PAGE), sandbox, data
        self.definitions = Definitions(
            assets=[gone_records_asset([replace(one, page_size=PAGE) for one in RECORD_TYPES])],
            resources={"drchrono": DrChronoResource(), "storage": WarehouseStorage()},
            executor=in_process_executor,
        )

    def land(self, record_type: RecordType, first: str = FIRST, last: str = LAST) -> list[str]:
        """Returns the ids that have landed."""
        assert self.project.materialize(record_type, first, max(first, last)).success
        return sorted(self.project.keys(record_type, *self.project.lake.days(record_type.table)))

    def compare(self, record_type: RecordType, **config: Any) -> ExecuteInProcessResult:
        """As the schedule or a person starts it; a failure is in the result."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[gone_records_key()],
            instance=self.project.instance,
            raise_on_error=False,
            tags={PARTITION_NAME_TAG: record_type.name},
            partition_key=record_type.name,
            run_config={"ops": {"drchrono__gone_records": {"config": config}}} if config else None,
        )

    def numbers(self, record_type: RecordType, **config: Any) -> dict[str, Any]:
        """What the UI shows of a comparison that went well."""
        result = self.compare(record_type, **config)
        assert result.success
        [event] = result.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}

    def refused(self, record_type: RecordType) -> str:
        """What a comparison says that failed, and left the lake as it was."""
        before = self.gone_files()
        result = self.compare(record_type)
        assert not result.success
        assert self.gone_files() == before
        [event] = [event for event in result.all_events if event.is_step_failure]
        metadata = event.step_failure_data.user_failure_data
        assert metadata is not None
        return str(metadata.description)

    def gone_files(self) -> dict[str, int]:
        files = Lake(self.data / "lake").partition_files(GONE_RECORDS)
        return {str(file): file.stat().st_mtime_ns for file in files}

    def marked(self, table: str) -> set[tuple[str, bool]]:
        """The marked records of a current table, after a build: with whether they are deleted."""
        assert not warehouse_of(Settings.of_this_process()).build().problems
        return {
            (str(key), bool(deleted))
            for key, deleted in self.query(
                f"SELECT id, is_deleted FROM current.{table} WHERE _gone_since IS NOT NULL"
            )
        }

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.data / "warehouse.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def calls(self, record_type: RecordType) -> int:
        return sum(self.sandbox.drchrono_calls().get(record_type.name, {}).values())


@pytest.fixture
def practice(
    changing_practice: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Practice]:
    data = tmp_path / "data"
    set_variables(monkeypatch, drchrono_settings(changing_practice, data))
    lists_are_quick(data)
    with DagsterInstance.ephemeral() as instance:
        yield Practice(instance, data, changing_practice)


def test_records_whose_ids_are_hashed_in_the_lake_are_compared_with_what_is_listed(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One day has landed before the ids were hashed.
    practice.land(PATIENTS, FIRST, FIRST)
    monkeypatch.setenv("HEALTH_HASHED", "drchrono/patients.id")
    monkeypatch.setenv("HEALTH_HASH_KEY", "a" * 64)
    ids = sorted(record["id"] for record in practice.sandbox.drchrono_records("patients"))
    practice.land(PATIENTS, LAST, LAST)
    found = practice.numbers(PATIENTS)
    assert (found["gone_now"], found["records_listed"]) == (0, len(ids))

    practice.sandbox.change_records("patients", vanish=[str(one) for one in ids])
    found = practice.numbers(PATIENTS, mark_many=True)
    assert found["gone_now"] == found["compared"] > 0


def test_a_record_that_vanished_is_marked_and_one_that_reappears_is_not_any_more(practice: Practice) -> None:
    ids = practice.land(PATIENTS)
    calls_before = practice.calls(PATIENTS)
    assert practice.numbers(PATIENTS)["gone_now"] == 0
    calls = practice.calls(PATIENTS) - calls_before
    assert practice.gone_files() == {}
    assert practice.marked("patients") == set()

    practice.sandbox.change_records("patients", vanish=ids[2:4])
    began = datetime.now(UTC)
    found = practice.numbers(PATIENTS)
    shown = ("compared", "gone_now", "newly_gone", "came_back")
    assert [found[name] for name in shown] == [len(ids), 2, 2, 0]
    assert found["records_listed"] == len(practice.sandbox.drchrono_records("patients"))
    assert found["calls_used"] == calls
    assert practice.marked("patients") == {(id_, True) for id_ in ids[2:4]}
    # Never a row less.
    assert practice.query("SELECT count(*) FROM current.patients") == [(len(ids),)]
    assert practice.query("SELECT count(DISTINCT id) FROM drchrono.patients") == [(len(ids),)]
    [(since,)] = practice.query("SELECT DISTINCT _gone_since FROM current.patients WHERE is_deleted")
    assert began <= since <= datetime.now(UTC)
    told = practice.query("SELECT record, gone_since, back_since FROM current.gone_records ORDER BY record")
    assert told == sorted((f"patients:{id_}", since, None) for id_ in ids[2:4])

    files = practice.gone_files()
    assert practice.numbers(PATIENTS)["newly_gone"] == 0
    assert practice.gone_files() == files  # what says nothing new is not written

    practice.sandbox.change_records("patients", reappear=ids[2:3])
    found = practice.numbers(PATIENTS)
    assert [found[name] for name in shown] == [len(ids), 1, 0, 1]
    assert practice.marked("patients") == {(ids[3], True)}
    told = practice.query(
        "SELECT gone_since IS NULL, back_since > _extracted_at - INTERVAL 1 SECOND "
        f"FROM current.gone_records WHERE id = '{ids[2]}'"
    )
    assert told == [(True, True)]


def test_a_record_that_is_sent_again_is_not_marked_any_more(practice: Practice) -> None:
    ids = practice.land(PATIENTS)
    practice.sandbox.change_records("patients", vanish=ids[:1])
    practice.numbers(PATIENTS)
    practice.sandbox.change_records("patients", reappear=ids[:1])
    practice.sandbox.change_records("patients", update=ids[:1])
    practice.land(PATIENTS, "2026-04-09")
    assert practice.marked("patients") == set()


def test_deletions_that_were_told_are_not_told_again(practice: Practice) -> None:
    ids = practice.land(LINE_ITEMS)
    practice.sandbox.change_records("line_items", remove=ids[:2], vanish=ids[2:3])
    practice.land(LINE_ITEM_DELETIONS, "2026-04-08", "2026-04-09")
    found = practice.numbers(LINE_ITEMS)
    assert (found["gone_now"], found["newly_gone"]) == (1, 1)
    assert practice.marked("line_items") == {(ids[2], True)}
    deleted = practice.query("SELECT id FROM current.line_items WHERE is_deleted")
    assert {str(id_) for (id_,) in deleted} >= set(ids[:3])


def test_each_record_type_has_its_own_part_of_the_table(practice: Practice) -> None:
    patients, notes = practice.land(PATIENTS), practice.land(NOTES)
    practice.sandbox.change_records("patients", vanish=patients[:1])
    practice.sandbox.change_records("clinical_notes", vanish=notes[:2])
    practice.numbers(PATIENTS)
    practice.numbers(NOTES)
    assert practice.marked("patients") == {(patients[0], True)}
    rows = practice.query("SELECT record FROM current.gone_records WHERE gone_since IS NOT NULL ORDER BY ALL")
    assert [row for (row,) in rows] == sorted(
        [f"patients:{patients[0]}", *(f"clinical_notes:{id_}" for id_ in notes[:2])]
    )
    gone_notes = practice.query("SELECT appointment FROM current.clinical_notes WHERE is_deleted")
    assert {str(id_) for (id_,) in gone_notes} == set(notes[:2])


@pytest.mark.parametrize("record_type", [APPOINTMENTS, LINE_ITEMS], ids=lambda one: one.name)
def test_records_that_change_and_come_meanwhile_are_not_gone(
    practice: Practice, record_type: RecordType
) -> None:
    ids = practice.land(record_type)
    practice.sandbox.change_records(record_type.name, vanish=ids[5:6])
    moving = {"kind": "change", "update": ids[:4], "insert": 3}
    practice.sandbox.add_fault("list_start", moving, list=record_type.name, page=2, times=1)
    found = practice.numbers(record_type)
    assert (found["newly_gone"], found["gone_now"]) == (1, 1)


def test_what_cannot_be_proven_marks_nothing(practice: Practice) -> None:
    ids = practice.land(LINE_ITEMS)
    # Out of the order that was asked for, so that pages prove nothing.
    practice.sandbox.change_records("line_items", vanish=ids[:1], plant={ids[3]: {"id": 999_999_999_999}})
    assert "whether it is complete cannot be proven" in practice.refused(LINE_ITEMS)


def test_it_is_priced_before_it_starts_and_again_by_the_vendors_count(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = practice.land(APPOINTMENTS, LAST, LAST)
    every = len(practice.sandbox.drchrono_records("appointments"))
    assert len(few) <= PAGE < every
    practice.sandbox.forget_calls()
    monkeypatch.setenv("DRCHRONO_RECONCILE_MOST_CALLS", "1")
    assert f"takes about 2 calls, as the lake has {len(few)} of them" in practice.refused(APPOINTMENTS)
    assert practice.calls(APPOINTMENTS) == 0
    monkeypatch.setenv("DRCHRONO_RECONCILE_MOST_CALLS", "2")
    assert f"as DrChrono has {every} of them" in practice.refused(APPOINTMENTS)
    assert practice.calls(APPOINTMENTS) == 2
    monkeypatch.setenv("DRCHRONO_RECONCILE_MOST_CALLS", "1000")
    found = practice.numbers(APPOINTMENTS)
    assert (found["compared"], found["records_listed"], found["calls_estimated"]) == (len(few), every, 2)


def test_many_at_once_are_marked_only_if_somebody_says_so(practice: Practice) -> None:
    ids = practice.land(LINE_ITEMS)
    many = ids[: max(21, len(ids) // 5)]
    practice.sandbox.change_records("line_items", vanish=many)
    assert f"no longer lists {len(many)} of the {len(ids)} line_items" in practice.refused(LINE_ITEMS)
    assert practice.numbers(LINE_ITEMS, mark_many=True)["gone_now"] == len(many)


def test_a_sweep_that_goes_on_compares_the_ids_from_before_it_began(practice: Practice) -> None:
    ids = practice.land(LINE_ITEMS)
    practice.sandbox.add_fault("list_start", {"kind": "http", "status": 403}, list="line_items", page=2)
    assert "403" in practice.refused(LINE_ITEMS)
    practice.sandbox.clear_faults()
    practice.sandbox.change_records("line_items", insert=1)
    more = practice.land(LINE_ITEMS, "2026-04-09")
    assert len(more) > len(ids)
    assert practice.numbers(LINE_ITEMS)["compared"] == len(ids)
    assert practice.numbers(LINE_ITEMS)["compared"] == len(more)


def test_another_host_marks_nothing(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    practice.land(PATIENTS)
    monkeypatch.setenv("DRCHRONO_BASE_URL", "https://drchrono.invalid")
    assert "was filled by" in practice.refused(PATIENTS)


def test_a_type_that_never_landed_costs_no_call(practice: Practice) -> None:
    assert practice.numbers(PATIENTS)["calls_used"] == 0
    assert practice.calls(PATIENTS) == 0


def test_the_first_of_each_month_compares_the_types_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = {"HEALTH_TIMEZONE": "America/Chicago"}
    monthly = drchrono_reconciliation(Settings(zone))
    repository = Definitions(
        assets=[gone_records_asset()],
        schedules=[monthly],
        resources={"drchrono": DrChronoResource(), "storage": WarehouseStorage()},
    ).get_repository_def()
    assert (monthly.cron_schedule, monthly.execution_timezone) == ("15 20 1 * *", "America/Chicago")
    at = datetime(2026, 5, 2, 1, 15, tzinfo=UTC)  # the evening of the first
    with instance_for_test() as instance:
        context = build_schedule_context(instance, scheduled_execution_time=at, repository_def=repository)

        def asked() -> list[tuple[str | None, str | None]]:
            requests = monthly.evaluate_tick(context).run_requests or []
            return [(one.partition_key, one.run_key) for one in requests]

        monkeypatch.delenv("DRCHRONO_RECONCILE", raising=False)
        assert monthly.evaluate_tick(context).skip_message == "DRCHRONO_RECONCILE is not set."
        monkeypatch.setenv("DRCHRONO_RECONCILE", "line_items, patients")
        monkeypatch.delenv("DRCHRONO_ACCESS_TOKEN", raising=False)
        monkeypatch.delenv("DRCHRONO_CLIENT_ID", raising=False)
        assert monthly.evaluate_tick(context).skip_message == "DrChrono is not set up."
        monkeypatch.setenv("DRCHRONO_ACCESS_TOKEN", "token")
        assert asked() == [("patients", "gone:patients:2026-05"), ("line_items", "gone:line_items:2026-05")]
        monkeypatch.setenv("DRCHRONO_RECONCILE", "all")
        assert [name for name, _ in asked()] == [record_type.name for record_type in RECORD_TYPES]


def test_a_record_type_that_there_is_not_is_named_with_the_setting() -> None:
    with pytest.raises(
        SettingError, match="DRCHRONO_RECONCILE names 'line_item_deletions', which is no record"
    ):
        compared_types(Settings({"DRCHRONO_RECONCILE": "patients, line_item_deletions"}))
