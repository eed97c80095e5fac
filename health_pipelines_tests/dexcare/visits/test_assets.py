"""The request and landing assets: what a run writes, lands, says and refuses."""

from collections import Counter
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from dagster import AssetKey, DagsterEventType

from health_pipelines.dexcare.visits.request_step import BACKFILL_TAG
from health_pipelines.lake.csv_partition import content_hash_of
from health_pipelines.lake.manifests import Manifest
from health_pipelines.lake.partitions import Lake
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines.landing.landed_partition import DATA_VERSION_TAG
from health_pipelines_tests.conftest import ZONE_NAME
from health_pipelines_tests.dexcare.project import (
    PROVIDER_BOOKING,
    RETAIL,
    VIRTUAL,
    Project,
    failure_of,
    logged,
)
from health_pipelines_tests.support.landed import days_from, rows_in_warehouse, true_rows
from health_pipelines_tests.support.sandbox_process import SandboxProcess
from health_pipelines_tests.support.warehouse_trouble import TROUBLES

DAY = "2026-03-10"
ZONE = ZoneInfo(ZONE_NAME)


def test_a_range_run_writes_a_ticket_for_each_of_its_days(project: Project, vendor: SandboxProcess) -> None:
    before = len(vendor.reports())
    result = project.materialize([VIRTUAL.request_key], "2026-03-06", "2026-03-10")
    assert result.success
    started = vendor.reports()[before:]
    tickets = project.ledger().open_tickets()
    assert list(tickets) == days_from("2026-03-06", 5)
    assert {one.ticket.report_id for one in tickets.values()} == {report["id"] for report in started}


def test_a_request_asks_for_the_day_in_the_health_systems_time_zone(
    project: Project, vendor: SandboxProcess
) -> None:
    project.materialize([VIRTUAL.request_key], "2026-03-08")  # clocks go forward in Chicago: 23 hours
    report = vendor.reports()[-1]
    assert (report["startDate"], report["endDate"]) == (
        "2026-03-08T06:00:00+0000",
        "2026-03-09T05:00:00+0000",
    )


def test_a_ready_day_lands_with_the_rows_that_the_vendor_has(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    project.materialize([RETAIL.request_key], DAY)
    result = project.materialize([RETAIL.asset_key], DAY)
    assert result.success
    columns, rows = true_rows(vendor, RETAIL, DAY, ZONE)
    assert rows.total() > 0
    assert rows_in_warehouse(data, RETAIL, columns) == {DAY: rows}
    [event] = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert event.partition == DAY
    assert metadata["dagster/partition_row_count"].value == rows.total()
    assert metadata["rows_added"].value == rows.total()


def test_null_empty_and_look_alikes_of_null_stay_apart_all_the_way(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    body = 'id,a\n"007",\n"NA",""\n"null","NULL"\n"000000001","nan"\n'
    vendor.add_fault("data", {"kind": "body", "text": body})
    land(project, DAY)
    assert warehouse_rows(data, "SELECT id, a FROM dexcare.avr_virtual") == Counter(
        [("007", None), ("NA", ""), ("null", "NULL"), ("000000001", "nan")]
    )


def test_a_report_with_a_header_only_lands_as_a_day_of_no_rows(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    vendor.add_fault("data", {"kind": "body", "text": '"visit_id","status"\n'})
    land(project, DAY)
    assert project.landed(VIRTUAL.asset_key) == [DAY]
    assert warehouse_rows(data, "SELECT visit_id, status FROM dexcare.avr_virtual") == Counter()


def test_a_day_that_is_not_ready_neither_blocks_nor_fails_nor_lands(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.change_settings(queue_seconds="600")
    project.materialize([VIRTUAL.request_key], DAY)
    result = project.materialize([VIRTUAL.asset_key], DAY)
    assert result.success
    assert project.landed(VIRTUAL.asset_key) == []
    assert "1 queued: the sensor dexcare_report_sensor will land" in logged(result, project.instance)


def test_a_day_that_was_never_asked_for_says_which_asset_to_materialize(project: Project) -> None:
    result = project.materialize([VIRTUAL.asset_key], DAY)
    assert result.success
    assert "materialize dexcare/avr_virtual_report for them first" in logged(result, project.instance)


def test_an_unchanged_day_is_not_rewritten_and_not_materialized_again(project: Project, data: Path) -> None:
    land(project, DAY)
    file = Lake(data / "lake").partition_file(VIRTUAL.table, DAY)
    before = file.stat()
    land(project, DAY)  # a new report: the same rows in another order
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert project.landed(VIRTUAL.asset_key) == [DAY]
    [record] = project.instance.fetch_observations(VIRTUAL.asset_key, limit=10).records
    observation = record.event_log_entry.asset_observation
    assert observation is not None
    assert observation.metadata["changed"].value is False


def test_the_manifest_of_a_day_has_its_window_and_its_report(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    land(project, DAY)

    manifest = Manifest.of_text(
        Lake(data / "lake").partition_file(VIRTUAL.table, DAY).with_name("_manifest.json").read_bytes()
    )
    _, rows = true_rows(vendor, VIRTUAL, DAY, ZONE)
    facts, event = manifest.facts, materialized(project)
    assert (facts.rows_sent, facts.rows, facts.vendor_count) == (rows.total(), rows.total(), None)
    assert facts.window == "2026-03-10T05:00:00+00:00 to 2026-03-11T05:00:00+00:00"
    assert facts.report_ids == [vendor.reports()[-1]["id"]]
    assert facts.content_hash == event["content_hash"]
    assert event["manifest_chain"] == Lake(data / "lake").chain(VIRTUAL.table).head


def test_an_unchanged_day_keeps_its_manifest_and_gets_one_if_it_has_none(
    project: Project, data: Path
) -> None:
    land(project, DAY)
    lake = Lake(data / "lake")
    file, manifest = (
        lake.partition_file(VIRTUAL.table, DAY),
        lake.partition_file(VIRTUAL.table, DAY).with_name("_manifest.json"),
    )
    before, written = manifest.read_bytes(), file.stat().st_ino
    land(project, DAY)
    assert manifest.read_bytes() == before
    assert len(list(lake.chain(VIRTUAL.table).links([]))) == 2

    # As an older version left it.
    manifest.unlink()
    (lake.table_folder(VIRTUAL.table) / "_chain").unlink()
    land(project, DAY)

    assert file.stat().st_ino == written
    assert Manifest.of_text(manifest.read_bytes()).facts == Manifest.of_text(before).facts
    assert TableVerification(lake, VIRTUAL.table).of_day(DAY).state is State.AS_LANDED
    assert project.landed(VIRTUAL.asset_key) == [DAY]


def test_a_day_that_was_tampered_with_is_written_anew_though_the_vendor_says_the_same(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    # The same bytes each time: the footer alone would say that the day stands as it came.
    vendor.add_fault("data", {"kind": "body", "text": "id,a\n1,x\n2,y\n"})
    land(project, DAY)
    lake = Lake(data / "lake")
    file = lake.partition_file(VIRTUAL.table, DAY)
    footer = {"content_hash": content_hash_of(file) or ""}
    pl.read_parquet(file, hive_partitioning=False).with_columns(a=pl.lit("z")).write_parquet(
        file, metadata=footer
    )
    assert TableVerification(lake, VIRTUAL.table).of_day(DAY).state is State.CHANGED

    land(project, DAY)

    assert pl.read_parquet(file, hive_partitioning=False)["a"].to_list() == ["x", "y"]
    assert TableVerification(lake, VIRTUAL.table).of_day(DAY).state is State.AS_LANDED


def materialized(project: Project) -> dict[str, object]:
    """What the newest materialization says."""
    event = project.instance.fetch_materializations(VIRTUAL.asset_key, limit=1).records[0]
    assert event.asset_materialization is not None
    return {name: one.value for name, one in event.asset_materialization.metadata.items()}


def test_a_changed_day_is_replaced_and_says_how_many_rows_differ(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    vendor.add_fault("data", {"kind": "body", "text": "id,a\n1,x\n2,y\n3,z\n"}, times=1)
    land(project, DAY)
    vendor.add_fault("data", {"kind": "body", "text": "id,a\n3,z\n1,changed\n2,y\n4,new\n"}, times=1)
    land(project, DAY)
    assert warehouse_rows(data, "SELECT id, a FROM dexcare.avr_virtual") == Counter(
        [("3", "z"), ("1", "changed"), ("2", "y"), ("4", "new")]
    )
    record = project.instance.fetch_materializations(VIRTUAL.asset_key, limit=1).records[0]
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert (metadata["rows_added"].value, metadata["rows_removed"].value) == (2, 1)


def test_a_day_in_flight_is_not_started_twice(project: Project, vendor: SandboxProcess) -> None:
    vendor.change_settings(queue_seconds="600")
    project.materialize([VIRTUAL.request_key], DAY)
    before = len(vendor.reports())
    result = project.materialize([VIRTUAL.request_key], DAY)
    assert result.success
    assert len(vendor.reports()) == before
    assert "not started twice" in logged(result, project.instance)
    # To Dagster this run did its day, as a backfill has to; the ticket is the one it was, and open.
    [again, first] = project.instance.fetch_materializations(VIRTUAL.request_key, limit=10).records
    assert again.run_id == result.run_id
    assert again.asset_materialization is not None
    assert first.asset_materialization is not None
    assert again.asset_materialization.metadata == first.asset_materialization.metadata
    assert list(project.ledger().open_tickets()) == [DAY]


def test_a_day_that_landed_is_not_in_flight_again_when_its_run_is_repeated(project: Project) -> None:
    wish = {BACKFILL_TAG: "one wish"}
    project.materialize([VIRTUAL.request_key], DAY, tags=wish)
    project.materialize([VIRTUAL.asset_key], DAY)
    project.materialize([VIRTUAL.request_key], DAY, tags=wish)
    assert project.landed(VIRTUAL.request_key) == [DAY, DAY]
    assert project.ledger().open_tickets() == {}


@pytest.mark.parametrize("status", ["CANCELLED", "gone"])
def test_a_day_whose_report_came_to_nothing_can_be_asked_for_again(
    project: Project, vendor: SandboxProcess, status: str
) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    fault = (
        {"kind": "http", "status": 404, "body": {"error": "QueryExecution Not Found"}}
        if status == "gone"
        else {"kind": "status", "status": status}
    )
    first = project.ledger().newest_tickets([DAY])[DAY].report_id
    vendor.add_fault("status", fault, report_id=first)
    assert "1 to be asked again" in logged(project.materialize([VIRTUAL.asset_key], DAY), project.instance)
    project.materialize([VIRTUAL.request_key], DAY)
    assert project.ledger().newest_tickets([DAY])[DAY].report_id != first


def test_the_retry_of_a_run_does_not_ask_for_a_day_whose_ticket_is_recorded(
    project: Project, vendor: SandboxProcess
) -> None:
    backfill = {"dagster/backfill": "abcdefgh"}
    project.materialize([VIRTUAL.request_key], DAY, tags=backfill)
    project.materialize([VIRTUAL.asset_key], DAY)
    before = len(vendor.reports())
    project.materialize([VIRTUAL.request_key], DAY, "2026-03-11", tags=backfill)
    assert len(vendor.reports()) == before + 1  # the second day only
    project.materialize([VIRTUAL.request_key], DAY)
    assert len(vendor.reports()) == before + 2  # another run asks anew


def test_a_start_whose_answer_is_lost_is_tried_again_and_counted(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("start", {"kind": "lose_response"}, times=1)
    before = len(vendor.reports())
    project.materialize([VIRTUAL.request_key], DAY)
    assert len(vendor.reports()) == before + 2
    ticket = project.ledger().newest_tickets([DAY])[DAY]
    assert ticket.lost_starts == 1
    assert ticket.report_id == vendor.reports()[-1]["id"]


def test_a_wrong_key_fails_with_one_sentence_that_names_the_setting_and_is_not_hammered(
    project: Project, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "wrong-and-secret")
    vendor.forget_calls()
    result = project.materialize([VIRTUAL.request_key], "2026-01-01", "2026-03-01")
    assert "403" in failure_of(result)
    assert "Check DEXCARE_SERVICE_KEY" in failure_of(result)
    assert "wrong-and-secret" not in logged(result, project.instance)
    assert vendor.calls()["total"] <= 5  # one a place, of 60 days


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DEXCARE_SERVICE_KEY", "", "DEXCARE_SERVICE_KEY is not set"),
        ("DEXCARE_BASE_URL", "", "DEXCARE_BASE_URL is not set"),
        ("DEXCARE_BASE_URL", "http://dexcare.example.com", "use https://"),
        ("DEXCARE_BASE_URL", "https://no-such-host.invalid", "check DEXCARE_BASE_URL"),
        ("DEXCARE_BASE_URL", "ecvapi.example.com", "DEXCARE_BASE_URL is not a URL"),
    ],
)
def test_a_bad_address_or_no_key_fails_with_one_sentence_that_names_the_setting(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    sentence = failure_of(project.materialize([VIRTUAL.request_key], DAY))
    assert says in sentence
    assert "\n" not in sentence


def test_a_path_in_the_address_that_leads_nowhere_names_the_setting(
    project: Project, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXCARE_BASE_URL", f"{vendor.url}/wrong")
    sentence = failure_of(project.materialize([VIRTUAL.request_key], DAY))
    assert "no Route matched" in sentence
    assert "DEXCARE_BASE_URL" in sentence


def test_a_tenant_that_refuses_a_report_type_harms_that_asset_alone(
    project: Project, vendor: SandboxProcess
) -> None:
    vendor.add_fault("start", {"kind": "refuse_type"}, type="provider_booking")
    keys = [report.request_key for report in (PROVIDER_BOOKING, RETAIL, VIRTUAL)]
    result = project.materialize(keys, DAY)
    assert not result.success
    sentence = failure_of(result)
    assert "dexcare/avr_provider_booking_report" in sentence
    assert "'type' must be one of [retail, virtual]" in sentence
    assert project.landed(RETAIL.request_key) == [DAY]
    assert project.landed(VIRTUAL.request_key) == [DAY]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("id,a\n1,2\n3\n", "record 2 has 1 fields where the header has 2"),
        ("id,a\n1,2,3\n", "record 1 has 3 fields where the header has 2"),
        ('id,a\n"1","2\n', "ends inside a quoted value of record 1"),
        ("", "has no header"),
    ],
)
def test_a_body_that_is_not_a_whole_csv_names_the_day_and_leaves_the_old_partition(
    project: Project, vendor: SandboxProcess, data: Path, body: str, says: str
) -> None:
    vendor.add_fault("data", {"kind": "body", "text": "id,a\nold,old\n"}, times=1)
    land(project, DAY)
    vendor.add_fault("data", {"kind": "body", "text": body})
    project.materialize([VIRTUAL.request_key], DAY)
    sentence = failure_of(project.materialize([VIRTUAL.asset_key], DAY))
    assert says in sentence
    assert DAY in sentence
    assert warehouse_rows(data, "SELECT id, a FROM dexcare.avr_virtual") == Counter([("old", "old")])


def test_a_column_that_is_called_as_one_of_ours_lands_beside_it(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    vendor.add_fault("data", {"kind": "body", "text": "id,_Report_ID\n1,theirs\n"}, times=1)
    land(project, DAY)
    found = warehouse_rows(data, "SELECT id, _Report_ID_2, _report_id <> 'theirs' FROM dexcare.avr_virtual")
    assert found == Counter([("1", "theirs", True)])


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_body_that_always_ends_early_leaves_the_old_partition(
    project: Project, vendor: SandboxProcess, data: Path, framing: str
) -> None:
    land(project, DAY)
    before = warehouse_rows(data, "SELECT * EXCLUDE (_report_id, _extracted_at) FROM dexcare.avr_virtual")
    vendor.change_settings(framing=framing)
    how = "close" if framing == "close" else "reset"
    vendor.add_fault("data", {"kind": "cut", "after_bytes": 3000, "how": how})
    project.materialize([VIRTUAL.request_key], DAY)
    result = project.materialize([VIRTUAL.asset_key], DAY)
    assert not result.success
    assert DAY in failure_of(result)
    after = warehouse_rows(data, "SELECT * EXCLUDE (_report_id, _extracted_at) FROM dexcare.avr_virtual")
    assert after == before


def test_a_body_that_ends_early_once_is_downloaded_again(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    vendor.add_fault("data", {"kind": "cut", "after_bytes": 3000, "how": "reset"}, times=1)
    land(project, DAY)
    columns, rows = true_rows(vendor, VIRTUAL, DAY, ZONE)
    assert rows_in_warehouse(data, VIRTUAL, columns) == {DAY: rows}


def test_a_person_can_land_a_day_again_whose_file_was_deleted(project: Project, data: Path) -> None:
    land(project, DAY)
    file = Lake(data / "lake").partition_file(VIRTUAL.table, DAY)
    file.unlink()
    assert project.materialize([VIRTUAL.asset_key], DAY).success
    assert file.exists()


def test_a_table_that_another_host_filled_is_refused_and_untouched(
    project: Project, vendor: SandboxProcess, data: Path
) -> None:
    land(project, DAY)
    lake = Lake(data / "lake")
    lake.refuse_other_origin(VIRTUAL.table, "the sandbox on this machine")
    (lake.partition_file(VIRTUAL.table, DAY).parents[1] / "_origin").write_text(
        "ecvapi.care.uat.example.com\n"
    )
    before = lake.partition_file(VIRTUAL.table, DAY).stat()
    project.materialize([VIRTUAL.request_key], DAY)
    sentence = failure_of(project.materialize([VIRTUAL.asset_key], DAY))
    assert "was filled by ecvapi.care.uat.example.com and is now to be filled by the sandbox" in sentence
    assert "HEALTH_DATA_DIR" in sentence
    assert lake.partition_file(VIRTUAL.table, DAY).stat() == before


def test_a_host_that_never_landed_anything_does_not_own_the_table(
    project: Project, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    with monkeypatch.context() as wrong:
        wrong.setenv("DEXCARE_BASE_URL", "https://no-such-host.invalid")
        project.materialize([VIRTUAL.asset_key], DAY)
    assert project.materialize([VIRTUAL.asset_key], DAY).success
    assert project.landed(VIRTUAL.asset_key) == [DAY]


def test_no_patient_and_no_key_in_any_event(project: Project, vendor: SandboxProcess) -> None:
    vendor.add_fault("data", {"kind": "body", "text": 'id,name\n1,"Zebulon\n'})
    project.materialize([VIRTUAL.request_key], DAY)
    result = project.materialize([VIRTUAL.asset_key], DAY)
    everything = "\n".join(repr(entry) for entry in project.instance.all_logs(result.run_id))
    assert "quoted value" in everything
    assert "Zebulon" not in everything
    assert "SECRET_TOKEN" not in everything


def test_a_landing_overtaken_by_a_newer_ticket_does_not_settle_it(
    project: Project, vendor: SandboxProcess
) -> None:
    land(project, DAY)
    first = project.ledger().newest_tickets([DAY])[DAY]
    project.materialize([VIRTUAL.request_key], DAY)
    # The landing of the first report is recorded once more, after the newer ticket.
    event = project.ledger().write_settled(first, settled_at=first.requested_at, changed=False)
    project.instance.report_runless_asset_event(event)
    assert project.ledger().open_tickets()[DAY].ticket.report_id != first.report_id


def test_the_data_version_of_a_landed_day_is_its_content_hash(project: Project) -> None:
    land(project, DAY)
    [record] = project.instance.fetch_materializations(VIRTUAL.asset_key, limit=1).records
    assert record.asset_materialization is not None
    tags = project.instance.event_log_storage.get_latest_tags_by_partition(
        AssetKey(["dexcare", "avr_virtual"]), DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    assert tags[DAY][DATA_VERSION_TAG] == record.asset_materialization.metadata["content_hash"].value


def land(project: Project, day: str) -> None:
    """Ask for the virtual visits of a day and land them."""
    assert project.materialize([VIRTUAL.request_key], day).success
    assert project.materialize([VIRTUAL.asset_key], day).success


def warehouse_rows(data: Path, query: str) -> Counter[tuple[object, ...]]:
    with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as connection:
        return Counter(connection.execute(query).fetchall())


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_of_the_warehouse_stops_no_landing(project: Project, data: Path, trouble: str) -> None:
    project.materialize([VIRTUAL.request_key], DAY)
    data.mkdir(exist_ok=True)
    TROUBLES[trouble](data)

    result = project.materialize([VIRTUAL.asset_key], DAY)

    assert result.success
    [event] = result.get_asset_materialization_events()
    assert event.partition == DAY
    assert "has landed, but its view is not there yet" in logged(result, project.instance)
