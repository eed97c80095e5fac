"""JSON as a vendor sends it, read without changing a number.

Belongs here: reading the text, and what is said of one that cannot be read. Does not belong here: what an
answer means (`answers.py`).
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Self

_NO_INTEGER = re.compile(rb"[:,\[][ \t\n\r]*-0[ \t\n\r,\]}]")
_MAY_BE_NO_INTEGER = tuple(before + b"-0" for before in (b":", b",", b"[", b" ", b"\t", b"\n", b"\r"))


class UnreadableJsonError(ValueError):
    """Why a body cannot be read, as the end of a sentence without values: "is not JSON"."""


class JsonNumber(Decimal):
    """A number that is not simply whole. Its text is the vendor's own: 1.10, 1E5 and -0 stay what they are.

    An exponent that no decimal can have (1e9999999999999999999) makes it no number, and its text what it was.
    """

    spelling: str

    def __new__(cls, spelling: str) -> Self:
        try:
            self = super().__new__(cls, spelling)
        except InvalidOperation:
            self = super().__new__(cls, "NaN")
        self.spelling = spelling
        return self

    def __str__(self) -> str:
        return self.spelling


def read_json(body: bytes) -> Any:
    """What the body says; whole numbers are `int`, all others `JsonNumber`. Raises `UnreadableJsonError`.

    Half a surrogate pair is read, escaped or not: whether it can be kept is for others to say.
    """
    try:
        return _read(body, _whole if _has_minus_zero(body) else None)
    except RecursionError:
        why = "nests values deeper than this program can read"
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 text (at byte {error.start})"
    except json.JSONDecodeError:
        why = "is not JSON"
    # Raised out here: the exceptions above hold the text.
    raise UnreadableJsonError(why)


def _read(body: bytes, whole: Callable[[str], Any] | None) -> Any:
    try:
        return json.loads(body, parse_float=JsonNumber, parse_int=whole)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise
    except ValueError:  # a whole number of thousands of digits, which Python does not read as one
        return json.loads(body, parse_float=JsonNumber, parse_int=_whole)


def _has_minus_zero(body: bytes) -> bool:
    return any(text in body for text in _MAY_BE_NO_INTEGER) and bool(_NO_INTEGER.search(body))


def _whole(text: str) -> int | JsonNumber:
    return JsonNumber(text) if text == "-0" or len(text) > 1000 else int(text)
