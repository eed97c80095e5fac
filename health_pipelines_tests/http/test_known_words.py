"""Of a vendor's text what an API needs to say is shown, and nothing that may be a patient's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.http.known_words import KNOWN_WORDS, shown_words

# What the vendors say, by their documents, as it was seen, and in the words of the servers before them.
AS_IT_IS = [
    "Authorization failed: bad service token",
    "no Route matched with those values",
    "QueryExecution Not Found",
    "QueryExecution did not succeed",
    "'type' must be one of [retail, virtual]",
    "'type' must be one of [retail, virtual, provider_booking]",
    "'reportId' must be a valid GUID",
    "Invalid uuid specified",
    "Request was throttled. Expected available in 2295.0 seconds.",
    "Authentication credentials were not provided.",
    "You do not have permission to perform this action.",
    "An invalid response was received from the upstream server",
    "invalid_grant",
    "unsupported_grant_type",
    "Endpoint request timed out",
    "Internal server error",
]


@pytest.mark.parametrize("text", AS_IT_IS)
def test_what_vendors_are_known_to_say_is_shown_as_it_is(text: str) -> None:
    assert shown_words(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("patient Zebulon is unknown", "patient … is unknown"),
        ("Zebulon O'Canary, born 1970-03-01, SSN 907-65-4329: not found", "…: not found"),
        ("value 907654329 of zebulon.smith@example.org is not valid", "value … of … is not valid"),
        ("Key (first_name)=(Zébulon) already exists", "Key (first_name)=(…) already exists"),
        ("expired in 5 seconds of 907 seconds", "expired in 5 seconds of … seconds"),
        ("in 90765 43290 seconds", "in … seconds"),
        ("山田", ""),
        ("Zebulon Smith 907-65-4329", ""),
        ("", ""),
    ],
)
def test_names_and_numbers_are_left_out(text: str, shown: str) -> None:
    assert shown_words(text) == shown


@given(
    st.lists(st.sampled_from(["Zebulon", "907-65-4329", "zebulon@example.org", "token", "is", ":", "(", "'"]))
)
def test_no_mixture_shows_a_name_or_a_number(words: list[str]) -> None:
    for glue in (" ", "", "_", "-", "/"):
        shown = shown_words(glue.join(words)).lower()
        assert "zebulon" not in shown
        assert not set("0123456789") & set(shown)


def test_every_word_is_one_in_lower_case() -> None:
    assert all(word == word.lower() and not any(map(str.isdigit, word)) for word in KNOWN_WORDS)
