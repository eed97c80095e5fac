"""The one way out of the house: how a vendor is called, and what its failures mean.

Belongs here: time limits, bounded retries, the number of calls at once, the translation of every
failure into a typed error with one sentence, and the redaction of keys. Does not belong here: what
a vendor's endpoints are called or answer (see each vendor's `client.py`), and anything of Dagster.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import stamina

# A vendor's words go into logs and the UI: long enough for a message, too short for a page of HTML.
LONGEST_VENDOR_MESSAGE = 300
DOWNLOAD_CHUNK_BYTES = 1 << 18
# httpx looks through all connections of a pool for every call, so that one large pool costs several times
# the CPU of small ones (benchmarks/sensor_tick.py).
CONNECTIONS_IN_POOL = 5


class Secret:
    """A key or token. It shows itself to `reveal()` only: not in a repr, a log, a format or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class VendorError(Exception):
    """A call to a vendor failed. The message is one sentence, free of keys and of patient data."""


class TransientError(VendorError):
    """Worth another try: the network, a time limit, a server error, a throttle, a body that ended early.

    `maybe_carried_out`: the vendor may have done what was asked although no answer arrived.
    `retry_after_seconds`: what the vendor asked us to wait, if it did.
    """

    def __init__(
        self, message: str, *, maybe_carried_out: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.maybe_carried_out = maybe_carried_out
        self.retry_after_seconds = retry_after_seconds


class PermanentError(VendorError):
    """Trying again changes nothing: somebody has to change a setting, the request or the vendor."""


class AccessDeniedError(PermanentError):
    """401 or 403: the key is wrong or may not do this."""


class RefusedError(PermanentError):
    """400 and its kin: the vendor understood and said no. `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(PermanentError):
    """404 for the thing asked for (not for a path that does not exist: `WrongAddressError`)."""


class WrongAddressError(PermanentError):
    """The base URL is not the vendor's API: malformed, not https, redirected, or no such route."""


def speaks_for_all_calls(error: Exception) -> bool:
    """Whether every other call would fail the same way: a refused key, a wrong address."""
    return isinstance(error, AccessDeniedError | WrongAddressError)


@dataclass(frozen=True)
class HttpPolicy:
    """How patient and how eager we are. Durations in seconds.

    `wait_initial_seconds` doubles with every attempt, with up to `wait_jitter_seconds` at random on top.
    """

    concurrency: int = 5
    attempts: int = 4
    timeout_seconds: float = 30.0
    wait_initial_seconds: float = 0.5
    wait_max_seconds: float = 20.0
    wait_jitter_seconds: float = 1.0


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

    `authorization` is sent as the Authorization header on every call, and to this host only (redirects
    are errors). `url_setting` and `key_setting` are the names that error messages tell the user to change.

    Raises `WrongAddressError` at once for a base URL that is malformed, or is not https and not loopback:
    the key would cross the network in clear.
    """

    def __init__(
        self,
        *,
        vendor: str,
        base_url: str,
        authorization: Secret,
        policy: HttpPolicy,
        url_setting: str,
        key_setting: str,
    ) -> None:
        _refuse_unsafe(base_url, url_setting)
        self._vendor = vendor
        self._authorization = authorization
        self._policy = policy
        self._url_setting = url_setting
        self._key_setting = key_setting
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
        async for attempt in self._attempts():
            with attempt:
                try:
                    async with self._call(method, path, body) as response:
                        return self._object(response, await response.aread())
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
                async with self._call("GET", path, None) as response:
                    sink = begin()
                    size = 0
                    async for chunk in response.aiter_bytes(DOWNLOAD_CHUNK_BYTES):
                        sink(chunk)
                        size += len(chunk)
                    return Downloaded(size, end_is_proven=_end_is_proven(response))
        raise AssertionError("stamina either returns or raises")

    def _new_pool(self, base_url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=base_url,
            timeout=self._policy.timeout_seconds,
            follow_redirects=False,
            # No proxy or .netrc of the environment may see the key or replace it.
            trust_env=False,
            limits=httpx.Limits(
                max_connections=CONNECTIONS_IN_POOL, max_keepalive_connections=CONNECTIONS_IN_POOL
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
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator[httpx.Response]:
        """One attempt: yields a 2xx response whose body has not been read, or raises a `VendorError`."""
        headers = {"Authorization": self._authorization.reveal()}
        pool = await self._free.get()
        try:
            async with pool.stream(method, path, json=body, headers=headers) as response:
                if not response.is_success:
                    raise self._refusal(method, path, response, await response.aread())
                yield response
        except httpx.HTTPError as error:
            # `from None`: httpx's exceptions hold the request, and the request holds the key.
            raise self._network_failure(method, path, error) from None
        finally:
            self._free.put_nowait(pool)

    def _network_failure(self, method: str, path: str, error: httpx.HTTPError) -> VendorError:
        where = f"{method} {path}"
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
                f"{self._vendor}: {where} was silent for {self._policy.timeout_seconds:g} s.",
                maybe_carried_out=True,
            )
        if isinstance(error, httpx.TransportError):
            return TransientError(
                f"{self._vendor}: the connection broke during {where} ({type(error).__name__}).",
                maybe_carried_out=True,
            )
        return TransientError(
            f"{self._vendor}: {where} gave an answer that cannot be read ({type(error).__name__}).",
            maybe_carried_out=True,
        )

    def _refusal(self, method: str, path: str, response: httpx.Response, body: bytes) -> VendorError:
        status = response.status_code
        words = self._vendor_words(body)
        said = f"{self._vendor} answered {status} to {method} {path}" + (f": {words}" if words else "")
        if status in (401, 403):
            return AccessDeniedError(f"{said}. Check {self._key_setting}.")
        if status == 404 and "no Route matched" in words:
            return WrongAddressError(f"{said}. {self._url_setting} does not lead to {self._vendor}'s API.")
        if status == 404:
            return NotFoundError(f"{said}.")
        if status == 429 or status >= 500:
            return TransientError(
                f"{said}.", maybe_carried_out=status != 429, retry_after_seconds=_retry_after(response)
            )
        if 300 <= status < 400:
            return WrongAddressError(f"{said}, a redirect, which is not followed. Check {self._url_setting}.")
        return RefusedError(f"{said}.", status)

    def _vendor_words(self, body: bytes) -> str:
        """The vendor's message: under `error`, `message` or `msg`, depending on the call [vendor doc]."""
        try:
            parsed = json.loads(body)
        except ValueError:
            return ""
        if not isinstance(parsed, dict):
            return ""
        words = next((str(parsed[key]) for key in ("error", "message", "msg") if parsed.get(key)), "")
        for secret in {self._authorization.reveal(), self._authorization.reveal().rpartition(" ")[2]}:
            words = words.replace(secret, "***")
        return words[:LONGEST_VENDOR_MESSAGE].rstrip(". ")

    def _object(self, response: httpx.Response, body: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise WrongAddressError(
                f"{self._vendor} answered {response.status_code} with something that is not a JSON object; "
                f"does {self._url_setting} lead to its API?"
            )
        return parsed


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


def _refuse_unsafe(base_url: str, url_setting: str) -> None:
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


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _end_is_proven(response: httpx.Response) -> bool:
    headers = response.headers
    return "content-length" in headers or headers.get("transfer-encoding", "").lower() == "chunked"


def _backoff(error: Exception) -> bool | float:
    """stamina's hook: whether to try again, or after how many seconds."""
    if not isinstance(error, TransientError):
        return False
    # Longer waits are not ours to sleep: the caller's schedule comes round again by itself.
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds if error.retry_after_seconds <= 60 else False
    return True
