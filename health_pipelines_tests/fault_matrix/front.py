"""A way to the sandbox with everything that a network does: names, connections, certificates.

It speaks TLS as the vendors do, so that the pipeline sees https; behind it is the sandbox's plain HTTP.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import trustme

from health_pipelines.http.pools import certificates

T = TypeVar("T")
HOST = "localhost"
# To a listening socket that accepts nobody the system lets so many in before it is deaf.
_FILL = 4
_WITHIN_SECONDS = 30


class Front:
    """`url` leads to the sandbox while the mode is `open`."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._authority = trustme.CA()
        self._contexts = {
            "open": _context(self._authority.issue_cert(HOST)),
            "another authority's certificate": _context(trustme.CA().issue_cert(HOST)),
            "a certificate for another name": _context(self._authority.issue_cert("elsewhere.example")),
            "an expired certificate": _context(
                self._authority.issue_cert(HOST, not_after=datetime.now(UTC) - timedelta(days=1))
            ),
            "no TLS where it should be": None,
        }
        self._held: list[socket.socket] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._names_fail = False
        self.port = 0
        self._do(self._listen("open"))

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def trust(self) -> None:
        """Let this process believe its authority, as it believes those of the world."""
        certificates().load_verify_locations(cadata=self._authority.cert_pem.bytes().decode())

    def name_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let names be looked up where this one can make them unknown."""
        look_up = socket.getaddrinfo

        def looked_up(host: Any, *rest: Any, **more: Any) -> Any:
            if self._names_fail and host in (HOST, HOST.encode()):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return look_up(host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)

    def set(self, mode: str) -> None:
        """From now on the way is like this, also for connections that there are."""
        self._names_fail = mode == "an unknown host"
        self._do(self._change("open" if self._names_fail else mode))

    def close(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_SECONDS)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN_SECONDS)

    async def _change(self, mode: str) -> None:
        await self._stop()
        match mode:
            case "connection refused":
                self._held = [self._bound()]
            case "a connection that never comes about":
                deaf = self._bound()
                deaf.listen(0)
                self._held = [deaf, *(_knocking(self.port) for _ in range(_FILL))]
            case _:
                await self._listen(mode)

    async def _listen(self, mode: str) -> None:
        self._server = await asyncio.start_server(
            self._relay, sock=self._bound(), ssl=self._contexts[mode], backlog=100
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _bound(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self.port))
        return bound

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for one in self._held:
            one.close()
        self._held = []

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._writers.add(back)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except OSError:
            pass
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    with contextlib.suppress(OSError, NotImplementedError):
        writer.close()


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _knocking(port: int) -> socket.socket:
    knocking = socket.socket()
    knocking.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        knocking.connect(("127.0.0.1", port))
    return knocking


@contextmanager
def front_of(target: str) -> Iterator[Front]:
    """A front of the sandbox at that address; its authority is believed meanwhile."""
    front = Front(target)
    front.trust()
    try:
        yield front
    finally:
        front.close()
        certificates.cache_clear()
