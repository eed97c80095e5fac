"""The words of the matrix: vendor calls, how a fault is brought about, and what may come of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any


class Call(Enum):
    """Every call that is made to a vendor; the value is what the sandbox calls it."""

    START = "start"
    STATUS = "status"
    DATA = "data"
    HISTORIES = "provider_histories"
    TOKEN = "token"
    LIST_START = "list_start"
    LIST_POLL = "list_poll"
    DELETIONS = "deletions"

    @property
    def vendor(self) -> str:
        return "DexCare" if self in DEXCARE else "DrChrono"

    @property
    def title(self) -> str:
        return _TITLES[self]

    @property
    def about(self) -> str:
        return _ABOUT[self]


DEXCARE = (Call.START, Call.STATUS, Call.DATA, Call.HISTORIES)
DRCHRONO = (Call.TOKEN, Call.LIST_START, Call.LIST_POLL, Call.DELETIONS)
LISTS = (Call.LIST_START, Call.LIST_POLL, Call.DELETIONS)
_TITLES = {
    Call.START: "start",
    Call.STATUS: "status",
    Call.DATA: "result",
    Call.HISTORIES: "histories",
    Call.TOKEN: "token",
    Call.LIST_START: "list",
    Call.LIST_POLL: "page",
    Call.DELETIONS: "deletions",
}
_ABOUT = {
    Call.START: "DexCare: a visit report is asked for",
    Call.STATUS: "DexCare: where the report is",
    Call.DATA: "DexCare: the report's CSV",
    Call.HISTORIES: "DexCare: a page of provider histories",
    Call.TOKEN: "DrChrono: the access token is renewed",
    Call.LIST_START: "DrChrono: a list is asked for",
    Call.LIST_POLL: "DrChrono: the list is asked after, which brings its page; also in a monthly comparison",
    Call.DELETIONS: "DrChrono: a page of the line items that were deleted",
}


class Kind(Enum):
    """What becomes of the work. The value is the word in the table."""

    AS_USUAL = "as usual"
    RETRIED = "retried"
    WAITED = "waited"
    RENEWED = "renewed"
    RESTARTED = "restarted"
    TOLD = "told"
    PERSON = "a person"
    IMPOSSIBLE = "cannot be"


@dataclass(frozen=True)
class Outcome:
    """`sentence`: what is said when the fault stays, `{words in braces}` standing for what differs; of a call
    that cannot meet the fault, why. `calls`: how often the call is made until then, if the vendor hears it.
    `seconds`: the wait, at least. `later`: said as something that goes away by itself.
    """

    kind: Kind
    sentence: str = ""
    calls: int = 1
    seconds: float = 0
    later: bool = False


@dataclass(frozen=True)
class Rule:
    """The sandbox does this to the call (see its `faults.py`), always or so often, with these settings.

    `{in 2 s}` in a header stands for that time by the sandbox's clock, `{what was sent}` for the secrets of
    the call.
    """

    fault: Mapping[str, Any]
    times: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """The way to the sandbox is like this (see `front.py`)."""

    mode: str


@dataclass(frozen=True)
class Server:
    """The sandbox has these settings."""

    settings: Mapping[str, Any]


@dataclass(frozen=True)
class OurClock:
    """This machine's clock differs from the vendor's by so many seconds, from the call on."""

    seconds: float


@dataclass(frozen=True)
class UsedUp:
    """The quota of the hour is used up: others `by_vendor`'s count, or by our own."""

    by_vendor: bool


How = Rule | Network | Server | OurClock | UsedUp


@dataclass(frozen=True)
class Bounds:
    """The settings that a fault runs into, small. Seconds, and bytes of an answer."""

    timeout: float = 20
    longest: float = 40
    largest: int = 20_000_000


@dataclass(frozen=True)
class Fault:
    """One row of the matrix. `outcomes` has every call."""

    name: str
    how: How
    outcomes: Mapping[Call, Outcome]
    bounds: Bounds = Bounds()


@dataclass(frozen=True)
class Cell:
    call: Call
    fault: Fault
    outcome: Outcome = field(compare=False)

    def __str__(self) -> str:
        return f"{self.call.value}-{self.fault.name}".replace(" ", "_")


def as_usual(calls: int = 1) -> Outcome:
    """The work ends as if nothing had happened."""
    return Outcome(Kind.AS_USUAL, calls=calls)


def retried(sentence: str) -> Outcome:
    """Asked again at once; if it stays (here after 2 attempts), said as something of the moment."""
    return Outcome(Kind.RETRIED, sentence, calls=2, later=True)


def waited(seconds: float, *, calls: int = 2) -> Outcome:
    """Asked again after so many seconds, or more."""
    return Outcome(Kind.WAITED, seconds=seconds, calls=calls)


def renewed(sentence: str) -> Outcome:
    """Another token is fetched and the call made again; if that is refused, too, said so."""
    return Outcome(Kind.RENEWED, sentence, calls=2)


def restarted(sentence: str, calls: int, *, later: bool = False) -> Outcome:
    """The report or list is started anew; after so many of them, said so."""
    return Outcome(Kind.RESTARTED, sentence, calls=calls, later=later)


def told(sentence: str, *, calls: int = 1) -> Outcome:
    """Said at once."""
    return Outcome(Kind.TOLD, sentence, calls)


def told_for_now(sentence: str, *, calls: int = 1) -> Outcome:
    """Not tried again at once, but said as something that goes away by itself."""
    return Outcome(Kind.TOLD, sentence, calls, later=True)


def a_person(sentence: str, *, calls: int = 2, later: bool = True) -> Outcome:
    """Said, and from then on nothing works until a person has done what is said next."""
    return Outcome(Kind.PERSON, sentence, calls, later=later)


def cannot_be(reason: str) -> Outcome:
    """The call cannot meet the fault."""
    return Outcome(Kind.IMPOSSIBLE, reason)


def fault(
    name: str,
    how: How,
    usual: Outcome,
    overrides: Mapping[Call | tuple[Call, ...], Outcome] | None = None,
    *,
    bounds: Bounds | None = None,
) -> Fault:
    """A row: `usual` for every call but the others."""
    outcomes = dict.fromkeys(Call, usual)
    for calls, outcome in (overrides or {}).items():
        outcomes.update(dict.fromkeys(calls if isinstance(calls, tuple) else (calls,), outcome))
    return Fault(name, how, {call: replace(outcomes[call]) for call in Call}, bounds or Bounds())
