"""`python -m health_pipelines <command>`, also installed as `health-pipelines <command>`.

Belongs here: the list of commands and their options. Does not belong here: what they do (`commands/`).
"""

import argparse
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

from health_pipelines.commands.problem import ProblemError
from health_pipelines.settings import SettingError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="health-pipelines", description="Visits and practice data, brought home."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo", help="land three days of synthetic visits through a real Dagster, and query them"
    )
    dev_parser = commands.add_parser(
        "dev", help="the Dagster UI on this machine, with schedules and sensors on"
    )
    dev_parser.add_argument("--port", type=int, default=3000, help="of the UI (default: %(default)s)")
    commands.add_parser("build", help="bring the warehouse's current tables and marts up to what has landed")
    query_parser = commands.add_parser("query", help="ask the warehouse; without SQL, a prompt")
    query_parser.add_argument(
        "sql", nargs="?", help="one statement or several; - for those on standard input"
    )
    query_parser.add_argument("--place", help="one that has a settings file in HEALTH_PLACES_DIR")
    query_parser.add_argument("--csv", action="store_true", help="all rows as CSV instead of a table")
    query_parser.add_argument("--tables", action="store_true", help="list the tables and how new they are")
    query_parser.add_argument(
        "--rows", type=int, default=40, help="to be shown in a table at most (default: %(default)s)"
    )
    doctor_parser = commands.add_parser("doctor", help="what is wrong with this installation, and what to do")
    doctor_parser.add_argument("--place", help="one that has a settings file in HEALTH_PLACES_DIR")
    arguments = parser.parse_args()
    try:
        command = _command(arguments)
        # Both ways of being told to stop end in the `with` blocks that stop the services. A shell starts a
        # background command with SIGINT ignored, and SIGTERM would end this process and nothing else. Not
        # before everything is imported: Polars takes SIGINT for itself then.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        return command() or 0
    except (ProblemError, SettingError) as problem:
        print(f"\n{problem}", file=sys.stderr)  # noqa: T201
        return 1
    except _StopError as stop:
        return 128 + stop.signal_number


# Only what is asked for is imported: most of it loads Dagster, which takes longer than many an answer.
# ruff: noqa: PLC0415
def _command(arguments: argparse.Namespace) -> Callable[[], int | None]:
    if arguments.command == "demo":
        from health_pipelines.commands.demo import demo

        return demo
    if arguments.command == "dev":
        from health_pipelines.commands.dev import dev

        return partial(dev, arguments.port)
    if arguments.command == "build":
        from health_pipelines.commands.build import build

        return build
    if arguments.command == "doctor":
        from health_pipelines.commands.doctor import doctor

        return partial(doctor, arguments.place)
    from health_pipelines.commands.query import query

    return partial(
        query,
        arguments.sql,
        place=arguments.place,
        csv=arguments.csv,
        tables=arguments.tables,
        rows=arguments.rows,
    )


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
