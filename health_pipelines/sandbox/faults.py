"""Faults on demand: which call is to go wrong, and how. Pure matching, no HTTP; how
a rule is written in JSON is in `fault_json.py`.

A rule names the calls it is about and the fault they get. Of all rules that are about a call the oldest that
still has something to say decides; `slow` rules only delay it and leave the decision to the next. A rule
counts the calls it could have decided, whether it did (`times`) or let them pass (`after`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, get_args

from health_pipelines.sandbox.answers import Answer, Cut, Drip, Endless
from health_pipelines.sandbox.drchrono.changes import Change
from health_pipelines.sandbox.drchrono.kinds import ListName
from health_pipelines.sandbox.drchrono.lists import Death
from health_pipelines.sandbox.windows import ReportType

Operation = Literal[
    "start", "status", "data", "provider_histories", "list_start", "list_poll", "deletions", "token"
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True)
class Call:
    """What a vendor call is about, as far as the caller let it be known."""

    operation: Operation
    type: ReportType | None = None
    day: date | None = None
    """`Window.day` of the window asked for."""
    report_id: str | None = None
    attempt: int | None = None
    """1 for the first report of that type and window, or list of that page; 2 for the next."""
    list: ListName | None = None
    page: int | None = None
    uuid: str | None = None


@dataclass(frozen=True)
class AnswerInstead:
    """The operation does not take place; this is answered."""

    answer: Answer


@dataclass(frozen=True)
class Slow:
    """The operation takes place later."""

    seconds: float


@dataclass(frozen=True)
class StatusLie:
    """The vendor's status is said to be this word."""

    word: str
    then: tuple[str, ...] | None = None
    """Words of the next polls of the same report, and then the truth; None: this word every time."""


@dataclass(frozen=True)
class CutShort:
    """The operation takes place, its answer ends early."""

    cut: Cut


@dataclass(frozen=True)
class OtherBody:
    """The operation takes place; a good answer has this body instead of its own."""

    content: bytes


@dataclass(frozen=True)
class LoseResponse:
    """The operation takes place and nobody learns of it."""


@dataclass(frozen=True)
class NeverAnswer:
    """The operation takes place and its caller waits for ever."""


@dataclass(frozen=True)
class Trickle:
    """The operation takes place, its answer comes in drops."""

    drip: Drip


@dataclass(frozen=True)
class Flood:
    """The operation takes place, its answer has no end; `status`: another one than it would have."""

    endless: Endless
    status: int | None = None


@dataclass(frozen=True)
class OtherHeaders:
    """The operation takes place, its answer has these headers, by their names in small letters."""

    headers: Mapping[str, str]


@dataclass(frozen=True)
class Jump:
    """The vendor's clock goes so many seconds ahead, and then the operation takes place."""

    seconds: float


@dataclass(frozen=True)
class Shift:
    """The rows behind a page are others than those behind the page before."""

    insert: int
    remove: int


@dataclass(frozen=True)
class Redirect:
    """The caller is sent elsewhere: `same` host by another path, an `other` host, or what `to` says."""

    status: int
    to: str


@dataclass(frozen=True)
class KillList:
    """The list comes to nothing: at once when it strikes a poll, when due if it strikes the start."""

    death: Death


@dataclass(frozen=True)
class NeverFinish:
    """The list is In progress until it is gone."""


@dataclass(frozen=True)
class LoseList:
    """The list is gone before its hour is over."""


@dataclass(frozen=True)
class Miscount:
    """A good page says that there are so many records in all."""

    count: int


@dataclass(frozen=True)
class ChangeRecords:
    """Records change just before the list looks at them; if it strikes a poll, just before the answer."""

    change: Change


Fault = (
    AnswerInstead
    | Slow
    | StatusLie
    | CutShort
    | OtherBody
    | LoseResponse
    | NeverAnswer
    | Trickle
    | Flood
    | OtherHeaders
    | Jump
    | Shift
    | Redirect
    | KillList
    | NeverFinish
    | LoseList
    | Miscount
    | ChangeRecords
)


@dataclass
class FaultRule:
    """A fault, the calls it is for, and how often it has come."""

    operation: Operation
    fault: Fault
    type: ReportType | None = None
    day: date | None = None
    report_id: str | None = None
    attempt: int | None = None
    list: ListName | None = None
    page: int | None = None
    uuid: str | None = None
    times: int | None = None
    after: int = 0
    _calls: int = 0
    _polls: Counter[str | None] = field(default_factory=Counter)

    def is_about(self, call: Call) -> bool:
        """Whether every word of the rule fits the call."""
        return self.operation == call.operation and all(
            wanted is None or wanted == actual
            for wanted, actual in (
                (self.type, call.type),
                (self.day, call.day),
                (self.report_id, call.report_id),
                (self.attempt, call.attempt),
                (self.list, call.list),
                (self.page, call.page),
                (self.uuid, call.uuid),
            )
        )

    def draw(self, call: Call) -> Fault | None:
        """The fault this call gets from this rule, counting the call."""
        self._calls += 1
        turn = self._calls - self.after
        if turn < 1 or (self.times is not None and turn > self.times):
            return None
        if isinstance(self.fault, StatusLie) and self.fault.then is not None:
            words = (self.fault.word, *self.fault.then)
            poll = self._polls[call.report_id]
            self._polls[call.report_id] += 1
            return StatusLie(words[poll]) if poll < len(words) else None
        return self.fault


class FaultRules:
    """The rules in force, oldest first."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []

    def add(self, rules: Iterable[FaultRule]) -> None:
        """Put rules into force behind those there are."""
        self._rules.extend(rules)

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self._rules.clear()

    def draw(self, call: Call) -> tuple[float, Fault | None]:
        """Seconds to wait and then the fault of this call."""
        seconds = 0.0
        for rule in self._rules:
            if not rule.is_about(call):
                continue
            fault = rule.draw(call)
            if isinstance(fault, Slow):
                seconds += fault.seconds
            elif fault is not None:
                return seconds, fault
        return seconds, None
