"""Leaving the vendor in peace after it refused the key.

Belongs here: when the next question may be asked. Does not belong here: the asking.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

# One call then shows whether the key works again; a new key is tried at once.
PAUSE_AFTER_REFUSAL = timedelta(minutes=5)


@dataclass
class KeyPause:
    """Remembers, in this process, which key was refused. A restart forgets it: that is when keys change."""

    refused_key: str = ""
    refused_at: datetime | None = None
    sentence: str = ""

    def remember(self, key: str, now: datetime, sentence: str) -> None:
        self.refused_key, self.refused_at, self.sentence = key, now, sentence

    def reason_to_wait(self, key: str, now: datetime) -> str | None:
        """What to say while nothing is asked; None when asking is fine."""
        if self.refused_at is None or key != self.refused_key:
            return None
        again_at = self.refused_at + PAUSE_AFTER_REFUSAL
        if now >= again_at:
            return None
        return f"{self.sentence} Nothing is asked before {again_at:%H:%M:%S} UTC, or until the key is new."

    def forget(self) -> None:
        self.refused_key, self.refused_at, self.sentence = "", None, ""
