"""`python -m health_pipelines <command>`, also installed as `health-pipelines <command>`.

Belongs here: the list of commands and their options. Does not belong here: what they do (`commands/`).
"""

import argparse
import sys

from health_pipelines.commands.demo import demo
from health_pipelines.commands.dev import dev
from health_pipelines.commands.problem import ProblemError
from health_pipelines.settings import SettingError


def main() -> int:
    parser = argparse.ArgumentParser(prog="health-pipelines", description="DexCare visits, brought home.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo", help="land three days of synthetic visits through a real Dagster, and query them"
    )
    dev_parser = commands.add_parser(
        "dev", help="the Dagster UI on this machine, with schedules and sensors on"
    )
    dev_parser.add_argument("--port", type=int, default=3000, help="of the UI (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "demo":
            demo()
        else:
            dev(arguments.port)
    except (ProblemError, SettingError) as problem:
        print(f"\n{problem}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
