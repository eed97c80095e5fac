"""An S3 server on loopback that counts the calls it gets: moto's, which keeps all objects in memory.

Belongs here: which kind a call is, the sums, and the server as a process of its own. Does not belong here:
what is measured. Bytes are those of bodies, without headers. The sums are the server's own, so that they hold
for any client library, what it tries again included.
"""

import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

# No bucket can have such a name.
COUNTS, FILL = "/_counts", "/_fill"
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


@dataclass
class Counts:
    """Calls by kind, and the bytes of their bodies: `sent` by clients, `received` by them."""

    calls: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0

    def add(self, kind: str, status: int, sent: int, received: int) -> None:
        # An answer that is no success is another thing, as a HEAD of what is not there.
        self.calls[kind if status < 400 else f"{kind} -> {status}"] += 1
        self.sent += sent
        self.received += received

    @classmethod
    def of_json(cls, text: str | bytes) -> Self:
        said = json.loads(text)
        return cls(Counter(said["calls"]), said["sent"], said["received"])

    @property
    def json(self) -> str:
        return json.dumps({"calls": self.calls, "sent": self.sent, "received": self.received})

    def __str__(self) -> str:
        """`2 PUT, 1 GET`: the most frequent first."""
        kinds = sorted(self.calls.items(), key=lambda one: (-one[1], one[0]))
        return ", ".join(f"{number:,} {kind}" for kind, number in kinds) or "none"


def kind_of_call(environ: Mapping[str, Any]) -> str:
    """What S3 calls a request: by its method, its path and its parameters."""
    method, query = (
        environ["REQUEST_METHOD"],
        parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True),
    )
    of_a_bucket = "/" not in environ["PATH_INFO"].strip("/")
    if {"uploads", "uploadId"} & query.keys():
        return f"{method} of a multipart upload"
    if method == "GET" and of_a_bucket:
        return "LIST"
    if method == "POST" and "delete" in query:
        return "DELETE of many"
    if method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ:
        return "COPY"
    if method == "PUT" and any(name in environ for name in _CONDITIONS):
        return "PUT with a condition"
    return str(method)


class _CountedBody:
    """The body of a request that comes in chunks and without a length."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        reading = getattr(self._stream, name)

        def counted(*sizes: int) -> Any:
            piece = reading(*sizes)
            self.bytes += len(piece)
            return piece

        return counted if name in ("read", "readline") else reading


class CountingApp:
    """A WSGI application that passes every call on and counts it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], fill: Callable[[str, list[str]], None]) -> None:
        self._app = app
        self._fill = fill
        self._counts = Counts()
        self._counting, self._writing = Lock(), Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == COUNTS:
            with self._counting:
                counts, self._counts = self._counts, Counts()
            start_response("200 OK", [("Content-Type", "application/json")])
            return [counts.json.encode()]
        if path == FILL:
            keys = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode().splitlines()
            self._fill(environ["QUERY_STRING"], keys)
            start_response("200 OK", [])
            return []
        kind, statuses = kind_of_call(environ), []

        def started(status: str, *rest: Any) -> Any:
            statuses.append(int(status.split(maxsplit=1)[0]))
            return start_response(status, *rest)

        # S3 looks at the condition and writes in one step. moto looks first and writes afterwards, and would
        # let two writers pass that come at the same moment.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body_sent = environ["wsgi.input"] = _CountedBody(environ["wsgi.input"])
        with self._writing if kind == "PUT with a condition" else nullcontext():
            body = b"".join(self._app(environ, started))
        with self._counting:
            self._counts.add(kind, statuses[0], length or body_sent.bytes, len(body))
        return [body]


class Server:
    """What a client needs to know of a server that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def counts(self) -> Counts:
        """Since it was asked last."""
        with urlopen(self.url + COUNTS) as answer:
            return Counts.of_json(answer.read())

    def fill(self, bucket: str, keys: Iterable[str]) -> None:
        """Tiny objects without a call each; the bucket is made."""
        body = "\n".join(keys).encode()
        urlopen(Request(f"{self.url}{FILL}?{bucket}", data=body, method="POST")).close()


@contextmanager
def running_server() -> Iterator[Server]:
    """On a free port, in a process of its own, which is stopped at the end."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # It ends with its standard input: here, or when this process has died.
        yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")


def main() -> None:
    """Serve until the standard input ends; the port is said on the first line."""
    from moto.core.base_backend import BackendDict  # noqa: PLC0415 - only the server needs them
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from moto.s3.models import s3_backends  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    backends: BackendDict[Any] = s3_backends

    def fill(bucket: str, keys: list[str]) -> None:
        backend = backends["123456789012"]["aws"]
        if bucket not in backend.buckets:
            backend.create_bucket(bucket, "us-east-1")
        for key in keys:
            backend.put_object(bucket, key, b"-")

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = CountingApp(DomainDispatcherApplication(create_backend_app), fill)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_port, flush=True)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
