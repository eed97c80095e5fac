"""What can be set about the sandbox: one list that the command line and the control API both read.

Where the vendor's page is silent (which time is searched, whether a window includes its end, how a body ends)
both readings are settings here, so that the pipeline can be tried against either.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal

from health_pipelines.sandbox.drchrono.settings import DRCHRONO_FIXED_AT_START, DrChronoSettings
from health_pipelines.sandbox.planting import Planted
from health_pipelines.sandbox.setting_readers import Span, at_least, one_of, said, some_of

__all__ = [
    "ColumnNames",
    "Compression",
    "Framing",
    "HeaderNames",
    "HttpVersion",
    "Nulls",
    "PageOrder",
    "RowOrder",
    "Searched",
    "Settings",
    "Span",
    "WindowEnd",
]

Searched = Literal["created", "scheduled"]
WindowEnd = Literal["exclusive", "inclusive"]
Framing = Literal["chunked", "length", "close"]
HeaderNames = Literal["lower", "title", "upper"]
HttpVersion = Literal["1.1", "1.0"]
Compression = Literal["none", "gzip", "gzip_in_two"]
PageOrder = Literal["time", "arbitrary"]
RowOrder = Literal["shuffled", "stable"]
Nulls = Literal["nothing", "quoted", "word"]
ColumnNames = Literal["documented", "other", "ambiguous"]

CHUNK_BYTES = 64 * 1024

FIXED_AT_START = frozenset({"seed", "volume"}) | DRCHRONO_FIXED_AT_START
"""Changing these while reports are out would change what a finished report contains."""


@dataclass(frozen=True)
class Settings(DrChronoSettings):
    """One consistent set of settings; a change makes a new one (`changed`)."""

    seed: int = field(default=1, metadata=said(int, "same seed, same visits, in every process"))
    volume: float = field(
        default=1.0,
        metadata=said(at_least(0, float), "1 = a day of 120 virtual, 80 retail, 200 provider_booking visits"),
    )
    service_key: str = field(
        default="SECRET_TOKEN",
        metadata=said(str, "the reporting service key; default: the one in the vendor's curl lines"),
    )
    apr_key: str = field(default="", metadata=said(str, "the key of provider histories; empty = service key"))
    queue_seconds: Span = field(
        default=Span(1, 3),
        metadata=said(Span.read, "how long a report is QUEUED, drawn per report: 1-3, or 0"),
    )
    run_seconds: Span = field(
        default=Span(2, 6),
        metadata=said(Span.read, "how long a report is RUNNING, drawn per report: 2-6, or 0"),
    )
    max_running: int = field(
        default=20, metadata=said(at_least(1, int), "reports RUNNING at once; the others stay QUEUED")
    )
    result_life_seconds: float = field(
        default=86400,
        metadata=said(at_least(0, float), "seconds until the CSV of a finished report is gone"),
    )
    searched: Searched = field(
        default="created",
        metadata=said(one_of("created", "scheduled"), "the time a window searches (guess)"),
    )
    window_end: WindowEnd = field(
        default="exclusive",
        metadata=said(one_of("exclusive", "inclusive"), "whether a window includes its end (guess)"),
    )
    refused_types: str = field(
        default="",
        metadata=said(
            some_of("virtual", "retail", "provider_booking"), "report types that this tenant refuses (guess)"
        ),
    )
    row_order: RowOrder = field(
        default="shuffled",
        metadata=said(
            one_of("shuffled", "stable"), "whether two reports of one window have their rows in one order"
        ),
    )
    nulls: Nulls = field(
        default="nothing",
        metadata=said(
            one_of("nothing", "quoted", "word"),
            r"how a report writes NULL: nothing between the commas, as an empty text, or as \N (guess)",
        ),
    )
    column_names: ColumnNames = field(
        default="documented",
        metadata=said(
            one_of("documented", "other", "ambiguous"),
            "columns of visit reports: as guessed, names that say nothing, or several that look alike",
        ),
    )
    framing: Framing = field(
        default="chunked",
        metadata=said(
            one_of("chunked", "length", "close"), "how the end of a CSV body is told; close = it is not"
        ),
    )
    compression: Compression = field(
        default="none",
        metadata=said(
            one_of("none", "gzip", "gzip_in_two"),
            "whether answers are compressed for those who accept that; also as two streams, as gzip allows",
        ),
    )
    chunk_bytes: int = field(
        default=CHUNK_BYTES, metadata=said(at_least(1, int), "bytes of a body that are sent at once")
    )
    header_names: HeaderNames = field(
        default="lower",
        metadata=said(one_of("lower", "title", "upper"), "how the names of headers are written"),
    )
    http_version: HttpVersion = field(
        default="1.1",
        metadata=said(one_of("1.1", "1.0"), "1.0 = no chunks, and the connection ends with each answer"),
    )
    latency_ms: float = field(
        default=0, metadata=said(at_least(0, float), "delay in milliseconds before every vendor answer")
    )
    default_page: int = field(
        default=50,
        metadata=said(at_least(1, int), "provider histories: rows of a page when no limit is sent"),
    )
    largest_page: int = field(
        default=200,
        metadata=said(at_least(1, int), "provider histories: rows of a page whatever the limit says"),
    )
    page_order: PageOrder = field(
        default="time",
        metadata=said(
            one_of("time", "arbitrary"), "provider histories: by event time, or stable but arbitrary"
        ),
    )

    planted_name: str = field(
        default="",
        metadata=said(str, "a word in everybody's names and free text, to be looked for afterwards"),
    )
    planted_number: str = field(
        default="", metadata=said(str, "everybody's social security and other numbers, likewise")
    )

    @property
    def planted(self) -> Planted:
        """What is to be found in what is told of people."""
        return Planted(self.planted_name, self.planted_number)

    @property
    def end_inclusive(self) -> bool:
        """Whether a row at exactly the window's end is found."""
        return self.window_end == "inclusive"

    def changed(self, changes: Mapping[str, object]) -> "Settings":
        """These settings with some replaced; ValueError for a name or value that means nothing."""
        readers = {one.name: one.metadata["read"] for one in fields(self)}
        # A fixed setting may be repeated as it is, so that what `as_json` gave can be put back.
        now = self.as_json()
        fixed = {name for name in changes.keys() & FIXED_AT_START if str(changes[name]) != str(now[name])}
        if unknown := (changes.keys() - readers.keys()) | fixed:
            raise ValueError(f"cannot be set at run time: {', '.join(sorted(unknown))}")
        return replace(self, **{name: readers[name](str(value)) for name, value in changes.items()})

    def as_json(self) -> dict[str, object]:
        """The settings in the form in which `changed` takes them."""
        return {
            name: str(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
