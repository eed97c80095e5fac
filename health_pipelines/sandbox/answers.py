"""What the sandbox answers, as values, and how a value gets onto the wire.

Whole answers are decided elsewhere; here is only what TCP and HTTP make of them: how the end of a body is
told, bodies that stop early, connections dropped before the first byte. Well-behaved servers cannot do the
latter, hence `ConnectionWithTransport`.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from health_pipelines.sandbox.settings import Framing

HangUp = Literal["close", "reset"]

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Cut:
    """The body stops after so many bytes; with a reset, which overtakes what is on its way, maybe before."""

    after_bytes: int
    how: HangUp


@dataclass(frozen=True)
class Answer:
    """One HTTP answer and what becomes of it on its way."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: Framing = "length"
    cut: Cut | None = None
    lost: bool = False
    """The connection is dropped before the first byte."""


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer as the vendor's services give it."""
    return Answer(status, json.dumps(body, ensure_ascii=False).encode(), headers=headers or {})


class AnsweredError(Exception):
    """Raised anywhere behind the gate: the caller gets this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"answered {answer.status}")
        self.answer = answer


class ConnectionWithTransport(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which also hands its transport to the app, in `scope["state"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class OnTheWire(Response):
    """Sends an `Answer`, or as much of it as the answer says."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(status_code=answer.status)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; if the connection has to break, return only once it has."""
        answer, transport = self._answer, scope["state"]["transport"]
        if answer.lost:
            await _hang_up(transport, "close", receive)
            return
        body = answer.body if answer.cut is None else answer.body[: answer.cut.after_bytes]
        if answer.framing == "close":
            transport.write(_close_delimited_head(answer) + body)
            await _hang_up(transport, answer.cut.how if answer.cut else "close", receive)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": _header_list(answer)})
        for start in range(0, len(body), CHUNK_BYTES):
            part = body[start : start + CHUNK_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if answer.cut is not None:
            await _hang_up(transport, answer.cut.how, receive)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _header_list(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = {"content-type": answer.content_type, **answer.headers}
    if answer.framing == "length":
        headers["content-length"] = str(len(answer.body))
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _close_delimited_head(answer: Answer) -> bytes:
    """A head that announces neither length nor chunks. Written by hand: uvicorn would add chunks to it."""
    lines = [b"HTTP/1.1 %d %s" % (answer.status, HTTPStatus(answer.status).phrase.encode())]
    lines += [name + b": " + value for name, value in _header_list(answer)]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def _hang_up(transport: Any, how: HangUp, receive: Receive) -> None:
    """End the connection and wait until it is gone, or uvicorn would take our return for a mistake."""
    if how == "reset":
        # Closing a socket that must not linger is what makes TCP say "reset" instead of "that was all".
        no_lingering = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
