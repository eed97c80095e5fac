"""Answers are read exactly: numbers, a vendor's words, throttles and redirects."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.http.answers import (
    LONGEST_VENDOR_MESSAGE,
    json_object,
    redirect_target,
    seconds_until_available,
    vendor_words,
    word_of,
)

HERE = httpx.URL("https://app.example.com/api/list?since=2026-03-09&page=2")


@pytest.mark.parametrize("text", ["1.10", "0.1", "123456789012345678901234567890.10", "1E+400", "-0.00"])
def test_a_number_keeps_its_digits(text: str) -> None:
    parsed = json_object(f'{{"a": [{text}]}}'.encode())
    assert parsed == {"a": [Decimal(text)]}
    assert str(parsed["a"][0]) == text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_is_none(body: bytes) -> None:
    assert json_object(body) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "these words."}, "these words"),
        ({"message": "these words"}, "these words"),
        ({"msg": "these words"}, "these words"),
        ({"detail": "these words"}, "these words"),
        ({"since": ["Zebulon is no date"], "page": []}, "it does not accept since"),
        ({"Zebulon Smith": ["x"]}, ""),
        ({"detail": {"patient": ["Zebulon"], "since": [], "Zebulon": ["x"]}}, "it does not accept patient"),
        ({"message": ["Zebulon is unknown"]}, ""),
        ({"error": [{"date_range": ["Zebulon"]}]}, "it does not accept date_range"),
        ({"detail": ["Zebulon"], "msg": "these words"}, "these words"),
        ({"error": 7}, ""),
        ({"detail": "wrong " * 1000}, ("wrong " * 1000)[:LONGEST_VENDOR_MESSAGE].rstrip()),
        ({"detail": "Zebulon " * 1000}, ""),
        ({"error": "patient Zebulon Smith, 907-65-4329, is not found"}, "patient …, is not found"),
        ({"zebulon": ["x"], "page_size": ["x"]}, "it does not accept page_size"),
        ({"detail": "key dc-token key"}, "*** ***"),
        ([], ""),
    ],
)
def test_the_vendors_words_are_found_without_secrets_and_values(body: Any, words: str) -> None:
    assert vendor_words(json.dumps(body).encode(), {"key", "dc-token key"}) == words


def test_a_throttle_until_a_date_lasts_as_long_as_the_vendors_own_clock_says() -> None:
    until = {"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT"}

    assert seconds_until_available(b"{}", {**until, "Date": "Sat, 21 Nov 2026 11:59:30 GMT"}) == 30.0
    assert seconds_until_available(b"{}", {**until, "Date": "Sat, 21 Nov 2026 12:10:00 GMT"}) == 0.0
    assert seconds_until_available(b"{}", {**until, "Date": "yesterday"}) is None


@pytest.mark.parametrize(
    ("detail", "header", "seconds"),
    [
        ("Request was throttled. Expected available in 2295.0 seconds.", None, 2295.0),
        ("Request was throttled. Expected available in 1 second.", "9", 1.0),
        ("Request was throttled.", "9", 9.0),
        ("Request was throttled.", "Sat, 21 Nov 2026 12:00:00 GMT", None),
        ("Request was throttled.", "\N{SUPERSCRIPT TWO}", None),
        ("Request was throttled.", None, None),
    ],
)
def test_a_throttle_lasts_as_the_body_says_or_else_the_header(
    detail: str, header: str | None, seconds: float | None
) -> None:
    body = json.dumps({"detail": detail}).encode()
    assert seconds_until_available(body, {"Retry-After": header} if header else {}) == seconds


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/api/list/", "https://app.example.com/api/list/?since=2026-03-09&page=2"),
        ("other", "https://app.example.com/api/other?since=2026-03-09&page=2"),
        ("https://app.example.com:443/x?a=b", "https://app.example.com/x?a=b"),
        ("https://APP.example.com/x?a=b", "https://app.example.com/x?a=b"),
        ("http://app.example.com/x", None),
        ("https://app.example.com:8443/x", None),
        ("https://app.example.com.evil.example/x", None),
        ("https://app.example.com@evil.example/x", None),
        ("https://user:pass@app.example.com/x", None),
        ("//evil.example/x", None),
        ("javascript:alert(1)", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_a_redirect_leads_to_the_same_origin_or_nowhere(location: str, target: str | None) -> None:
    found = redirect_target(HERE, location)
    assert (found and str(found)) == target


def test_a_redirect_of_a_call_without_a_query_adds_none() -> None:
    assert str(redirect_target(httpx.URL("https://a.example/x"), "/y")) == "https://a.example/y"


@given(
    st.recursive(
        st.sampled_from(["Zebulon", "zebulon smith", 7]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["detail", "message", "error", "patient", "since"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    )
)
def test_no_value_below_a_message_is_repeated(value: Any) -> None:
    body = {"detail": [value], "message": {"patient": value}, "error": {"message": value}}

    assert "zebulon" not in vendor_words(json.dumps(body).encode(), ()).lower()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("RUNNING", "'RUNNING'"),
        ("In progress", "'In progress'"),
        ("Zebulon", "a word that is not known here"),
        ("Zebulon Pending", "a word that is not known here"),
        ("Zebulon Smith 1970-01-01", "a text that is no word"),
        (["Zebulon"], "no text (list)"),
        (None, "nothing"),
    ],
)
def test_a_status_is_shown_if_it_is_a_word(value: Any, shown: str) -> None:
    assert word_of(value) == shown
