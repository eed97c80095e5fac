"""How the sandbox writes its answers, well and badly, as the bytes on the wire show it."""

import gzip
import socket
import zlib
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx
import pytest

from health_pipelines_tests.sandbox.vendor import AVR, DAY, Vendor, read_athena_csv
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox


def on_the_wire(sandbox: SandboxProcess, path: str, *headers: str) -> bytes:
    """Every byte that comes before the server closes, which it is asked to."""
    address = urlsplit(sandbox.url)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {address.netloc}",
        "Authorization: dc-token SECRET_TOKEN",
        "Connection: close",
        *headers,
    ]
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def some_of(sandbox: SandboxProcess, path: str, most: int) -> tuple[httpx.Response, bytes]:
    """The beginning of an answer, as it came."""
    received = b""
    with httpx.Client(base_url=sandbox.url, timeout=60) as http:
        headers = {"Authorization": "dc-token SECRET_TOKEN", "Accept-Encoding": "gzip"}
        with http.stream("GET", path, headers=headers) as answer:
            for piece in answer.iter_raw():
                received += piece
                if len(received) > most:
                    break
    return answer, received


def test_what_is_never_answered_was_done(vendor: Vendor, sandbox: SandboxProcess) -> None:
    before = len(sandbox.reports())
    sandbox.add_fault("start", {"kind": "never_answer"})

    with pytest.raises(httpx.ReadTimeout):
        vendor.http.post(AVR, json={"type": "virtual", **DAY}, timeout=0.5)

    assert len(sandbox.reports()) == before + 1


def test_a_drip_brings_all_of_it_in_its_time(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("status", {"kind": "drip", "bytes": 5, "seconds": 0.1})

    answer = vendor.poll(report_id)

    assert answer.json() == {"status": "SUCCEEDED"}
    assert answer.elapsed.total_seconds() >= 0.4, "23 bytes are 5 drops with a pause after each"


def test_an_answer_without_end_begins_as_the_true_one_and_ends_with_its_caller(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    report_id = vendor.finished()
    truth = vendor.data(report_id).content
    sandbox.add_fault("data", {"kind": "endless"})

    _, received = some_of(sandbox, f"{AVR}/{report_id}/data", len(truth) + 1_000_000)

    assert received.startswith(truth)
    lines = received[len(truth) :].splitlines()[:-1]
    assert len(lines) > 1000
    # One record again and again, which may be of several lines.
    assert truth.splitlines()[-1] in lines
    assert len(set(lines)) < 10
    sandbox.clear_faults()
    assert vendor.data(report_id).content == truth, "the next is served"


def test_an_answer_without_end_may_say_a_length_and_a_status(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("status", {"kind": "endless", "announced": 10_000_000_000, "status": 500})

    answer, received = some_of(sandbox, f"{AVR}/{report_id}", 100_000)

    assert (answer.status_code, answer.headers["content-length"]) == (500, "10000000000")
    assert received.rstrip() == b'{"status": "SUCCEEDED"}'


def test_a_bomb_is_small_and_becomes_large(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("status", {"kind": "endless", "gzip": 1}, times=1)
    sandbox.add_fault("status", {"kind": "endless", "gzip": 2})

    once, small = some_of(sandbox, f"{AVR}/{report_id}", 60_000)
    twice, smaller = some_of(sandbox, f"{AVR}/{report_id}", 10_000)

    assert (once.headers["content-encoding"], twice.headers["content-encoding"]) == ("gzip", "gzip, gzip")
    unpacked = zlib.decompressobj(31).decompress(small)
    assert unpacked.startswith(b'{"status": "SUCCEEDED"}')
    assert len(unpacked) > 100 * len(small)
    inner = zlib.decompressobj(31).decompress(smaller)
    assert len(zlib.decompressobj(31).decompress(inner, 1 << 26)) > 1000 * len(smaller)


def test_headers_can_be_others(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("status", {"kind": "headers", "headers": {"Content-Type": "image/png"}})

    answer = vendor.poll(report_id)

    assert (answer.headers["content-type"], answer.json()) == ("image/png", {"status": "SUCCEEDED"})


def test_the_clock_can_jump_before_a_call_and_the_date_goes_with_it() -> None:
    # One of its own: others would go on with that clock.
    with running_sandbox(queue_seconds="0", run_seconds="0") as sandbox:
        vendor = Vendor(sandbox)
        report_id = vendor.finished()
        before = datetime.fromisoformat(sandbox.control("GET", "clock")["now"])
        sandbox.add_fault("status", {"kind": "jump", "seconds": 7200}, times=1)

        answer = vendor.poll(report_id)

    [said] = answer.headers.get_list("date")
    assert 7199 <= (parsedate_to_datetime(said) - before).total_seconds() < 7300


def test_a_body_can_be_cut_and_framed_as_whole(vendor: Vendor, sandbox: SandboxProcess) -> None:
    report_id = vendor.finished()
    sandbox.add_fault("status", {"kind": "cut", "after_bytes": 9, "how": "end"})

    answer = vendor.poll(report_id)

    assert (answer.headers["content-length"], answer.content) == ("9", b'{"status"')


@pytest.mark.parametrize(("compression", "streams"), [("gzip", 1), ("gzip_in_two", 2)])
def test_answers_are_compressed_for_those_who_accept_it(
    vendor: Vendor, sandbox: SandboxProcess, compression: str, streams: int
) -> None:
    report_id = vendor.finished()
    truth = vendor.data(report_id).content
    sandbox.change_settings(compression=compression)

    _, packed = some_of(sandbox, f"{AVR}/{report_id}/data", 1 << 30)
    plain = vendor.http.get(f"{AVR}/{report_id}/data", headers={"Accept-Encoding": "identity"})

    assert gzip.decompress(packed) == truth
    first = zlib.decompressobj(31)
    assert len(first.decompress(packed)) == len(truth) // streams
    assert bool(first.unused_data) == (streams == 2)
    assert (plain.content, "content-encoding" in plain.headers) == (truth, False)


def test_bodies_headers_and_connections_can_be_of_another_manner(
    vendor: Vendor, sandbox: SandboxProcess
) -> None:
    report_id = vendor.finished()
    truth = vendor.data(report_id).content
    assert read_athena_csv(truth)

    sandbox.change_settings(chunk_bytes=7, header_names="upper")
    in_chunks = on_the_wire(sandbox, f"{AVR}/{report_id}/data")
    sandbox.change_settings(http_version="1.0", header_names="title")
    old = on_the_wire(sandbox, f"{AVR}/{report_id}/data")
    old_status = on_the_wire(sandbox, f"{AVR}/{report_id}")

    assert b"\r\nCONTENT-TYPE: text/csv" in in_chunks
    assert in_chunks.count(b"\r\n7\r\n") == len(truth) // 7
    head, _, body = old.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\nDate: ") or head.startswith(
        b"HTTP/1.0 200 OK\r\nContent-Type"
    )
    assert b"length" not in head.lower()
    assert b"chunked" not in head
    assert body == truth
    assert old_status.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Length: 23\r\n" in old_status
