"""What a vendor is asked, one question after the other, and what becomes of one that fails.

Belongs here: the order, the count of calls, and that what was found is kept. Does not belong here: any
question.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from health_pipelines.http import TransientError, VendorError, speaks_for_all_calls
from health_pipelines.probe.allowance import Allowance, StoppedError
from health_pipelines.probe.finding import Assumption, Finding
from health_pipelines.probe.waits import Waits
from health_pipelines.settings import SettingError, Settings


@dataclass(frozen=True)
class Question:
    """`ask` finds out about the `assumptions`, in their order, and raises `VendorError` if it cannot.

    One that `asks_nothing` looks at what came of the others, and is asked whatever became of them.
    """

    assumptions: Sequence[Assumption]
    ask: Callable[[], Awaitable[Sequence[Finding]]]
    asks_nothing: bool = False


@dataclass(frozen=True)
class Probe:
    """All questions to one API of a vendor. `vendor`: as in `--vendor`. `most_calls`: never more than these.

    `leaves`: what the vendor has to do for it, as `5 reports`. `not_set_up` says why there is nobody to ask,
    if so. `host`: who answers. `opened` gives the questions, to be asked while its context lasts.
    """

    subject: str
    vendor: str
    most_calls: int
    leaves: str
    assumptions: Sequence[Assumption]
    not_set_up: Callable[[Settings], str | None]
    host: Callable[[Settings], str]
    opened: Callable[[Allowance, Waits], AbstractAsyncContextManager[Sequence[Question]]]


@dataclass(frozen=True)
class Probed:
    """What came of a probe. `at`: when it began (aware). `stopped`: why it ended early, in a sentence."""

    subject: str
    host: str
    at: datetime
    most_calls: int
    calls: int = 0
    stopped: str | None = None
    findings: tuple[Finding, ...] = ()


async def carry_out(probe: Probe, settings: Settings, waits: Waits, tell: Callable[[Probed], None]) -> Probed:
    """Ask everything; `tell` is told what is known so far after each question. Raises no `VendorError`."""
    allowance = Allowance(probe.most_calls, waits.sleep)
    known = Probed(probe.subject, probe.host(settings), waits.now(), probe.most_calls)
    tell(known)
    try:
        async with probe.opened(allowance, waits) as questions:
            for question in questions:
                known = await _after(question, known)
                known = replace(known, calls=allowance.used)
                tell(known)
    except (VendorError, SettingError) as error:
        known = replace(known, stopped=str(error))
    # Of what could not even be opened.
    missing = probe.assumptions[len(known.findings) :]
    findings = (*known.findings, *(one.not_seen("Not asked any more.") for one in missing))
    known = replace(known, findings=findings, calls=allowance.used)
    tell(known)
    return known


async def _after(question: Question, known: Probed) -> Probed:
    if known.stopped and not question.asks_nothing:
        found: Sequence[Finding] = [one.not_seen("Not asked any more.") for one in question.assumptions]
        return replace(known, findings=(*known.findings, *found))
    try:
        found = await question.ask()
    except VendorError as error:
        found = [one.not_seen(str(error)) for one in question.assumptions]
        if _ends_all(error):
            known = replace(known, stopped=str(error))
    return replace(known, findings=(*known.findings, *found))


def _ends_all(error: VendorError) -> bool:
    """Whether it makes no sense to ask on: the network, the key, the address, the number of calls.

    Kinds of `TransientError` are about one answer or one list; the next may be better.
    """
    return isinstance(error, StoppedError) or speaks_for_all_calls(error) or type(error) is TransientError
