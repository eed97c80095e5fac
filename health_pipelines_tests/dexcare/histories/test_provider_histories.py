"""Provider histories against the sandbox: what is asked, what lands, and what is not believed."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import duckdb
import httpx
import pytest
from dagster import (
    AssetObservation,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    in_process_executor,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.dexcare.connection import UnexpectedAnswerError
from health_pipelines.dexcare.histories.asset import ProviderHistoriesConfig, provider_histories_asset
from health_pipelines.dexcare.histories.client import (
    HistoryPage,
    HistorySearch,
    ProviderHistoriesClient,
    history_time,
)
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.histories.step import NARROWED
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, provider_histories_key
from health_pipelines.http import AccessDeniedError, RefusedError
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.manifests import Facts, Manifest
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.replacing import PartitionWriter
from health_pipelines.landing.calendar import daily_partitions, day_window
from health_pipelines.landing.landed_partition import DATA_VERSION_TAG
from health_pipelines.settings import HttpPolicy, Secret, Settings
from health_pipelines.warehouse.storage import WarehouseStorage
from health_pipelines_tests.conftest import ZONE_NAME
from health_pipelines_tests.dexcare.project import failure_of, logged
from health_pipelines_tests.support.sandbox_process import SandboxProcess
from health_pipelines_tests.support.warehouse_trouble import TROUBLES

T = TypeVar("T")
DAY, NEXT_DAY, THIRD_DAY = "2026-03-10", "2026-03-11", "2026-03-12"
ZONE = ZoneInfo(ZONE_NAME)
START, END = datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)
QUICK = HttpPolicy(attempts=2, timeout_seconds=5, wait_initial_seconds=0.01, wait_jitter_seconds=0.01)
OPERATION = "provider_histories"
TERMS = {
    "action": "action",
    "visit_id": "visitId",
    "provider_id": "providerId",
    "provider_email_address": "providerEmailAddress",
    "provider_name": "providerName",
    "provider_first_name": "providerFirstName",
    "provider_last_name": "providerLastName",
    "provider_credentials": "providerCredentials",
    "actor_id": "actorId",
    "actor_email": "actorEmail",
    "actor_first_name": "actorFirstName",
    "actor_last_name": "actorLastName",
}
Event = dict[str, Any]
Row = tuple[str | None, ...]


@pytest.fixture
def vendor(vendor: SandboxProcess) -> Iterator[SandboxProcess]:
    """The sandbox of every test, whose settings of this search are put back as well."""
    yield vendor
    vendor.change_settings(largest_page=200, default_page=50, page_order="time", apr_key="")


@dataclass
class Histories:
    """The asset on a real instance (SQLite in memory, at half the time of a folder); the daemon is played."""

    instance: DagsterInstance

    def __post_init__(self) -> None:
        settings = Settings.of_this_process()
        self.definitions = Definitions(
            assets=[provider_histories_asset(daily_partitions(settings.start_date, settings.timezone))],
            resources={
                "dexcare_apr": ProviderHistoriesResource(pause_seconds=0),
                "storage": WarehouseStorage(),
            },
            executor=in_process_executor,
        )

    def pull(self, first: str, last: str | None = None, **terms: str) -> ExecuteInProcessResult:
        """A range run, narrowed if there are terms; failures are in the result."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {"dexcare__provider_histories": {"config": terms}}} if terms else None,
            tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last or first},
        )

    def landed(self) -> list[str]:
        """The days of all materializations, oldest event first."""
        records = self.instance.fetch_materializations(
            provider_histories_key(), limit=100, ascending=True
        ).records
        return [str(record.partition_key) for record in records]

    def observations(self) -> list[AssetObservation]:
        """Oldest first."""
        records = self.instance.fetch_observations(
            provider_histories_key(), limit=100, ascending=True
        ).records
        found = [record.event_log_entry.asset_observation for record in records]
        return [one for one in found if one is not None]


@pytest.fixture
def histories(data: Path) -> Iterator[Histories]:
    with DagsterInstance.ephemeral() as instance:
        yield Histories(instance)


def events_of(vendor: SandboxProcess, day: str, **body: object) -> list[Event]:
    """What the vendor has for a day, page by page as its documentation says, with no code of ours."""
    window = day_window(day, ZONE)
    dates = {"startDate": window.start.isoformat(), "endDate": window.end.isoformat()}
    events: list[Event] = []
    with httpx.Client(base_url=vendor.url, headers={"Authorization": "dc-token SECRET_TOKEN"}) as http:
        while True:
            page = http.post(
                "/v1/reporting/providerhistories", json={**dates, **body, "offset": len(events)}
            ).json()
            events += page["data"]
            if len(events) >= page["count"]:
                return events


def as_rows(events: list[Event]) -> Counter[Row]:
    """The events as text columns, written here a second time on purpose."""

    def text(value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    return Counter(tuple(text(value) for value in event.values()) for event in events)


def lake_rows(data: Path, table: Table = PROVIDER_HISTORIES, day: str = DAY) -> Counter[Row]:
    file = Lake(data / "lake").partition_file(table, day)
    return rows_of(
        duckdb.connect(),
        f"SELECT * EXCLUDE ({', '.join(LINEAGE_COLUMNS)}) "
        f"FROM read_parquet('{file}', hive_partitioning = false)",
    )


def warehouse_rows(data: Path, query: str) -> Counter[Row]:
    return rows_of(duckdb.connect(str(data / "warehouse.duckdb"), read_only=True), query)


def rows_of(connection: AbstractContextManager[duckdb.DuckDBPyConnection], query: str) -> Counter[Row]:
    with connection as opened:
        return Counter(opened.execute(query).fetchall())


def call(
    vendor: SandboxProcess,
    work: Callable[[ProviderHistoriesClient], Awaitable[T]],
    *,
    key: str = "SECRET_TOKEN",
) -> T:
    async def with_client() -> T:
        async with ProviderHistoriesClient(vendor.url, Secret(key), QUICK) as client:
            return await work(client)

    return asyncio.run(with_client())


def page(vendor: SandboxProcess, *, offset: int = 0, limit: int | None = 5, **terms: str) -> HistoryPage:
    search = HistorySearch(**terms)
    return call(vendor, lambda client: client.page(START, END, search, offset=offset, limit=limit))


def test_a_window_goes_out_in_the_vendors_format_and_in_utc() -> None:
    assert history_time(datetime(2023, 10, 12, 7, tzinfo=UTC)) == "2023-10-12T07:00:00.000Z"
    seven_west = timezone(timedelta(hours=-7))
    assert history_time(datetime(2023, 10, 12, 17, 0, 1, 500999, seven_west)) == "2023-10-13T00:00:01.500Z"


def test_the_terms_have_the_vendors_names_and_only_those_that_are_used_go_out() -> None:
    assert [field.name for field in fields(HistorySearch)] == list(TERMS)
    assert HistorySearch(**{name: name for name in TERMS}).terms() == {
        vendors: name for name, vendors in TERMS.items()
    }
    assert HistorySearch().terms() == {}
    assert HistorySearch(action="").terms() == {"action": ""}


def test_the_configuration_has_each_term_and_fills_it() -> None:
    values = {name: f"the {name}" for name in TERMS}
    assert ProviderHistoriesConfig(**values).search() == HistorySearch(**values)


def test_a_search_shows_which_terms_it_uses_and_not_their_values() -> None:
    assert repr(HistorySearch(actor_email="simon@example.invalid")) == "HistorySearch(actorEmail)"


def test_a_page_is_what_is_between_offset_and_limit_with_the_count_of_all(vendor: SandboxProcess) -> None:
    whole = page(vendor, limit=200)
    assert whole.count == len(whole.rows) > 20
    part = page(vendor, offset=7, limit=5)
    assert (part.count, part.rows) == (whole.count, whole.rows[7:12])
    assert len(page(vendor, limit=None).rows) == 50


def test_rows_are_those_of_the_window(vendor: SandboxProcess) -> None:
    dates = [row["eventDate"] for row in page(vendor, limit=200).rows]
    assert min(dates) == "2026-03-09T00:00:00.000Z"
    assert max(dates) < "2026-03-10T00:00:00.000Z"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"data": []}, "'count'"),
        ({"count": "1", "data": []}, "'count'"),
        ({"count": True, "data": []}, "'count'"),
        ({"count": 1.5, "data": []}, "'count'"),
        ({"count": -1, "data": []}, "'count'"),
        ({"count": 1}, "'data'"),
        ({"count": 1, "data": {"id": "1"}}, "'data'"),
        ({"count": 1, "data": ["1"]}, "'id'"),
        ({"count": 1, "data": [{"name": "Jenny"}]}, "'id'"),
        ({"count": 1, "data": [{"id": None, "name": "Jenny"}]}, "'id'"),
        ({"count": 1, "data": [{"id": True}]}, "'id'"),
        ({"count": 1, "data": [{"id": {"a": 1}}]}, "'id'"),
    ],
)
def test_an_answer_without_what_the_documentation_promises_is_refused_without_its_values(
    vendor: SandboxProcess, answer: Event, says: str
) -> None:
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": answer})
    with pytest.raises(UnexpectedAnswerError, match=says) as caught:
        page(vendor)
    assert "Jenny" not in str(caught.value)


def test_an_id_may_be_a_number(vendor: SandboxProcess) -> None:
    body = {"count": 1, "data": [{"id": 7}]}
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": body})
    assert page(vendor).rows == [{"id": 7}]


def test_a_wrong_key_names_the_setting_of_this_api(vendor: SandboxProcess) -> None:
    with pytest.raises(AccessDeniedError, match=r"Check DEXCARE_APR_API_KEY\.$"):
        call(
            vendor,
            lambda client: client.page(START, END, HistorySearch(), offset=0, limit=5),
            key="s3cr3t",
        )


def test_a_refusal_has_the_vendors_words(vendor: SandboxProcess) -> None:
    with pytest.raises(RefusedError, match="'limit' must be"):
        page(vendor, limit=0)


def test_a_search_whose_answer_was_lost_is_asked_again(vendor: SandboxProcess) -> None:
    vendor.add_fault(OPERATION, {"kind": "lose_response"}, times=1)
    assert len(page(vendor).rows) == 5


def test_a_day_lands_with_every_row_that_the_vendor_has(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    result = histories.pull(DAY)
    assert result.success
    events = events_of(vendor, DAY)
    columns = ", ".join(f'"{name}"' for name in events[0])
    assert warehouse_rows(data, f"SELECT {columns} FROM dexcare.provider_histories") == as_rows(events)
    [event] = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert event.partition == DAY
    assert metadata["dagster/partition_row_count"].value == len(events)
    lineage = warehouse_rows(
        data, "SELECT _partition_date::VARCHAR, _report_id FROM dexcare.provider_histories"
    )
    assert set(lineage) == {(DAY, metadata["query_id"].value)}
    tags = event.materialization.tags or {}
    assert tags[DATA_VERSION_TAG] == metadata["content_hash"].value


def test_null_and_empty_stay_apart_and_nested_values_are_json(histories: Histories, data: Path) -> None:
    histories.pull(DAY, THIRD_DAY)
    assert {None, "", "MD", "MD DO"} <= {
        row[0] for row in warehouse_rows(data, 'SELECT "providerCredentials" FROM dexcare.provider_histories')
    }
    [details] = warehouse_rows(data, "SELECT min(details) FROM dexcare.provider_histories")
    assert set(json.loads(str(details[0]))) == {"reason", "queue", "tags"}


@pytest.mark.parametrize("page_order", ["time", "arbitrary"])
@pytest.mark.parametrize("largest_page", [1, 7, 30, 200])
def test_a_server_that_answers_fewer_rows_than_asked_for_gives_the_same_day(
    histories: Histories, vendor: SandboxProcess, data: Path, largest_page: int, page_order: str
) -> None:
    truth = as_rows(events_of(vendor, DAY))
    vendor.change_settings(largest_page=largest_page, page_order=page_order)
    assert histories.pull(DAY).success
    assert lake_rows(data) == truth


def test_a_page_that_is_shorter_than_planned_has_its_rest_read_too(
    histories: Histories, vendor: SandboxProcess, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = events_of(vendor, DAY)
    monkeypatch.setenv("DEXCARE_CONCURRENCY", "1")  # so that the second call is for the second page
    vendor.change_settings(largest_page=20)
    body = {"count": len(events), "data": events[20:25]}
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": body}, after=1, times=1)
    result = histories.pull(DAY)
    assert lake_rows(data) == as_rows(events)
    [event] = result.get_asset_materialization_events()
    assert event.materialization.metadata["readings"].value == 2  # no row was missed in the first


def test_the_day_is_that_of_the_health_systems_zone_also_when_the_clocks_change(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull("2026-03-08")  # clocks go forward in Chicago: 23 hours
    [span] = warehouse_rows(
        data, 'SELECT min("eventDate"), max("eventDate"), count(*) FROM dexcare.provider_histories'
    )
    first, last, count = (str(value) for value in span)
    assert "2026-03-08T06:00" <= first < "2026-03-08T07:30"
    assert "2026-03-09T03:30" < last < "2026-03-09T05:00"
    with httpx.Client(base_url=vendor.url, headers={"Authorization": "dc-token SECRET_TOKEN"}) as http:
        window = {"startDate": "2026-03-08T06:00:00.000Z", "endDate": "2026-03-09T05:00:00.000Z"}
        answer = http.post("/v1/reporting/providerhistories", json=window).json()
    assert int(count) == answer["count"]


def test_a_range_lands_each_day_in_its_partition(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    assert histories.pull(DAY, THIRD_DAY).success
    assert sorted(histories.landed()) == [DAY, NEXT_DAY, THIRD_DAY]
    for day in (DAY, NEXT_DAY, THIRD_DAY):
        assert lake_rows(data, day=day) == as_rows(events_of(vendor, day))


def test_a_day_without_rows_lands_as_a_day_of_no_rows(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": {"count": 0, "data": []}})
    assert histories.pull(DAY).success
    assert histories.landed() == [DAY]
    assert warehouse_rows(data, "SELECT id FROM dexcare.provider_histories") == Counter()


def test_an_unchanged_day_is_not_rewritten_and_not_materialized_again(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull(DAY)
    file = Lake(data / "lake").partition_file(PROVIDER_HISTORIES, DAY)
    before = file.stat()
    vendor.change_settings(page_order="arbitrary", largest_page=20)
    assert histories.pull(DAY).success
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert histories.landed() == [DAY]
    [observation] = histories.observations()
    assert observation.metadata["changed"].value is False


def test_a_changed_day_is_replaced_and_says_how_many_rows_differ(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    old = [{"id": "1", "a": "x"}, {"id": "2", "a": "y"}]
    new = [{"id": "2", "a": "changed"}, {"id": "1", "a": "x"}, {"id": "3", "a": "new"}]
    for rows in (old, new):
        body = {"count": len(rows), "data": rows}
        vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": body}, times=1)
        assert histories.pull(DAY).success
    assert lake_rows(data) == Counter([("1", "x"), ("2", "changed"), ("3", "new")])
    record = histories.instance.fetch_materializations(provider_histories_key(), limit=1).records[0]
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    counts = [metadata[f"rows_{what}"].value for what in ("added", "removed", "changed")]
    assert counts == [1, 0, 1]  # by their ids


def test_a_landing_whose_event_was_lost_is_recorded_by_the_next(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = PartitionWriter.replace

    def put_and_die(writer: PartitionWriter, facts: Facts) -> None:
        put(writer, facts)
        raise OSError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(PartitionWriter, "replace", put_and_die)
        assert not histories.pull(DAY).success
    assert histories.landed() == []
    assert histories.pull(DAY).success
    assert histories.landed() == [DAY]


@pytest.mark.parametrize("shift", [{"insert": 2}, {"remove": 2}, {"insert": 3, "remove": 1}])
def test_rows_that_move_once_between_two_pages_are_read_again(
    histories: Histories, vendor: SandboxProcess, data: Path, shift: Mapping[str, int]
) -> None:
    truth = as_rows(events_of(vendor, DAY))
    vendor.change_settings(largest_page=20)
    vendor.add_fault(OPERATION, {"kind": "shift", **shift}, after=1, times=1)
    result = histories.pull(DAY)
    assert result.success
    assert lake_rows(data) == truth
    [event] = result.get_asset_materialization_events()
    assert event.materialization.metadata["readings"].value == 3


@pytest.mark.parametrize("shift", [{"insert": 2}, {"remove": 2}, {"insert": 2, "remove": 2}])
def test_rows_that_have_moved_for_good_land_as_they_are_now(
    histories: Histories, vendor: SandboxProcess, data: Path, shift: Mapping[str, int]
) -> None:
    vendor.change_settings(largest_page=20)
    vendor.add_fault(OPERATION, {"kind": "shift", **shift}, after=1)
    assert histories.pull(DAY).success
    assert lake_rows(data) == as_rows(events_of(vendor, DAY))


def test_rows_that_never_stop_moving_fail_with_both_numbers_and_leave_the_old_partition(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull(DAY)
    before, count = lake_rows(data), len(events_of(vendor, DAY))
    vendor.change_settings(largest_page=30)
    for answer in range(1, 30):  # no two answers are about the same rows
        vendor.add_fault(OPERATION, {"kind": "shift", "insert": answer}, times=1)
    sentence = failure_of(histories.pull(DAY))
    assert f"1 of 1 days could not be landed, {DAY} the first" in sentence
    numbers = re.search(r"in 4 readings: the count was (\d+) on one page and (\d+) on another\.$", sentence)
    assert numbers is not None
    assert count < int(numbers[1]) != int(numbers[2]) > count
    assert lake_rows(data) == before
    assert histories.landed() == [DAY]


def test_fewer_different_rows_than_the_count_fail_with_both_numbers(
    histories: Histories, vendor: SandboxProcess
) -> None:
    body = {"count": 3, "data": [{"id": "1"}, {"id": "2"}, {"id": "2"}]}
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": body})
    assert "2 different rows came where the count is 3" in failure_of(histories.pull(DAY))
    assert histories.landed() == []


def test_an_empty_page_before_the_count_is_reached_is_an_error_and_leaves_the_old_partition(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull(DAY)
    before, count = lake_rows(data), len(events_of(vendor, DAY))
    vendor.change_settings(largest_page=20)
    body = {"count": count, "data": []}
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": body}, after=1)
    vendor.forget_calls()
    sentence = failure_of(histories.pull(DAY))
    assert f"although it counts {count}" in sentence
    assert lake_rows(data) == before
    assert vendor.calls()["total"] < 10


def test_a_failed_day_leaves_its_partition_and_the_other_days_land(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull(NEXT_DAY)
    before = lake_rows(data, day=NEXT_DAY)
    fault = {"kind": "http", "status": 400, "body": {"error": "not this day"}}
    vendor.add_fault(OPERATION, fault, day=NEXT_DAY)
    result = histories.pull(DAY, THIRD_DAY)
    assert not result.success
    sentence = failure_of(result)
    assert f"1 of 3 days could not be landed, {NEXT_DAY} the first" in sentence
    assert "not this day" in sentence
    assert sorted(histories.landed()[1:]) == [DAY, THIRD_DAY]
    assert lake_rows(data, day=NEXT_DAY) == before


def test_rows_that_cannot_be_columns_name_the_day_and_leave_the_old_partition(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull(DAY)
    before = lake_rows(data)
    # Half of a surrogate pair, which JSON can escape and no file can have.
    text = json.dumps({"count": 1, "data": [{"id": "1", "actorId": "Zebulon \ud800"}]})
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "text": text})
    result = histories.pull(DAY)
    assert f"provider histories for {DAY} are not usable" in failure_of(result)
    assert "Zebulon" not in logged(result, histories.instance)
    assert lake_rows(data) == before


def test_a_day_that_another_run_is_writing_is_left_to_it(
    histories: Histories, data: Path, vendor: SandboxProcess
) -> None:
    with Lake(data / "lake").writing(PROVIDER_HISTORIES, DAY):
        sentence = failure_of(histories.pull(DAY))
    assert "is being written by another run" in sentence


def test_a_wrong_key_fails_with_one_sentence_that_names_the_setting_and_is_not_hammered(
    histories: Histories, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXCARE_APR_API_KEY", "wrong-and-secret")
    vendor.forget_calls()
    result = histories.pull("2026-01-01", "2026-03-01")
    sentence = failure_of(result)
    assert "403" in sentence
    assert "Check DEXCARE_APR_API_KEY" in sentence
    assert "\n" not in sentence
    assert "wrong-and-secret" not in logged(result, histories.instance)
    assert vendor.calls()["total"] <= 5  # one a place, of 60 days


def test_the_key_and_the_host_of_this_api_may_be_others(
    histories: Histories, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.change_settings(apr_key="another")
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://no-such-host.invalid")
    monkeypatch.setenv("DEXCARE_APR_API_KEY", "another")
    assert "check DEXCARE_APR_BASE_URL" in failure_of(histories.pull(DAY))
    monkeypatch.setenv("DEXCARE_APR_BASE_URL", vendor.url)
    assert histories.pull(DAY).success
    monkeypatch.delenv("DEXCARE_APR_BASE_URL")
    sentence = failure_of(histories.pull(DAY))
    assert "was filled by the sandbox on this machine and is now to be filled by no-such-host" in sentence


def test_without_a_key_the_sentence_names_the_setting(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXCARE_SERVICE_KEY", "")
    assert "DEXCARE_SERVICE_KEY is not set" in failure_of(histories.pull(DAY))


@pytest.mark.parametrize("name", TERMS)
def test_each_term_narrows_the_pull_to_the_rows_that_fit_it(
    histories: Histories, vendor: SandboxProcess, data: Path, name: str
) -> None:
    term = TERMS[name]
    events = events_of(vendor, DAY)
    wanted = (
        "md" if name == "provider_credentials" else next(one[term] for one in events if one[term]).upper()
    )

    def fits(event: Event) -> bool:
        value = (event[term] or "").lower()
        return "md" in value if name == "provider_credentials" else value == wanted.lower()

    expected = as_rows([event for event in events if fits(event)])
    assert 0 < expected.total() < len(events)
    assert histories.pull(DAY, **{name: wanted}).success
    assert lake_rows(data, NARROWED) == expected


def test_terms_are_combined_with_and(histories: Histories, vendor: SandboxProcess, data: Path) -> None:
    one = next(event for event in events_of(vendor, DAY) if event["actorFirstName"])
    terms = {name: one[TERMS[name]] for name in ("action", "provider_last_name", "actor_first_name")}
    assert histories.pull(DAY, **terms).success
    fitting = [
        event
        for event in events_of(vendor, DAY)
        if all(event[TERMS[name]] == value for name, value in terms.items())
    ]
    assert lake_rows(data, NARROWED) == as_rows(fitting)


def test_a_narrowed_pull_never_touches_the_standard_table(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    histories.pull(DAY)
    file = Lake(data / "lake").partition_file(PROVIDER_HISTORIES, DAY)
    before = file.stat()
    assert histories.pull(DAY, NEXT_DAY, action="assigned").success
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not Lake(data / "lake").partition_file(PROVIDER_HISTORIES, NEXT_DAY).exists()
    assert histories.landed() == [DAY]
    assert warehouse_rows(
        data, "SELECT DISTINCT _partition_date::VARCHAR FROM dexcare.provider_histories"
    ) == {(DAY,): 1}


def test_a_narrowed_pull_is_observed_with_its_rows_and_the_names_of_its_terms(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    result = histories.pull(DAY, action="assigned", provider_last_name="Generic")
    assert histories.landed() == []
    [observation] = histories.observations()
    assert observation.partition == DAY
    assert observation.metadata["narrowed_by"].value == ["action", "providerLastName"]
    assert observation.metadata["narrowed_rows"].value == lake_rows(data, NARROWED).total()
    assert DATA_VERSION_TAG not in observation.tags
    events = "\n".join(repr(entry) for entry in histories.instance.all_logs(result.run_id))
    assert "providerLastName" in events
    assert "Generic" not in events


def test_no_provider_and_no_key_in_any_event(histories: Histories, vendor: SandboxProcess) -> None:
    body = {"count": 2, "data": [{"id": "1", "providerName": "Zebulon"}]}
    vendor.add_fault(OPERATION, {"kind": "http", "status": 200, "body": body}, day=DAY)
    result = histories.pull(DAY, NEXT_DAY)
    everything = "\n".join(repr(entry) for entry in histories.instance.all_logs(result.run_id))
    assert "could not be landed" in everything
    for secret in ("Zebulon", "Jenny", "example.invalid", "SECRET_TOKEN"):
        assert secret not in everything


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_of_the_warehouse_stops_no_landing(histories: Histories, data: Path, trouble: str) -> None:
    data.mkdir(exist_ok=True)
    TROUBLES[trouble](data)

    result = histories.pull(DAY)

    assert result.success
    assert histories.landed() == [DAY]
    assert "has landed, but its view is not there yet" in logged(result, histories.instance)


def test_the_manifest_of_a_day_has_what_the_vendor_counts(
    histories: Histories, vendor: SandboxProcess, data: Path
) -> None:
    assert histories.pull(DAY).success

    file = Lake(data / "lake").partition_file(PROVIDER_HISTORIES, DAY).with_name("_manifest.json")
    facts, count = Manifest.of_text(file.read_bytes()).facts, len(events_of(vendor, DAY))
    assert count > 0
    assert (facts.vendor_count, facts.vendor_counted) == (count, "the window")
    assert (facts.rows_sent, facts.rows, facts.keys) == (count, count, count)
    assert facts.window == "2026-03-10T05:00:00+00:00 to 2026-03-11T05:00:00+00:00"
    observed = histories.instance.fetch_materializations(provider_histories_key(), limit=1).records[0]
    assert observed.asset_materialization is not None
    assert facts.report_ids == [observed.asset_materialization.metadata["query_id"].value]
