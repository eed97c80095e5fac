"""A body is read whole, within its bounds, or refused, whatever a server makes of it."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.http.bodies import PIECE_BYTES, BrokenBodyError, OversizeBodyError, beginning, pieces

BODY = b'{"rows": [' + b'"Zebulon", ' * 1000 + b'""]}'


class Sent(httpx.AsyncByteStream):
    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def gzipped(body: bytes) -> bytes:
    """Without the time of day, which would be in the names of tests: other ones in each worker."""
    return gzip.compress(body, mtime=0)


def answer(*parts: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, headers=named, stream=Sent(parts))


def read(response: httpx.Response, most_bytes: int = 1 << 30) -> list[bytes]:
    async def all_pieces() -> list[bytes]:
        return [piece async for piece in pieces(response, most_bytes=most_bytes)]

    return asyncio.run(all_pieces())


def split(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(places)]


@given(
    members=st.lists(st.binary(max_size=2000), max_size=4), cuts=st.lists(st.integers(0, 3000), max_size=5)
)
def test_a_compressed_body_comes_out_whole_however_it_was_split_and_in_how_many_streams(
    members: list[bytes], cuts: list[int]
) -> None:
    packed = b"".join(gzipped(member) for member in members)

    found = read(answer(*split(packed, cuts), content_encoding="gzip"))

    assert b"".join(found) == b"".join(members)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", BODY),
        ("identity", BODY),
        ("GZIP ", gzipped(BODY)),
        ("x-gzip", gzipped(BODY)),
        ("deflate", zlib.compress(BODY)),
    ],
)
def test_every_encoding_that_is_understood_gives_the_body(encoding: str, packed: bytes) -> None:
    assert b"".join(read(answer(packed, content_encoding=encoding))) == BODY


@given(cut=st.integers(1, len(gzipped(BODY)) - 1))
def test_a_compressed_body_that_ends_early_is_noticed_wherever_that_is(cut: int) -> None:
    with pytest.raises(BrokenBodyError, match="ends in the middle of its compressed bytes"):
        read(answer(gzipped(BODY)[:cut], content_encoding="gzip"))


@pytest.mark.parametrize(
    ("encoding", "packed", "why"),
    [
        ("gzip", BODY, "is not compressed as it says"),
        ("gzip", gzipped(BODY) + BODY, "is not compressed as it says"),
        ("gzip", gzipped(BODY)[:-8] + bytes(8), "is not compressed as it says"),
        ("gzip, gzip", gzipped(gzipped(BODY)), "in a way that was not asked for"),
        ("br", BODY, "in a way that was not asked for"),
    ],
)
def test_what_is_compressed_in_another_way_is_refused_without_a_byte_of_it(
    encoding: str, packed: bytes, why: str
) -> None:
    with pytest.raises(BrokenBodyError, match=why) as raised:
        read(answer(packed, content_encoding=encoding))
    assert "Zebulon" not in str(raised.value)
    assert raised.value.__context__ is None


def test_a_body_may_have_as_much_as_it_may_and_no_byte_more() -> None:
    packed = gzipped(BODY)

    assert b"".join(read(answer(BODY), most_bytes=len(BODY))) == BODY
    assert b"".join(read(answer(packed, content_encoding="gzip"), most_bytes=len(BODY))) == BODY
    for response in (answer(BODY), answer(packed, content_encoding="gzip")):
        with pytest.raises(OversizeBodyError):
            read(response, most_bytes=len(BODY) - 1)


def test_a_length_that_is_too_much_is_refused_before_anything_is_read() -> None:
    with pytest.raises(OversizeBodyError):
        read(answer(content_length="10000000000"), most_bytes=10_000)


def test_a_bomb_is_unpacked_a_piece_at_a_time_and_no_further_than_its_bound() -> None:
    packed = gzipped(bytes(100 * PIECE_BYTES))

    sizes = []

    async def unpack() -> None:
        async for piece in pieces(answer(packed, content_encoding="gzip"), most_bytes=5 * PIECE_BYTES):
            sizes.append(len(piece))

    with pytest.raises(OversizeBodyError):
        asyncio.run(unpack())
    assert sizes == [PIECE_BYTES] * 5


def test_of_a_refusal_as_much_is_read_as_is_asked_for_and_can_be() -> None:
    packed = gzipped(BODY)

    assert asyncio.run(beginning(answer(BODY), len(BODY))) == BODY
    long = bytes(PIECE_BYTES)
    assert asyncio.run(beginning(answer(long, BODY), PIECE_BYTES)) == long
    assert BODY.startswith(asyncio.run(beginning(answer(packed[:-4], content_encoding="gzip"), 1 << 20)))
