"""Which addresses may be called, and whom an address stands for.

Belongs here: looking at a base URL. Does not belong here: any call.
"""

from urllib.parse import urlsplit

from health_pipelines.http.errors import WrongAddressError
from health_pipelines.settings.this_machine import is_loopback


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
