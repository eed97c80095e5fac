"""How far something is, for whoever waits at a terminal or reads a log.

Belongs here: a bar on a terminal, a line now and then elsewhere. Does not belong here: what is counted.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# A log says the same again after this time, so that nobody takes waiting for hanging.
QUIET_SECONDS = 2.0


class Showing:
    """Shows how many of `total` are done, and what there is to say of it, until its context is left.

    `unit`: what is counted, e.g. "days landed"; with `total` None what goes on, e.g. "the UI is starting".
    On a terminal a bar that is drawn anew; elsewhere a line when something has changed, and at least every
    `QUIET_SECONDS`. `clock`: seconds that only go forward.
    """

    def __init__(
        self,
        unit: str,
        total: int | None = None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unit = unit
        self._total = total
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._began = self._printed_at = clock()
        self._printed = ""
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            *([] if total is None else [MofNCompleteColumn()]),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(unit, total=total, said="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int = 0, said: str = "") -> None:
        """`done` of the total, and one short sentence beside it."""
        self._bar.update(self._task, completed=done, said=said)
        if self._console.is_terminal:
            return
        now = self._clock()
        counted = self._unit if self._total is None else f"{done} of {self._total} {self._unit}"
        line = counted + (f"; {said}" if said else "")
        if line != self._printed or now - self._printed_at >= QUIET_SECONDS:
            self._printed, self._printed_at = line, now
            print(f"  {now - self._began:4.0f} s  {line}", flush=True)
