"""The DrChrono client against the sandbox: every endpoint from the first call to the last page."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from health_pipelines.drchrono.api.client import DrChronoClient, ListDeadError, ListPage, Tokens
from health_pipelines.drchrono.api.list_query import AppointmentFilters, ListQuery
from health_pipelines.drchrono.api.token_file import TokenFile
from health_pipelines.drchrono.api.tokens import RefreshTokenError, RenewedTokens, StaticToken
from health_pipelines.drchrono.records import RECORD_TYPES, RecordType
from health_pipelines.http import AccessDeniedError, RefusedError
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.sandbox.drchrono_vendor import drchrono_sandbox
from health_pipelines_tests.support.sandbox_process import SandboxProcess

T = TypeVar("T")
SINCE = date(2026, 2, 1)
TYPES = {record_type.name: record_type for record_type in RECORD_TYPES}
APPOINTMENTS = TYPES["appointments"]
QUICK = HttpPolicy(attempts=2, timeout_seconds=10, wait_initial_seconds=0.01, wait_jitter_seconds=0.01)
WAIT_SECONDS = 0.05
MOST_POLLS = 200


class Budget:
    """Lets everybody call, and remembers throttles."""

    def __init__(self) -> None:
        self.throttles: list[float | None] = []

    async def acquire(self) -> None:
        pass

    async def throttled(self, seconds: float | None) -> None:
        self.throttles.append(seconds)


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[SandboxProcess]:
    with drchrono_sandbox(drchrono_deletions_page=3) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: SandboxProcess) -> Iterator[SandboxProcess]:
    yield shared_sandbox
    shared_sandbox.clear_faults()
    shared_sandbox.change_settings(drchrono_deletions_key="data", drchrono_gone_status="404")


def call(
    sandbox: SandboxProcess,
    work: Callable[[DrChronoClient], Awaitable[T]],
    tokens: Tokens | None = None,
    budget: Budget | None = None,
) -> T:
    async def with_client() -> T:
        used = tokens or StaticToken(Secret("sandbox-token"))
        async with DrChronoClient(sandbox.url, used, QUICK, budget or Budget()) as client:
            return await work(client)

    return asyncio.run(with_client())


async def page_of(client: DrChronoClient, record_type: RecordType, query: ListQuery) -> ListPage:
    uuid = await client.start(record_type, query)
    for _ in range(MOST_POLLS):
        if page := await client.poll(record_type, uuid):
            return page
        await asyncio.sleep(WAIT_SECONDS)
    raise AssertionError("the list never came to its end")


async def all_records(client: DrChronoClient, record_type: RecordType, **query: Any) -> list[dict[str, Any]]:
    first = await page_of(client, record_type, ListQuery(SINCE, **query))
    records = list(first.results)
    for number in range(2, first.pages + 1):
        page = await page_of(client, record_type, ListQuery(SINCE, page=number, **query))
        assert (page.page, page.count) == (number, first.count)
        records += page.results
    assert len(records) == first.count
    return records


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.name)
def test_each_list_is_read_to_its_last_page_and_equals_what_the_vendor_has(
    sandbox: SandboxProcess, record_type: RecordType
) -> None:
    truth = sandbox.drchrono_records(record_type.name)
    # Rows with equal times may change places between two queries, so that only order by id can be paged here.
    pages = 3 if record_type.order_by == "id" else 1
    size = min(record_type.page_size, len(truth) // pages + 1)
    records = call(sandbox, lambda client: all_records(client, record_type, page_size=size, verbose=True))
    assert len(truth) > 10
    key = record_type.key
    assert sorted(str(record[key]) for record in records) == sorted(str(record[key]) for record in truth)


def test_a_filter_narrows_a_list(sandbox: SandboxProcess) -> None:
    truth = sandbox.drchrono_records("appointments")
    doctor = int(truth[0]["doctor"])
    filters = AppointmentFilters(doctor=doctor)
    records = call(sandbox, lambda client: all_records(client, APPOINTMENTS, filters=filters))
    assert {record["doctor"] for record in records} == {doctor}
    assert len(records) == sum(record["doctor"] == doctor for record in truth)


@pytest.mark.parametrize("key", ["data", "results"])
def test_all_deletions_are_read(sandbox: SandboxProcess, key: str) -> None:
    sandbox.change_settings(drchrono_deletions_key=key)
    lines = [str(line["id"]) for line in sandbox.drchrono_records("line_items")][:7]
    sandbox.change_records("line_items", remove=lines)

    async def read(client: DrChronoClient) -> list[list[dict[str, Any]]]:
        return [page async for page in client.deletions(SINCE)]

    pages = call(sandbox, read)
    assert len(pages) > 1
    assert set(lines) <= {str(row["billing_line_item_id"]) for page in pages for row in page}


@pytest.mark.parametrize("gone", ["404", "400"])
def test_a_list_that_expired_is_dead(sandbox: SandboxProcess, gone: str) -> None:
    sandbox.change_settings(drchrono_gone_status=gone)
    uuid = call(sandbox, lambda client: client.start(APPOINTMENTS, ListQuery(SINCE)))
    sandbox.advance_clock(3601)
    with pytest.raises(ListDeadError, match="Invalid uuid specified"):
        call(sandbox, lambda client: client.poll(APPOINTMENTS, uuid))


def test_the_vendors_refusal_of_a_token_is_named(sandbox: SandboxProcess) -> None:
    with pytest.raises(AccessDeniedError, match=r"Invalid token\. Check DRCHRONO_ACCESS_TOKEN"):
        call(
            sandbox,
            lambda client: client.start(APPOINTMENTS, ListQuery(SINCE)),
            tokens=StaticToken(Secret("another")),
        )


def test_tokens_of_an_application_are_renewed_as_they_end_on_either_clock(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    def tokens(path: Path, **changes: Any) -> RenewedTokens:
        given: dict[str, Any] = {
            "client_id": "sandbox-client",
            "client_secret": Secret("sandbox-secret"),
            "refresh_token": Secret("sandbox-refresh"),
            "store": TokenFile(path),
            "policy": QUICK,
            "now": lambda: datetime(2026, 3, 20, 15, tzinfo=UTC),
        }
        return RenewedTokens(sandbox.url, **given | changes)

    async def start(client: DrChronoClient) -> str:
        return await client.start(APPOINTMENTS, ListQuery(SINCE))

    path = tmp_path / "tokens" / "tokens.json"
    call(sandbox, start, tokens(path))
    before = path.read_text()
    # Ended on the vendor's clock and not on ours: refused, renewed, and gone on with.
    sandbox.advance_clock(timedelta(hours=49).total_seconds())
    call(sandbox, start, tokens(path))
    assert path.read_text() != before
    # The vendor replaced the token that the chain began with.
    with pytest.raises(RefreshTokenError, match="authorise the application again"):
        call(sandbox, start, tokens(tmp_path / "elsewhere" / "tokens.json"))
    with pytest.raises(AccessDeniedError, match="invalid_client"):
        call(
            sandbox,
            start,
            tokens(tmp_path / "third" / "tokens.json", client_secret=Secret("wrong")),
        )


def test_what_the_vendor_refuses_is_told_in_its_words(sandbox: SandboxProcess) -> None:
    refusal = {"kind": "http", "status": 400, "body": {"detail": "Bad since"}}
    sandbox.add_fault("list_start", refusal, times=1)
    with pytest.raises(
        RefusedError, match=r"^DrChrono answered 400 to POST /api/appointments_list: Bad since"
    ):
        call(sandbox, lambda client: client.start(APPOINTMENTS, ListQuery(SINCE)))


def test_a_throttled_call_goes_on_with_the_seconds_of_the_vendors_words(sandbox: SandboxProcess) -> None:
    budget = Budget()
    words = {"detail": "Request was throttled. Expected available in 2295.0 seconds."}
    sandbox.add_fault("list_start", {"kind": "http", "status": 429, "body": words}, times=2)
    assert call(sandbox, lambda client: client.start(APPOINTMENTS, ListQuery(SINCE)), budget=budget)
    assert budget.throttles == [2295.0, 2295.0]
