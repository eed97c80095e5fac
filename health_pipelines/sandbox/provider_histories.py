"""DexCare's All Providers Report: one search, answered page by page.

Documented: the path, the terms, `limit` and `offset`, `count` and `data`. A guess: the words of the refusals,
that an unknown term is refused, and that a page may be smaller than the limit asked for.
"""

from starlette.requests import Request
from starlette.routing import Route

from health_pipelines.sandbox.answers import Answer, json_answer
from health_pipelines.sandbox.faults import Call, Fault, Shift
from health_pipelines.sandbox.gate import gated, json_object, with_key
from health_pipelines.sandbox.histories import TERMS, find_events, in_order, shifted
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.state import Sandbox
from health_pipelines.sandbox.windows import Refused, read_window

_ALLOWED = {"startDate", "endDate", "limit", "offset", *TERMS}


async def _search(sandbox: Sandbox, request: Request, fault: Fault | None) -> Answer:
    body, settings = await json_object(request), sandbox.settings
    window = read_window(body)
    if unknown := body.keys() - _ALLOWED:
        raise Refused(f"'{min(unknown)}' is not allowed")
    limit = min(_whole_number(body, "limit", settings.default_page, least=1), settings.largest_page)
    offset = _whole_number(body, "offset", 0, least=0)
    events = in_order(
        find_events(
            window,
            _terms(body),
            seed=settings.seed,
            now=sandbox.clock.now(),
            end_inclusive=settings.end_inclusive,
        ),
        settings.page_order,
    )
    if isinstance(fault, Shift):
        events = shifted(events, insert=fault.insert, remove=fault.remove)
    page = [settings.planted.into(event) for event in events[offset : offset + limit]]
    return json_answer(200, {"count": len(events), "data": page})


def _terms(body: dict[str, object]) -> dict[str, str]:
    terms: dict[str, str] = {}
    for name in TERMS:
        value = body.get(name)
        if name in body and not isinstance(value, str):
            raise Refused(f"'{name}' must be a string")
        if isinstance(value, str):
            terms[name] = value
    return terms


def _whole_number(body: dict[str, object], name: str, default: int, *, least: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Refused(f"'{name}' must be a whole number from {least} on")
    return value


async def _about(_: Sandbox, request: Request) -> Call:
    try:
        return Call("provider_histories", day=read_window(await json_object(request)).day)
    except Refused:
        return Call("provider_histories")


def _key(settings: Settings) -> str:
    return settings.apr_key or settings.service_key


ROUTES = [
    Route(
        "/v1/reporting/providerhistories",
        gated("provider_histories", with_key(_key), _about, _search),
        methods=["POST"],
    )
]
