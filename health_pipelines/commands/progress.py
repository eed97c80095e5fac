"""How far something is, for whoever waits at a terminal or reads a log.

Belongs here: a bar on a terminal, a line now and then elsewhere. Does not belong here: what is counted.
"""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# A log says the same again after this time, so that nobody takes waiting for hanging.
QUIET_SECONDS = 2.0


class Showing:
    """Shows how many of `total` are done, and what there is to say of it, until its context is left.

    `unit`: what is counted, e.g. "days landed"; with `total` None what goes on, e.g. "the UI is starting".
    On a terminal a bar that is drawn anew; elsewhere a line when something has changed, and at least every
    `quiet_seconds`, whether or not `update` is called. `to_stderr`: leave standard output to an answer.
    `clock`: seconds that only go forward.
    """

    def __init__(
        self,
        unit: str,
        total: int | None = None,
        *,
        to_stderr: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._unit = unit
        self._total = total
        self._console = console or Console(stderr=to_stderr, highlight=False)
        self._clock = clock
        self._quiet_seconds = quiet_seconds
        self._began = self._printed_at = clock()
        self._state: tuple[int, str] = (0, "")
        self._printed: tuple[int, str] | None = None
        # When the first were done and how many, and when the last.
        self._first: tuple[float, int] | None = None
        self._last_at = self._began
        self._printing, self._over = Lock(), Event()
        self._again = Thread(target=self._say_again, daemon=True)
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            *([] if total is None else [MofNCompleteColumn()]),
            TimeElapsedColumn(),
            *([] if total is None else [TextColumn("left"), TimeRemainingColumn()]),
            TextColumn("{task.fields[said]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(unit, total=total, said="")

    def __enter__(self) -> Self:
        self._bar.start()
        if not self._console.is_terminal:
            self._again.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._bar.stop()
        if self._again.is_alive():
            self._again.join()

    def update(self, done: int = 0, said: str = "") -> None:
        """`done` of the total, and one short sentence beside it."""
        self._bar.update(self._task, completed=done, said=said)
        if done != self._state[0]:
            self._last_at = self._clock()
            self._first = self._first or (self._last_at, done)
        self._state = (done, said)
        self._say()

    def _say(self) -> None:
        if self._console.is_terminal:
            return
        with self._printing:
            now, state = self._clock(), self._state
            if state != self._printed or now - self._printed_at >= self._quiet_seconds:
                self._printed, self._printed_at = state, now
                line = f"  {now - self._began:4.0f} s  {self._line(*state, now)}"
                print(line, file=self._console.file, flush=True)

    def _say_again(self) -> None:
        """For whoever waits for one call that takes long."""
        while not self._over.wait(self._quiet_seconds / 4):
            self._say()

    def _line(self, done: int, said: str, now: float) -> str:
        parts = [self._unit if self._total is None else f"{done} of {self._total} {self._unit}"]
        if (left := self._left(done, now)) > 0:
            parts.append(f"about {left:.0f} s left")
        return "; ".join([*parts, said] if said else parts)

    def _left(self, done: int, now: float) -> float:
        """Seconds; 0 if nobody can say. What is left takes as long as what came after the first."""
        if self._total is None or self._first is None or done <= self._first[1]:
            return 0
        first_at, first = self._first
        each = (self._last_at - first_at) / (done - first)
        return each * (self._total - done) - (now - self._last_at)
