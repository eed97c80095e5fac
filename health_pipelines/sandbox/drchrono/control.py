"""What tests do to the sandbox's DrChrono behind its back: the truth, changes of it, lists, counters.

All of it under `/_sandbox/drchrono`, none of it counted, authorised or throttled. A mistake in a request is a
400 with `error`.
"""

import json
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from health_pipelines.sandbox.drchrono.changes import CHANGE_WORDS, read_change
from health_pipelines.sandbox.drchrono.kinds import LIST_NAMES, ListName
from health_pipelines.sandbox.drchrono.queries import NotAllowedError, read_since
from health_pipelines.sandbox.drchrono.state import DrChrono
from health_pipelines.sandbox.gate import json_object
from health_pipelines.sandbox.state import Sandbox, sandbox_of


def _vendor(sandbox: Sandbox) -> DrChrono:
    """The vendor with everything done that is due."""
    sandbox.drchrono.lists.advance(sandbox.clock.now(), sandbox.settings)
    return sandbox.drchrono


def _name(request: Request) -> ListName:
    asked = request.path_params["name"]
    for name in LIST_NAMES:
        if name == asked:
            return name
    raise ValueError(f"no such records: {asked}; there are {', '.join(LIST_NAMES)}")


async def records(request: Request) -> Response:
    """The records as they are now, one JSON object a line: `?since=day&verbose=true&fields=id,updated_at`.

    Archived appointments are among them.
    """
    sandbox = sandbox_of(request)
    vendor, asked = _vendor(sandbox), request.query_params
    try:
        name = _name(request)
        since = read_since(asked.get("since"), vendor.practice.calendar, sandbox.settings)
    except NotAllowedError:
        return JSONResponse({"error": "'since' must be a day"}, status_code=400)
    except ValueError as mistake:
        return JSONResponse({"error": str(mistake)}, status_code=400)
    # A list, made before the first line is sent: nothing changes under the reader.
    found = list(vendor.practice.collection(name, int(sandbox.clock.now().timestamp())))
    verbose, fields = asked.get("verbose") == "true", asked.get("fields")
    only = set(fields.split(",")) if fields else None

    def lines() -> Iterator[str]:
        for record in found:
            if since is None or record.changed >= since:
                row = sandbox.settings.planted.into(
                    vendor.practice.teller.sent(name, record, verbose=verbose)
                )
                kept = row if only is None else {field: row[field] for field in row if field in only}
                # ASCII only, or whoever splits lines as Unicode does would split in the middle of values.
                yield json.dumps(kept) + "\n"

    return StreamingResponse(_in_chunks(lines()), media_type="application/x-ndjson")


def _in_chunks(lines: Iterator[str]) -> Iterator[str]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == 1000:
            yield "".join(chunk)
            chunk.clear()
    yield "".join(chunk)


async def change(request: Request) -> Response:
    """Change records now: a JSON object as in `changes.py`. Answers the keys of the inserted ones."""
    sandbox = sandbox_of(request)
    try:
        name, wanted = _name(request), await json_object(request)
        if unknown := wanted.keys() - CHANGE_WORDS | (wanted.keys() & {"list"}):
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        ordered = read_change(wanted)
        now = int(sandbox.clock.now().timestamp())
        inserted = _vendor(sandbox).practice.apply(name, ordered, now)
    except ValueError as mistake:
        return JSONResponse({"error": str(mistake)}, status_code=400)
    return JSONResponse({"inserted": inserted})


async def lists(request: Request) -> Response:
    """Every list that was started, oldest first."""
    sandbox = sandbox_of(request)
    now, life = sandbox.clock.now(), sandbox.settings.drchrono_list_life_seconds
    return JSONResponse(
        [
            {
                "uuid": one.uuid,
                "list": one.name,
                "page": one.query.page,
                "page_size": one.query.page_size,
                "order_by": one.query.order_by,
                "since": one.query.since,
                "verbose": one.query.verbose,
                "attempt": one.attempt,
                "started_at": one.started_at.isoformat(),
                "finishes_at": None if one.never_finishes else one.finishes_at.isoformat(),
                "gone": one.is_gone(now, life),
                "dead": one.is_dead(now) is not None,
                "polls": one.polls,
            }
            for one in _vendor(sandbox).lists
        ]
    )


async def calls(request: Request) -> Response:
    """Calls by what they were about and by method, `{"appointments": {"POST": 3, "GET": 5}}`."""
    counted: dict[str, dict[str, int]] = {}
    for (what, method), number in sandbox_of(request).drchrono.calls.items():
        counted.setdefault(what, {})[method] = number
    return JSONResponse(counted)


async def forget_calls(request: Request) -> Response:
    """Count from zero. The quota does not."""
    sandbox_of(request).drchrono.calls.clear()
    return JSONResponse({})


async def quota(request: Request) -> Response:
    """`{"used": calls counted in this hour, "throttled": calls throttled since the start}`."""
    sandbox = sandbox_of(request)
    return JSONResponse(sandbox.drchrono.quota.as_json(sandbox.clock.now()))


async def use_quota(request: Request) -> Response:
    """Let somebody else have used calls of this hour: `{"calls": 400}`."""
    sandbox = sandbox_of(request)
    try:
        number = (await json_object(request)).get("calls")
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError("'calls' must be a whole number")
    except ValueError as mistake:
        return JSONResponse({"error": str(mistake)}, status_code=400)
    sandbox.drchrono.quota.use(sandbox.clock.now(), number)
    return JSONResponse(sandbox.drchrono.quota.as_json(sandbox.clock.now()))


async def revoke(request: Request) -> Response:
    """Let every access token that was given stop working at once, as if somebody had revoked them."""
    sandbox_of(request).drchrono.tokens.revoke_all()
    return JSONResponse({})


ROUTES = [
    Route("/drchrono/records/{name}", records, methods=["GET"]),
    Route("/drchrono/records/{name}", change, methods=["POST"]),
    Route("/drchrono/lists", lists, methods=["GET"]),
    Route("/drchrono/calls", calls, methods=["GET"]),
    Route("/drchrono/calls", forget_calls, methods=["DELETE"]),
    Route("/drchrono/quota", quota, methods=["GET"]),
    Route("/drchrono/quota", use_quota, methods=["POST"]),
    Route("/drchrono/tokens", revoke, methods=["DELETE"]),
]
