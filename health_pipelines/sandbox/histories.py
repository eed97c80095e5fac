"""Synthetic provider history events and the search in them. Pure, no HTTP.

Names of the search terms are documented; the other fields and the events themselves are a guess. Nobody here
is real, and every address ends in `.invalid`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from health_pipelines.sandbox.seeding import stable_number, stable_random
from health_pipelines.sandbox.settings import PageOrder
from health_pipelines.sandbox.windows import Window

Event = dict[str, object]

EVENTS_A_DAY = 60

CONTAINED_TERM = "providerCredentials"
"""The term that is searched for inside a field; others must equal it. Case never matters (vendor doc)."""

TERMS = (
    "action",
    "visitId",
    "providerId",
    "providerEmailAddress",
    "providerName",
    "providerFirstName",
    "providerLastName",
    CONTAINED_TERM,
    "actorId",
    "actorEmail",
    "actorFirstName",
    "actorLastName",
)
"""The twelve optional search terms; the other two are the window's dates."""


def find_events(
    window: Window, terms: Mapping[str, str], *, seed: int, now: datetime, end_inclusive: bool
) -> list[Event]:
    """All events of a window that fit every term, oldest first. What happens after `now` is not there yet."""
    found = []
    for day in window.days(now.date()):
        for happened_at, event in _events_of(day, seed):
            inside = happened_at <= now and window.holds(happened_at, end_inclusive=end_inclusive)
            if inside and all(_fits(event[name], name, wanted) for name, wanted in terms.items()):
                found.append(event)
    return found


def in_order(events: Sequence[Event], order: PageOrder) -> list[Event]:
    """By time as they come, or in an order that means nothing but stays the same from page to page."""
    return list(events) if order == "time" else sorted(events, key=lambda event: stable_number(event["id"]))


def shifted(events: Sequence[Event], *, insert: int, remove: int) -> list[Event]:
    """The same events after some at the front have gone and others have come before them."""
    newcomers = [{**event, "id": _guid(event["id"], "newcomer")} for event in events[:insert]]
    return [*newcomers, *events[remove:]]


def _fits(value: object, name: str, wanted: str) -> bool:
    if value is None:
        return False
    text, wanted = str(value).casefold(), wanted.casefold()
    return wanted in text if name == CONTAINED_TERM else wanted == text


class _Person(NamedTuple):
    first: str
    last: str

    @property
    def address(self) -> str:
        return f"{self.first}.{self.last}@example.invalid".lower().replace(" ", "")


_PROVIDERS = (
    (_Person("Jenny", "Generic"), "MD"),
    (_Person("Zoë", "Muster"), "MD DO"),
    (_Person("Sam", "O'Template"), "ARNP, DNP"),
    (_Person("María José", "Ejemplo"), "PA-C"),
    (_Person("Noor", "Null"), None),
    (_Person("Robin", "Test-Case"), ""),
)

_ACTORS = (_Person("Simon", "Standard"), _Person("Alex", "Fixture"), _Person("Łucja", "Przykład"))

_ACTIONS = ("assigned", "unassigned", "accepted", "transferred", "completed", "Reassigned by system")


@lru_cache(maxsize=128)
def _events_of(day: date, seed: int) -> tuple[tuple[datetime, Event], ...]:
    """The events of one UTC day by time. Kept for a while, because every page is a search of its own."""
    return tuple(sorted(_draw_events(day, seed), key=lambda timed: timed[0]))


def _draw_events(day: date, seed: int) -> Iterator[tuple[datetime, Event]]:
    """The first event of a day happens exactly at midnight."""
    rng = stable_random(seed, "provider_histories", day)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for number in range(math.ceil(EVENTS_A_DAY * (0.8 + 0.4 * rng.random()))):
        happened_at = midnight + timedelta(milliseconds=int(rng.random() * 86_400_000) if number else 0)
        (provider, credentials), action = rng.choice(_PROVIDERS), rng.choice(_ACTIONS)
        actor = None if action.endswith("system") else rng.choice(_ACTORS)
        yield (
            happened_at,
            {
                "id": _guid(seed, day, number),
                "eventDate": _iso(happened_at),
                "createdAt": _iso(happened_at + timedelta(milliseconds=rng.randrange(5000))),
                "action": action,
                "visitId": _guid(seed, "visit", day, number // 3),
                "providerId": _guid("provider", provider.last),
                "providerEmailAddress": provider.address,
                "providerName": f"{provider.first} {provider.last}",
                "providerFirstName": provider.first,
                "providerLastName": provider.last,
                "providerCredentials": credentials,
                "actorId": _guid("actor", actor.last) if actor else None,
                "actorEmail": actor.address if actor else None,
                "actorFirstName": actor.first if actor else None,
                "actorLastName": actor.last if actor else None,
                "departmentId": f"{number % 12:05d}",
                "details": {
                    "reason": rng.choice(("", "Line one\nline two", 'says "later"', None)),
                    "queue": {"position": rng.randrange(9), "waitSeconds": rng.randrange(2400) / 10},
                    "tags": rng.sample(("urgent", "NA", "español", "follow-up"), k=rng.randrange(3)),
                },
            },
        )


def _guid(*words: object) -> str:
    text = f"{stable_number(*words):016x}{stable_number('tail', *words):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _iso(moment: datetime) -> str:
    """As in the vendor's examples: `2023-10-12T07:00:00.000Z`."""
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
