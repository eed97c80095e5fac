"""Alerts through a webhook, in the form that Slack and its kin take: `{"text": "..."}`.

Belongs here: that call. Does not belong here: when it is made (`sensor.py`). The whole URL
is a secret: whoever has it may post.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from health_pipelines.alerts.channel import NotDeliveredError
from health_pipelines.alerts.news import Message
from health_pipelines.http import WrongAddressError, refuse_unsafe
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Secret, SettingError, Settings
from health_pipelines.settings.variables import ALERT_WEBHOOK_URL

if TYPE_CHECKING:
    import httpx
else:
    httpx = loaded_when_used("httpx")

NAME = "webhook"
# For each of connecting, sending and waiting for the answer.
TIMEOUT_SECONDS = 5.0


class Webhook:
    """Raises `SettingError` for a URL that is malformed, or is not https and not this machine's."""

    def __init__(self, url: Secret, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        try:
            refuse_unsafe(url.reveal(), ALERT_WEBHOOK_URL.name)
            httpx.URL(url.reveal())
        except WrongAddressError as error:
            raise SettingError(str(error)) from None
        except (ValueError, httpx.InvalidURL):
            raise SettingError(f"{ALERT_WEBHOOK_URL.name} is not a URL like https://host/path.") from None
        self._url = url
        self._timeout_seconds = timeout_seconds

    @classmethod
    def of(cls, settings: Settings) -> Webhook:
        return cls(settings.alert_webhook_url)

    def send(self, message: Message) -> None:
        """Returns when the webhook answered with a success. Raises `NotDeliveredError`."""
        text = _escaped(f"{message.subject}\n{message.text}")
        try:
            # No proxy of the environment is to see the URL, and no redirect is to get the message.
            with (
                httpx.Client(
                    timeout=self._timeout_seconds, trust_env=False, follow_redirects=False
                ) as client,
                client.stream("POST", self._url.reveal(), json={"text": text}) as response,
            ):
                status = response.status_code
        except httpx.HTTPError as error:
            # `from None`: httpx's exceptions hold the request, and its URL is the secret.
            raise NotDeliveredError(
                f"The webhook did not answer ({type(error).__name__}); check {ALERT_WEBHOOK_URL.name} and "
                "whether this machine can reach it."
            ) from None
        if not 200 <= status < 300:
            raise NotDeliveredError(f"The webhook answered {status}; check {ALERT_WEBHOOK_URL.name}.")


def _escaped(text: str) -> str:
    """Slack reads three characters as its own: a link, or a call to everybody in the channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
