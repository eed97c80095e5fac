"""What an HTTP answer says, read without any I/O.

Belongs here: the vendor's words in it, how long a throttle lasts, where a redirect
leads, and whether the end of a body is proven. Does not belong here: calling (`client.py`), and what an
answer means for one vendor (its `client.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from health_pipelines.http.json_text import UnreadableJsonError, read_json
from health_pipelines.http.known_words import is_known, shown_words
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import httpx
else:
    httpx = loaded_when_used("httpx")

# A vendor's words go into logs and the UI: long enough for a message, too short for a page of HTML.
LONGEST_VENDOR_MESSAGE = 300
# 300 and 304 are not about another address for this request.
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
# As one vendor says it: "Request was throttled. Expected available in 2295.0 seconds." [seen]
_AVAILABLE_IN = re.compile(r"available in (\d+(?:\.\d+)?) second")
_LONGEST_WAIT_SECONDS = 365 * 24 * 3600.0
_WORD = re.compile(r"[A-Za-z]+([ _-][A-Za-z]+)?", re.ASCII)
_MESSAGE_KEYS = ("error", "message", "msg", "detail")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that the body is, its numbers as `read_json` gives them; None for anything else."""
    try:
        parsed = read_json(body)
    except UnreadableJsonError:
        return None
    return parsed if isinstance(parsed, dict) else None


def vendor_words(body: bytes, hidden: Collection[str]) -> str:
    """The vendor's message, shortened, without a full stop. What is `hidden` is taken out, and so are words
    that may be a patient's (`known_words.py`).

    It is a text under `error`, `message`, `msg` or `detail`, depending on the vendor and the call [doc]. An
    answer that complains about parameters by name (`{"since": ["…"]}`, also below one of these) gives their
    names only: the rest may repeat a value.
    """
    parsed = json_object(body)
    if parsed is None:
        return ""
    words = _message(parsed)
    if not words:
        # What is inside of a list or an object may repeat what was asked with, and so a patient.
        fields = dict.fromkeys(_names_in(parsed))
        words = ", ".join(
            name for name in fields if name.islower() and is_known(name) and name not in _MESSAGE_KEYS
        )
        words = words and f"it does not accept {words}"
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        words = words.replace(secret, "***")
    return shown_words(words)[:LONGEST_VENDOR_MESSAGE].rstrip(". ")


def word_of(value: Any) -> str:
    """A status or another single word of the vendor's, to be shown; of anything else what kind it is.

    A word that no API uses may be anything, and is not shown either.
    """
    if isinstance(value, str):
        if not _WORD.fullmatch(value):
            return "a text that is no word"
        return repr(value) if all(map(is_known, value.split())) else "a word that is not known here"
    return "nothing" if value is None else f"no text ({type(value).__name__})"


def _message(parsed: Mapping[str, Any]) -> str:
    """As the vendor words it: not to be shown."""
    said = (parsed.get(key) for key in _MESSAGE_KEYS)
    return next((one for one in said if one and isinstance(one, str)), "")


def _names_in(value: Any) -> Iterator[str]:
    """The names of fields that have something to say, at any depth."""
    todo = [value]
    while todo:
        one = todo.pop(0)
        if isinstance(one, dict):
            yield from (name for name, inner in one.items() if isinstance(inner, list | dict) and inner)
            todo += one.values()
        elif isinstance(one, list):
            todo += one


def seconds_until_available(body: bytes, headers: Mapping[str, str]) -> float | None:
    """How long the vendor asks us to wait: as the body says, else as Retry-After says, else None.

    A year at most: a number of hundreds of digits is no time at all.
    """
    said = _AVAILABLE_IN.search(_message(json_object(body) or {}))
    header = headers.get("Retry-After", "")
    if said:
        seconds = float(said[1])
    elif header.isascii() and header.isdigit():
        seconds = float(header)
    else:
        # Both by the vendor's clock, so that ours does not matter.
        until, now = _http_date(header), _http_date(headers.get("Date", ""))
        if until is None or now is None:
            return None
        seconds = max(0.0, (until - now).total_seconds())
    return min(seconds, _LONGEST_WAIT_SECONDS)


def where_throttle_says(body: bytes, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Where a 429 says how long it lasts, the first place first, as `seconds_until_available` reads them."""
    places = {
        "its text": _AVAILABLE_IN.search(_message(json_object(body) or {})),
        "Retry-After": "Retry-After" in headers,
    }
    return tuple(place for place, says in places.items() if says)


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def redirect_target(asked: httpx.URL, location: str) -> httpx.URL | None:
    """Where a redirect leads; None if that is another scheme, host or port, or no address at all.

    The query of the call goes along unless the new address has one of its own.
    """
    if not location:
        return None
    try:
        target = asked.join(location)
    except (httpx.InvalidURL, ValueError):  # of an address in brackets that is none, urllib says the latter
        return None
    if _origin(target) != _origin(asked) or target.userinfo:
        return None
    return target if target.query else target.copy_with(query=asked.query or None)


def end_is_proven(headers: Mapping[str, str]) -> bool:
    """Whether the transport says where the body ends (see `http.Downloaded`)."""
    return "content-length" in headers or headers.get("transfer-encoding", "").lower() == "chunked"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme)
