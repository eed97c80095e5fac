"""The sandbox as a process: how it says that it is ready, whom it answers, how it leaves."""

import re
import signal
import socket
from threading import Thread
from urllib.parse import urlsplit

import httpx
import pytest

from health_pipelines_tests.sandbox.vendor import AVR, Vendor, eventually
from health_pipelines_tests.support.sandbox_process import running_sandbox


def test_it_answers_as_soon_as_it_says_so_and_says_nothing_else() -> None:
    with running_sandbox() as sandbox:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", sandbox.url)
        assert Vendor(sandbox).start(type="virtual").status_code == 200
        sandbox.close()
        assert sandbox.process.stdout is not None
        assert sandbox.process.stdout.read() == ""


def test_it_listens_on_loopback_only() -> None:
    with running_sandbox() as sandbox:
        port = urlsplit(sandbox.url).port
        assert port is not None
        # All of 127/8 is this machine, but only one address of it is the sandbox's.
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
            pass


def test_it_takes_the_port_it_is_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_sandbox(port=port) as sandbox:
        assert urlsplit(sandbox.url).port == port


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_at_once_and_cleanly_with_callers_still_connected(stop: signal.Signals) -> None:
    with running_sandbox() as sandbox, httpx.Client(base_url=sandbox.url) as idle:
        idle.get("/")
        sandbox.add_fault("start", {"kind": "slow", "seconds": 60})
        waiting = Thread(target=_start_in_vain, args=(sandbox.url,))
        waiting.start()
        eventually(lambda: sandbox.calls()["by_operation"].get("start") == 1)
        sandbox.process.send_signal(stop)
        # Long before that answer.
        assert sandbox.process.wait(30) == 0
        waiting.join(30)
        assert not waiting.is_alive()


def _start_in_vain(url: str) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.post(
            url + AVR,
            json={"type": "virtual"},
            headers={"Authorization": "dc-token SECRET_TOKEN"},
            timeout=30,
        ).raise_for_status()


def test_a_wrong_option_is_refused_before_anything_is_served() -> None:
    with pytest.raises(RuntimeError, match="did not start"), running_sandbox(framing="none"):
        pass
