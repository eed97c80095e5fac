"""What went wrong with a call, as an error with one sentence.

Belongs here: which exception or answer becomes which error. Does not belong here: the errors (`errors.py`),
and what is done about one (`client.py`). No sentence has a key or what a patient said.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from health_pipelines.http.answers import seconds_until_available, vendor_words
from health_pipelines.http.bodies import BrokenBodyError
from health_pipelines.http.call import Call
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
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings.http_policy import MEGABYTE
from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import HEALTH_LONGEST_ANSWER_SECONDS

if TYPE_CHECKING:
    import httpx
else:
    httpx = loaded_when_used("httpx")

E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True)
class Failures:
    """The errors of one vendor. `host` is called; the settings are those to change."""

    vendor: str
    host: str
    url_setting: str
    key_setting: str
    timeout_seconds: float

    def of_network(self, call: Call, error: httpx.HTTPError) -> VendorError:
        """Of a call that got no answer that can be read; `maybe_carried_out` if it may have arrived."""
        if isinstance(error, httpx.ConnectError) and _cause(error, socket.gaierror):
            return TransientError(
                f"{self.vendor}: the host {self.host} is not known; check {self.url_setting}."
            )
        if isinstance(error, httpx.ConnectError) and (refused := _cause(error, ssl.SSLCertVerificationError)):
            return TransientError(
                f"{self.vendor}: {self.host} does not prove who it is ({refused.verify_message}); check "
                f"{self.url_setting}, the network and this machine's clock."
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return TransientError(
                f"{self.vendor}: no connection to {self.host}; check {self.url_setting} and the network."
            )
        if isinstance(error, httpx.TimeoutException):
            return TransientError(
                f"{self.vendor}: {call} was silent for {self.timeout_seconds:g} s.",
                maybe_carried_out=True,
            )
        if isinstance(error, httpx.TransportError):
            return TransientError(
                f"{self.vendor}: the connection broke during {call} ({type(error).__name__}).",
                maybe_carried_out=True,
            )
        return UnreadableAnswerError(
            f"{self.vendor}: {call} gave an answer that cannot be read ({type(error).__name__}).",
            maybe_carried_out=True,
        )

    def of_answer(
        self, call: Call, response: httpx.Response, body: bytes, hidden: Collection[str]
    ) -> VendorError:
        """Of an answer that is no success. `hidden`: secrets that its sentence must not have."""
        status = response.status_code
        words = vendor_words(body, hidden)
        said = f"{self.vendor} answered {status} to {call}" + (f": {words}" if words else "")
        if status in (401, 403):
            return AccessDeniedError(f"{said}. Check {self.key_setting}.", status)
        if status == 404 and "no Route matched" in words:
            return WrongAddressError(f"{said}. {self.url_setting} does not lead to {self.vendor}'s API.")
        if status == 404:
            return NotFoundError(f"{said}.")
        if status in (408, 429) or status >= 500:
            return TransientError(
                f"{said}.",
                maybe_carried_out=status != 429,
                retry_after_seconds=seconds_until_available(body, response.headers),
            )
        if 300 <= status < 400:
            return WrongAddressError(f"{said}, a redirect, which is not followed. Check {self.url_setting}.")
        return RefusedError(f"{said}.", status)

    def of_body(self, call: Call, error: BrokenBodyError) -> VendorError:
        """Of an answer whose body cannot be read."""
        return UnreadableAnswerError(
            f"{self.vendor}: {call} gave an answer whose body {error}.", maybe_carried_out=True
        )

    def of_size(self, call: Call, most_bytes: int, setting: Setting) -> VendorError:
        """Of an answer with more than it may have: another try would bring as much."""
        return PermanentError(
            f"{self.vendor} answered {call} with more than {most_bytes / MEGABYTE:g} MB, and none of it was "
            f"kept. If such an answer is to be expected, raise {setting.name}."
        )

    def of_duration(self, call: Call, longest_seconds: float) -> VendorError:
        """Of an answer that has not come to its end in time, although it may have never been silent."""
        return TransientError(
            f"{self.vendor}: {call} had no whole answer after {longest_seconds:g} s. If that is to be "
            f"expected, raise {HEALTH_LONGEST_ANSWER_SECONDS.name}.",
            maybe_carried_out=True,
        )

    def of_other_success(self, call: Call, status: int) -> VendorError:
        """Of a download whose status says that this is not it, or not all of it."""
        return UnreadableAnswerError(
            f"{self.vendor} answered {status} to {call}, where only 200 means the whole of it."
        )

    def object_in(self, call: Call, status: int, body: bytes) -> dict[str, Any]:
        """The JSON object in an answer's body. Raises `WrongAddressError` if it is none, and `PermanentError`
        if it is a broken one.
        """
        said = f"{self.vendor} answered {status} to {call}"
        try:
            parsed = read_json(body)
        except UnreadableJsonError as error:
            if not body.lstrip().startswith(b"{"):
                raise self._not_the_api(said) from None
            raise PermanentError(f"{said} with a body that {error}; ask {self.vendor} about it.") from None
        if not isinstance(parsed, dict):
            raise self._not_the_api(said)
        return parsed

    def _not_the_api(self, said: str) -> WrongAddressError:
        return WrongAddressError(
            f"{said} with something that is not a JSON object; does {self.url_setting} lead to its API?"
        )


def _cause(error: BaseException | None, kind: type[E]) -> E | None:
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
