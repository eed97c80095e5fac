"""Proof, while a CSV body streams by, that every record has as many fields as the header.

Belongs here: what makes a CSV body complete and rectangular, and where it is not. Does not belong here:
what the values mean or what becomes of them. No error says a value: it may be a patient's.

Why this exists: the engines that read CSV fastest fill a record that is too short with NULLs and say
nothing, and their messages for a broken one quote it. The dialect is that of AWS Athena and RFC 4180:
comma, double quote, doubled to stand for itself, LF or CRLF [guess: DexCare's status words are Athena's].
"""

from __future__ import annotations

import codecs
import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = loaded_when_used("numpy")

# The body is looked at 64 bytes at a time: a word of each mask has a bit for each, the first in the lowest.
Mask: TypeAlias = "NDArray[np.uint64]"

# What may stand before a quote that opens a value, and after one that closes it (a doubled one does both).
_BEFORE_OPENING, _AFTER_CLOSING = b',\n"', b',\r\n"'
_ALL_BITS = (1 << 64) - 1
_LARGEST_HEADER_BYTES = 16 << 20


class _Marks(NamedTuple):
    """Where the bytes are that give a chunk its structure."""

    quotes: Mask
    commas: Mask
    newlines: Mask
    returns: Mask

    @classmethod
    def of(cls, chunk: bytes) -> _Marks:
        whole_words = math.ceil(len(chunk) / 64) * 64
        codes = np.frombuffer(chunk.ljust(whole_words, b"\0"), dtype=np.uint8)
        return cls(*(_mask(codes == ord(byte)) for byte in '",\n\r'))


def _mask(flags: NDArray[np.bool_]) -> Mask:
    return np.packbits(flags, bitorder="little").view("<u8")


def _positions(mask: Mask) -> NDArray[np.intp]:
    """Of the bits that are set, the lowest first."""
    at = np.flatnonzero(mask)
    words, found = mask[at], []
    # Once for most words: a line is seldom shorter than 64 bytes.
    while at.size:
        lowest = words & (~words + 1)
        found.append((at << 6) + np.bitwise_count(lowest - 1))
        words = words ^ lowest
        left = np.flatnonzero(words)
        at, words = at[left], words[left]
    return np.sort(np.concatenate(found)) if found else at


class CsvError(ValueError):
    """The body is not a complete CSV as its own header describes it. Names the record, never a value."""


@dataclass(frozen=True)
class CsvSummary:
    """`header`: the column names as sent. `records`: how many follow it."""

    header: tuple[str, ...]
    records: int


def record_that_is_not_utf8(file: Path, *, piece_bytes: int = 1 << 20) -> int | None:
    """The number of the first record of a well-shaped CSV that has a byte which is not UTF-8.

    None if all of it is UTF-8. The header is no record: `CsvShape` refuses one that is not UTF-8. Reads the
    file again, a piece at a time: this is for when a conversion has failed.
    """
    shape = CsvShape()
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as body:
        while True:
            piece = body.read(piece_bytes)
            # A character that began in the piece before; the shape has its bytes already.
            begun = len(decoder.getstate()[0])
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                shape.feed(piece[: max(0, error.start - begun)])
                return shape.complete_records + 1
            if not piece:
                return None
            shape.feed(piece)


class CsvShape:
    """Feed it the body in chunks of any size, then ask for the `summary()`.

    Raises `CsvError` as soon as a record has another number of fields than the header.
    """

    def __init__(self) -> None:
        self._header: tuple[str, ...] | None = None
        self._head = bytearray()
        self._head_searched = 0
        self._head_quotes = 0  # in what has been searched
        self._in_quotes = False
        self._records = 0  # complete ones after the header
        self._commas = 0  # in the record that is not complete yet
        self._last = b""
        self._record_has_bytes = False

    def feed(self, chunk: bytes) -> None:
        if not chunk:
            return
        if self._header is None:
            self._head += chunk
            chunk = self._take_header(at_end=False)
        if self._header is not None:
            self._count(chunk)

    @property
    def header(self) -> tuple[str, ...]:
        """The column names as sent; empty while they are not complete."""
        return self._header or ()

    @property
    def complete_records(self) -> int:
        """How many records after the header have ended in what was fed so far."""
        return self._records

    def summary(self, *, end_is_proven: bool) -> CsvSummary:
        """What the whole body was. Raises `CsvError` if it cannot be whole.

        `end_is_proven`: whether the transport said where the body ends. If not, only a final line end
        shows that the last record is not a piece of one.
        """
        if self._header is None:
            self._count(self._take_header(at_end=True))
        assert self._header is not None
        if self._in_quotes:
            raise CsvError(f"the body ends inside a quoted value of record {self._records + 1}")
        if self._record_has_bytes:
            self._close_record()
        if not end_is_proven and self._last != b"\n":
            raise CsvError(
                f"the body ends without a line end after record {self._records}, and the connection did not "
                "say where it ends: it may be cut off"
            )
        return CsvSummary(self._header, self._records)

    def _take_header(self, *, at_end: bool) -> bytes:
        """Parse the header once all of it is here; returns what follows it."""
        end = self._end_of_header()
        if end is None:
            if not at_end:
                if len(self._head) > _LARGEST_HEADER_BYTES:
                    raise CsvError(f"the first {len(self._head)} bytes hold no complete header")
                return b""
            if self._head.count(b'"') % 2:
                raise CsvError("the header ends inside a quoted value")
            end = len(self._head)
        head = bytes(self._head)
        line = head[:end].removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
        if not line:
            raise CsvError("the body has no header")
        try:
            self._header = tuple(next(csv.reader([line.decode("utf-8")], strict=True)))
        except UnicodeDecodeError:
            raise CsvError("the header is not UTF-8") from None
        except csv.Error:
            raise CsvError("the header is not a CSV record") from None
        self._head.clear()
        self._last = head[end - 1 : end]
        return head[end:]

    def _end_of_header(self) -> int | None:
        """The index after the first line end outside quotes. Looks at no byte twice."""
        while (newline := self._head.find(b"\n", self._head_searched)) != -1:
            self._head_quotes += self._head.count(b'"', self._head_searched, newline)
            self._head_searched = newline + 1
            if self._head_quotes % 2 == 0:
                return self._head_searched
        return None

    def _count(self, chunk: bytes) -> None:
        if not chunk:
            return
        was_inside = self._in_quotes
        marks = _Marks.of(chunk)
        inside = self._inside_quotes(marks.quotes)
        line_ends = _positions(marks.newlines & ~inside)
        misplaced = self._first_misplaced_quote(marks, inside, chunk, was_inside=was_inside)
        if misplaced is not None:
            record = self._records + int(np.searchsorted(line_ends, misplaced)) + 1
            raise CsvError(f"record {record} has a quote where no value begins or ends")
        self._check_records(marks.commas & ~inside, line_ends)
        self._last = chunk[-1:]
        self._record_has_bytes = self._last != b"\n"

    def _first_misplaced_quote(
        self, marks: _Marks, inside: Mask, chunk: bytes, *, was_inside: bool
    ) -> int | None:
        """The position of a quote that opens a value after something else than a separator, or closes one
        before something else.

        Engines read such a value in ways of their own, and differently.
        """
        if self._last == b'"' and not was_inside and chunk[:1] not in _AFTER_CLOSING:
            return 0
        may_precede = marks.commas | marks.newlines | marks.quotes
        may_follow = may_precede | marks.returns
        preceded = may_precede << 1
        preceded[1:] |= may_precede[:-1] >> 63
        preceded[0] |= self._last in _BEFORE_OPENING
        followed = may_follow >> 1
        followed[:-1] |= may_follow[1:] << 63
        # What follows the last byte is known with the next chunk.
        last = len(chunk) - 1
        followed[last >> 6] |= 1 << (last & 63)
        misplaced = marks.quotes.copy()
        misplaced &= (inside & ~preceded) | (~inside & ~followed)
        return int(_positions(misplaced)[0]) if misplaced.any() else None

    def _inside_quotes(self, quotes: Mask) -> Mask:
        """The mask of bytes after an odd number of quotes, those of earlier chunks included.

        A quote that is doubled to stand for itself ends the quotes and begins them again.
        """
        inside = quotes.copy()
        for nearby in (1, 2, 4, 8, 16, 32):
            inside ^= inside << nearby
        # So far each word by itself: its highest bit says whether it has an odd number of quotes.
        odd_so_far = np.bitwise_xor.accumulate(inside >> 63)
        odd_before = np.concatenate(([0], odd_so_far[:-1])).astype(np.uint64) ^ self._in_quotes
        self._in_quotes ^= bool(odd_so_far[-1])
        return inside ^ (odd_before * _ALL_BITS)

    def _check_records(self, commas: Mask, line_ends: NDArray[np.intp]) -> None:
        """`commas`: mask of separators. `line_ends`: positions in the chunk."""
        commas_through = np.cumsum(np.bitwise_count(commas), dtype=np.int64)
        if not line_ends.size:
            self._commas += int(commas_through[-1])
            return
        word, bits_before = line_ends >> 6, (1 << (line_ends & 63).astype(np.uint64)) - 1
        earlier = np.where(word > 0, commas_through[word - 1], 0)
        commas_before = earlier + np.bitwise_count(commas[word] & bits_before)
        per_record = np.diff(commas_before, prepend=0)
        per_record[0] += self._commas
        assert self._header is not None
        wrong = np.flatnonzero(per_record != len(self._header) - 1)
        if wrong.size:
            first = int(wrong[0])
            self._refuse(self._records + first + 1, int(per_record[first]) + 1)
        self._records += int(line_ends.size)
        self._commas = int(commas_through[-1] - commas_before[-1])

    def _close_record(self) -> None:
        """The last record may end with the body instead of a line end."""
        assert self._header is not None
        if self._commas != len(self._header) - 1:
            self._refuse(self._records + 1, self._commas + 1)
        self._records += 1
        self._record_has_bytes = False

    def _refuse(self, record: int, fields: int) -> None:
        assert self._header is not None
        raise CsvError(f"record {record} has {fields} fields where the header has {len(self._header)}")
