"""DrChrono's bearer tokens: a fixed one, or one that is renewed with OAuth.

Belongs here: when a token is renewed, by whom, and what to do when that goes wrong. Does not belong here:
where tokens are kept (`token_store.py`), and calls that use them (`client.py`).

A renewal may replace the refresh token too [seen]; the old one is worthless then. So it is kept that a
renewal is under way before it is asked for. After a crash between the vendor's answer and the storing of it,
the old refresh token is tried again; if the vendor refuses it, the error says when the renewal was cut off.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from health_pipelines.drchrono.api.token_store import KeptTokens, TokenStore
from health_pipelines.http import (
    AccessDeniedError,
    Answer,
    Call,
    CallBudget,
    NotFoundError,
    RefusedError,
    TransientError,
    VendorError,
    VendorHttp,
    origin_of,
)
from health_pipelines.settings import HttpPolicy, Secret

TOKEN_PATH = "/o/token/"  # noqa: S105 (a path)
# So long a token lives [doc], if the vendor does not say.
DOCUMENTED_LIFE = timedelta(hours=48)
LONGEST_LIFE = timedelta(days=365)
# Renewed so much before its end, so that it does not end under way.
RENEW_BEFORE = timedelta(minutes=5)

_SAID_NO = AccessDeniedError | NotFoundError | RefusedError


class RefreshTokenError(AccessDeniedError):
    """The refresh token is no longer valid: a person has to authorise the application again."""


class StaticToken:
    """A bearer token that somebody else renews (DRCHRONO_ACCESS_TOKEN)."""

    settings = "DRCHRONO_ACCESS_TOKEN"

    def __init__(self, access_token: Secret) -> None:
        self._header = _bearer(access_token)

    async def header(self) -> Secret:
        return self._header

    async def renew(self, refused: Secret) -> bool:
        return False


class RenewedTokens:
    """Bearer tokens of an application that are renewed a little before they end, and when one is refused.

    Shared by all processes that use the same store: one renews, the others wait and take what it stored.
    `refresh_token` is what the chain begins with; its successors are kept in `store`. Another value of it,
    of `client_id` or of the vendor's host begins a chain of its own, whose first success ends the others.
    `now` gives an aware time. With a `budget` a renewal waits for its turn as every call does, and a throttle
    of it [seen] is waited for and obeyed by all.

    Methods raise `RefreshTokenError`, `AccessDeniedError` (the application is refused), what the store
    raises, or `TransientError` when trying later may help; that one has been tried as often as the policy
    allows.
    """

    settings = "DRCHRONO_CLIENT_ID, DRCHRONO_CLIENT_SECRET and DRCHRONO_REFRESH_TOKEN"

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str,
        client_secret: Secret,
        refresh_token: Secret,
        store: TokenStore,
        policy: HttpPolicy,
        now: Callable[[], datetime],
        budget: CallBudget | None = None,
    ) -> None:
        self._base_url = base_url
        self._budget = budget
        self._client_id = client_id
        self._client_secret = client_secret
        self._first = refresh_token
        self._store = store
        self._policy = replace(policy, concurrency=1)
        self._now = now
        self._chain = _chain_name(base_url, client_id, refresh_token)
        self._known: KeptTokens | None = None

    async def header(self) -> Secret:
        """The Authorization header for a call that goes out now, after a renewal if it is time for one."""
        return await self._other_than(None)

    async def renew(self, refused: Secret) -> bool:
        """Get a token other than the one in a header that the vendor refused. True: there is one."""
        await self._other_than(refused)
        return True

    async def _other_than(self, refused: Secret | None) -> Secret:
        if header := self._usable(self._known, refused):
            return header
        async with self._store.writing():
            stored = self._store.read(self._chain)
            if not self._usable(stored, refused):
                stored = await self._renewed(stored or KeptTokens(self._first))
        self._known = stored
        assert stored is not None
        assert stored.access_token is not None
        return _bearer(stored.access_token)

    def _usable(self, tokens: KeptTokens | None, refused: Secret | None) -> Secret | None:
        if tokens is None or tokens.access_token is None or tokens.renew_at is None:
            return None
        header = _bearer(tokens.access_token)
        if self._now() >= tokens.renew_at or (refused and refused.reveal() == header.reveal()):
            return None
        return header

    async def _renewed(self, before: KeptTokens) -> KeptTokens:
        """Ask for new tokens and store them. To be called by the one who may write."""
        began = self._now().astimezone(UTC)
        lost = before.renewal_began_at is not None

        def count_lost() -> None:
            nonlocal lost
            lost = True

        noted = replace(before, renewal_began_at=before.renewal_began_at or began)
        await self._store.write(self._chain, noted)
        try:
            answer = await self._ask(before.refresh_token, count_lost)
        except VendorError as error:
            # The vendor said no or never heard us: nothing can have been replaced. What an answer said that
            # cannot be read nobody knows.
            if not lost and isinstance(error, _SAID_NO | TransientError):
                await self._take_back(noted, before)
            if isinstance(error, TransientError):
                raise TransientError(
                    str(error), retry_after_seconds=error.retry_after_seconds, tried_enough=True
                ) from None
            raise
        if answer.status >= 400:
            if renewed := self._renewed_meanwhile(noted):
                return renewed
            if not lost:
                await self._take_back(noted, before)
            raise RefreshTokenError(self._refused(noted, lost))
        after = _tokens(answer.json, before, began)
        await self._store.write(self._chain, after, forget_others=True)
        return after

    async def _take_back(self, noted: KeptTokens, before: KeptTokens) -> None:
        """Nothing was renewed: what was known before is so again, if nobody else wrote."""
        if not self._renewed_meanwhile(noted):
            await self._store.write(self._chain, before)

    def _renewed_meanwhile(self, noted: KeptTokens) -> KeptTokens | None:
        """What another host has renewed, which can be where our lock among hosts was lost under way."""
        stored = self._store.read(self._chain)
        if stored is None or stored.access_token is None:
            return None
        known = noted.access_token
        return None if known and known.reveal() == stored.access_token.reveal() else stored

    async def _ask(self, refresh_token: Secret, on_lost: Callable[[], None]) -> Answer:
        http = VendorHttp(
            vendor="DrChrono",
            base_url=self._base_url,
            authorization=None,
            policy=self._policy,
            url_setting="DRCHRONO_BASE_URL",
            key_setting=self.settings,
            budget=self._budget,
            follow_redirects=True,
        )
        form: Mapping[str, str | Secret] = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": self._client_id,
            "client_secret": self._client_secret,
        }
        call = Call("POST", TOKEN_PATH, form=form)
        try:
            return await http.answer(call, accepts=_is_about_the_refresh_token, on_lost=on_lost)
        finally:
            await http.close()

    def _refused(self, noted: KeptTokens, lost: bool) -> str:
        is_first = noted.refresh_token.reveal() == self._first.reveal()
        which = "DRCHRONO_REFRESH_TOKEN" if is_first else f"the refresh token kept in {self._store.shown}"
        why = "it was revoked, ended, or was used somewhere else"
        if lost and noted.renewal_began_at:
            why = (
                f"a renewal was cut off at {noted.renewal_began_at:%Y-%m-%d %H:%M:%S} UTC before the new "
                "tokens were stored"
            )
        return (
            f"DrChrono no longer accepts {which} ({why}); authorise the application again in DrChrono and "
            "set DRCHRONO_REFRESH_TOKEN to the new refresh token."
        )


def _is_about_the_refresh_token(status: int, answer: dict[str, Any]) -> bool:
    # 400 by the standard; servers have answered 401 as well.
    return status in (400, 401) and answer.get("error") == "invalid_grant"


def _tokens(answer: dict[str, Any], before: KeptTokens, began: datetime) -> KeptTokens:
    access_token, refresh_token = answer.get("access_token"), answer.get("refresh_token")
    if not isinstance(access_token, str) or not access_token:
        raise AccessDeniedError("DrChrono renewed the token but its answer has no 'access_token'.")
    life = _life(answer.get("expires_in"))
    expires_at = began + life
    return KeptTokens(
        refresh_token=Secret(refresh_token)
        if isinstance(refresh_token, str) and refresh_token
        else before.refresh_token,
        access_token=Secret(access_token),
        renew_at=expires_at - min(RENEW_BEFORE, life / 10),
        expires_at=expires_at,
    )


def _life(seconds: Any) -> timedelta:
    """What cannot be read is as documented: an error here would throw away the new refresh token."""
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds[:20])
    if isinstance(seconds, bool) or not isinstance(seconds, int | Decimal):
        return DOCUMENTED_LIFE
    # Before it is compared, which the number that is none (1e9999999999999999999) does not stand.
    if (isinstance(seconds, Decimal) and not seconds.is_finite()) or seconds < 1:
        return DOCUMENTED_LIFE
    return timedelta(seconds=float(min(seconds, LONGEST_LIFE.total_seconds())))


def _chain_name(base_url: str, client_id: str, refresh_token: Secret) -> str:
    began_with = "\0".join([origin_of(base_url), client_id, refresh_token.reveal()])
    return hashlib.sha256(began_with.encode()).hexdigest()


def _bearer(token: Secret) -> Secret:
    return Secret(f"Bearer {token.reveal()}")
