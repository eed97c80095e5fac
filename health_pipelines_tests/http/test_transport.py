"""Secrets and patients leave this machine encrypted, to a server that shows who it is, or not at all."""

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import certifi
import pytest
import trustme

from health_pipelines.alerts.channel import NotDeliveredError
from health_pipelines.alerts.news import Message
from health_pipelines.alerts.webhook import Webhook
from health_pipelines.http import Call, TransientError, VendorHttp, WrongAddressError, refuse_unsafe
from health_pipelines.http.pools import certificates
from health_pipelines.settings import HttpPolicy, Secret

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
KEY = Secret("dc-token canary")


def whole_request(connection: socket.socket) -> bytes:
    """With its body: who closes before that has been read takes the answer away again."""
    received = connection.recv(65536)
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + body


@contextmanager
def tls_server(authority: trustme.CA, name: str) -> Iterator[tuple[int, list[bytes]]]:
    """A server for `name` on a free port, and what it was sent once a connection was encrypted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    sent: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
                sent.append(whole_request(encrypted))
                encrypted.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], sent
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def call_vendor(url: str) -> None:
    async def call() -> None:
        policy = HttpPolicy(attempts=1, timeout_seconds=10)
        http = VendorHttp(
            vendor="Vendor",
            base_url=url,
            authorization=KEY,
            policy=policy,
            url_setting="URL",
            key_setting="KEY",
        )
        try:
            await http.answer(Call("GET", "/"))
        finally:
            await http.close()

    asyncio.run(call())


def call_webhook(url: str) -> None:
    Webhook(Secret(f"{url}/canary")).send(Message("subject", "text"))


CALLERS: dict[str, tuple[Callable[[str], None], type[Exception]]] = {
    "vendor": (call_vendor, TransientError),
    "webhook": (call_webhook, NotDeliveredError),
}
# Whether its authority is trusted, whose name it shows, and whether it gets anything.
SERVERS = {
    "trusted": (True, "localhost", True),
    "nobody's authority": (False, "localhost", False),
    "another's name": (True, "another.example", False),
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("server", SERVERS)
def test_only_a_server_that_shows_who_it_is_gets_a_key_or_an_alert(
    caller: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, error = CALLERS[caller]
    trusted, name, gets_it = SERVERS[server]
    authority = trustme.CA()
    with tls_server(authority, name) as (port, sent), authority.cert_pem.tempfile() as file:
        if trusted:
            # The list of authorities that httpx goes by: no variable of the environment changes it.
            monkeypatch.setattr(certifi, "where", lambda: file)
        # A process reads it once.
        certificates.cache_clear()
        if gets_it:
            call(f"https://localhost:{port}")
        else:
            with pytest.raises(error):
                call(f"https://localhost:{port}")
    certificates.cache_clear()
    assert bool(b"".join(sent)) is gets_it


@pytest.mark.parametrize(
    "url",
    [
        "https://ecvapi.care.example.org",
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://[::1]:8080",
    ],
)
def test_https_and_this_machine_may_be_called(url: str) -> None:
    refuse_unsafe(url, "SETTING")


@pytest.mark.parametrize(
    "url",
    [
        "http://ecvapi.care.example.org",
        "http://10.0.0.1",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
        "http://0.0.0.0",
        "http://2130706433",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "https://user:canary@example.org",
        "https://",
        "",
    ],
)
def test_nothing_else_may_be_called_and_the_error_shows_no_secret(url: str) -> None:
    with pytest.raises(WrongAddressError, match="SETTING") as refused:
        refuse_unsafe(url, "SETTING")
    assert "canary" not in str(refused.value)
