"""What is examined: the settings of one place and the Dagster home, as the services would see them.

Belongs here: where the checks take their input from. Does not belong here: any check.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from health_pipelines.settings import Settings
from health_pipelines.settings.variables import (
    DEXCARE_HTTP_ATTEMPTS,
    DEXCARE_HTTP_TIMEOUT_SECONDS,
    DRCHRONO_HTTP_ATTEMPTS,
    DRCHRONO_HTTP_TIMEOUT_SECONDS,
)

# Less than a check may take as a whole, so that a silent vendor is named as such.
HTTP_TIMEOUT_SECONDS = 8
# Shorter ones keep nothing from anybody, and taking them out would mutilate every line.
SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Installation:
    """`environment`: this project's settings; with a place, those of its file. `process_environment`: what
    Dagster's own configuration reads, with `.env`. `from_dotenv`: what stands in `.env` alone.

    `ignored`: settings in the environment that a place does not take. `now` gives an aware time.
    """

    # Not shown: they hold the keys.
    environment: Mapping[str, str] = field(repr=False)
    process_environment: Mapping[str, str] = field(repr=False)
    from_dotenv: Mapping[str, str] = field(repr=False)
    now: Callable[[], datetime]
    place: str | None = None
    ignored: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        return Settings(self.environment)

    def hidden(self) -> set[str]:
        """What no line may hold: every secret, and the password in each that is a URL."""
        found = self.settings.revealed_secrets()
        for secret in list(found):
            try:
                password = urlsplit(secret).password or ""
            except ValueError:  # a key that is no URL, or a URL that is broken
                continue
            found |= {password, unquote(password)}
        return {secret for secret in found if len(secret) >= SHORTEST_SECRET}

    @property
    def dagster_home(self) -> Path | None:
        """None if nobody said where it is and `make dev` has made none."""
        if given := self.process_environment.get("DAGSTER_HOME", "").strip():
            return Path(given).expanduser()
        embedded = self.settings.data_dir / "dagster_home"
        return embedded if self.place is None and embedded.is_dir() else None


def impatient(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings with one short attempt for each call: whoever waits here sits in front of a terminal."""
    return {
        **environment,
        DEXCARE_HTTP_ATTEMPTS.name: "1",
        DRCHRONO_HTTP_ATTEMPTS.name: "1",
        DEXCARE_HTTP_TIMEOUT_SECONDS.name: str(HTTP_TIMEOUT_SECONDS),
        DRCHRONO_HTTP_TIMEOUT_SECONDS.name: str(HTTP_TIMEOUT_SECONDS),
    }
