"""Names, places and words for synthetic rows, and the dice that choose among them.

Nobody here is real: numbers are of the ranges that are kept free for fiction, addresses end in `.invalid`,
and the words are chosen to hurt whoever takes text for numbers, NULL or a line.
"""

from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")

FIRST_NAMES = (
    "Zoë",
    "Sam",
    "María José",
    "Noor",
    "Robin",
    "Łucja",
    "Null",
    "Jenny",
    "True",
    "Anh",
    "Ada",
    "N'Golo",
)
LAST_NAMES = (
    "Muster",
    "O'Template",
    "Ejemplo",
    "Null",
    "Test-Case",
    "Przykład",
    "Standard",
    "Example, Jr.",
    "Fixture",
)
CITIES = ("Springfield", "São Exemplo", "Nowhere", "New  York")
STATES = ("CA", "NE", "NA", "")
DOCTORS = (100101, 100102, 100103, 100104, 100105, 100106)
OFFICES = (200201, 200202, 200203)
PAYERS = (("Sample Mutual", "00001"), ("Example Blue & Co", "SX109"), ("Testcare", "87726"), ("", ""))
NOTES = (
    "",
    "",
    "Follow-up",
    "Line one\nline two",
    'says "later"',
    "007",
    "NA",
    "1e5",
    "español ñ, 日本, 🙂",
    "tab\there; {curly} [square] \\ back",
    "\u2028 separators \u2029 of lines",
    "  spaces  ",
)
ICD10 = ("E11.9", "I10", "J06.9", "M54.50", "Z00.00", "F41.1")
CPT = ("99213", "99214", "90837", "0001A", "G0439", "36415")


class Dice:
    """Seeded chance for one row, cheap enough for fifty fields of it."""

    __slots__ = ("_next",)

    def __init__(self, seed: int) -> None:
        self._next = Random(seed).random

    def of(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[int(self._next() * len(choices))]

    def below(self, end: int) -> int:
        """A whole number from 0 up to, not including, `end`."""
        return int(self._next() * end)

    def chance(self, share: float) -> bool:
        """True that often."""
        return self._next() < share

    def cents(self, most: int) -> int:
        """An amount of money; every fifth is a round one."""
        amount = int(self._next() * most * 100)
        return amount if amount % 5 else amount // 100 * 100


def phone(dice: Dice) -> str:
    """A telephone number that nobody has."""
    return f"(555) 555-01{dice.below(100):02d}"


def money(cents: int) -> str:
    """An amount as the vendor writes it where it writes text: `19.90`."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


class Times:
    """Moments as the vendor tells them: on the account's clock, without saying which that is."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone

    def time(self, seconds: int) -> str:
        """`2026-03-01T08:15:00`."""
        return datetime.fromtimestamp(seconds, self._zone).isoformat()[:19]

    def date(self, seconds: int) -> str:
        """`2026-03-01`."""
        return self.time(seconds)[:10]
