"""A vendor that answers over real HTTP what a test told it to, and remembers every call."""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from health_pipelines_tests.support.waiting import wait_for

LOST = Response(headers={"Content-Length": "99"})
"""An answer that never arrives: a length that is not kept makes the server cut the connection."""


@dataclass(frozen=True)
class Seen:
    """A call as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class ScriptedVendor:
    """Answers `answers` one after the other, or whatever `handler` says once there are none."""

    url: str
    answers: deque[Response] = field(default_factory=deque)
    calls: list[Seen] = field(default_factory=list)
    handler: Callable[[Seen], Response] = lambda seen: Response(status_code=500)

    def will_answer(self, status: int, body: Any, **headers: str) -> None:
        """`body`: JSON, or bytes as they are. Underscores in the names of headers become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            self.answers.append(Response(body, status, named, media_type="application/json"))
        else:
            self.answers.append(JSONResponse(body, status, named))

    async def serve(self, request: Request) -> Response:
        seen = Seen(
            request.method,
            request.url.path,
            request.url.query,
            dict(request.headers),
            await request.body(),
        )
        self.calls.append(seen)
        # In a thread: a handler may take its time.
        return self.answers.popleft() if self.answers else await asyncio.to_thread(self.handler, seen)


@contextmanager
def scripted_vendor() -> Iterator[ScriptedVendor]:
    """A vendor on a free port of this machine, gone when the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    vendor = ScriptedVendor(f"http://127.0.0.1:{listening.getsockname()[1]}")
    methods = ["GET", "POST"]
    app = Starlette(routes=[Route("/{path:path}", vendor.serve, methods=methods)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, "the scripted vendor listens", within_seconds=20)
        yield vendor
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
