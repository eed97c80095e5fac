"""Runs Python code in a process of its own that a test can talk to, wait for and kill.

For what only another process can show: locks, crashes, readers of a file that is being replaced.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHIN_SECONDS = 60

# Put behind the code of a child that defines `work(argument)` and `TRACED`, a tuple of file names. For every
# "<number> <argument>" that it is told it does the work in a fork, which dies as by a power cut before the
# n-th line that it carries out in one of those files, and says how the fork ended: 0, or -9 for a crash.
# (`<string>` is the child's own code.)
CRASHER = """
import os, signal, sys

def crash_before_line(number):
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        code = frame.f_code
        # A comprehension changes nothing outside of itself.
        if not code.co_filename.endswith(TRACED) or code.co_name in ("<listcomp>", "<dictcomp>", "<genexpr>"):
            return None
        if event == "line":
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)

for told in sys.stdin:
    number, argument = told.rstrip().split(" ", 1)
    fork = os.fork()
    if fork == 0:
        crash_before_line(int(number))
        work(argument)
        sys.settrace(None)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), flush=True)
"""


class Child:
    """A process that says lines on its standard output and is told lines on its standard input."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self) -> str:
        """The next line it says; empty when it ended without one. A child that hangs is killed."""
        assert self.process.stdout is not None
        too_late = threading.Timer(WITHIN_SECONDS, self.process.kill)
        too_late.start()
        try:
            return self.process.stdout.readline().rstrip("\n")
        finally:
            too_late.cancel()

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """`kill -9`; returns when it is gone."""
        self.process.kill()
        self.process.wait(WITHIN_SECONDS)

    def ended(self) -> int:
        """Its exit status, once it ended by itself."""
        return self.process.wait(WITHIN_SECONDS)

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


@contextmanager
def child(code: str, *arguments: object) -> Iterator[Child]:
    """The code with `sys.argv[1:]` as given; gone when the block ends."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


def crashes(crasher: Child, number: int, argument: object) -> bool:
    """Whether the work crashed before its line with that number; False if it came to its end."""
    crasher.tell(f"{number} {argument}")
    ended = crasher.line()
    assert ended in ("0", str(-signal.SIGKILL)), f"the work ended with {ended or 'nothing'}"
    return ended != "0"
