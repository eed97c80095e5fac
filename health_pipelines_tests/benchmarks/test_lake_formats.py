"""The benchmark of formats counts and judges as it says; what it measures needs libraries that tests lack."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from io import BytesIO
from typing import Any

import pytest

from benchmarks import lake_formats
from benchmarks.counting_s3 import COUNTS, CountingApp, Counts, kind_of_call
from benchmarks.lake_formats import ROWS, Step, median, overwrites_text, table_text, verdict

MONDAY, TUESDAY = date(2026, 3, 9), date(2026, 3, 10)


def call(method: str, path: str = "/lake/key", query: str = "", **headers: str) -> dict[str, Any]:
    named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **named}


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        (call("GET", "/lake", "list-type=2&prefix=visits%2F"), "LIST"),
        (call("GET", "/lake/", "prefix=visits"), "LIST"),
        (call("GET", "/lake/visits/date=2026-03-10/visits.parquet"), "GET"),
        (call("HEAD"), "HEAD"),
        (call("PUT"), "PUT"),
        (call("PUT", if_none_match="*"), "PUT with a condition"),
        (call("PUT", if_match='"etag"'), "PUT with a condition"),
        (call("PUT", x_amz_copy_source="/lake/other"), "COPY"),
        (call("POST", query="uploads"), "POST of a multipart upload"),
        (call("PUT", query="partNumber=1&uploadId=x"), "PUT of a multipart upload"),
        (call("POST", "/lake", "delete"), "DELETE of many"),
        (call("DELETE"), "DELETE"),
    ],
)
def test_a_call_is_told_by_what_s3_makes_of_it(environ: dict[str, Any], kind: str) -> None:
    assert kind_of_call(environ) == kind


def test_every_call_is_counted_with_both_bodies_and_refused_ones_apart() -> None:
    statuses = iter(["200 OK", "412 Precondition Failed", "404 Not Found"])

    def s3(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        start_response(next(statuses), [])
        return [b"12", b"3"]

    app = CountingApp(s3, lambda _bucket, _keys: None)

    def ask(environ: dict[str, Any], body: bytes = b"") -> bytes:
        return b"".join(app(environ | {"wsgi.input": BytesIO(body)}, lambda *_: None))

    with_length = call("PUT", if_none_match="*") | {"CONTENT_LENGTH": "5"}
    assert ask(with_length, b"hello") == b"123"
    # In chunks, without a length.
    ask(call("PUT", if_none_match="*"), b"hello world")
    ask(call("HEAD"))
    counts = Counts.of_json(ask(call("GET", COUNTS)))
    assert counts.calls == {"PUT with a condition": 1, "PUT with a condition -> 412": 1, "HEAD -> 404": 1}
    assert (counts.sent, counts.received) == (16, 9)
    # Asking begins anew.
    assert Counts.of_json(ask(call("GET", COUNTS))) == Counts()


def test_counts_are_said_with_the_most_frequent_first() -> None:
    assert str(Counts(Counter({"GET": 1, "LIST": 1, "HEAD": 3652}))) == "3,652 HEAD, 1 GET, 1 LIST"
    assert str(Counts()) == "none"


def test_the_median_is_of_the_seconds_and_of_the_calls_each_for_itself() -> None:
    steps = [Step(seconds, Counts(Counter(GET=calls))) for seconds, calls in ((9.0, 5), (1.0, 7), (2.0, 6))]
    assert median(steps) == Step(2.0, Counts(Counter(GET=6)))


def test_a_table_is_markdown() -> None:
    assert table_text(["", "s"], [["Delta", "0.1"]]) == "|  | s |\n| --- | --- |\n| Delta | 0.1 |"


def test_an_overwrite_is_set_against_the_plain_one_and_the_first_is_said_apart() -> None:
    def steps(*seconds: float) -> list[Step]:
        return [
            Step(one, Counts(Counter(PUT=number), 1000 * number, 500))
            for number, one in enumerate(seconds, 1)
        ]

    wrote = {"plain Parquet": steps(9.0, 1.0, 1.0), "Delta": steps(9.0, 2.0, 4.0)}
    # Objects and bytes after the first overwrite, after two more, and after cleaning.
    sizes = {"plain Parquet": [(1, 700)] * 3, "Delta": [(3, 5_000), (7, 9_000), (4, 6_000)]}
    assert overwrites_text(wrote, sizes).splitlines()[2:] == [
        "| plain Parquet | 1.000 | 1.0 | 3 | 3 PUT | 3 | 0 | 1 calls, 1 and 0 kB | 0, 0 kB | 0, 0 kB |",
        "| Delta | 3.000 | 3.0 | 3 | 3 PUT | 3 | 0 | 1 calls, 1 and 0 kB | 2, 2 kB | 1, 1 kB |",
    ]


@pytest.mark.parametrize(
    ("refused", "found", "said"),
    [
        ({"B": "ConflictError"}, {"A": ROWS}, "1 accepted, 1 refused (ConflictError)"),
        ({"A": "Error", "B": "Error"}, {"-": 20}, "0 accepted, 2 refused (Error)"),
        ({}, {"B": ROWS}, "2 accepted, OVERWRITTEN UNSEEN"),
        ({}, {"A": ROWS, "B": ROWS}, "2 accepted, DOUBLED"),
        ({"B": "Error"}, {"A": ROWS - 1}, "1 accepted, 1 refused (Error), TORN"),
        (
            {"A": "Error"},
            {"A": ROWS},
            "1 accepted, 1 refused (Error), ROWS OF A REFUSED WRITER, OVERWRITTEN UNSEEN",
        ),
    ],
)
def test_what_two_writers_of_one_day_did_is_named(
    refused: dict[str, str], found: dict[str, int], said: str
) -> None:
    assert verdict({"A": MONDAY, "B": MONDAY}, refused, {MONDAY: found}) == said


def test_writers_of_a_day_each_are_both_accepted() -> None:
    found = {MONDAY: {"A": ROWS}, TUESDAY: {"B": ROWS}}
    assert verdict({"A": MONDAY, "B": TUESDAY}, {}, found) == "2 accepted"


def test_it_says_in_one_sentence_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_formats, "NEEDED", ("json", "no_such_library"))
    monkeypatch.setattr("sys.argv", ["lake_formats.py"])
    with pytest.raises(SystemExit) as stopped:
        lake_formats.main()
    assert str(stopped.value) == (
        'This benchmark needs no_such_library; install what it compares with pip install -e ".[benchmarks]".'
    )
