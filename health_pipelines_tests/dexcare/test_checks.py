"""The checks of landed days on a real instance: what a landing says of them, and what a person may ask."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    DagsterInstance,
    DailyPartitionsDefinition,
    Definitions,
    in_process_executor,
)
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.dexcare.histories.asset import provider_histories_asset
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, provider_histories_key
from health_pipelines.dexcare.vendor import VENDOR
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.checks import table_checks
from health_pipelines.landing.freshness import NEWEST_DAY_HAS_LANDED, Expectation
from health_pipelines.landing.verdicts import (
    COLUMNS_ARE_KNOWN,
    KEYS_ARE_UNIQUE,
    ROW_COUNT_IS_USUAL,
    ROW_COUNT_MATCHES_VENDOR,
)
from health_pipelines.settings import Settings
from health_pipelines.warehouse.storage import WarehouseStorage
from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.support.sandbox_process import SandboxProcess

MONDAY, TUESDAY, WEDNESDAY = "2026-03-09", "2026-03-10", "2026-03-11"
LANDED_CHECKS = (ROW_COUNT_MATCHES_VENDOR, COLUMNS_ARE_KNOWN, KEYS_ARE_UNIQUE, ROW_COUNT_IS_USUAL)


@pytest.fixture
def project(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """With a key; on SQLite in memory, at half the time of a folder."""
    monkeypatch.setenv("DEXCARE_AVR_VIRTUAL_KEY", "visit_id")
    with DagsterInstance.ephemeral() as instance:
        yield Project(instance)


def land(project: Project, vendor: SandboxProcess, first: str, *bodies: str) -> None:
    """Each of `bodies` becomes a day, from `first` on, in one range run."""
    days = [f"2026-03-{int(first[-2:]) + offset:02}" for offset in range(len(bodies))]
    project.materialize([VIRTUAL.request_key], days[0], days[-1])
    tickets = project.ledger().newest_tickets(days)
    for day, body in zip(days, bodies, strict=True):
        vendor.add_fault("data", {"kind": "body", "text": body}, report_id=tickets[day].report_id)
    assert project.materialize([VIRTUAL.asset_key], days[0], days[-1]).success
    assert set(project.landed(VIRTUAL.asset_key)) >= set(days)


def said(project: Project, check: str, day: str, asset: AssetKey = VIRTUAL.asset_key) -> AssetCheckEvaluation:
    """The newest evaluation of a day."""
    [record] = project.instance.event_log_storage.get_asset_check_execution_history(
        AssetCheckKey(asset, check), limit=1, partition_filter=PartitionKeyFilter(key=day)
    )
    assert isinstance(record.evaluation, AssetCheckEvaluation)
    return record.evaluation


def days_shown(
    instance: DagsterInstance, check: str, asset: AssetKey = VIRTUAL.asset_key
) -> dict[str, list[str]]:
    """The days by what the UI shows of the check, from where it reads it."""
    key, days = AssetCheckKey(asset, check), all_days()
    state = instance.event_log_storage.get_asset_check_state([(key, days)])[key]
    return {
        status.value.lower(): sorted(state.subsets[status].subset_value.get_partition_keys())
        for status in AssetCheckExecutionResolvedStatus
        if not state.subsets[status].is_empty
    }


def all_days() -> DailyPartitionsDefinition:
    settings = Settings.of_this_process()
    return daily_partitions(settings.start_date, settings.timezone)


def execute(project: Project, *checks: str, first: str | None = None, last: str | None = None) -> bool:
    """Run checks by themselves, as a person does: for a range, or for no partition in particular."""
    selected = {AssetCheckKey(VIRTUAL.asset_key, check) for check in checks}
    job = project.definitions.resolve_implicit_global_asset_job_def()
    tags = (
        {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last or first}
        if first
        else {}
    )
    subset = job.get_subset(asset_selection=set(), asset_check_selection=selected)
    return subset.execute_in_process(
        instance=project.instance,
        tags={key: value for key, value in tags.items() if value},
        raise_on_error=False,
    ).success


def warehouse_rows(data: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_a_landing_says_of_each_day_that_all_is_well(project: Project, vendor: SandboxProcess) -> None:
    land(project, vendor, MONDAY, "visit_id,a\n1,x\n2,x\n", "visit_id,a\n1,x\n")
    for check in LANDED_CHECKS:
        assert days_shown(project.instance, check) == {"succeeded": [MONDAY, TUESDAY]}
    counted = said(project, ROW_COUNT_MATCHES_VENDOR, MONDAY).metadata
    assert (counted["rows_sent"].value, counted["rows_landed"].value) == (2, 2)


def test_another_header_warns_with_names_and_lands_all_columns(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    land(project, vendor, MONDAY, "visit_id,a,b\n1,x,y\n")
    land(project, vendor, TUESDAY, "visit_id,a,c,d\n2,x,z,w\n", "visit_id,a,b\n3,x,y\n")
    warning = said(project, COLUMNS_ARE_KNOWN, TUESDAY)
    assert (warning.passed, warning.severity.value) == (False, "WARN")
    assert warning.description == (
        "Other columns than before, new: 'c', 'd'; missing: 'b'; perhaps renamed: 'b' to 'c'. "
        "All that came has landed."
    )
    assert days_shown(project.instance, COLUMNS_ARE_KNOWN) == {
        "succeeded": [MONDAY, WEDNESDAY],
        "failed": [TUESDAY],
    }
    assert days_shown(project.instance, ROW_COUNT_MATCHES_VENDOR) == {
        "succeeded": [MONDAY, TUESDAY, WEDNESDAY]
    }
    assert warehouse_rows(data, "SELECT visit_id, a, b, c, d FROM dexcare.avr_virtual ORDER BY 1") == [
        ("1", "x", "y", None, None),
        ("2", "x", None, "z", "w"),
        ("3", "x", "y", None, None),
    ]


def test_all_days_of_a_run_are_compared_with_the_landing_before_it_and_later_runs_know_the_new_columns(
    project: Project, vendor: SandboxProcess
) -> None:
    land(project, vendor, TUESDAY, "visit_id,a\n1,x\n")
    # Whichever of the two lands first, both are new to the table.
    land(project, vendor, TUESDAY, "visit_id,a,b\n1,x,y\n", "visit_id,a,b\n1,x,y\n")
    assert days_shown(project.instance, COLUMNS_ARE_KNOWN) == {"failed": [TUESDAY, WEDNESDAY]}
    # An older day and an unchanged one: the newest landing counts, not the newest day.
    land(project, vendor, MONDAY, "visit_id,a,b\n1,x,y\n", "visit_id,a,b\n1,x,y\n")
    assert days_shown(project.instance, COLUMNS_ARE_KNOWN) == {
        "succeeded": [MONDAY, TUESDAY],
        "failed": [WEDNESDAY],
    }


def test_where_no_event_is_left_the_lake_tells_which_columns_are_known(
    project: Project, vendor: SandboxProcess
) -> None:
    land(project, vendor, MONDAY, "visit_id,a\n1,x\n")
    project.instance.wipe_assets([VIRTUAL.asset_key])
    land(project, vendor, TUESDAY, "visit_id,b\n1,x\n")
    assert said(project, COLUMNS_ARE_KNOWN, TUESDAY).description == (
        "Other columns than before, new: 'b'; missing: 'a'; perhaps renamed: 'a' to 'b'. "
        "All that came has landed."
    )


def test_repeated_keys_turn_that_day_red_and_its_rows_land(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    bodies = ["visit_id,a\n1,x\n2,x\n", "visit_id,a\nsecret7,x\nsecret7,y\n,z\n", "visit_id,a\n1,x\n"]
    land(project, vendor, MONDAY, *bodies)
    red = said(project, KEYS_ARE_UNIQUE, TUESDAY)
    assert (red.passed, red.severity.value) == (False, "ERROR")
    assert red.description == (
        "Of 3 rows, by the key 'visit_id', 1 have none and 1 repeat that of another row. "
        "All rows have landed."
    )
    assert "secret7" not in repr(red)
    assert days_shown(project.instance, KEYS_ARE_UNIQUE) == {
        "succeeded": [MONDAY, WEDNESDAY],
        "failed": [TUESDAY],
    }
    assert warehouse_rows(data, "SELECT count(*) FROM dexcare.avr_virtual") == [(6,)]
    # Another day does not turn it green; landing that day well does.
    land(project, vendor, WEDNESDAY, "visit_id,a\n1,y\n")
    assert days_shown(project.instance, KEYS_ARE_UNIQUE)["failed"] == [TUESDAY]
    land(project, vendor, TUESDAY, "visit_id,a\n7,x\n8,y\n")
    assert days_shown(project.instance, KEYS_ARE_UNIQUE) == {"succeeded": [MONDAY, TUESDAY, WEDNESDAY]}


def test_without_a_key_the_check_names_the_setting(
    project: Project, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEXCARE_AVR_VIRTUAL_KEY")
    land(project, vendor, MONDAY, "visit_id,a\n1,x\n1,x\n")
    evaluation = said(project, KEYS_ARE_UNIQUE, MONDAY)
    assert evaluation.passed
    assert "DEXCARE_AVR_VIRTUAL_KEY" in (evaluation.description or "")


def test_a_changed_day_says_how_many_rows_changed_by_their_key(
    project: Project, vendor: SandboxProcess
) -> None:
    land(project, vendor, MONDAY, "visit_id,a\n1,x\n2,y\n3,z\n")
    land(project, vendor, MONDAY, "visit_id,a\n3,z\n1,changed\n4,new\n5,new\n")
    record = project.instance.fetch_materializations(VIRTUAL.asset_key, limit=1).records[0]
    assert record.asset_materialization is not None
    counts = {
        name: record.asset_materialization.metadata[f"rows_{name}"].value
        for name in ("added", "removed", "changed")
    }
    assert counts == {"added": 2, "removed": 1, "changed": 1}


def test_a_person_who_runs_the_checks_for_no_day_in_particular_asks_about_the_newest_as_it_stands(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    body = "visit_id,a\n1,x\n2,x\n"
    land(project, vendor, MONDAY, body, body)
    lake = Lake(data / "lake")
    replace_with_one_row(lake.partition_file(VIRTUAL.table, MONDAY))
    replace_with_one_row(lake.partition_file(VIRTUAL.table, TUESDAY))
    assert execute(project, *LANDED_CHECKS)
    assert days_shown(project.instance, ROW_COUNT_MATCHES_VENDOR) == {
        "succeeded": [MONDAY],
        "failed": [TUESDAY],
    }
    assert said(project, ROW_COUNT_MATCHES_VENDOR, TUESDAY).description == (
        "The vendor sent 2 rows and the day's file has 1; land it again."
    )
    assert days_shown(project.instance, KEYS_ARE_UNIQUE) == {"succeeded": [MONDAY, TUESDAY]}


def test_run_again_by_a_person_the_columns_of_a_day_are_compared_with_those_of_other_days(
    project: Project, vendor: SandboxProcess
) -> None:
    land(project, vendor, MONDAY, "visit_id,a\n1,x\n")
    land(project, vendor, TUESDAY, "visit_id,a,b\n1,x,y\n")
    assert execute(project, COLUMNS_ARE_KNOWN, first=TUESDAY)
    again = said(project, COLUMNS_ARE_KNOWN, TUESDAY)
    assert not again.passed
    assert "new: 'b'" in (again.description or "")
    assert execute(project, COLUMNS_ARE_KNOWN, first=MONDAY)
    assert "missing: 'b'" in (said(project, COLUMNS_ARE_KNOWN, MONDAY).description or "")


def test_a_person_can_run_one_check_for_chosen_days(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    body = "visit_id,a\n1,x\n2,x\n"
    land(project, vendor, MONDAY, body, body)
    for day in (MONDAY, TUESDAY):
        Lake(data / "lake").partition_file(VIRTUAL.table, day).unlink()
    assert execute(project, KEYS_ARE_UNIQUE, first=MONDAY)
    assert days_shown(project.instance, KEYS_ARE_UNIQUE) == {"succeeded": [TUESDAY], "failed": [MONDAY]}
    assert said(project, KEYS_ARE_UNIQUE, MONDAY).description == (
        "The lake has no readable file of this day; land it again."
    )
    assert execute(project, KEYS_ARE_UNIQUE, first=MONDAY, last=WEDNESDAY)  # which never landed
    assert days_shown(project.instance, KEYS_ARE_UNIQUE)["failed"] == [MONDAY, TUESDAY]
    assert days_shown(project.instance, ROW_COUNT_MATCHES_VENDOR) == {"succeeded": [MONDAY, TUESDAY]}


def test_a_person_who_runs_the_checks_before_anything_landed_gets_no_verdict(project: Project) -> None:
    assert execute(project, *LANDED_CHECKS)
    assert days_shown(project.instance, KEYS_ARE_UNIQUE) == {}


def test_a_landing_says_at_once_whether_the_newest_day_is_there(
    project: Project, vendor: SandboxProcess
) -> None:
    land(project, vendor, MONDAY, "visit_id,a\n1,x\n")
    key = AssetCheckKey(VIRTUAL.asset_key, NEWEST_DAY_HAS_LANDED)
    [record] = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert isinstance(record.evaluation, AssetCheckEvaluation)
    assert not record.evaluation.passed  # an old day, however newly landed
    assert record.run_id


def test_provider_histories_are_checked_by_their_ids(data: Path, vendor: SandboxProcess) -> None:
    settings, days = Settings.of_this_process(), all_days()
    definitions = Definitions(
        assets=[provider_histories_asset(days)],
        asset_checks=table_checks(VENDOR.tables(), days, Expectation.of(settings)),
        resources={"dexcare_apr": ProviderHistoriesResource(pause_seconds=0), "storage": WarehouseStorage()},
        executor=in_process_executor,
    )
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[provider_histories_key()],
            tags={ASSET_PARTITION_RANGE_START_TAG: MONDAY, ASSET_PARTITION_RANGE_END_TAG: TUESDAY},
        )
        assert result.success
        for check in LANDED_CHECKS:
            shown = days_shown(instance, check, provider_histories_key())
            assert shown == {"succeeded": [MONDAY, TUESDAY]}
        evaluation = said(Project(instance), KEYS_ARE_UNIQUE, MONDAY, provider_histories_key())
        assert evaluation.metadata["key"].value == "id"
        rows = duckdb.read_parquet(str(Lake(data / "lake").partition_file(PROVIDER_HISTORIES, MONDAY)))
        sent = said(Project(instance), ROW_COUNT_MATCHES_VENDOR, MONDAY, provider_histories_key())
        assert sent.metadata["rows_sent"].value == len(rows.fetchall()) > 0


def replace_with_one_row(file: Path) -> None:
    """As somebody does who repairs a file by hand."""
    other = file.with_name("other.parquet")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM read_parquet('{file}', hive_partitioning = false) LIMIT 1) "
            f"TO '{other}' (FORMAT parquet)"
        )
    other.replace(file)


def visits(rows: int) -> str:
    return "visit_id,a\n" + "".join(f"{number},x\n" for number in range(rows))


def test_a_day_that_comes_back_empty_lands_and_is_yellow_with_both_numbers(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    land(project, vendor, MONDAY, visits(50))
    assert said(project, ROW_COUNT_IS_USUAL, MONDAY).passed

    land(project, vendor, MONDAY, visits(0))

    yellow = said(project, ROW_COUNT_IS_USUAL, MONDAY)
    assert (yellow.passed, yellow.severity) == (False, AssetCheckSeverity.WARN)
    assert yellow.description == (
        "The day has 0 rows; it had 50 before. It has landed as it came; ask the vendor if that is all."
    )
    assert warehouse_rows(data, "SELECT count(*) FROM dexcare.avr_virtual") == [(0,)]
    # Looked at again, it is as odd as it was; once it is well again, nothing is.
    land(project, vendor, MONDAY, visits(0))
    assert not said(project, ROW_COUNT_IS_USUAL, MONDAY).passed
    assert execute(project, ROW_COUNT_IS_USUAL, first=MONDAY)
    assert not said(project, ROW_COUNT_IS_USUAL, MONDAY).passed
    land(project, vendor, MONDAY, visits(51))
    assert said(project, ROW_COUNT_IS_USUAL, MONDAY).passed


def test_a_tuesday_with_a_tenth_of_what_tuesdays_have_is_yellow(
    project: Project, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuesdays = ["2026-03-03", "2026-03-10", "2026-03-17", "2026-03-24", "2026-03-31"]
    for day, rows in zip(tuesdays, (40, 42, 60, 38, 4), strict=True):
        land(project, vendor, day, visits(rows))
    # The first weeks say nothing, and neither does a quiet Wednesday after them.
    land(project, vendor, "2026-03-25", visits(1))
    assert days_shown(project.instance, ROW_COUNT_IS_USUAL)["succeeded"] == [
        *tuesdays[:3],
        "2026-03-24",
        "2026-03-25",
    ]
    yellow = said(project, ROW_COUNT_IS_USUAL, "2026-03-31")
    assert (yellow.passed, yellow.severity) == (False, AssetCheckSeverity.WARN)
    assert "The day has 4 rows; a Tuesday usually has 41." in (yellow.description or "")
    # What is odd is a matter of the place.
    monkeypatch.setenv("HEALTH_UNUSUAL_ROWS_BELOW", "0.05")
    assert execute(project, ROW_COUNT_IS_USUAL, first="2026-03-31")
    assert said(project, ROW_COUNT_IS_USUAL, "2026-03-31").passed
