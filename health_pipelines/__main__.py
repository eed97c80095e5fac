"""`python -m health_pipelines <command>`, also installed as `health-pipelines <command>`.

Belongs here: how a command ends: its exit code, one sentence for what went wrong, and what a signal does.
Does not belong here: which commands there are (`commands/command_line.py`).
"""

import signal
import sys
from types import FrameType

import click

from health_pipelines.commands.command_line import PROGRAM, Run, command_line
from health_pipelines.commands.problem import ProblemError
from health_pipelines.lake.disk import NO_ROOM, UnusableDiskError, about_the_disk
from health_pipelines.settings import SettingError


def main() -> int:
    """Returns the exit code: 0, 1 for a problem, 2 for words that are no command, 128 + n for signal n."""
    try:
        # Not standalone: click would turn our own exceptions and exit codes into its.
        run: Run | int | None = command_line.main(prog_name=PROGRAM, standalone_mode=False)
        if not callable(run):  # click has answered by itself, as to --help
            return run or 0
        # Both ways of being told to stop end in the `with` blocks that stop the services. A shell starts a
        # background command with SIGINT ignored, and SIGTERM would end this process and nothing else. Not
        # before everything is imported: Polars takes SIGINT for itself then.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        return run() or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ProblemError, SettingError, UnusableDiskError) as problem:
        click.echo(f"\n{problem}", err=True)
        return 1
    except OSError as error:
        # The last resort: most of what a command writes has a sentence of its own.
        if error.errno not in NO_ROOM and error.filename is None:
            raise
        click.echo(f"\n{about_the_disk(error)}", err=True)
        return 1
    except _StopError as stop:
        return 128 + stop.signal_number


class _StopError(BaseException):
    """Somebody asked this command to stop. Not an Exception: nobody in between may catch it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def _stop(signal_number: int, _: FrameType | None) -> None:
    # A second signal must not interrupt the stopping.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise _StopError(signal_number)


if __name__ == "__main__":
    sys.exit(main())
