"""What the failure of a call to a vendor means, as types.

Belongs here: the error tree. Does not belong here: which answer becomes which error (`client.py`).
"""


class VendorError(Exception):
    """A call to a vendor failed. The message is one sentence, free of keys and of patient data."""


class TransientError(VendorError):
    """Worth another try: the network, a time limit, a server error, a throttle, a body that ended early.

    `maybe_carried_out`: the vendor may have done what was asked although no answer arrived.
    `retry_after_seconds`: what the vendor asked us to wait, if it did.
    `tried_enough`: whoever raised it has tried again already; not worth another try at once.
    """

    def __init__(
        self,
        message: str,
        *,
        maybe_carried_out: bool = False,
        retry_after_seconds: float | None = None,
        tried_enough: bool = False,
    ) -> None:
        super().__init__(message)
        self.tried_enough = tried_enough
        self.maybe_carried_out = maybe_carried_out
        self.retry_after_seconds = retry_after_seconds


class UnreadableAnswerError(TransientError):
    """An answer came to its end and cannot be read: the same again is likely to be no better."""


class PermanentError(VendorError):
    """Trying again changes nothing: somebody has to change a setting, the request or the vendor."""


class AccessDeniedError(PermanentError):
    """401 or 403: the key is wrong or may not do this. `status` is the HTTP status, if an answer said it."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


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
