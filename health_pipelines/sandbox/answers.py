"""What the sandbox answers, as values, and how a value gets onto the wire.

Whole answers are decided elsewhere; here is only what TCP and HTTP make of them: how the end of a body is
told, bodies that stop early, drip or never end, connections dropped before the first byte. Well-behaved
servers cannot do the latter, hence `ConnectionWithTransport`.
"""

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from health_pipelines.sandbox.settings import CHUNK_BYTES, Framing, HeaderNames, HttpVersion

# zlib's code for a gzip stream.
_GZIP = 31

HangUp = Literal["close", "reset", "end"]


@dataclass(frozen=True)
class Cut:
    """The body stops after so many bytes; with a reset, which overtakes what is on its way, maybe before.

    With `end` the transport says that this was all, as a proxy does that lost its own connection.
    """

    after_bytes: int
    how: HangUp


@dataclass(frozen=True)
class Drip:
    """So many bytes of the body come at once, and the next after a pause."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class Endless:
    """The body never ends: spaces follow on it, or its last line again and again.

    `announced`: the length that the head says, if it says one. `gzip`: how often it is compressed, 0 to 2.
    """

    announced: int | None = None
    gzip: int = 0


@dataclass(frozen=True)
class Manner:
    """How this server writes its answers, whatever they say."""

    chunk_bytes: int = CHUNK_BYTES
    header_names: HeaderNames = "lower"
    http_version: HttpVersion = "1.1"


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
    silent: bool = False
    """Nothing is ever sent, and the connection stays."""
    drip: Drip | None = None
    endless: Endless | None = None
    manner: Manner = Manner()


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
        if answer.lost or answer.silent:
            if answer.lost:
                transport.close()
            await _gone(receive)
            return
        by_hand = answer.framing == "close" or answer.manner.http_version == "1.0"
        if by_hand:
            transport.write(_head(answer))
        else:
            await send(
                {"type": "http.response.start", "status": answer.status, "headers": _header_list(answer)}
            )
        async for part in _parts(answer):
            if transport.is_closing():
                break
            if by_hand:
                transport.write(part)
            else:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        broken = answer.cut.how if answer.cut is not None and answer.cut.how != "end" else None
        if by_hand or broken is not None or transport.is_closing():
            await _hang_up(transport, broken or "close", receive)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _parts(answer: Answer) -> AsyncIterator[bytes]:
    body = answer.body if answer.cut is None else answer.body[: answer.cut.after_bytes]
    size = answer.drip.bytes if answer.drip else answer.manner.chunk_bytes
    if answer.endless is not None:
        for part in _without_end(body, answer.endless.gzip):
            yield part
            await asyncio.sleep(0)
    for start in range(0, len(body), size):
        yield body[start : start + size]
        if answer.drip:
            await asyncio.sleep(answer.drip.seconds)


def _last_record(body: bytes) -> bytes:
    """Of a CSV, with its line end; nothing of another body. A value in quotes may have line ends in it."""
    lines = body.split(b"\n")
    if len(lines) < 3 or lines.pop():
        return b""
    record = lines.pop() + b"\n"
    while record.count(b'"') % 2 and lines:
        record = lines.pop() + b"\n" + record
    return record


def _without_end(body: bytes, gzip: int) -> Iterator[bytes]:
    """The body and what makes it go on for ever without making it another kind of body."""
    again = _last_record(body) or b" "
    more = again * (CHUNK_BYTES // len(again) + 1)
    if not gzip:
        yield body
        while True:
            yield more
    inner, outer = zlib.compressobj(wbits=_GZIP), zlib.compressobj(wbits=_GZIP)
    # After a full flush nothing refers to what was before, so that a piece may be sent again and again.
    first = inner.compress(body) + inner.flush(zlib.Z_FULL_FLUSH)
    later = inner.compress(more * 64) + inner.flush(zlib.Z_FULL_FLUSH)
    pieces = iter(lambda: later, b"")
    if gzip == 1:
        yield first
        yield from pieces
    yield outer.compress(first) + outer.flush(zlib.Z_FULL_FLUSH)
    twice = outer.compress(later * 64) + outer.flush(zlib.Z_FULL_FLUSH)
    while True:
        yield twice


def compressed(answer: Answer, members: int = 1) -> Answer:
    """The same, as a server sends it to those who accept gzip; in two streams if there are two members."""
    half = len(answer.body) // members
    parts = [answer.body[:half], answer.body[half:]] if members > 1 else [answer.body]
    body = b"".join(_gzipped(part) for part in parts)
    return replace(answer, body=body, headers={**answer.headers, "content-encoding": "gzip"})


def _gzipped(part: bytes) -> bytes:
    packer = zlib.compressobj(wbits=_GZIP)
    return packer.compress(part) + packer.flush()


def _header_list(answer: Answer) -> list[tuple[bytes, bytes]]:
    given = {name.lower(): value for name, value in answer.headers.items()}
    headers = {"content-type": answer.content_type, **given}
    if answer.endless is not None:
        if answer.endless.announced is not None:
            headers["content-length"] = str(answer.endless.announced)
        if answer.endless.gzip:
            headers["content-encoding"] = ", ".join(["gzip"] * answer.endless.gzip)
    elif answer.framing == "length":
        ends_at = answer.cut.after_bytes if answer.cut and answer.cut.how == "end" else len(answer.body)
        headers["content-length"] = str(min(ends_at, len(answer.body)))
    spell = {"lower": str.lower, "title": str.title, "upper": str.upper}[answer.manner.header_names]
    return [(spell(name).encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _head(answer: Answer) -> bytes:
    """A head without chunks, and without a length if there is none. By hand: uvicorn would add chunks."""
    version = answer.manner.http_version.encode()
    lines = [b"HTTP/%s %d %s" % (version, answer.status, HTTPStatus(answer.status).phrase.encode())]
    lines += [name + b": " + value for name, value in _header_list(answer)]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def _hang_up(transport: Any, how: HangUp, receive: Receive) -> None:
    """End the connection and wait until it is gone, or uvicorn would take our return for a mistake."""
    if how == "reset":
        # Closing a socket that must not linger is what makes TCP say "reset" instead of "that was all".
        no_lingering = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
    transport.close()
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
