"""The one way out of the house: how a vendor is called.

Belongs here: time limits, bounded retries, the number of calls at once, and the redaction of keys. Does not
belong here: how an answer is read (`answers.py`), what a failure is called (`failures.py`), what a
vendor's endpoints are called or answer (see each vendor's `client.py`), and anything of Dagster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from health_pipelines.http.addresses import refuse_unsafe
from health_pipelines.http.answers import (
    REDIRECT_STATUSES,
    end_is_proven,
    json_object,
    redirect_target,
    seconds_until_available,
    vendor_words,
    where_throttle_says,
)
from health_pipelines.http.bodies import (
    BrokenBodyError,
    OversizeBodyError,
    beginning,
    pieces,
)
from health_pipelines.http.call import Answer, Authorization, Call, CallBudget, Downloaded, FixedAuthorization
from health_pipelines.http.errors import (
    TransientError,
    WrongAddressError,
)
from health_pipelines.http.failures import Failures
from health_pipelines.http.pools import CONNECTIONS_IN_POOL, new_pool
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import HEALTH_LARGEST_ANSWER_MB, HEALTH_LARGEST_REPORT_MB

if TYPE_CHECKING:
    import httpx
    import stamina
else:
    httpx = loaded_when_used("httpx")
    stamina = loaded_when_used("stamina")

# As much is read of an answer that is no success: it holds a few words, and none of it is kept.
MOST_BYTES_OF_A_REFUSAL = 1 << 20
MOST_REDIRECTS = 3
# Longer waits are not ours to sleep: the caller's schedule comes round again by itself.
LONGEST_WAIT_SECONDS = 60.0

# httpx logs every URL at INFO, and a query may hold a patient's name.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class _Bound:
    """So many bytes a body may have, and the setting that says so."""

    bytes: int
    setting: Setting


class VendorHttp:
    """An HTTP connection to one vendor, to be closed (see `VendorClient`).

    `authorization` is what the Authorization header says on every call, to this host only; None for none.
    `url_setting` and `key_setting` are the names that error messages tell the user to change.
    With a `budget`, every attempt waits for its turn, and a 429 is handed to it and never fails a call.
    `on_throttle` is told first where that 429 says how long it lasts (`answers.where_throttle_says`).
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
        on_throttle: Callable[[Sequence[str]], None] = lambda _: None,
        follow_redirects: bool = False,
    ) -> None:
        refuse_unsafe(base_url, url_setting)
        self._authorization = (
            FixedAuthorization(authorization) if isinstance(authorization, Secret) else authorization
        )
        self._policy = policy
        self._budget = budget
        self._on_throttle = on_throttle
        self._most_redirects = MOST_REDIRECTS if follow_redirects else 0
        self._host = urlsplit(base_url).netloc
        self._largest_answer = _Bound(policy.largest_answer_bytes, HEALTH_LARGEST_ANSWER_MB)
        self._largest_download = _Bound(policy.largest_download_bytes, HEALTH_LARGEST_REPORT_MB)
        self._failures = Failures(vendor, self._host, url_setting, key_setting, policy.timeout_seconds)
        self._pools: list[httpx.AsyncClient] = []
        self._free: asyncio.Queue[httpx.AsyncClient] = asyncio.Queue()
        for place in range(policy.concurrency):
            if place % CONNECTIONS_IN_POOL == 0:
                self._pools.append(new_pool(base_url, policy.timeout_seconds))
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
                    async with self._call(call, accepts) as (response, read, hidden):
                        body = await self._whole(response) if read is None else read
                        words = "" if response.is_success else vendor_words(body, hidden)
                        return Answer(
                            response.status_code,
                            body,
                            self._failures.object_in(call, response.status_code, body),
                            words,
                        )
                except TransientError as error:
                    if error.maybe_carried_out:
                        on_lost()
                    raise
        raise AssertionError("stamina either returns or raises")

    async def download(self, path: str, begin: Callable[[], Callable[[bytes], None]]) -> Downloaded:
        """Stream a body into a sink, a piece at a time; memory use does not depend on its size.

        `begin()` is called at the start of every attempt and returns a sink for that attempt, so that an
        attempt whose body ended early leaves nothing behind. Raises as `json` does; whatever the sink
        raises passes through.
        """
        async for attempt in self._attempts():
            with attempt:
                call = Call("GET", path)
                async with self._call(call, most=self._largest_download) as (response, _, __):
                    if response.status_code != 200:
                        raise self._failures.of_other_success(call, response.status_code)
                    sink = begin()
                    size = 0
                    async for piece in pieces(response, most_bytes=self._largest_download.bytes):
                        sink(piece)
                        size += len(piece)
                    return Downloaded(size, end_is_proven=end_is_proven(response.headers))
        raise AssertionError("stamina either returns or raises")

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
        self,
        call: Call,
        accepts: Callable[[int, dict[str, Any]], bool] = lambda status, parsed: False,
        *,
        most: _Bound | None = None,
    ) -> AsyncIterator[tuple[httpx.Response, bytes | None, Collection[str]]]:
        """One attempt: yields a response that is a success, its body not read, or one that is accepted.

        Beside it comes the body of one that is accepted, and what must not be shown of its words. Whoever
        reads more of it than `most` (default: what an answer in memory may have), or longer than the policy
        allows, is told so. Raises a `VendorError` for all others. Goes on by itself after a throttle (with a
        budget), after a redirect and after the first 401.
        """
        most = most or self._largest_answer
        url: httpx.URL | str = call.path
        redirects, renewed = 0, False
        pool = await self._free.get()
        try:
            while True:
                header = await self._turn()
                hidden = _revealed(call, header)
                request = self._request(pool, call, url, header)
                async with self._in_time(call):
                    response = await pool.send(request, stream=True)
                    try:
                        if response.is_success:
                            yield response, None, hidden
                            return
                        body = await beginning(response, MOST_BYTES_OF_A_REFUSAL)
                        parsed = json_object(body)
                        if parsed is not None and accepts(response.status_code, parsed):
                            yield response, body, hidden
                            return
                    finally:
                        await response.aclose()
                if response.status_code == 429 and self._budget is not None:
                    self._on_throttle(where_throttle_says(body, response.headers))
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
                raise self._failures.of_answer(call, response, body, hidden)
        except BrokenBodyError as error:
            raise self._failures.of_body(call, error) from None
        except OversizeBodyError:
            raise self._failures.of_size(call, most.bytes, most.setting) from None
        except httpx.HTTPError as error:
            # `from None`: httpx's exceptions hold the request, and the request holds the key.
            raise self._failures.of_network(call, error) from None
        finally:
            self._free.put_nowait(pool)

    @asynccontextmanager
    async def _in_time(self, call: Call) -> AsyncIterator[None]:
        """From the sending of a call to the end of its answer, which may come a byte at a time."""
        limit = asyncio.timeout(self._policy.longest_seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._failures.of_duration(call, self._policy.longest_seconds) from None

    async def _whole(self, response: httpx.Response) -> bytes:
        found = [piece async for piece in pieces(response, most_bytes=self._largest_answer.bytes)]
        return b"".join(found)

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
        said = f"{self._failures.vendor} answered {response.status_code} to {call}"
        if followed == self._most_redirects:
            raise WrongAddressError(
                f"{said}, the redirect after {followed} others. Check {self._failures.url_setting}."
            )
        target = redirect_target(asked, response.headers.get("Location", ""))
        if target is None:
            raise WrongAddressError(
                f"{said}, a redirect away from {self._host}, which is not followed. "
                f"Check {self._failures.url_setting}."
            )
        return target


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
