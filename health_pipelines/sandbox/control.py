"""What tests do to the sandbox behind the vendor's back: faults, clock, settings, counters, the truth.

All of it under `/_sandbox`, none of it counted or authorised. A mistake in a request is a 400 with `error`.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from health_pipelines.sandbox.dexcare import read_search
from health_pipelines.sandbox.drchrono import control as drchrono
from health_pipelines.sandbox.fault_json import read_rules
from health_pipelines.sandbox.gate import Endpoint, json_object
from health_pipelines.sandbox.state import Sandbox, sandbox_of
from health_pipelines.sandbox.visits import visits


def _controlled(act: Callable[[Sandbox, Request], Awaitable[object]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await act(sandbox_of(request), request))
        except ValueError as mistake:
            return JSONResponse({"error": str(mistake)}, status_code=400)

    return endpoint


async def _add_faults(sandbox: Sandbox, request: Request) -> object:
    rules = read_rules(await request.json())
    sandbox.faults.add(rules)
    return {"added": len(rules)}


async def _clear_faults(sandbox: Sandbox, _: Request) -> object:
    sandbox.faults.clear()
    return {}


async def _calls(sandbox: Sandbox, _: Request) -> object:
    return {"total": sandbox.calls.total(), "by_operation": dict(sandbox.calls)}


async def _forget_calls(sandbox: Sandbox, _: Request) -> object:
    sandbox.calls.clear()
    sandbox.drchrono.calls.clear()
    return {}


async def _reports(sandbox: Sandbox, _: Request) -> object:
    now = sandbox.clock.now()
    sandbox.reports.advance(now, sandbox.settings.max_running)
    return [
        {
            "id": report.id,
            "type": report.search.type,
            "startDate": report.asked.get("startDate"),
            "endDate": report.asked.get("endDate"),
            "attempt": report.attempt,
            "startedAt": report.started_at.isoformat(),
            "status": report.status(now),
            "downloads": report.downloads,
        }
        for report in sandbox.reports
    ]


async def _clock(sandbox: Sandbox, _: Request) -> object:
    return {"now": sandbox.clock.now().isoformat()}


async def _advance_clock(sandbox: Sandbox, request: Request) -> object:
    seconds = (await json_object(request)).get("advance_seconds")
    if not isinstance(seconds, int | float):
        raise ValueError("'advance_seconds' must be a number")
    sandbox.clock.advance(seconds)
    return await _clock(sandbox, request)


async def _truth(sandbox: Sandbox, request: Request) -> object:
    now = sandbox.clock.now()
    return list(visits(read_search(dict(request.query_params), now, sandbox.settings), now.date()))


async def _settings(sandbox: Sandbox, _: Request) -> object:
    return sandbox.settings.as_json()


async def _change_settings(sandbox: Sandbox, request: Request) -> object:
    sandbox.settings = sandbox.settings.changed(await json_object(request))
    return sandbox.settings.as_json()


ROUTES = [
    Mount(
        "/_sandbox",
        routes=[
            Route("/faults", _controlled(_add_faults), methods=["POST"]),
            Route("/faults", _controlled(_clear_faults), methods=["DELETE"]),
            Route("/calls", _controlled(_calls), methods=["GET"]),
            Route("/calls", _controlled(_forget_calls), methods=["DELETE"]),
            Route("/reports", _controlled(_reports), methods=["GET"]),
            Route("/clock", _controlled(_clock), methods=["GET"]),
            Route("/clock", _controlled(_advance_clock), methods=["POST"]),
            Route("/truth", _controlled(_truth), methods=["GET"]),
            *drchrono.ROUTES,
            Route("/settings", _controlled(_settings), methods=["GET"]),
            Route("/settings", _controlled(_change_settings), methods=["PUT"]),
        ],
    )
]
