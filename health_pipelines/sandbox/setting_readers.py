"""How the sandbox's settings are read from text: one reader for each form a value can have.

Here belongs what a form is and when a text is refused (ValueError). Which settings there are is in
`settings.py` and `drchrono/settings.py`.
"""

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class Span(NamedTuple):
    """A range of seconds to draw from, both ends possible."""

    low: float
    high: float

    @classmethod
    def read(cls, text: str) -> "Span":
        """`1-3`, or one number for a range without width."""
        low, _, high = text.partition("-")
        span = cls(float(low), float(high or low))
        if not 0 <= span.low <= span.high:
            raise ValueError(f"not a range of seconds: {text!r}")
        return span

    def __str__(self) -> str:
        return f"{self.low:g}-{self.high:g}"


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return read


def some_of(*allowed: str) -> Callable[[str], str]:
    """Some of these words with commas between, or nothing."""
    each = one_of(*allowed)

    def read(text: str) -> str:
        return ",".join(each(word) for word in text.split(",") if word)

    return read


def at_least(least: float, number: type[int] | type[float]) -> Callable[[str], float]:
    """A number that is not too small."""

    def read(text: str) -> float:
        value = number(text)
        if not value >= least:
            raise ValueError(f"{text!r} is less than {least:g}")
        return value

    return read


def zone_name(text: str) -> str:
    """An IANA time zone."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{text!r} is no time zone") from None
    return text


def day_or_nothing(text: str) -> str:
    """An ISO date, or an empty text."""
    if text:
        date.fromisoformat(text)
    return text


def said(read: Callable[[str], object], meaning: str) -> dict[str, Any]:
    """A setting's metadata: how it is read, and what the command line says about it."""
    return {"read": read, "meaning": meaning}
