"""What can be set about the sandbox: one list that the command line and the control API both read.

Where the vendor's page is silent (which time is searched, whether a window includes its end, how a body ends)
both readings are settings here, so that the pipeline can be tried against either.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

Searched = Literal["created", "scheduled"]
WindowEnd = Literal["exclusive", "inclusive"]
Framing = Literal["chunked", "length", "close"]
PageOrder = Literal["time", "arbitrary"]

FIXED_AT_START = frozenset({"seed", "volume"})
"""Changing these while reports are out would change what a finished report contains."""


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


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return read


def _at_least(least: float, number: type[int] | type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = number(text)
        if not value >= least:
            raise ValueError(f"{text!r} is less than {least:g}")
        return value

    return read


def _said(read: Callable[[str], object], meaning: str) -> dict[str, Any]:
    return {"read": read, "meaning": meaning}


@dataclass(frozen=True)
class Settings:
    """One consistent set of settings; a change makes a new one (`changed`)."""

    seed: int = field(default=1, metadata=_said(int, "same seed, same visits, in every process"))
    volume: float = field(
        default=1.0,
        metadata=_said(
            _at_least(0, float), "1 = a day of 120 virtual, 80 retail, 200 provider_booking visits"
        ),
    )
    service_key: str = field(
        default="SECRET_TOKEN",
        metadata=_said(str, "the reporting service key; default: the one in the vendor's curl lines"),
    )
    apr_key: str = field(
        default="", metadata=_said(str, "the key of provider histories; empty = service key")
    )
    queue_seconds: Span = field(
        default=Span(1, 3),
        metadata=_said(Span.read, "how long a report is QUEUED, drawn per report: 1-3, or 0"),
    )
    run_seconds: Span = field(
        default=Span(2, 6),
        metadata=_said(Span.read, "how long a report is RUNNING, drawn per report: 2-6, or 0"),
    )
    max_running: int = field(
        default=20, metadata=_said(_at_least(1, int), "reports RUNNING at once; the others stay QUEUED")
    )
    result_life_seconds: float = field(
        default=86400,
        metadata=_said(_at_least(0, float), "seconds until the CSV of a finished report is gone"),
    )
    searched: Searched = field(
        default="created",
        metadata=_said(_one_of("created", "scheduled"), "the time a window searches (guess)"),
    )
    window_end: WindowEnd = field(
        default="exclusive",
        metadata=_said(_one_of("exclusive", "inclusive"), "whether a window includes its end (guess)"),
    )
    framing: Framing = field(
        default="chunked",
        metadata=_said(
            _one_of("chunked", "length", "close"), "how the end of a CSV body is told; close = it is not"
        ),
    )
    latency_ms: float = field(
        default=0, metadata=_said(_at_least(0, float), "delay in milliseconds before every vendor answer")
    )
    default_page: int = field(
        default=50,
        metadata=_said(_at_least(1, int), "provider histories: rows of a page when no limit is sent"),
    )
    largest_page: int = field(
        default=200,
        metadata=_said(_at_least(1, int), "provider histories: rows of a page whatever the limit says"),
    )
    page_order: PageOrder = field(
        default="time",
        metadata=_said(
            _one_of("time", "arbitrary"), "provider histories: by event time, or stable but arbitrary"
        ),
    )

    @property
    def end_inclusive(self) -> bool:
        """Whether a row at exactly the window's end is found."""
        return self.window_end == "inclusive"

    def changed(self, changes: Mapping[str, object]) -> "Settings":
        """These settings with some replaced; ValueError for a name or value that means nothing."""
        readers = {one.name: one.metadata["read"] for one in fields(self) if one.name not in FIXED_AT_START}
        if unknown := changes.keys() - readers.keys():
            raise ValueError(f"cannot be set at run time: {', '.join(sorted(unknown))}")
        return replace(self, **{name: readers[name](str(value)) for name, value in changes.items()})

    def as_json(self) -> dict[str, object]:
        """The settings in the form in which `changed` takes them."""
        return {
            name: str(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
