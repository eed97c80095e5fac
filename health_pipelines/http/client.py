"""The one way out of the house: how a vendor is called, and what its failures mean.

Belongs here: time limits, bounded retries, the number of calls at once, the translation of every
failure into a typed error with one sentence, and the redaction of keys. Does not belong here: how an
answer is read (`answers.py`), what a vendor's endpoints are called or answer (see each vendor's
`client.py`), and anything of Dagster.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import httpx
import stamina

from health_pipelines.http.answers import (
    REDIRECT_STATUSES,
    end_is_proven,
    json_object,
    redirect_target,
    seconds_until_available,
    vendor_words,
)
from health_pipelines.http.errors import (
    AccessDeniedError,
    NotFoundError,
    PermanentError,
    RefusedError,
    TransientError,
    UnreadableAnswerError,
    VendorError,
    WrongAddressError,
)
from health_pipelines.http.json_text import UnreadableJsonError, read_json
from health_pipelines.settings import HttpPolicy, Secret

DOWNLOAD_CHUNK_BYTES = 1 << 18
# httpx looks through all connections of a pool for every call, so that one large pool costs several times
# the CPU of small ones (benchmarks/sensor_tick.py).
CONNECTIONS_IN_POOL = 5
# Many servers close an idle connection after five seconds. A call on one that is being closed at that moment
# is lost, and may have been carried out.
IDLE_SECONDS = 3.0
MOST_REDIRECTS = 3
# Longer waits are not ours to sleep: the caller's schedule comes round again by itself.
LONGEST_WAIT_SECONDS = 60.0

# httpx logs every URL at INFO, and a query may hold a patient's name.
logging.getLogger("httpx").setLevel(logging.WARNING)


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


class VendorHttp:
    """An HTTP connection to one vendor, to be closed (see `VendorClient`).

    `authorization` is what the Authorization header says on every call, to this host only; None for none.
    `url_setting` and `key_setting` are the names that error messages tell the user to change.
    With a `budget`, every attempt waits for its turn, and a 429 is handed to it and never fails a call.
    With `follow_redirects`, those to the same scheme, host and port are followed with everything the call
    had, its method too; all others are errors.

    Raises `WrongAddressError` at once for a base URL that is malformed, or is not https and not loopback:
    the key would cross the network in clear.
    """

    def __init__(
        self,
        *,
        vendor: str,
        base_url: str,
        authorization: Secret | Authorization | None,
        policy: HttpPolicy,
        url_setting: str,
        key_setting: str,
        budget: CallBudget | None = None,
        follow_redirects: bool = False,
    ) -> None:
        refuse_unsafe(base_url, url_setting)
        self._vendor = vendor
        self._authorization = _Fixed(authorization) if isinstance(authorization, Secret) else authorization
        self._policy = policy
        self._url_setting = url_setting
        self._key_setting = key_setting
        self._budget = budget
        self._most_redirects = MOST_REDIRECTS if follow_redirects else 0
        self._host = urlsplit(base_url).netloc
        self._pools: list[httpx.AsyncClient] = []
        self._free: asyncio.Queue[httpx.AsyncClient] = asyncio.Queue()
        for place in range(policy.concurrency):
            if place % CONNECTIONS_IN_POOL == 0:
                self._pools.append(self._new_pool(base_url))
            self._free.put_nowait(self._pools[-1])

    async def close(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    async def json(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, on_lost: Callable[[], None]
    ) -> dict[str, Any]:
        """Call and return the JSON object of a 2xx answer, trying again within the policy.

        `on_lost` is called for every attempt that the vendor may have carried out without our hearing of it.
        Raises `TransientError` when every attempt failed so, `PermanentError` at the first of its kind.
        """
        return (await self.answer(Call(method, path, body=body), on_lost=on_lost)).json

    async def answer(
        self,
        call: Call,
        *,
        accepts: Callable[[int, dict[str, Any]], bool] = lambda status, parsed: False,
        on_lost: Callable[[], None] = lambda: None,
    ) -> Answer:
        """As `json`, with all that a client may want to know of the answer.

        `accepts(status, object)` is asked about an answer that is not a success: whether the client
        understands it. Otherwise it is translated into an error, or tried again.
        """
        async for attempt in self._attempts():
            with attempt:
                try:
                    async with self._call(call, accepts) as (response, hidden):
                        body = await response.aread()
                        words = "" if response.is_success else vendor_words(body, hidden)
                        return Answer(
                            response.status_code, body, self._object(call, response.status_code, body), words
                        )
                except TransientError as error:
                    if error.maybe_carried_out:
                        on_lost()
                    raise
        raise AssertionError("stamina either returns or raises")

    async def download(self, path: str, begin: Callable[[], Callable[[bytes], None]]) -> Downloaded:
        """Stream a body into a sink, a chunk at a time; memory use does not depend on its size.

        `begin()` is called at the start of every attempt and returns a sink for that attempt, so that an
        attempt whose body ended early leaves nothing behind. Raises as `json` does; whatever the sink
        raises passes through.
        """
        async for attempt in self._attempts():
            with attempt:
                async with self._call(Call("GET", path)) as (response, _):
                    sink = begin()
                    size = 0
                    async for chunk in response.aiter_bytes(DOWNLOAD_CHUNK_BYTES):
                        sink(chunk)
                        size += len(chunk)
                    return Downloaded(size, end_is_proven=end_is_proven(response.headers))
        raise AssertionError("stamina either returns or raises")

    def _new_pool(self, base_url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=base_url,
            timeout=self._policy.timeout_seconds,
            follow_redirects=False,
            # No proxy or .netrc of the environment may see the key or replace it.
            trust_env=False,
            limits=httpx.Limits(
                max_connections=CONNECTIONS_IN_POOL,
                max_keepalive_connections=CONNECTIONS_IN_POOL,
                keepalive_expiry=IDLE_SECONDS,
            ),
        )

    def _attempts(self) -> AsyncIterator[stamina.Attempt]:
        policy = self._policy
        context = stamina.retry_context(
            on=_backoff,
            attempts=policy.attempts,
            timeout=None,
            wait_initial=policy.wait_initial_seconds,
            wait_max=policy.wait_max_seconds,
            wait_jitter=policy.wait_jitter_seconds,
        )
        return aiter(context)

    @asynccontextmanager
    async def _call(
        self, call: Call, accepts: Callable[[int, dict[str, Any]], bool] = lambda status, parsed: False
    ) -> AsyncIterator[tuple[httpx.Response, Collection[str]]]:
        """One attempt: yields a response that is a success, its body not read, or one that is accepted.

        Beside it comes what must not be shown of its words. Raises a `VendorError` for all others. Goes on
        by itself after a throttle (with a budget), after a redirect and after the first 401.
        """
        url: httpx.URL | str = call.path
        redirects, renewed = 0, False
        pool = await self._free.get()
        try:
            while True:
                header = await self._turn()
                hidden = _revealed(call, header)
                request = self._request(pool, call, url, header)
                response = await pool.send(request, stream=True)
                try:
                    if response.is_success:
                        yield response, hidden
                        return
                    body = await response.aread()
                    parsed = json_object(body)
                    if parsed is not None and accepts(response.status_code, parsed):
                        yield response, hidden
                        return
                finally:
                    await response.aclose()
                if response.status_code == 429 and self._budget is not None:
                    await self._budget.throttled(seconds_until_available(body, response.headers))
                    continue
                if response.status_code == 401 and not renewed and header and self._authorization:
                    renewed = True
                    if await self._authorization.renew(header):
                        continue
                if response.status_code in REDIRECT_STATUSES and self._most_redirects:
                    url = self._redirected(call, request.url, response, redirects)
                    redirects += 1
                    continue
                raise self._refusal(call, response, body, hidden)
        except httpx.HTTPError as error:
            # `from None`: httpx's exceptions hold the request, and the request holds the key.
            raise self._network_failure(call, error) from None
        finally:
            self._free.put_nowait(pool)

    async def _turn(self) -> Secret | None:
        """Wait for the turn of one call and return what its Authorization header is to say."""
        if self._authorization is None:
            if self._budget is not None:
                await self._budget.acquire()
            return None
        header = await self._authorization.header()
        if self._budget is not None:
            # Asked for twice: a token that cannot be had must not cost a call, and the wait may be an hour.
            await self._budget.acquire()
            header = await self._authorization.header()
        return header

    def _request(
        self, pool: httpx.AsyncClient, call: Call, url: httpx.URL | str, header: Secret | None
    ) -> httpx.Request:
        form = call.form and {
            name: value.reveal() if isinstance(value, Secret) else value for name, value in call.form.items()
        }
        return pool.build_request(
            call.method,
            url,
            # The address of a redirect has its query already.
            params=list(call.query) if call.query and isinstance(url, str) else None,
            json=call.body,
            data=form,
            headers={"Authorization": header.reveal()} if header else None,
        )

    def _redirected(self, call: Call, asked: httpx.URL, response: httpx.Response, followed: int) -> httpx.URL:
        said = f"{self._vendor} answered {response.status_code} to {call}"
        if followed == self._most_redirects:
            raise WrongAddressError(
                f"{said}, the redirect after {followed} others. Check {self._url_setting}."
            )
        target = redirect_target(asked, response.headers.get("Location", ""))
        if target is None:
            raise WrongAddressError(
                f"{said}, a redirect away from {self._host}, which is not followed. "
                f"Check {self._url_setting}."
            )
        return target

    def _network_failure(self, call: Call, error: httpx.HTTPError) -> VendorError:
        if isinstance(error, httpx.ConnectError) and _is_unknown_host(error):
            return TransientError(
                f"{self._vendor}: the host {self._host} is not known; check {self._url_setting}."
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return TransientError(
                f"{self._vendor}: no connection to {self._host}; check {self._url_setting} and the network."
            )
        if isinstance(error, httpx.TimeoutException):
            return TransientError(
                f"{self._vendor}: {call} was silent for {self._policy.timeout_seconds:g} s.",
                maybe_carried_out=True,
            )
        if isinstance(error, httpx.TransportError):
            return TransientError(
                f"{self._vendor}: the connection broke during {call} ({type(error).__name__}).",
                maybe_carried_out=True,
            )
        return UnreadableAnswerError(
            f"{self._vendor}: {call} gave an answer that cannot be read ({type(error).__name__}).",
            maybe_carried_out=True,
        )

    def _refusal(
        self, call: Call, response: httpx.Response, body: bytes, hidden: Collection[str]
    ) -> VendorError:
        status = response.status_code
        words = vendor_words(body, hidden)
        said = f"{self._vendor} answered {status} to {call}" + (f": {words}" if words else "")
        if status in (401, 403):
            return AccessDeniedError(f"{said}. Check {self._key_setting}.")
        if status == 404 and "no Route matched" in words:
            return WrongAddressError(f"{said}. {self._url_setting} does not lead to {self._vendor}'s API.")
        if status == 404:
            return NotFoundError(f"{said}.")
        if status == 429 or status >= 500:
            return TransientError(
                f"{said}.",
                maybe_carried_out=status != 429,
                retry_after_seconds=seconds_until_available(body, response.headers),
            )
        if 300 <= status < 400:
            return WrongAddressError(f"{said}, a redirect, which is not followed. Check {self._url_setting}.")
        return RefusedError(f"{said}.", status)

    def _object(self, call: Call, status: int, body: bytes) -> dict[str, Any]:
        said = f"{self._vendor} answered {status} to {call}"
        try:
            parsed = read_json(body)
        except UnreadableJsonError as error:
            if not body.lstrip().startswith(b"{"):
                raise self._not_the_api(said) from None
            raise PermanentError(f"{said} with a body that {error}; ask {self._vendor} about it.") from None
        if not isinstance(parsed, dict):
            raise self._not_the_api(said)
        return parsed

    def _not_the_api(self, said: str) -> WrongAddressError:
        return WrongAddressError(
            f"{said} with something that is not a JSON object; does {self._url_setting} lead to its API?"
        )


class VendorClient:
    """What the clients of all vendors share: one `VendorHttp`, held as `async with`."""

    def __init__(self, http: VendorHttp) -> None:
        self._http = http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.close()


def refuse_unsafe(base_url: str, url_setting: str) -> None:
    """Raises `WrongAddressError` unless it is https, or http to this machine. It never shows a path."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongAddressError(f"{url_setting} is not a URL like https://host.")
    if parts.username or parts.password:
        raise WrongAddressError(f"{url_setting} must not contain a user name or password.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise WrongAddressError(
            f"{url_setting} starts with http:// but {parts.hostname} is not this machine; use https://."
        )


def origin_of(base_url: str) -> str:
    """What tells one vendor or tier from another: the host. Any port of this machine is the sandbox."""
    name = urlsplit(base_url).hostname or ""
    return "the sandbox on this machine" if is_loopback(name) else name


def is_loopback(hostname: str) -> bool:
    """Whether the name stands for this machine, without asking a name server."""
    if hostname == "localhost":
        return True
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return False


def _is_unknown_host(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Fixed:
    """An Authorization header that never changes."""

    def __init__(self, value: Secret) -> None:
        self._value = value

    async def header(self) -> Secret:
        return self._value

    async def renew(self, refused: Secret) -> bool:
        return False


def _revealed(call: Call, header: Secret | None) -> set[str]:
    """Every secret that goes out with the call, the key with and without the word before it."""
    found = {value.reveal() for value in (call.form or {}).values() if isinstance(value, Secret)}
    if header is not None:
        found |= {header.reveal(), header.reveal().rpartition(" ")[2]}
    return found


def _backoff(error: Exception) -> bool | float:
    """stamina's hook: whether to try again, or after how many seconds."""
    if not isinstance(error, TransientError) or error.tried_enough:
        return False
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds if error.retry_after_seconds <= LONGEST_WAIT_SECONDS else False
    return True
