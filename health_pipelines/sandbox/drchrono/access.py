"""Who may call DrChrono, and how often: access tokens, refresh tokens, the quota. No HTTP; time is passed in.

The hour of the quota is the sandbox clock's; the second is real, because that is what callers are fast in.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from health_pipelines.sandbox.drchrono.settings import DrChronoSettings

HOUR = 3600


class InvalidGrantError(Exception):
    """The refresh token is unknown, or another has replaced it."""


@dataclass(frozen=True)
class Tokens:
    """What a refresh gives."""

    access: str
    refresh: str
    life_seconds: float


@dataclass
class TokenDesk:
    """Gives tokens and knows them again."""

    _access: dict[str, datetime] = field(default_factory=dict)
    """Access tokens and when they expire."""
    _refresh: dict[str, datetime | None] = field(default_factory=dict)
    """Refresh tokens and until when they work; None: until replaced."""
    _given: dict[str, str] = field(default_factory=dict)
    """The access token that came together with a refresh token."""

    def knows(self, token: str, now: datetime, settings: DrChronoSettings) -> bool:
        """Whether a call with this access token is let in."""
        if token and token == settings.drchrono_access_token:
            return True
        expires = self._access.get(token)
        return expires is not None and now < expires

    def refresh(self, token: str, now: datetime, settings: DrChronoSettings) -> Tokens:
        """A new access token, and a new refresh token if they rotate."""
        first = token == settings.drchrono_refresh_token
        if token not in self._refresh and not first:
            raise InvalidGrantError
        until = self._refresh.get(token)
        if until is not None and now >= until:
            raise InvalidGrantError
        if settings.drchrono_refresh_revokes == "yes":
            self._access.pop(self._given.get(token, ""), None)
        successor = token
        if settings.drchrono_rotate_refresh == "yes":
            successor = f"refresh-{uuid4().hex}"
            if until is None:
                self._refresh[token] = now + timedelta(seconds=settings.drchrono_refresh_grace_seconds)
        self._refresh.setdefault(successor, None)
        access, life = f"access-{uuid4().hex}", settings.drchrono_token_life_seconds
        self._access[access] = now + timedelta(seconds=life)
        self._given[successor] = access
        return Tokens(access, successor, life)

    def revoke_all(self) -> None:
        """No access token that was given works any longer; refresh tokens do."""
        self._access.clear()


@dataclass
class Quota:
    """Counts the calls of an hour that begins at the full hour, and those of the last second."""

    used: int = 0
    throttled: int = 0
    _hour: int = 0
    _recent: deque[float] = field(default_factory=deque)

    def admit(self, now: datetime, real_seconds: float, settings: DrChronoSettings) -> int | None:
        """None if the call may pass; otherwise after how many whole seconds another may."""
        self._turn(now)
        counted_anyway = settings.drchrono_count_refused == "yes"
        wait = self._wait(now, real_seconds, settings)
        if wait is None or counted_anyway:
            self.used += 1
            self._recent.append(real_seconds)
        if wait is not None:
            self.throttled += 1
        return wait

    def as_json(self, now: datetime) -> dict[str, object]:
        """The calls counted in this hour, and how many were throttled since the start."""
        self._turn(now)
        return {"used": self.used, "throttled": self.throttled}

    def use(self, now: datetime, calls: int) -> None:
        """Let so many calls of this hour have been used by somebody else."""
        self._turn(now)
        self.used += calls

    def _turn(self, now: datetime) -> None:
        hour = int(now.timestamp() // HOUR)
        if hour != self._hour:
            self._hour, self.used = hour, 0

    def _wait(self, now: datetime, real_seconds: float, settings: DrChronoSettings) -> int | None:
        while self._recent and self._recent[0] <= real_seconds - 1:
            self._recent.popleft()
        if 0 < settings.drchrono_calls_per_hour <= self.used:
            return math.ceil(HOUR - now.timestamp() % HOUR)
        return 1 if 0 < settings.drchrono_calls_per_second <= len(self._recent) else None
