"""The way every DexCare call takes: counted, authorised, struck by faults or not, answered.

The endpoints behind it know their operation only, and the faults that need to know it.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from health_pipelines.sandbox.answers import Answer, OnTheWire, json_answer
from health_pipelines.sandbox.faults import (
    AnswerInstead,
    Call,
    CutShort,
    Fault,
    LoseResponse,
    Operation,
    OtherBody,
)
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.state import Sandbox, sandbox_of
from health_pipelines.sandbox.windows import Refused

Key = Callable[[Settings], str]
Describe = Callable[[Sandbox, Request], Awaitable[Call]]
Operate = Callable[[Sandbox, Request, Fault | None], Awaitable[Answer]]
Endpoint = Callable[[Request], Awaitable[Response]]

BAD_KEY = json_answer(403, {"message": "Authorization failed: bad service token"})
NO_ROUTE = json_answer(404, {"message": "no Route matched with those values"})
"""The words of the Kong gateway in front of DexCare (seen)."""


def gated(operation: Operation, key: Key, describe: Describe, operate: Operate) -> Endpoint:
    """An endpoint doing `operate` for callers with the key; `describe` tells fault rules what it is about."""

    async def endpoint(request: Request) -> Response:
        sandbox = sandbox_of(request)
        sandbox.calls[operation] += 1
        if sandbox.settings.latency_ms:
            await asyncio.sleep(sandbox.settings.latency_ms / 1000)
        if not _carries(request, key(sandbox.settings)):
            return OnTheWire(BAD_KEY)
        seconds, fault = sandbox.faults.draw(await describe(sandbox, request))
        if seconds:
            await asyncio.sleep(seconds)
        return OnTheWire(await _answer(fault, lambda: operate(sandbox, request, fault)))

    return endpoint


async def _answer(fault: Fault | None, operate: Callable[[], Awaitable[Answer]]) -> Answer:
    if isinstance(fault, AnswerInstead):
        return fault.answer
    try:
        answer = await operate()
    except Refused as refusal:
        answer = json_answer(400, {"error": str(refusal)})
    match fault:
        case LoseResponse():
            return replace(answer, lost=True)
        case CutShort(cut):
            return replace(answer, cut=cut)
        case OtherBody(content) if answer.status == 200:
            return replace(answer, body=content)
        case _:
            return answer


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
