"""An S3 server that a test session starts itself, and a proxy before it that answers as clouds do at times.

The server is moto's in a process of its own, which the benchmarks made strict: S3 looks at a condition and
writes in one step, and so does it. The proxy is a real HTTP server; what goes wrong is told to it by tests.
"""

import http.client
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from benchmarks.counting_s3 import Server, running_server

__all__ = ["Call", "Proxy", "Server", "Wrong", "credentials", "new_bucket", "running_proxy", "running_server"]

KEY, SECRET = "AKIDTHATNOBODYMAYSEE", "a-secret-that-nobody-may-see"


def credentials(server_url: str) -> dict[str, str]:
    """The environment of whoever uses the server."""
    return {
        "AWS_ENDPOINT_URL": server_url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def new_bucket(server: Server) -> str:
    """The URL of a lake in a bucket of its own."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    server.fill(name, [])
    return f"s3://{name}/health"


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    is_conditional: bool

    def writes(self, end: str) -> bool:
        """Whether it puts an object whose key ends so."""
        return self.method == "PUT" and urlsplit(self.path).path.endswith(end)


@dataclass(frozen=True)
class Wrong:
    """What the proxy does instead of what it should: an answer, or none.

    `then`: what happens in between. `is_carried_out`: whether the server gets the call all the same. Without
    `status` the connection is closed without an answer; with `half`, after half of the answer's body.
    """

    status: int | None = None
    body: bytes = b""
    is_carried_out: bool = False
    half: bool = False
    then: Callable[[], object] = lambda: None


def error(status: int, code: str) -> Wrong:
    """As S3 says it; with the id of a key and a token in it, as some of its errors have."""
    said = f"<Error><Code>{code}</Code><Message>no</Message><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>"
    return Wrong(status, f'<?xml version="1.0"?>{said}'.encode())


@dataclass
class Proxy:
    """`decide`: what to do wrong at a call; None for nothing. `is_lax`: pass on no condition."""

    url: str = ""
    is_lax: bool = False
    decide: Callable[[Call], Wrong | None] = lambda _: None
    calls: list[Call] = field(default_factory=list)

    def once(self, when: Callable[[Call], bool], wrong: Wrong) -> None:
        """Do it wrong at the first such call alone."""
        done = threading.Lock()

        def decide(call: Call) -> Wrong | None:
            return wrong if when(call) and done.acquire(blocking=False) else None

        self.decide = decide

    def always(self, when: Callable[[Call], bool], wrong: Wrong) -> None:
        self.decide = lambda call: wrong if when(call) else None

    def nothing(self) -> None:
        self.decide = lambda _: None


@contextmanager
def running_proxy(server: Server) -> Iterator[Proxy]:
    proxy, port = Proxy(), urlsplit(server.url).port

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one piece, for which nobody waits.
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            pass

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            conditional = bool({"If-Match", "If-None-Match"} & set(self.headers))
            call = Call(self.command, self.path, conditional)
            proxy.calls.append(call)
            wrong = proxy.decide(call)
            if wrong is None:
                self.answer(*self.carried_out(body))
                return
            found = self.carried_out(body) if wrong.is_carried_out or wrong.half else None
            wrong.then()
            self.close_connection = True
            if found is not None and wrong.half:
                status, headers, answer = found
                self.answer(status, headers, answer, sent=answer[: len(answer) // 2])
            elif wrong.status is not None:
                self.answer(wrong.status, {"Content-Type": "application/xml"}, wrong.body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_any  # noqa: N815 - as the library calls them

        def carried_out(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
            upstream = http.client.HTTPConnection("127.0.0.1", port)
            passed = {
                name: value
                for name, value in self.headers.items()
                if not (proxy.is_lax and name.lower() in ("if-match", "if-none-match"))
            }
            upstream.request(self.command, self.path, body, passed)
            got = upstream.getresponse()
            answer = got.read()
            upstream.close()
            return got.status, dict(got.headers), answer

        def answer(
            self, status: int, headers: Mapping[str, str], body: bytes, sent: bytes | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in (
                    "content-length",
                    "transfer-encoding",
                    "connection",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if sent is None else sent)

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        serving.shutdown()
        serving.server_close()


@contextmanager
def in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """For this process and its children, in place of any other cloud's that the machine may have."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(before)
