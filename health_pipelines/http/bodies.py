"""Reading the body of an answer within bounds, whatever a server sends.

Belongs here: undoing the compression, a step at a time, and the proof that it came to its end. Does not
belong here: how long an answer may take (`client.py`) and what it says (`answers.py`).

httpx could undo it as well. But it takes compression upon compression, and a whole piece at once, so that
64 kB may become gigabytes of memory; and it says nothing when a compressed body ends early or goes on after
its end, so that rows would be missing.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import httpx
else:
    httpx = loaded_when_used("httpx")

PIECE_BYTES = 1 << 18
# What is asked for; a server that sends anything else than this or plain bytes is refused.
ACCEPTED_ENCODING = "gzip"
_PLAIN, _COMPRESSED = ("", "identity"), ("gzip", "x-gzip", "deflate")
# zlib's code for: gzip or zlib, as its first bytes say.
_EITHER = zlib.MAX_WBITS | 32


class BrokenBodyError(Exception):
    """The body cannot be read to its end: why, as the end of a sentence, without anything of what it says."""


class OversizeBodyError(Exception):
    """The body has more bytes than it may have, or says so at once."""


async def pieces(response: httpx.Response, *, most_bytes: int) -> AsyncIterator[bytes]:
    """The body, plain, in pieces of at most about `PIECE_BYTES`.

    Raises `OversizeBodyError` before it has given more than `most_bytes`, `BrokenBodyError`, and what httpx
    raises for a connection that breaks.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in _PLAIN + _COMPRESSED:
        raise BrokenBodyError("is compressed in a way that was not asked for")
    announced = response.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > most_bytes:
        raise OversizeBodyError
    unpacked = _Unpacked() if encoding in _COMPRESSED else None
    given = 0
    async for raw in response.aiter_raw(PIECE_BYTES):
        for piece in unpacked.pieces(raw) if unpacked else [raw]:
            given += len(piece)
            if given > most_bytes:
                raise OversizeBodyError
            yield piece
    if unpacked and not unpacked.is_complete:
        raise BrokenBodyError("ends in the middle of its compressed bytes")


async def beginning(response: httpx.Response, most_bytes: int) -> bytes:
    """The body, or as much of it as was within the bounds and could be read."""
    body = bytearray()
    try:
        async for piece in pieces(response, most_bytes=most_bytes):
            body += piece
    except (BrokenBodyError, OversizeBodyError):
        pass
    return bytes(body)


class _Unpacked:
    """A compressed body: one stream of bytes, or several behind each other, as gzip allows."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_EITHER)
        self._has_begun = False

    @property
    def is_complete(self) -> bool:
        return self._stream.eof or not self._has_begun

    def pieces(self, raw: bytes) -> Iterator[bytes]:
        while True:
            piece = self._unpack(raw)
            if piece:
                yield piece
            raw = self._stream.unconsumed_tail
            if raw or len(piece) == PIECE_BYTES:
                continue
            raw = self._stream.unused_data  # what came after the end of a stream, also in a later piece
            if not raw:
                return
            self._stream = zlib.decompressobj(_EITHER)

    def _unpack(self, raw: bytes) -> bytes:
        self._has_begun = self._has_begun or bool(raw)
        try:
            return self._stream.decompress(raw, PIECE_BYTES)
        except zlib.error:
            pass
        # Raised out here: the exception above may hold bytes of the body.
        raise BrokenBodyError("is not compressed as it says")
