"""Some thousand cases of each parser, the same in every run, and the inputs that once broke one by name.

`make fuzz` has a million, of any seed.
"""

import json

import httpx
import pytest

from health_pipelines.drchrono.api.client import query_of_next
from health_pipelines.drchrono.api.token_store import KeptTokens
from health_pipelines.drchrono.api.tokens import DOCUMENTED_LIFE, _tokens
from health_pipelines.http import WrongAddressError
from health_pipelines.http.answers import redirect_target, seconds_until_available
from health_pipelines.http.json_text import UnreadableJsonError, read_json
from health_pipelines.lake.csv_shape import CsvError, CsvShape
from health_pipelines.settings import Secret
from health_pipelines_tests.fuzz.fuzzing import case_of, fuzz
from health_pipelines_tests.fuzz.parsers import HERE, NOW, PARSERS, Parser

CASES, SEED = 1200, 7


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_every_parser_reads_what_came_or_refuses_it_in_a_sentence_without_a_value(parser: Parser) -> None:
    tally = fuzz(parser, CASES // parser.share + 10, SEED)

    named = {number: (wrong, case_of(parser, SEED, number)) for number, wrong in tally.crashes.items()}
    assert named == {}
    # Inputs of which all are refused, or none is, would show little.
    assert tally.accepted > 0
    assert tally.refused or not parser.refusals


def test_a_case_is_the_same_from_the_same_seed() -> None:
    for parser in PARSERS:
        assert repr(case_of(parser, 1, 5)) == repr(case_of(parser, 1, 5))
    assert repr(case_of(PARSERS[0], 1, 5)) != repr(case_of(PARSERS[0], 2, 5))


def test_what_a_parser_does_wrong_is_a_crash() -> None:
    def broken(number: int) -> None:
        if number % 3 == 0:
            raise ValueError("refused, as it may be")
        if number % 3 == 1:
            raise ValueError("of Zebulon77")
        raise LookupError("which is no documented error")

    numbers = iter(range(9))
    tally = fuzz(Parser("broken", lambda _: next(numbers), broken, (ValueError,)), 9, SEED)

    assert sorted(tally.crashes) == [1, 2, 4, 5, 7, 8]
    assert tally.crashes[1] == "ValueError says Zebulon77"
    assert tally.crashes[2] == "LookupError: which is no documented error"
    assert tally.refused == {"ValueError": 6}


@pytest.mark.parametrize("said", ["9" * 400, "9" * 20])
def test_a_wait_of_hundreds_of_digits_is_a_year(said: str) -> None:
    """Was infinite, and no clock could be set to its end."""
    assert seconds_until_available(b"{}", {"Retry-After": said}) == 365 * 24 * 3600
    words = json.dumps({"detail": f"Expected available in {said[:200]} seconds."}).encode()
    assert seconds_until_available(words, {}) == 365 * 24 * 3600


@pytest.mark.parametrize("address", ["http:////[", "http://[", "//[x]/"])
def test_an_address_in_brackets_that_is_none_leads_nowhere(address: str) -> None:
    """Was an error of the library's, which passed through."""
    assert redirect_target(HERE, address) is None
    with pytest.raises(WrongAddressError, match="The next page of DrChrono's line item deletions"):
        query_of_next(httpx.URL("https://drchrono.example.org"), address)


@pytest.mark.parametrize("body", [b'state"\r\n\r\n', b'"', b'a,"b\n1,2\n'])
def test_a_body_whose_header_never_ends_is_refused(body: bytes) -> None:
    """Was a table without records, whatever followed."""
    shape = CsvShape()
    shape.feed(body)
    with pytest.raises(CsvError, match="the header"):
        shape.summary(end_is_proven=True)


def test_a_broken_body_with_a_number_of_thousands_of_digits_is_refused_without_it() -> None:
    """Was read a second time, and that error passed through with all of the body in it."""
    body = b'{"count": ' + b"9" * 5000 + b', "patient": "Zebulon77" oops'
    with pytest.raises(UnreadableJsonError, match=r"^is not JSON$") as refused:
        read_json(body)
    assert refused.value.__context__ is None


@pytest.mark.parametrize("life", ["1e9999999999999999999999", "NaN", "-Infinity", "0", "-1", "0.5"])
def test_a_life_of_a_token_that_is_no_number_throws_no_token_away(life: str) -> None:
    """Was compared, which such a number does not stand: the new refresh token was lost."""
    answer = read_json(f'{{"access_token": "a", "refresh_token": "new", "expires_in": {life}}}'.encode())
    kept = _tokens(answer, KeptTokens(Secret("old")), NOW)
    assert kept.refresh_token.reveal() == "new"
    assert kept.expires_at == NOW + DOCUMENTED_LIFE
