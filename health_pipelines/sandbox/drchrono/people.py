"""Names, places and words for synthetic rows, and the dice that choose among them.

Nobody here is real: numbers are of the ranges that are kept free for fiction, addresses end in `.invalid`,
and the words are chosen to hurt whoever takes text for numbers, NULL or a line.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Literal, TypeVar
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


TimeSpelling = Literal["local", "offset", "utc", "mixed"]


class Times:
    """Moments as the vendor tells them: on the account's clock, without saying which that is [doc].

    The other spellings are those of databases and versions that say it: with the account's offset, in UTC, or
    in UTC with a fraction where there is one.
    """

    def __init__(self, zone: ZoneInfo, spelling: TimeSpelling = "local") -> None:
        self._zone = zone
        self._spelling = spelling

    def time(self, seconds: int) -> str:
        """`2026-03-01T08:15:00`."""
        local = datetime.fromtimestamp(seconds, self._zone)
        match self._spelling:
            case "local":
                return local.isoformat()[:19]
            case "offset":
                return local.isoformat()
            case "utc" | "mixed":
                fraction = ".250000" if self._spelling == "mixed" and seconds % 2 else ""
                return f"{local.astimezone(UTC).isoformat()[:19]}{fraction}Z"

    def date(self, seconds: int) -> str:
        """`2026-03-01`."""
        return datetime.fromtimestamp(seconds, self._zone).date().isoformat()

    def on_the_wall(self, seconds: int) -> int:
        """What sorts as the text of a local time does: the hour that comes twice is one hour."""
        offset = datetime.fromtimestamp(seconds, self._zone).utcoffset()
        assert offset is not None
        return seconds + int(offset.total_seconds())
