"""DrChrono's bulk lists, deletions of line items and tokens, in the paths, bodies and words of the vendor.

A path may end with a slash, as Django's do: a redirect may lead there.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from health_pipelines.sandbox.answers import Answer, AnsweredError, json_answer
from health_pipelines.sandbox.drchrono.access import InvalidGrantError
from health_pipelines.sandbox.drchrono.kinds import KINDS, ListName
from health_pipelines.sandbox.drchrono.lists import BulkList, Death
from health_pipelines.sandbox.drchrono.practice import Deletion
from health_pipelines.sandbox.drchrono.queries import NotAllowedError, Query, read_query, read_since
from health_pipelines.sandbox.drchrono.refusals import (
    BAD_TOKEN,
    FORBIDDEN,
    INVALID_PAGE,
    NO_CREDENTIALS,
    invalid_uuid,
    throttled,
)
from health_pipelines.sandbox.drchrono.rows import Teller
from health_pipelines.sandbox.faults import (
    Call,
    ChangeRecords,
    Fault,
    KillList,
    LoseList,
    Miscount,
    NeverFinish,
)
from health_pipelines.sandbox.gate import Admit, Endpoint, gated
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.state import Sandbox, sandbox_of

TOKEN_PATH = "/o/token"  # noqa: S105 - a path
DELETIONS_PATH = "/api/line_item_deletions"
FORM = "application/x-www-form-urlencoded"
SCOPES = "billing:read calendar:read clinical:read patients:read"
BAD_CLIENT = json_answer(401, {"error": "invalid_client"})


def list_path(name: ListName) -> str:
    """Where a bulk list is started and polled."""
    return f"/api/{name}_list"


def _admit(sandbox: Sandbox, request: Request) -> Answer | None:
    """Let in who has a token, as often as the quota allows; without a token nothing is counted."""
    vendor, settings, now = sandbox.drchrono, sandbox.settings, sandbox.clock.now()
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return NO_CREDENTIALS
    if not vendor.tokens.knows(token.strip(), now, settings):
        return BAD_TOKEN
    wait = vendor.quota.admit(now, sandbox.clock.real_seconds(), settings)
    if wait is None:
        return None
    return throttled(wait, {"Retry-After": str(wait)} if settings.drchrono_retry_after == "yes" else None)


def _admit_to(what: str) -> Admit:
    """As `_admit`; an account that may not read such records is told so, which counts as a call."""

    def admit(sandbox: Sandbox, request: Request) -> Answer | None:
        refusal = _admit(sandbox, request)
        forbidden = what in sandbox.settings.drchrono_forbidden.split(",")
        return refusal or (FORBIDDEN if forbidden else None)

    return admit


def _anybody(_: Sandbox, __: Request) -> Answer | None:
    return None


def _query(sandbox: Sandbox, name: ListName, request: Request) -> Query:
    calendar = sandbox.drchrono.practice.calendar
    return read_query(KINDS[name], dict(request.query_params), calendar, sandbox.settings)


def _start(name: ListName) -> Callable[[Sandbox, Request, Fault | None], Awaitable[Answer]]:
    async def start(sandbox: Sandbox, request: Request, fault: Fault | None) -> Answer:
        query, now, vendor = _query(sandbox, name, request), sandbox.clock.now(), sandbox.drchrono
        vendor.lists.advance(now, sandbox.settings)
        refuses = sandbox.settings.drchrono_page_beyond_last == "refused"
        if refuses and query.page > vendor.lists.last_page(name, query, now):
            return INVALID_PAGE
        one = vendor.lists.start(str(uuid4()), name, query, now, sandbox.settings)
        match fault:
            case KillList(death):
                one.death = death
            case NeverFinish():
                one.never_finishes = True
            case ChangeRecords(change):
                one.changes.append(change)
        vendor.lists.advance(now, sandbox.settings)
        where = f"{request.url.scheme}://{request.url.netloc}{list_path(name)}?uuid={one.uuid}"
        return json_answer(
            201, {"status": "In progress", "uuid": one.uuid, "description": f"Call {where} to get the list"}
        )

    return start


def _poll(name: ListName) -> Callable[[Sandbox, Request, Fault | None], Awaitable[Answer]]:
    async def poll(sandbox: Sandbox, request: Request, fault: Fault | None) -> Answer:
        settings, now, vendor = sandbox.settings, sandbox.clock.now(), sandbox.drchrono
        vendor.lists.advance(now, settings)
        one = _asked_for(sandbox, name, request)
        if one is None:
            return invalid_uuid(int(settings.drchrono_gone_status))
        one.polls += 1
        match fault:
            case KillList(death):
                one.death, one.dies_at = death, now
            case NeverFinish():
                one.never_finishes = True
            case LoseList():
                one.gone = True
            case ChangeRecords():
                _change(sandbox, name, fault)
        if one.is_gone(now, settings.drchrono_list_life_seconds):
            return invalid_uuid(int(settings.drchrono_gone_status))
        if (told := one.is_dead(now)) is not None:
            return _dead(one, told)
        if not one.is_finished(now):
            return json_answer(200, {"status": "In progress", "uuid": one.uuid})
        count = fault.count if isinstance(fault, Miscount) else None
        return await run_in_threadpool(page_of, one, vendor.practice.teller, settings, count)

    return poll


def _change(sandbox: Sandbox, name: ListName, fault: ChangeRecords) -> None:
    try:
        sandbox.drchrono.practice.apply(name, fault.change, int(sandbox.clock.now().timestamp()))
    except ValueError as mistake:
        raise AnsweredError(json_answer(500, {"detail": f"sandbox: {mistake}"})) from None


def _dead(one: BulkList, death: Death) -> Answer:
    if death.http == 500:
        return json_answer(500, {"status": death.word, "uuid": one.uuid, "detail": death.detail})
    return json_answer(200, {"status": death.word, "uuid": one.uuid})


def page_of(one: BulkList, teller: Teller, settings: Settings, count: int | None = None) -> Answer:
    """The rows of a finished list, the same bytes however often they are fetched; `count`: a wrong one."""
    assert one.found is not None
    query = one.query
    body = {
        "status": "Complete",
        "pagination": {
            "count": one.found.count if count is None else count,
            "pages": one.found.pages(query.page_size),
            "page_size": query.page_size,
            "page": query.page,
        },
        "uuid": one.uuid,
        "results": [
            settings.planted.into(teller.sent(one.name, record, verbose=query.verbose))
            for record in one.found.rows
        ],
    }
    return Answer(200, json.dumps(body, ensure_ascii=False).encode(), framing=settings.framing)


def _asked_for(sandbox: Sandbox, name: ListName, request: Request) -> BulkList | None:
    one = sandbox.drchrono.lists.get(request.query_params.get("uuid", ""))
    return one if one is not None and one.name == name else None


def _about_start(name: ListName) -> Callable[[Sandbox, Request], Awaitable[Call]]:
    async def describe(sandbox: Sandbox, request: Request) -> Call:
        try:
            query = _query(sandbox, name, request)
        except NotAllowedError:
            return Call("list_start", list=name)
        attempt = sandbox.drchrono.lists.next_attempt(name, query)
        return Call("list_start", list=name, page=query.page, attempt=attempt)

    return describe


def _about_poll(name: ListName) -> Callable[[Sandbox, Request], Awaitable[Call]]:
    async def describe(sandbox: Sandbox, request: Request) -> Call:
        one = _asked_for(sandbox, name, request)
        if one is None:
            return Call("list_poll", list=name)
        return Call("list_poll", list=name, page=one.query.page, uuid=one.uuid, attempt=one.attempt)

    return describe


async def _deletions(sandbox: Sandbox, request: Request, _: Fault | None) -> Answer:
    """Oldest first. The cursor says where to go on, so that nothing slips between two pages."""
    vendor, settings, now = sandbox.drchrono, sandbox.settings, sandbox.clock.now()
    vendor.lists.advance(now, settings)
    asked, times = request.query_params, vendor.practice.teller.times
    since = read_since(asked.get("since"), vendor.practice.calendar, settings)
    appointment = asked.get("appointment_id")
    if appointment is not None and not appointment.isdecimal():
        raise NotAllowedError("Enter a number.", "appointment_id")
    begins = _cursor(asked["cursor"]) if asked.get("cursor") else Deletion(since or 0, 0, 0)
    found = [
        one
        for one in vendor.practice.deletions(int(now.timestamp()), begins)
        if appointment is None or one.appointment == int(appointment)
    ]
    page = found[: settings.drchrono_deletions_page]
    following = None
    if len(found) > len(page):
        cursor = base64.urlsafe_b64encode(f"{page[-1].when} {page[-1].number + 1}".encode()).decode()
        query = urlencode({**asked, "cursor": cursor})
        following = f"{request.url.scheme}://{request.url.netloc}{DELETIONS_PATH}?{query}"
    rows = [
        {
            "billing_line_item_id": one.number,
            "created_at": times.time(one.when),
            "appointment_id": one.appointment,
        }
        for one in page
    ]
    return json_answer(200, {"previous": None, "next": following, settings.drchrono_deletions_key: rows})


def _cursor(text: str) -> Deletion:
    try:
        when, number = base64.urlsafe_b64decode(text).decode().split(" ")
        return Deletion(int(when), int(number), 0)
    except ValueError:
        raise AnsweredError(json_answer(404, {"detail": "Invalid cursor"})) from None


async def _about_deletions(_: Sandbox, __: Request) -> Call:
    return Call("deletions")


async def _token(sandbox: Sandbox, request: Request, _: Fault | None) -> Answer:
    settings = sandbox.settings
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return json_answer(400, {"error": "invalid_request"})
    given = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
    client, secret = _client(request, given)
    if (client, secret) != (settings.drchrono_client_id, settings.drchrono_client_secret):
        return BAD_CLIENT
    if given.get("grant_type") != "refresh_token":
        return json_answer(400, {"error": "unsupported_grant_type"})
    if not given.get("refresh_token"):
        return json_answer(400, {"error": "invalid_request"})
    try:
        tokens = sandbox.drchrono.tokens.refresh(given["refresh_token"], sandbox.clock.now(), settings)
    except InvalidGrantError:
        return json_answer(400, {"error": "invalid_grant"})
    return json_answer(
        200,
        {
            "access_token": tokens.access,
            "expires_in": int(tokens.life_seconds),
            "token_type": "Bearer",
            "scope": SCOPES,
            "refresh_token": tokens.refresh,
        },
        {"Cache-Control": "no-store"},
    )


def _client(request: Request, given: dict[str, str]) -> tuple[str, str]:
    """As form fields, as the vendor documents it, or as HTTP Basic, as OAuth prefers it."""
    kind, _, credentials = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            client, _, secret = base64.b64decode(credentials).decode().partition(":")
        except ValueError:
            return "", ""
        return client, secret
    return given.get("client_id", ""), given.get("client_secret", "")


async def _about_token(_: Sandbox, __: Request) -> Call:
    return Call("token")


def _counted(what: str, endpoint: Endpoint) -> Endpoint:
    """Calls are counted by what they are about and by method, too."""

    async def count(request: Request) -> Response:
        sandbox_of(request).drchrono.calls[what, request.method] += 1
        return await endpoint(request)

    return count


def _routes(path: str, what: str, endpoint: Endpoint, method: str) -> list[Route]:
    counted = _counted(what, endpoint)
    return [Route(one, counted, methods=[method]) for one in (path, path + "/")]


def _list_routes(name: ListName, admit: Admit) -> list[Route]:
    start = gated("list_start", admit, _about_start(name), _start(name))
    poll = gated("list_poll", admit, _about_poll(name), _poll(name))
    return [*_routes(list_path(name), name, start, "POST"), *_routes(list_path(name), name, poll, "GET")]


ROUTES = [
    *(route for name in KINDS for route in _list_routes(name, _admit_to(name))),
    *_routes(
        DELETIONS_PATH,
        "line_item_deletions",
        gated("deletions", _admit_to("line_item_deletions"), _about_deletions, _deletions),
        "GET",
    ),
    *_routes(TOKEN_PATH, "token", gated("token", _anybody, _about_token, _token), "POST"),
]
