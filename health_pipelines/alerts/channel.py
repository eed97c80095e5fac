"""What a way to reach people has in common with another.

Belongs here: what it promises and how it fails. Does not belong here: any of them (`webhook.py`, `mail.py`).
"""

from typing import Protocol

from health_pipelines.alerts.news import Message


class NotDeliveredError(Exception):
    """Nobody got the message. One sentence, free of secrets."""


class PartlyDeliveredError(Exception):
    """Somebody got the message and somebody did not. One sentence, free of secrets."""


class Channel(Protocol):
    def send(self, message: Message) -> None:
        """Returns when the other side has taken it, within half a minute.

        Raises `NotDeliveredError` or `PartlyDeliveredError`.
        """
