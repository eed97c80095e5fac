"""The parsers of vendors' bytes, each with what it is given and what must hold of what it makes of it.

Belongs here: those properties. Does not belong here: making inputs (`mutations.py`), counting (`fuzzing.py`).
A parser gives a result that has its property, or raises one of its documented errors.
"""

import csv
import io
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import polars as pl

from health_pipelines.dexcare.histories.client import page_in
from health_pipelines.dexcare.histories.sweep import Reading
from health_pipelines.dexcare.visits.client import ReportStatus, id_in, status_in
from health_pipelines.drchrono.api import client as drchrono
from health_pipelines.drchrono.api.quota import nobody_before
from health_pipelines.drchrono.api.token_store import KeptTokens
from health_pipelines.drchrono.api.tokens import LONGEST_LIFE, _tokens
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.sweep.order import instants, local_time, place_of
from health_pipelines.drchrono.sweep.page_proof import proven_page
from health_pipelines.drchrono.sweep.page_shape import shape_of
from health_pipelines.drchrono.sweep.pages import Page
from health_pipelines.http import Answer, Call, VendorError
from health_pipelines.http.answers import (
    json_object,
    redirect_target,
    seconds_until_available,
    vendor_words,
    word_of,
)
from health_pipelines.http.failures import Failures
from health_pipelines.http.json_text import UnreadableJsonError, read_json
from health_pipelines.lake.csv_partition import Lineage, column_names, write_partition
from health_pipelines.lake.csv_shape import CsvError, CsvShape, CsvSummary
from health_pipelines.lake.json_partition import (
    JsonRowsError,
    content_hash,
    in_order,
    value_text,
    write_json_partition,
)
from health_pipelines.settings import Secret
from health_pipelines_tests.fuzz.mutations import PATIENT, changed_json, csv_body, text

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEY = "sk-4711"
GUID = "5d8b09b9-e260-42e6-942a-1cc1f523ec9f"
ZONES = tuple(map(ZoneInfo, ("America/Chicago", "Pacific/Auckland", "UTC", "Europe/Dublin")))
LINEAGE = Lineage(date(2026, 3, 10), "report", NOW)
FAILURES = Failures("DexCare", "vendor.example.org", "DEXCARE_BASE_URL", "DEXCARE_SERVICE_KEY", 30)
CALL = Call("GET", "/reports")
HERE = httpx.URL("https://vendor.example.org/reports?page=1")
RECORDS = {one.name: one for one in RECORD_TYPES}
SWEPT = tuple(RECORDS[name] for name in ("appointments", "patients", "clinical_notes", "line_items"))


@dataclass(frozen=True)
class Parser:
    """`make`: an input. `read`: reads it and asserts what holds of the result. `refusals`: what it may raise
    instead, in a sentence that never holds `PATIENT` or `KEY`. `share`: it gets one case where others get so
    many, because it is slow.
    """

    name: str
    make: Callable[[Random], Any]
    read: Callable[[Any], object]
    refusals: tuple[type[Exception], ...] = ()
    share: int = 1


# --- CSV


def a_csv(random: Random) -> tuple[bytes, int]:
    return csv_body(random), random.randrange(1, 65)


def read_shape(given: tuple[bytes, int]) -> CsvSummary:
    body, size = given
    try:
        whole: CsvSummary | str = _summary(body, len(body) or 1)
    except CsvError as error:
        whole = str(error)
    try:
        in_pieces: CsvSummary | str = _summary(body, size)
    except CsvError as error:
        in_pieces = str(error)
    # Where the pieces end is no matter; which of two faults is met first may be.
    assert isinstance(whole, str) == isinstance(in_pieces, str)
    if isinstance(whole, str):
        raise CsvError(whole)
    assert whole == in_pieces
    assert whole.records <= body.count(b"\n") + 1
    if rows := _rows_of(body):
        assert {len(row) for row in rows} == {len(whole.header)}
        assert len(rows) == whole.records + 1
    return whole


def _summary(body: bytes, size: int) -> CsvSummary:
    shape = CsvShape()
    for start in range(0, len(body), size):
        shape.feed(body[start : start + size])
    return shape.summary(end_is_proven=True)


def _rows_of(body: bytes) -> list[list[str]]:
    """As Python's csv module reads them; nothing where it differs on carriage returns, or of no UTF-8."""
    try:
        read = body.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return []
    if "\r" in read.replace("\r\n", ""):
        return []
    return [row or [""] for row in csv.reader(io.StringIO(read, newline=""), strict=True)]


def read_csv(body: bytes) -> int:
    summary = _summary(body, len(body) or 1)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "body.csv", Path(folder) / "body.parquet"
        source.write_bytes(body)
        write_partition(source, summary, target, LINEAGE, "hash")
        found = pl.read_parquet(target, columns=column_names(summary.header), hive_partitioning=False)
    assert found.height == summary.records
    if rows := _rows_of(body):
        assert [[value or "" for value in row] for row in found.iter_rows()] == rows[1:]
    return found.height


# --- JSON and what is about the answer as a whole


def an_envelope(random: Random) -> bytes:
    return changed_json(
        random,
        {
            random.choice(("error", "message", "msg", "detail")): random.choice(
                (f"bad service token {KEY}", "Request was throttled. Expected available in 2295.0 seconds.")
            ),
            "since": [f"{PATIENT} is no date"],
            "data": {"provider": [PATIENT], "count": -0.0},
        },
    )


def read_text(body: bytes) -> object:
    value = read_json(body)
    again = value_text(value)
    # Half a surrogate pair is read, and refused where it would be kept.
    if isinstance(value, dict | list) and again is not None:
        assert value_text(read_json(again.encode("utf-8", "surrogatepass"))) == again
    return value


def an_answer(random: Random) -> tuple[int, dict[str, str], bytes]:
    status = random.choice((400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 301, 304, 418, 599))
    return status, headers(random), an_envelope(random)


def headers(random: Random) -> dict[str, str]:
    dates = ("Tue, 10 Mar 2026 12:00:00 GMT", "Tuesday, 10-Mar-26 12:00:00 GMT", "10 Mar 2026")
    found = {
        "Retry-After": text(random, "120", "0", "-1", "1e9", "9" * 400, *dates),
        "Date": text(random, *dates),
    }
    return {name: value for name, value in found.items() if random.random() < 0.8}


def read_failure(given: tuple[int, dict[str, str], bytes]) -> str:
    status, said, body = given
    # What the body says at its top is the vendor's message and is shown; the key never is, nor what is below.
    error = FAILURES.of_answer(CALL, _response(status, said), body, {KEY})
    assert isinstance(error, VendorError)
    assert KEY not in str(error)
    assert len(vendor_words(body, {KEY})) <= 300
    assert "\n" not in str(error).removesuffix("\n") or "\\n" in body.decode("latin-1")
    return type(error).__name__


def _response(status: int, said: dict[str, str]) -> httpx.Response:
    return httpx.Response(
        status, headers=[(name.encode(), value.encode("utf-8", "replace")) for name, value in said.items()]
    )


def read_wait(given: tuple[int, dict[str, str], bytes]) -> float | None:
    _, said, body = given
    seconds = seconds_until_available(body, said)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
    until = nobody_before(NOW, seconds)
    assert until >= NOW
    return seconds


def a_location(random: Random) -> str:
    return text(
        random,
        "/reports/2",
        "https://vendor.example.org:443/reports?page=2",
        "http://[::1]:80/x",
        "//evil.example.org/",
        f"https://{KEY}@vendor.example.org/",
        "?page=2",
        "https://vendor.example.org:99999/",
        "http://[",
    )


def read_location(location: str) -> httpx.URL | None:
    target = redirect_target(HERE, location)
    assert target is None or (target.scheme, target.host, target.port or 443) == ("https", HERE.host, 443)
    return target


# --- DexCare


def read_started(body: bytes) -> str:
    found = id_in(_object(body))
    assert str(UUID(found)) == found.lower()
    return found


def read_status(body: bytes) -> ReportStatus:
    answer = _object(body)
    found = status_in(GUID, answer)
    assert answer["status"] == found.value
    return found


def a_history_page(random: Random) -> bytes:
    row = {"id": GUID, "visitId": PATIENT, "providerName": PATIENT, "createdAt": "2026-03-10T10:00:00.000Z"}
    rows = [{**row, "id": f"{GUID}-{number}"} for number in range(random.randrange(4))]
    return changed_json(random, {"count": len(rows), "data": rows})


def read_histories(body: bytes) -> int:
    page = page_in(_object(body))
    reading = Reading()
    reading.take(page)
    assert len(reading.rows) <= len(page.rows)
    rows = in_order(list(reading.rows.values()), "id")
    assert len(rows) == len(reading.rows)
    assert content_hash(rows) == content_hash(in_order(rows[::-1], "id"))
    return page.count


def read_history_rows(body: bytes) -> int:
    rows = in_order(page_in(_object(body)).rows, "id")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        write_json_partition(rows, "id", file, LINEAGE)
        found = pl.read_parquet(file, hive_partitioning=False)
    assert found.height == len(rows)
    assert found["id"].to_list() == [value_text(row["id"]) for row in rows]
    return found.height


# --- DrChrono


def a_list_answer(random: Random) -> tuple[str, bytes]:
    kind = random.choice(SWEPT)
    record = {
        kind.key: 7,
        kind.order_by: "2026-03-10T10:00:00",
        kind.changed or "notes": "2026-03-10T10:00:00",
        "patient": PATIENT,
        "amount": 1.5,
        "tags": [PATIENT],
        "empty": None,
    }
    records = [{**record, kind.key: number} for number in range(1, random.randrange(1, 5))]
    pagination = {"count": len(records), "pages": 1, "page": 1, "page_size": 100}
    answer = {"uuid": GUID, "status": "complete", "pagination": pagination, "results": records}
    return kind.name, changed_json(random, answer)


def read_list_status(given: tuple[str, bytes]) -> str:
    name, body = given
    found = drchrono._status(RECORDS[name], _answer(body))
    assert found in ("in progress", "complete")
    return found


def read_list(given: tuple[str, bytes]) -> object:
    name, body = given
    kind = RECORDS[name]
    page = drchrono._page(kind, GUID, _answer(body))
    assert all(isinstance(one, dict) and one[kind.key] not in (None, "") for one in page.results)
    assert min(page.count, page.pages, page.page, page.page_size) >= 0
    shape = shape_of(page.results)
    assert shape is None or all(list(one) == list(shape.types) for one in page.results)
    proof = proven_page(kind, Page(1, 100), page.count, page.results, ZONES[0])
    assert len(proof.keys) == len(page.results)
    assert proof.oldest is None or (proof.newest is not None and proof.oldest <= proof.newest)
    return proof


def a_time(random: Random) -> tuple[Any, ZoneInfo]:
    spelled = text(
        random,
        "2026-03-10T10:00:00",
        "2026-03-08T02:30:00-06:00",
        "2026-11-01T01:30:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999-12:00",
        "2026-03-10",
        "20260310T100000Z",
        "2026-W11-2",
        "10:00",
    )
    return random.choice((spelled, spelled, spelled, None, 7, True, [spelled])), random.choice(ZONES)


def read_time(given: tuple[Any, ZoneInfo]) -> datetime | None:
    value, zone = given
    found = local_time(value, zone)
    moments = instants(value, zone)
    assert (found is None) == (not moments)
    assert found is None or found.tzinfo is None
    assert len(moments) <= 2
    assert isinstance(place_of(value, zone), str)
    return found


def an_address(random: Random) -> Any:
    spelled = text(
        random,
        "https://drchrono.example.org/api/line_items/deletions?since=2026-03-01&cursor=abc",
        f"https://drchrono.example.org{drchrono.DELETIONS_PATH}?since=2026-03-01&cursor=%41",
        f"{drchrono.DELETIONS_PATH}?cursor=abc",
        "http:////[",
        "//evil.example.org/",
    )
    return random.choice((spelled, spelled, spelled, None, 7, [spelled]))


def read_next(following: Any) -> list[tuple[str, str]]:
    found = drchrono.query_of_next(httpx.URL("https://drchrono.example.org"), following)
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in found)
    return found


def a_token_answer(random: Random) -> bytes:
    return changed_json(
        random,
        {
            "access_token": KEY,
            "refresh_token": KEY,
            "expires_in": 172800,
            "scope": "x",
            "token_type": "Bearer",
        },
    )


def read_tokens(body: bytes) -> KeptTokens:
    before = KeptTokens(Secret("before"))
    found = _tokens(_object(body), before, NOW)
    assert found.access_token is not None
    assert found.access_token.reveal()
    assert found.refresh_token.reveal()
    assert found.renew_at is not None
    assert found.expires_at is not None
    assert NOW < found.renew_at <= found.expires_at <= NOW + max(LONGEST_LIFE, timedelta(days=2))
    return found


def _object(body: bytes) -> dict[str, Any]:
    return FAILURES.object_in(CALL, 200, body)


def _answer(body: bytes) -> Answer:
    return Answer(200, body, _object(body), vendor_words(body, {KEY}))


def read_word(body: bytes) -> str:
    value = (json_object(body) or {}).get("status")
    assert PATIENT not in word_of(value)
    return word_of(value)


PARSERS = (
    Parser("CSV: its shape", a_csv, read_shape, (CsvError,), share=3),
    Parser("CSV: its values", csv_body, read_csv, (CsvError,), share=200),
    Parser("JSON text", an_envelope, read_text, (UnreadableJsonError,)),
    Parser("a word that is shown", an_envelope, read_word),
    Parser("error envelope", an_answer, read_failure),
    Parser("how long a throttle lasts", an_answer, read_wait),
    Parser("redirect", a_location, read_location),
    Parser(
        "DexCare: id of a report",
        lambda random: changed_json(random, {"id": GUID}),
        read_started,
        (VendorError,),
    ),
    Parser(
        "DexCare: status",
        lambda random: changed_json(random, {"status": "RUNNING"}),
        read_status,
        (VendorError,),
    ),
    Parser("DexCare: page of histories", a_history_page, read_histories, (VendorError,)),
    Parser(
        "DexCare: rows of histories",
        a_history_page,
        read_history_rows,
        (VendorError, JsonRowsError),
        share=200,
    ),
    Parser("DrChrono: status of a list", a_list_answer, read_list_status, (VendorError,)),
    Parser("DrChrono: page of a list", a_list_answer, read_list, (VendorError,)),
    Parser("DrChrono: a time", a_time, read_time),
    Parser("DrChrono: the next page", an_address, read_next, (VendorError,)),
    Parser("DrChrono: tokens", a_token_answer, read_tokens, (VendorError,)),
)
