"""JSON is read to the character, and what cannot be read is said without a value."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.http.json_text import JsonNumber, UnreadableJsonError, read_json
from health_pipelines.lake.json_partition import value_text


@pytest.mark.parametrize(
    "spelled",
    [
        "1.10",
        "1E5",
        "1e-400",
        "-0",
        "-0.0",
        "10000000000000000000000.0",
        "1e9999999999999999999",
        "250.10",
        "0.00001",
        "9" * 5000,
        "-" + "9" * 5000,
    ],
)
def test_a_number_keeps_the_vendors_own_characters(spelled: str) -> None:
    for body in (f"[{spelled}]", f'{{"a": {spelled}, "b": 7}}', f'{{"a":[1,\n{spelled}\n]}}'):
        parsed = read_json(body.encode())

        assert value_text(parsed) == body.replace(" ", "").replace("\n", "")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_has_no_such_number_is_read_as_json_says(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value


def test_whole_numbers_are_integers() -> None:
    assert type(read_json(b"-7")) is int
    assert isinstance(read_json(b"7.0"), JsonNumber)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        (b'{"name": "Jos\xe9"}', "is not UTF-8 text (at byte 13)"),
        (b"[" * 100_000, "nests values deeper than this program can read"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nests values deeper than this program can read"),
    ],
)
def test_what_cannot_be_read_is_said_in_half_a_sentence(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableJsonError) as error:
        read_json(body)

    assert str(error.value) == why
