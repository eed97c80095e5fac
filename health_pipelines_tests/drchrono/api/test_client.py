"""The DrChrono client over real HTTP: every documented answer, and what it becomes."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import pytest

from health_pipelines.drchrono.api.client import (
    DrChronoClient,
    ListDeadError,
    ListPage,
    UnexpectedAnswerError,
)
from health_pipelines.drchrono.api.list_query import (
    FILTERS,
    AppointmentFilters,
    ClinicalNoteFieldValueFilters,
    ClinicalNoteFilters,
    DateRange,
    EligibilityCheckFilters,
    Filters,
    LineItemFilters,
    ListQuery,
    ListQueryError,
    PatientFilters,
    PrescriptionMessageFilters,
    TransactionFilters,
)
from health_pipelines.drchrono.api.tokens import StaticToken
from health_pipelines.drchrono.records import RECORD_TYPES, RecordType
from health_pipelines.http import (
    AccessDeniedError,
    NotFoundError,
    PermanentError,
    RefusedError,
    TransientError,
    WrongAddressError,
)
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.drchrono.scripted_vendor import LOST, ScriptedVendor, scripted_vendor

T = TypeVar("T")
DAY = date(2026, 3, 9)
LIST = "dfeb7fa2-13dd-4b73-902d-c86ffd8d7f54"
STARTED = {"status": "In progress", "uuid": LIST, "description": "Call https://drchrono.com/api/… to get it"}
TYPES = {record_type.name: record_type for record_type in RECORD_TYPES}
APPOINTMENTS = TYPES["appointments"]
QUICK = HttpPolicy(attempts=3, timeout_seconds=5, wait_initial_seconds=0.01, wait_jitter_seconds=0.01)


class Budget:
    """Counts, and lets everybody call."""

    def __init__(self) -> None:
        self.acquired = 0
        self.throttles: list[float | None] = []

    async def acquire(self) -> None:
        self.acquired += 1

    async def throttled(self, seconds: float | None) -> None:
        self.throttles.append(seconds)


@pytest.fixture(scope="module")
def shared_vendor() -> Iterator[ScriptedVendor]:
    with scripted_vendor() as vendor:
        yield vendor


@pytest.fixture
def vendor(shared_vendor: ScriptedVendor) -> ScriptedVendor:
    shared_vendor.answers.clear()
    shared_vendor.calls.clear()
    return shared_vendor


def call(
    vendor: ScriptedVendor,
    work: Callable[[DrChronoClient], Awaitable[T]],
    budget: Budget | None = None,
    policy: HttpPolicy = QUICK,
) -> T:
    async def with_client() -> T:
        tokens = StaticToken(Secret("s3cr3t-token"))
        async with DrChronoClient(vendor.url, tokens, policy, budget or Budget()) as client:
            return await work(client)

    return asyncio.run(with_client())


def start(
    vendor: ScriptedVendor,
    query: ListQuery | None = None,
    record_type: RecordType = APPOINTMENTS,
    budget: Budget | None = None,
) -> str:
    asked = query or ListQuery(DAY)
    return call(vendor, lambda client: client.start(record_type, asked), budget)


def poll(
    vendor: ScriptedVendor, record_type: RecordType = APPOINTMENTS, budget: Budget | None = None
) -> ListPage | None:
    return call(vendor, lambda client: client.poll(record_type, LIST), budget)


def deletions(vendor: ScriptedVendor, **terms: Any) -> list[list[dict[str, Any]]]:
    async def read(client: DrChronoClient) -> list[list[dict[str, Any]]]:
        return [page async for page in client.deletions(DAY, **terms)]

    return call(vendor, read)


def complete(results: Any = (), **changes: Any) -> dict[str, Any]:
    pagination = {"count": 4428, "pages": 5, "page_size": 1000, "page": 1}
    return {
        "status": "Complete",
        "pagination": pagination,
        "uuid": LIST,
        "results": results if not isinstance(results, tuple) else list(results),
        **changes,
    }


def without(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != name}


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.name)
def test_each_list_is_asked_for_as_the_vendors_article_shows(
    vendor: ScriptedVendor, record_type: RecordType
) -> None:
    vendor.will_answer(201, STARTED)
    assert start(vendor, ListQuery(DAY, page=3, verbose=True), record_type) == LIST
    seen = vendor.calls[0]
    assert (seen.method, seen.path, seen.body) == ("POST", f"/api/{record_type.name}_list", b"")
    assert seen.authorization == "Bearer s3cr3t-token"
    expected = {
        "since": "2026-03-09",
        "page": "3",
        "page_size": "20000" if record_type.name == "clinical_note_field_values" else "1000",
        "order_by": "updated_at" if record_type is APPOINTMENTS else "id",
        "verbose": "true",
    }
    if record_type is APPOINTMENTS:
        expected["show_archived"] = "true"
    assert dict(parse_qsl(seen.query)) == expected


@pytest.mark.parametrize(
    ("filters", "parameters"),
    [
        (
            AppointmentFilters(
                status="No Show",
                patient=1,
                office=2,
                doctor=3,
                date=DAY,
                date_range=DateRange(DAY, date(2026, 3, 31)),
                show_archived=False,
            ),
            "status=No+Show&patient=1&office=2&doctor=3&date=2026-03-09"
            "&date_range=2026-03-09%2F2026-03-31&show_archived=false",
        ),
        (
            PatientFilters(
                first_name="Zoë",
                last_name="A&B",
                preferred_language="eng",
                gender="Other",
                date_of_birth=DAY,
                race="white",
                chart_id="ZA1",
                email="z@example.com",
                ethnicity="declined",
            ),
            "first_name=Zo%C3%AB&last_name=A%26B&preferred_language=eng&gender=Other"
            "&date_of_birth=2026-03-09&race=white&chart_id=ZA1&email=z%40example.com&ethnicity=declined",
        ),
        (
            LineItemFilters(
                posted_date=DAY,
                patient=1,
                office=2,
                doctor=3,
                appointment=4,
                service_date=DAY,
                service_date_range=DateRange(DAY, DAY),
            ),
            "posted_date=2026-03-09&patient=1&office=2&doctor=3&appointment=4"
            "&service_date=2026-03-09&service_date_range=2026-03-09%2F2026-03-09",
        ),
        (
            TransactionFilters(line_item=1, posted_date=DAY, appointment=2, doctor=3),
            "line_item=1&posted_date=2026-03-09&appointment=2&doctor=3",
        ),
        (
            PrescriptionMessageFilters(patient=1, doctor=2, created_at=DAY, parent_message=3),
            "patient=1&doctor=2&created_at=2026-03-09&parent_message=3",
        ),
        (
            EligibilityCheckFilters(
                patient=1,
                appointment_date=DAY,
                appointment_date_range=DateRange(DAY, DAY),
                query_date=DAY,
                query_date_range=DateRange(DAY, DAY),
                service_types=("30", "98"),
            ),
            "patient=1&appointment_date=2026-03-09&appointment_date_range=2026-03-09%2F2026-03-09"
            "&query_date=2026-03-09&query_date_range=2026-03-09%2F2026-03-09&service_types=30%2C98",
        ),
        (
            ClinicalNoteFilters(patient=1, office=2, doctor=3, date=DAY, date_range=DateRange(DAY, DAY)),
            "patient=1&office=2&doctor=3&date=2026-03-09&date_range=2026-03-09%2F2026-03-09",
        ),
        (
            ClinicalNoteFieldValueFilters(appointment=1, clinical_note_template=2),
            "appointment=1&clinical_note_template=2",
        ),
    ],
    ids=list(FILTERS),
)
def test_every_documented_parameter_goes_out_under_its_name(
    vendor: ScriptedVendor, filters: Filters, parameters: str
) -> None:
    name = next(name for name, kind in FILTERS.items() if isinstance(filters, kind))
    vendor.will_answer(201, STARTED)
    start(vendor, ListQuery(DAY, filters=filters), TYPES[name])
    sent = dict(parse_qsl(vendor.calls[0].query))
    expected = dict(parse_qsl(parameters))
    assert {key: sent.get(key) for key in expected} == expected
    assert set(expected) == {field.name for field in fields(filters)}
    assert set(sent) - set(expected) == {"since", "page", "page_size", "order_by"}


def test_what_people_are_searched_by_is_not_shown_or_logged(
    vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    query = ListQuery(DAY, filters=PatientFilters(last_name="Zebulon"))
    vendor.will_answer(400, {"last_name": ["Zebulon is no name."]})
    with pytest.raises(RefusedError, match="it does not accept last_name") as caught:
        start(vendor, query, TYPES["patients"])
    assert "Zebulon" not in repr(query) + str(caught.value) + caplog.text
    assert "last_name" in repr(query)


@pytest.mark.parametrize(
    ("record_type", "query", "sentence"),
    [
        (APPOINTMENTS, ListQuery(DAY, page=0), r"page is 0.* 1 to 1000"),
        (APPOINTMENTS, ListQuery(DAY, page=1001), r"page is 1001.* 1 to 1000"),
        (APPOINTMENTS, ListQuery(DAY, page_size=0), r"page_size is 0.* 1 to 1000"),
        (APPOINTMENTS, ListQuery(DAY, page_size=1001), r"page_size is 1001.* 1 to 1000"),
        (
            TYPES["clinical_note_field_values"],
            ListQuery(DAY, page_size=20001),
            r"page_size is 20001.* 1 to 20000",
        ),
        (APPOINTMENTS, ListQuery(DAY, order_by="id"), "scheduled_time and updated_at"),
        (TYPES["patients"], ListQuery(DAY, order_by="scheduled_time"), "id and updated_at"),
        (APPOINTMENTS, ListQuery(DAY, filters=PatientFilters()), "PatientFilters, of another list"),
    ],
)
def test_what_the_vendor_would_refuse_costs_no_call(
    vendor: ScriptedVendor, record_type: RecordType, query: ListQuery, sentence: str
) -> None:
    with pytest.raises(ListQueryError, match=sentence):
        start(vendor, query, record_type)
    assert not vendor.calls


@pytest.mark.parametrize("word", ["In progress", "IN PROGRESS", "in progress"])
def test_a_list_in_progress_is_no_page_yet(vendor: ScriptedVendor, word: str) -> None:
    vendor.will_answer(200, {"status": word, "uuid": LIST})
    assert poll(vendor) is None
    seen = vendor.calls[0]
    assert (seen.method, seen.path, seen.query) == ("GET", "/api/appointments_list", f"uuid={LIST}")


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.name)
def test_a_complete_list_is_a_page_with_its_bytes_and_its_exact_numbers(
    vendor: ScriptedVendor, record_type: RecordType
) -> None:
    body = json.dumps(complete(), indent=2).replace(
        '"results": []', f'"results": [{{"{record_type.key}": 7, "x": 1.10, "y": 0.30000000000000000001}}]'
    )
    vendor.will_answer(200, body.encode())
    page = poll(vendor, record_type)
    assert page is not None
    assert page.body == body.encode()
    assert page.results == [
        {record_type.key: 7, "x": Decimal("1.10"), "y": Decimal("0.30000000000000000001")}
    ]
    assert str(page.results[0]["x"]) == "1.10"
    assert (page.uuid, page.count, page.pages, page.page, page.page_size) == (LIST, 4428, 5, 1, 1000)
    assert "0000001" not in repr(page)


def test_another_page_than_asked_for_is_only_reported(vendor: ScriptedVendor) -> None:
    vendor.will_answer(
        200, complete(pagination={"count": 1, "pages": 1, "page_size": 250, "page": 9}, status="COMPLETE")
    )
    page = poll(vendor)
    assert page is not None
    assert (page.page, page.page_size) == (9, 250)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"status": "Failed", "uuid": LIST}),
        (200, {"status": "canceled", "uuid": LIST}),
        (500, {"status": "Error", "uuid": LIST, "detail": "out of memory"}),
        (500, {"status": "Failed", "uuid": LIST, "detail": "out of memory"}),
        (404, {"detail": "Invalid uuid specified"}),
        (400, {"detail": "Invalid uuid specified"}),
    ],
)
def test_a_dead_list_is_told_from_a_failed_call_and_is_not_polled_again(
    vendor: ScriptedVendor, status: int, body: dict[str, str]
) -> None:
    vendor.will_answer(status, body)
    with pytest.raises(ListDeadError, match="ask for it again") as caught:
        poll(vendor)
    assert len(vendor.calls) == 1
    assert body.get("detail", "") in str(caught.value)


def test_a_list_that_is_born_dead_is_dead(vendor: ScriptedVendor) -> None:
    vendor.will_answer(201, {"status": "Failed", "uuid": LIST})
    with pytest.raises(ListDeadError):
        start(vendor)


def test_a_server_error_without_the_status_of_a_list_is_tried_again(vendor: ScriptedVendor) -> None:
    vendor.will_answer(500, {"detail": "oops"})
    vendor.will_answer(500, b"<html>")
    vendor.will_answer(200, {"status": "In progress", "uuid": LIST})
    assert poll(vendor) is None
    for _ in range(3):
        vendor.will_answer(503, {"detail": "maintenance"})
    with pytest.raises(TransientError, match="maintenance") as caught:
        poll(vendor)
    assert not isinstance(caught.value, ListDeadError)


def test_a_missing_path_is_not_a_dead_list(vendor: ScriptedVendor) -> None:
    vendor.will_answer(404, {"detail": "Not found."})
    with pytest.raises(NotFoundError):
        poll(vendor)


def test_a_lost_answer_to_a_start_is_asked_for_again(vendor: ScriptedVendor) -> None:
    budget = Budget()
    vendor.answers.append(LOST)
    vendor.will_answer(201, STARTED)
    assert start(vendor, budget=budget) == LIST
    assert (len(vendor.calls), budget.acquired) == (2, 2)


@pytest.mark.parametrize("uuid", [None, 7, "", "a b", "x" * 65])
def test_a_start_without_a_uuid_in_its_answer_is_an_error(vendor: ScriptedVendor, uuid: object) -> None:
    vendor.will_answer(201, {"status": "In progress", "uuid": uuid})
    with pytest.raises(UnexpectedAnswerError, match="no 'uuid'"):
        start(vendor)


@pytest.mark.parametrize(
    ("status", "said"),
    [("Expired", "'Expired'"), (None, "nothing"), (1, "no text .int."), (["Zebulon"], "no text .list.")],
)
def test_a_status_that_is_not_documented_is_named(vendor: ScriptedVendor, status: object, said: str) -> None:
    vendor.will_answer(200, {"status": status, "uuid": LIST})
    with pytest.raises(UnexpectedAnswerError, match=f"does not list: {said}"):
        poll(vendor)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (without(complete(), "uuid"), "'uuid' that was asked for"),
        (complete(uuid="11111111-13dd-4b73-902d-c86ffd8d7f54"), "'uuid' that was asked for"),
        (without(complete(), "pagination"), "no 'pagination'"),
        (complete(pagination={"count": 1, "pages": 1, "page": 1}), "no 'page_size'"),
        (complete(pagination={"count": True, "pages": 1, "page": 1, "page_size": 1}), "no 'count'"),
        (complete(pagination={"count": "1", "pages": 1, "page": 1, "page_size": 1}), "no 'count'"),
        (complete(pagination={"count": 1, "pages": -1, "page": 1, "page_size": 1}), "no 'pages'"),
        (without(complete(), "results"), "no 'results'"),
        (complete({"id": 1}), "no 'results'"),
        (complete([{"id": 1}, {"name": "Zebulon"}]), "a record without 'id'"),
        (complete([{"id": None}]), "a record without 'id'"),
        (complete([{"id": ""}]), "a record without 'id'"),
        (complete([{"id": True}]), "a record without 'id'"),
        (complete([{"id": ["Zebulon"]}]), "a record without 'id'"),
        (complete(["Zebulon"]), "a record without 'id'"),
    ],
)
def test_a_complete_list_that_is_not_as_documented_is_an_error_without_values(
    vendor: ScriptedVendor, answer: dict[str, Any], sentence: str
) -> None:
    vendor.will_answer(200, answer)
    with pytest.raises(
        UnexpectedAnswerError, match=f"^DrChrono's list of appointments .*{sentence}"
    ) as caught:
        poll(vendor)
    assert "Zebulon" not in str(caught.value)


def test_an_answer_that_is_not_json_names_the_setting(vendor: ScriptedVendor) -> None:
    for body in (b"<html>", b"[]"):
        vendor.will_answer(200, body)
        with pytest.raises(WrongAddressError, match="DRCHRONO_BASE_URL"):
            poll(vendor)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": ' + b"[" * 100_000, "nests values deeper than this program can read"),
        (b'{"results": [{"name": "Jos\xe9"}]}', "is not UTF-8 text .at byte 26."),
        (b'{"results": [', "is not JSON"),
    ],
)
def test_an_object_that_cannot_be_read_says_why_and_blames_no_setting(
    vendor: ScriptedVendor, body: bytes, why: str
) -> None:
    vendor.will_answer(200, body)

    with pytest.raises(PermanentError, match=f"with a body that {why}; ask DrChrono about it") as error:
        poll(vendor)

    assert "DRCHRONO_BASE_URL" not in str(error.value)


def test_a_throttle_never_fails_a_call_however_often_it_comes(vendor: ScriptedVendor) -> None:
    budget = Budget()
    words = "Request was throttled. Expected available in 2295.0 seconds."
    vendor.will_answer(429, {"detail": words}, Retry_After="7")
    vendor.will_answer(429, {"detail": "Request was throttled."}, Retry_After="7")
    vendor.will_answer(429, b"")
    for _ in range(QUICK.attempts * 2):
        vendor.will_answer(429, {"detail": "Expected available in 1 second."})
    vendor.will_answer(201, STARTED)
    assert start(vendor, budget=budget) == LIST
    assert budget.throttles == [2295.0, 7.0, None, *[1.0] * QUICK.attempts * 2]
    assert budget.acquired == len(vendor.calls) == len(budget.throttles) + 1


def test_every_attempt_waits_for_its_turn(vendor: ScriptedVendor) -> None:
    order: list[str] = []

    class Gate(Budget):
        async def acquire(self) -> None:
            order.append(f"turn with {len(vendor.calls)} calls made")

    vendor.will_answer(302, {}, Location="/api/appointments_list/")
    vendor.will_answer(500, {})
    vendor.will_answer(200, {"status": "In progress", "uuid": LIST})
    assert poll(vendor, budget=Gate()) is None
    assert order == [f"turn with {number} calls made" for number in (0, 1, 2)]


def test_a_refused_static_token_is_denied_at_once_naming_its_setting(vendor: ScriptedVendor) -> None:
    vendor.will_answer(401, {"detail": "Invalid token: Bearer s3cr3t-token."})
    with pytest.raises(AccessDeniedError, match="Check DRCHRONO_ACCESS_TOKEN") as caught:
        poll(vendor)
    assert len(vendor.calls) == 1
    assert "s3cr3t" not in str(caught.value)
    assert "Invalid token: ***" in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_host_keeps_method_query_and_headers(
    vendor: ScriptedVendor, status: int
) -> None:
    vendor.will_answer(status, b"", Location="/elsewhere/")
    vendor.will_answer(status, b"", Location=f"{vendor.url}/third?of=its&own=query")
    vendor.will_answer(201, STARTED)
    assert start(vendor, ListQuery(DAY, page=2)) == LIST
    first, second, third = vendor.calls
    assert "page=2" in first.query
    assert second == type(first)(first.method, "/elsewhere/", first.query, first.headers, first.body)
    assert (third.method, third.path, third.query) == ("POST", "/third", "of=its&own=query")
    assert third.authorization == first.authorization


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example.com/api/appointments_list",
        "//elsewhere.example.com/api/appointments_list",
        "https://{host}/api/appointments_list",
        "http://localhost:{port}/api/appointments_list",
        "http://127.0.0.1:1/api/appointments_list",
        "http://user@{host}/api/appointments_list",
        "http://[",
        "",
    ],
)
def test_a_redirect_to_anywhere_else_is_an_error_and_the_token_stays_home(
    vendor: ScriptedVendor, location: str
) -> None:
    host = vendor.url.removeprefix("http://")
    vendor.will_answer(302, b"", Location=location.format(host=host, port=host.rpartition(":")[2]))
    with pytest.raises(WrongAddressError, match=r"not followed\. Check DRCHRONO_BASE_URL"):
        start(vendor)
    assert len(vendor.calls) == 1


def test_a_circle_of_redirects_ends(vendor: ScriptedVendor) -> None:
    for _ in range(4):
        vendor.will_answer(302, b"", Location="/api/appointments_list")
    with pytest.raises(WrongAddressError, match="DRCHRONO_BASE_URL"):
        start(vendor)
    assert len(vendor.calls) == 4


@pytest.mark.parametrize("name", ["data", "results"])
def test_deletions_are_read_page_by_page(vendor: ScriptedVendor, name: str) -> None:
    rows = [{"billing_line_item_id": number, "created_at": "2026-03-09T10:00:00"} for number in range(3)]
    path = "/api/line_item_deletions"
    # A server behind a proxy may call itself http, and its next page may be relative.
    vendor.will_answer(200, {"previous": None, "next": f"{vendor.url}{path}?cursor=cD0%3D", name: rows[:1]})
    vendor.will_answer(200, {"next": f"{path}?cursor=x%26y", name: rows[1:]})
    vendor.will_answer(200, {"next": None, name: []})
    assert deletions(vendor, appointment_id=5) == [rows[:1], rows[1:], []]
    assert [(seen.method, seen.path, parse_qsl(seen.query)) for seen in vendor.calls] == [
        ("GET", path, [("since", "2026-03-09"), ("appointment_id", "5")]),
        ("GET", path, [("cursor", "cD0=")]),
        ("GET", path, [("cursor", "x&y")]),
    ]


@pytest.mark.parametrize(
    "following",
    [
        "https://elsewhere.example.com/api/line_item_deletions?cursor=1",
        "http://127.0.0.1:1/api/line_item_deletions?cursor=1",
        "/api/patients?cursor=1",
        "http://[",
        7,
    ],
)
def test_deletions_that_go_on_elsewhere_are_an_error_and_the_token_stays_home(
    vendor: ScriptedVendor, following: object
) -> None:
    vendor.will_answer(200, {"next": following, "data": []})
    with pytest.raises(WrongAddressError, match="DRCHRONO_BASE_URL"):
        deletions(vendor)
    assert len(vendor.calls) == 1


def test_deletions_that_go_in_a_circle_are_an_error(vendor: ScriptedVendor) -> None:
    for _ in range(2):
        vendor.will_answer(200, {"next": "/api/line_item_deletions?cursor=1", "data": []})
    with pytest.raises(UnexpectedAnswerError, match="read already"):
        deletions(vendor)


@pytest.mark.parametrize("answer", [{}, {"data": {}}, {"data": ["Zebulon"]}, {"results": None}])
def test_deletions_without_rows_are_an_error_without_values(
    vendor: ScriptedVendor, answer: dict[str, Any]
) -> None:
    vendor.will_answer(200, answer)
    with pytest.raises(UnexpectedAnswerError, match="'data' or 'results'") as caught:
        deletions(vendor)
    assert "Zebulon" not in str(caught.value)


def test_a_base_url_that_would_show_the_token_to_the_network_is_refused() -> None:
    with pytest.raises(PermanentError, match="DRCHRONO_BASE_URL starts with http"):
        DrChronoClient("http://app.example.com", StaticToken(Secret("x")), QUICK, Budget())
