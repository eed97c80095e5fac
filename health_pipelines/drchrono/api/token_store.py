"""What is kept of DrChrono's tokens between runs, and what every place that keeps it promises.

Belongs here: its shape, its text, and the promise. Does not belong here: the places (`token_file.py`,
`token_table.py`), and when tokens are renewed, and how (`tokens.py`).
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from health_pipelines.settings import Secret


@dataclass(frozen=True)
class KeptTokens:
    """What is known of one chain of refresh tokens. Times are aware, in UTC.

    `renewal_began_at`: a renewal whose end nobody has seen, so that the successor of `refresh_token` may be
    lost.
    """

    refresh_token: Secret
    access_token: Secret | None = None
    renew_at: datetime | None = None
    expires_at: datetime | None = None
    renewal_began_at: datetime | None = None


class TokenStore(Protocol):
    """Tokens by chain. A chain is named by a hash of what it began with (see `tokens.py`).

    Methods raise `PermanentError` or `TransientError` with one sentence, in which nothing is of the tokens.
    """

    @property
    def shown(self) -> str:
        """Where that is, for people."""

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Be the one who may write, waiting for it without blocking the event loop."""

    def read(self, chain: str) -> KeptTokens | None:
        """What is known of a chain; None if nothing is. To be called while `writing`."""

    async def write(self, chain: str, tokens: KeptTokens, *, forget_others: bool = False) -> None:
        """Replace what is known: durable when this returns, never half done. To be called while `writing`."""


def to_json(tokens: KeptTokens) -> dict[str, str | None]:
    return {
        "refresh_token": tokens.refresh_token.reveal(),
        "access_token": tokens.access_token.reveal() if tokens.access_token else None,
        "renew_at": _time_text(tokens.renew_at),
        "expires_at": _time_text(tokens.expires_at),
        "renewal_began_at": _time_text(tokens.renewal_began_at),
    }


def from_json(known: Mapping[str, Any]) -> KeptTokens:
    """Raises `ValueError`, `TypeError`, `AttributeError` or `KeyError` for what `to_json` did not make."""
    return KeptTokens(
        refresh_token=Secret(_full(known["refresh_token"])),
        access_token=Secret(_full(known["access_token"])) if known["access_token"] is not None else None,
        renew_at=_time(known["renew_at"]),
        expires_at=_time(known["expires_at"]),
        renewal_began_at=_time(known["renewal_began_at"]),
    )


def _full(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a token")
    return value


def _time(value: Any) -> datetime | None:
    moment = None if value is None else datetime.fromisoformat(value)
    if moment is not None and moment.tzinfo is None:
        raise ValueError("not a time with a zone")
    return moment


def _time_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
