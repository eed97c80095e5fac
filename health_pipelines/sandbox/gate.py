"""The way every vendor call takes: counted, let in or not, struck by faults or not, answered.

The endpoints behind it know their operation only, and the faults that need to know it. Each vendor has a
doorkeeper of its own; DexCare's, who looks for the key, is here.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from health_pipelines.sandbox.answers import Answer, AnsweredError, Manner, OnTheWire, compressed, json_answer
from health_pipelines.sandbox.faults import (
    AnswerInstead,
    Call,
    CutShort,
    Fault,
    Flood,
    Jump,
    LoseResponse,
    NeverAnswer,
    Operation,
    OtherBody,
    OtherHeaders,
    Redirect,
    Trickle,
)
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.state import Sandbox, sandbox_of
from health_pipelines.sandbox.windows import Refused

Key = Callable[[Settings], str]
Admit = Callable[[Sandbox, Request], Answer | None]
"""A doorkeeper: None lets a call in, anything else is what the caller gets instead."""
Describe = Callable[[Sandbox, Request], Awaitable[Call]]
Operate = Callable[[Sandbox, Request, Fault | None], Awaitable[Answer]]
Endpoint = Callable[[Request], Awaitable[Response]]

BAD_KEY = json_answer(403, {"message": "Authorization failed: bad service token"})
NO_ROUTE = json_answer(404, {"message": "no Route matched with those values"})
"""The words of the Kong gateway in front of DexCare (seen)."""

OTHER_HOST, ELSEWHERE = "localhost", "/_elsewhere"
"""Where a redirect to another host leads: this server by another name, on paths that `app.py` watches."""


def with_key(key: Key) -> Admit:
    """DexCare's doorkeeper, who lets in callers with that key."""

    def admit(sandbox: Sandbox, request: Request) -> Answer | None:
        return None if _carries(request, key(sandbox.settings)) else BAD_KEY

    return admit


def gated(operation: Operation, admit: Admit, describe: Describe, operate: Operate) -> Endpoint:
    """An endpoint doing `operate` for those let in; `describe` tells fault rules what a call is about."""

    async def endpoint(request: Request) -> Response:
        sandbox = sandbox_of(request)
        sandbox.calls[operation] += 1
        if sandbox.settings.latency_ms:
            await asyncio.sleep(sandbox.settings.latency_ms / 1000)
        if (refusal := admit(sandbox, request)) is not None:
            return OnTheWire(as_sent(refusal, sandbox, request))
        seconds, fault = sandbox.faults.draw(await describe(sandbox, request))
        if seconds:
            await asyncio.sleep(seconds)
        if isinstance(fault, Jump):
            sandbox.clock.advance(fault.seconds)
        if isinstance(fault, Redirect):
            return OnTheWire(_redirect(fault, request))
        answer = as_sent(await _answer(fault, lambda: operate(sandbox, request, fault)), sandbox, request)
        # What is compressed is cut afterwards.
        return OnTheWire(replace(answer, cut=fault.cut) if isinstance(fault, CutShort) else answer)

    return endpoint


async def _answer(fault: Fault | None, operate: Callable[[], Awaitable[Answer]]) -> Answer:
    if isinstance(fault, AnswerInstead):
        return fault.answer
    try:
        answer = await operate()
    except Refused as refusal:
        answer = json_answer(400, {"error": str(refusal)})
    except AnsweredError as refusal:
        answer = refusal.answer
    return replace(answer, **_struck(answer, fault))


def _struck(answer: Answer, fault: Fault | None) -> dict[str, Any]:
    """What a fault changes in a good answer."""
    change: dict[str, Any] = {}
    match fault:
        case LoseResponse():
            change = {"lost": True}
        case NeverAnswer():
            change = {"silent": True}
        case Trickle(drip):
            change = {"drip": drip}
        case Flood(endless, status):
            change = {"endless": endless, "status": status or answer.status}
        case OtherHeaders(headers):
            change = {"headers": {**answer.headers, **headers}}
        case OtherBody(content) if answer.status in (200, 201):
            change = {"body": content}
    return change


def as_sent(answer: Answer, sandbox: Sandbox, request: Request) -> Answer:
    """In the manner of this server, with its clock's time."""
    settings = sandbox.settings
    date = {"date": format_datetime(sandbox.clock.now(), usegmt=True)}
    manner = Manner(settings.chunk_bytes, settings.header_names, settings.http_version)
    answer = replace(answer, headers={**date, **answer.headers}, manner=manner)
    accepts = "gzip" in request.headers.get("accept-encoding", "")
    if settings.compression == "none" or not accepts or answer.endless is not None:
        return answer
    return compressed(answer, members=2 if settings.compression == "gzip_in_two" else 1)


def _redirect(fault: Redirect, request: Request) -> Answer:
    """To another form of the path, to a host that only seems to be another, or to where the fault says."""
    path, query = request.url.path, f"?{request.url.query}" if request.url.query else ""
    match fault.to:
        case "same":
            location = f"{path.rstrip('/')}{'' if path.endswith('/') else '/'}{query}"
        case "other":
            location = f"http://{OTHER_HOST}:{request.url.port}{ELSEWHERE}{path}{query}"
        case _:
            location = fault.to
    return Answer(fault.status, b"", headers={"location": location})


def _carries(request: Request, key: str) -> bool:
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"dc-token {key}".encode())


async def json_object(request: Request) -> dict[str, object]:
    """The body of a call, which must be a JSON object; the words of the refusal are a guess."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise Refused("request body must be valid JSON") from None
    if not isinstance(body, dict):
        raise Refused("request body must be a JSON object")
    return body
