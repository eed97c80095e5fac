"""What can be set about the sandbox's DrChrono. Where the vendor's documents are silent, both readings are.

Words for yes and no rather than booleans, so that the command line and the control API read them alike.
"""

from dataclasses import dataclass, field
from typing import Literal

from health_pipelines.sandbox.drchrono.kinds import LIST_NAMES
from health_pipelines.sandbox.drchrono.people import TimeSpelling
from health_pipelines.sandbox.setting_readers import (
    Span,
    at_least,
    day_or_nothing,
    one_of,
    said,
    some_of,
    zone_name,
)

YesNo = Literal["yes", "no"]
Moment = Literal["start", "end", "random"]
Ties = Literal["arbitrary", "stable"]
ListOrder = Literal["asked", "falling", "arbitrary"]
BeyondLast = Literal["empty", "dead", "refused", "repeated"]

_yes_or_no = one_of("yes", "no")

DRCHRONO_FIXED_AT_START = frozenset(
    {
        "drchrono_volume",
        "drchrono_history_start",
        "drchrono_zone",
        "drchrono_times",
        "drchrono_ids",
        "drchrono_sorts_times",
    }
)
"""Changing these would make another practice of the one whose rows are out already."""


@dataclass(frozen=True)
class DrChronoSettings:
    """The DrChrono part of the sandbox's settings."""

    drchrono_volume: float = field(
        default=30, metadata=said(at_least(0, float), "appointments a day; the other records in proportion")
    )
    drchrono_history_start: str = field(
        default="",
        metadata=said(day_or_nothing, "the first day with records; empty = 60 days before the clock's start"),
    )
    drchrono_zone: str = field(
        default="UTC", metadata=said(zone_name, "the account's time zone; the vendor's times do not name it")
    )
    drchrono_times: TimeSpelling = field(
        default="local",
        metadata=said(
            one_of("local", "offset", "utc", "mixed"),
            "how times are spelled: without a zone, with the account's offset, in UTC, in UTC with fractions",
        ),
    )
    drchrono_ids: Literal["number", "text"] = field(
        default="number", metadata=said(one_of("number", "text"), "how ids are sent (seen both)")
    )
    drchrono_sorts_times: Literal["instants", "texts"] = field(
        default="instants",
        metadata=said(one_of("instants", "texts"), "what order_by=updated_at sorts by (guess)"),
    )
    drchrono_list_seconds: Span = field(
        default=Span(0.1, 0.3),
        metadata=said(Span.read, "how long a list is In progress, drawn per list: 5-60, or 0"),
    )
    drchrono_list_life_seconds: float = field(
        default=3600, metadata=said(at_least(0, float), "seconds from its POST until a list is gone")
    )
    drchrono_query_moment: Moment = field(
        default="end",
        metadata=said(
            one_of("start", "end", "random"), "when in its preparation a list looks at the records (guess)"
        ),
    )
    drchrono_ties: Ties = field(
        default="arbitrary",
        metadata=said(
            one_of("arbitrary", "stable"), "the order of equal rows: another in each query, or by id (guess)"
        ),
    )
    drchrono_churn: int = field(
        default=0,
        metadata=said(at_least(0, int), "random changes of a type's records before each list of it"),
    )
    drchrono_default_page: int = field(
        default=250, metadata=said(at_least(1, int), "rows of a page when no page_size is sent (guess)")
    )
    drchrono_oversize_page: Literal["refuse", "clamp"] = field(
        default="refuse",
        metadata=said(one_of("refuse", "clamp"), "what becomes of a page_size over the maximum (guess)"),
    )
    drchrono_largest_page: int = field(
        default=0,
        metadata=said(
            at_least(0, int), "rows of a page at most, whatever is asked for (guess); 0 = as documented"
        ),
    )
    drchrono_list_order: ListOrder = field(
        default="asked",
        metadata=said(
            one_of("asked", "falling", "arbitrary"),
            "whether a list is sorted by order_by, the other way round, or by nothing (guess)",
        ),
    )
    drchrono_page_beyond_last: BeyondLast = field(
        default="empty",
        metadata=said(
            one_of("empty", "dead", "refused", "repeated"),
            "a list of a page that does not exist is empty, dies, is refused or is the last page (guess)",
        ),
    )
    drchrono_since_counts: Literal["changed", "created"] = field(
        default="changed",
        metadata=said(one_of("changed", "created"), "which time of a record since is compared with (guess)"),
    )
    drchrono_since_zone: Literal["account", "utc"] = field(
        default="account",
        metadata=said(one_of("account", "utc"), "where the day of since begins at midnight (guess)"),
    )
    drchrono_forbidden: str = field(
        default="",
        metadata=said(
            some_of(*LIST_NAMES, "line_item_deletions"), "record types that the account may not read"
        ),
    )
    drchrono_since_time: Literal["refuse", "take", "ignore"] = field(
        default="refuse",
        metadata=said(
            one_of("refuse", "take", "ignore"), "what becomes of a since with a time of day (guess)"
        ),
    )
    drchrono_gone_status: Literal["404", "400"] = field(
        default="404", metadata=said(one_of("404", "400"), "the HTTP status of Invalid uuid specified")
    )
    drchrono_deletions_key: Literal["data", "results"] = field(
        default="data", metadata=said(one_of("data", "results"), "where line_item_deletions has its rows")
    )
    drchrono_deletions_page: int = field(
        default=100, metadata=said(at_least(1, int), "rows of a page of line_item_deletions (guess)")
    )
    drchrono_access_token: str = field(
        default="sandbox-token", metadata=said(str, "an access token that never expires")
    )
    drchrono_client_id: str = field(default="sandbox-client", metadata=said(str, "the application's id"))
    drchrono_client_secret: str = field(
        default="sandbox-secret", metadata=said(str, "the application's secret")
    )
    drchrono_refresh_token: str = field(
        default="sandbox-refresh", metadata=said(str, "the refresh token that begins a chain")
    )
    drchrono_token_life_seconds: float = field(
        default=172800, metadata=said(at_least(0, float), "seconds until an access token expires")
    )
    drchrono_rotate_refresh: YesNo = field(
        default="yes", metadata=said(_yes_or_no, "whether a refresh gives another refresh token (seen)")
    )
    drchrono_refresh_grace_seconds: float = field(
        default=0, metadata=said(at_least(0, float), "how long a replaced refresh token still works")
    )
    drchrono_refresh_revokes: YesNo = field(
        default="no", metadata=said(_yes_or_no, "whether a refresh ends the access token before (guess)")
    )
    drchrono_calls_per_hour: int = field(
        default=500, metadata=said(at_least(0, int), "the quota, anew at the top of the hour; 0 = none")
    )
    drchrono_calls_per_second: int = field(
        default=10, metadata=said(at_least(0, int), "calls in any second of real time; 0 = no limit")
    )
    drchrono_count_refused: YesNo = field(
        default="yes", metadata=said(_yes_or_no, "whether a throttled call counts as a call (guess)")
    )
    drchrono_retry_after: YesNo = field(
        default="no", metadata=said(_yes_or_no, "whether a throttled call is sent a Retry-After")
    )
