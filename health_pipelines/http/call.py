"""One request to a vendor and its answer, as values, and what else has a say in a call.

Belongs here: those shapes. Does not belong here: how a call is made (`client.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from health_pipelines.settings import Secret


class Authorization(Protocol):
    """What a vendor's Authorization header says, where that can change."""

    async def header(self) -> Secret:
        """The whole value of the header for a call that goes out now. May raise a `VendorError`."""

    async def renew(self, refused: Secret) -> bool:
        """The vendor answered 401 to this value. Whether there is another one to try now."""


class CallBudget(Protocol):
    """Who may call when, where a vendor counts the calls of everybody."""

    async def acquire(self) -> None:
        """Wait for a turn to make one call, which counts whatever comes of it."""

    async def throttled(self, seconds: float | None) -> None:
        """The vendor said 429: no call before that many seconds; None if it did not say how many."""


@dataclass(frozen=True)
class Call:
    """One request to a vendor. `query` and `form` may hold secrets and patients, and are not shown."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    form: Mapping[str, str | Secret] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """A JSON object that the vendor answered. `body` is its bytes as they came.

    `words` is the vendor's message in an answer that is not a success, fit to be shown.
    """

    status: int
    body: bytes = field(repr=False)
    json: dict[str, Any] = field(repr=False)
    words: str


@dataclass(frozen=True)
class Downloaded:
    """A body that was read to its end.

    `end_is_proven`: the transport itself said where the body ends (a length, or a last chunk).
    Otherwise a lost connection looks the same as the end, and the content has to prove it.
    """

    size_bytes: int
    end_is_proven: bool


class FixedAuthorization:
    """An Authorization header that never changes."""

    def __init__(self, value: Secret) -> None:
        self._value = value

    async def header(self) -> Secret:
        return self._value

    async def renew(self, refused: Secret) -> bool:
        return False
