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
# Before that nobody knows how fast it goes.
_KNOWN_AFTER_SECONDS = 2.0


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
        self._state = (done, said)
        self._say()

    def _say(self) -> None:
        if self._console.is_terminal:
            return
        with self._printing:
            now, state = self._clock(), self._state
            if state != self._printed or now - self._printed_at >= self._quiet_seconds:
                self._printed, self._printed_at = state, now
                took = now - self._began
                print(f"  {took:4.0f} s  {self._line(*state, took)}", file=self._console.file, flush=True)

    def _say_again(self) -> None:
        """For whoever waits for one call that takes long."""
        while not self._over.wait(self._quiet_seconds / 4):
            self._say()

    def _line(self, done: int, said: str, took: float) -> str:
        parts = [self._unit if self._total is None else f"{done} of {self._total} {self._unit}"]
        if self._total is not None and 0 < done < self._total and took >= _KNOWN_AFTER_SECONDS:
            # As long as what is done took, for each of those that are not.
            parts.append(f"about {took / done * (self._total - done):.0f} s left")
        return "; ".join([*parts, said] if said else parts)
