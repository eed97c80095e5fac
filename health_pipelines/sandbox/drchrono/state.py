"""What the sandbox's DrChrono remembers. The routes share it; it decides nothing."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from health_pipelines.sandbox.drchrono.access import Quota, TokenDesk
from health_pipelines.sandbox.drchrono.lists import ListDesk
from health_pipelines.sandbox.drchrono.practice import Practice
from health_pipelines.sandbox.settings import Settings

HISTORY_DAYS = 60


@dataclass
class DrChrono:
    """The vendor behind the routes."""

    practice: Practice
    lists: ListDesk
    tokens: TokenDesk = field(default_factory=TokenDesk)
    quota: Quota = field(default_factory=Quota)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls by what they were about (a list's name, `line_item_deletions`, `token`) and HTTP method."""

    @classmethod
    def of(cls, settings: Settings, now: datetime) -> "DrChrono":
        """A practice whose history begins where the settings say, or `HISTORY_DAYS` before today."""
        zone = ZoneInfo(settings.drchrono_zone)
        start = (
            date.fromisoformat(settings.drchrono_history_start)
            if settings.drchrono_history_start
            else now.astimezone(zone).date() - timedelta(days=HISTORY_DAYS)
        )
        practice = Practice(
            settings.seed,
            settings.drchrono_volume,
            zone,
            start,
            spelling=settings.drchrono_times,
            ids_are_text=settings.drchrono_ids == "text",
            sorts_texts=settings.drchrono_sorts_times == "texts",
        )
        return cls(practice, ListDesk(practice, settings.seed))
