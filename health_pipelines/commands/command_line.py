"""What a person may type behind `health-pipelines`: the commands, their options, and what `--help` says.

Belongs here: names, options and help. Does not belong here: what a command does (a module for each). Only
what is asked for is imported: most commands load Dagster, which takes longer than many an answer.

Each command returns what is to be run, imported but not begun: whoever runs it has signals to set first,
after Polars, which takes SIGINT for itself when it is imported.
"""
# ruff: noqa: PLC0415

import gc
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import click
from click.shell_completion import CompletionItem, get_completion_class

PROGRAM = "health-pipelines"
_COMPLETED_BY = "_HEALTH_PIPELINES_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")

F = TypeVar("F", bound=Callable[..., object])
# Returns the exit code; None for 0.
Run = Callable[[], int | None]


# What a person does when; in the order of doing it. A command that is in none is among the last.
_FIRST, _DAILY, _OTHERS = _GROUPS = ("The first day", "Every day", "Repair and set-up")
_WHEN = {
    "demo": _FIRST,
    "dev": _FIRST,
    "doctor": _FIRST,
    "probe": _FIRST,
    "columns": _FIRST,
    "status": _DAILY,
    "query": _DAILY,
}


def _when(command: str) -> str:
    return _WHEN.get(command, _OTHERS)


class _InOrder(click.Group):
    """Lists the commands as they stand here, under what a person does when."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=lambda name: list(_GROUPS).index(_when(name)))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, self.commands))
        for title in _GROUPS:
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, self.commands[name].get_short_help_str(limit))
                        for name in self.list_commands(ctx)
                        if _when(name) == title
                    ]
                )


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings: docs/settings.md. A command's own help: health-pipelines status --help",
)
@click.version_option(package_name="health-pipelines")
def command_line() -> None:
    """Visits and practice data, brought home.

    Begin without any account: `demo` lands three synthetic days, `dev` shows them in Dagster's UI. Then set
    your keys, see what `doctor` says, and let `dev` run; `status` says every morning what is home.

    \b
    health-pipelines demo
    health-pipelines status --day 2026-03-10
    health-pipelines query "FROM marts.daily_visits"
    """


def _places(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The places that have a settings file, for the shell to offer. None if there is no such folder."""
    from health_pipelines.commands.environment import user_environment
    from health_pipelines.settings import SettingError, Settings

    try:
        folder = Settings(user_environment()).places_dir
    except SettingError:
        return []
    return [CompletionItem(file.stem) for file in sorted(folder.glob(f"{typed}*.env"))]


def _place_option(command: F) -> F:
    return click.option(
        "--place",
        metavar="NAME",
        shell_complete=_places,
        help="One that has a settings file in HEALTH_PLACES_DIR.",
    )(command)


@command_line.command
def demo() -> Run:
    """Land three days of synthetic data, then query them."""
    # At once: loading what it is made of takes a second or two.
    click.echo("Three days of synthetic data, from asking Dagster for them to a query.")
    from health_pipelines.commands.demo import demo as run

    return run


@command_line.command
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Of the UI.",
)
def dev(port: int) -> Run:
    """Run Dagster's UI here, with schedules and sensors on."""
    from health_pipelines.commands.dev import dev as run

    return partial(run, port)


@command_line.command
@_place_option
def doctor(place: str | None) -> Run:
    """Say what is wrong with this installation, and what to do.

    Exit code 1 if there is a problem; warnings do not count.
    """
    from health_pipelines.commands.doctor import doctor as run

    return partial(run, place)


@command_line.command
@_place_option
@click.option("--vendor", metavar="NAME", help="Ask only this one: dexcare or drchrono.")
@click.option("--yes", is_flag=True, help="Do not ask whether to begin, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="What was found, for scripts; the plan on stderr.")
@click.option(
    "--wait",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Seconds in which a report has to be done, five times at most.",
)
@click.option(
    "--result-wait",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="Seconds after which a result is asked for again, to see whether it is still there.",
)
def probe(
    place: str | None, vendor: str | None, *, yes: bool, as_json: bool, wait: int, result_wait: int
) -> Run:
    """Find out which assumptions hold here, by real calls.

    Says first how many calls at most, and asks. Keeps what was found, no patient's value, for the doctor.
    Exit code 1 if a vendor could not be asked to the end.
    """
    from health_pipelines.commands.probe import Options
    from health_pipelines.commands.probe import probe as run
    from health_pipelines.probe.waits import Waits

    waits = Waits(report=wait, result=result_wait)
    return partial(run, Options(place, vendor, is_agreed=yes, as_json=as_json, waits=waits))


@command_line.command
@_place_option
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), help="What happened to that one, such as 2026-03-10."
)
@click.option("--json", "as_json", is_flag=True, help="All of it, for scripts.")
def status(place: str | None, day: datetime | None, as_json: bool) -> Run:
    """Say what there is, what is missing, and why.

    Asks no vendor and writes nothing. Exit code 1 if a day is missing, or the warehouse or what is published
    is not current.
    """
    # Loading Dagster makes a million objects and frees few; looking for those is a tenth of the time.
    gc.disable()
    from health_pipelines.commands.status import status as run

    return partial(run, place, as_json_text=as_json, day=day.date() if day else None)


@command_line.command
@_place_option
@click.option("--json", "as_json", is_flag=True, help="All of it, for scripts.")
@click.option("--write", is_flag=True, help="Add what is guessed to .env, or the place's file.")
def columns(place: str | None, as_json: bool, write: bool) -> Run:
    """Say which column of a visit report is which, and why.

    Found in what has landed, where no setting says it. Asks no vendor.
    """
    from health_pipelines.commands.columns import columns as run

    return partial(run, place, as_json_text=as_json, write=write)


@command_line.command
@click.argument("sql", required=False)
@_place_option
@click.option("--csv", is_flag=True, help="All rows as CSV instead of a table.")
@click.option("--tables", is_flag=True, help="List the tables and how new they are.")
@click.option(
    "--rows", type=click.IntRange(1), default=40, show_default=True, help="Shown in a table at most."
)
def query(sql: str | None, place: str | None, csv: bool, tables: bool, rows: int) -> Run:
    """Ask the warehouse; without SQL, a prompt.

    SQL is one statement or several; - for those on standard input.
    """
    from health_pipelines.commands.query import query as run

    return partial(run, sql, place=place, csv=csv, tables=tables, rows=rows)


@command_line.command
def build() -> Run:
    """Bring the warehouse up to what has landed."""
    from health_pipelines.commands.build import build as run

    return run


@command_line.command
@_place_option
@click.option("--compare", is_flag=True, help="Compare every row, to find what others have changed.")
def publish(place: str | None, compare: bool) -> Run:
    """Bring the database of PUBLISH_URL up to the warehouse."""
    from health_pipelines.commands.publish import publish as run

    return partial(run, place, compare=compare)


@command_line.command
@_place_option
@click.option("--json", "as_json", is_flag=True, help="All of it, for scripts.")
def verify(place: str | None, as_json: bool) -> Run:
    """Say which partition of the lake is not what was landed.

    Reads every file; asks no vendor and writes nothing. Exit code 1 if something was changed, is missing or
    was put in.
    """
    from health_pipelines.commands.verify import verify as run

    return partial(run, place, as_json=as_json)


@command_line.command
@_place_option
@click.option("--yes", is_flag=True, help="Do not ask whether to do it, for scripts.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="The plan, for scripts.")
def adopt(place: str | None, *, yes: bool, dry_run: bool, as_json: bool) -> Run:
    """Bring Dagster's record and the lake together again.

    For when Dagster's database or the lake was lost or restored. Tells Dagster of days that are in the lake,
    and has those asked for again that are not. Asks no vendor itself.
    """
    from health_pipelines.commands.adopt import adopt as run

    return partial(run, place, is_agreed=yes, is_dry=dry_run, as_json=as_json)


@command_line.command
@_place_option
@click.option(
    "--patient",
    "patients",
    metavar="SOURCE:ID",
    multiple=True,
    help="Such as drchrono:123; - for lines of those on standard input, which no history keeps.",
)
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Remove every day before that one.")
@click.option(
    "--table", "tables", metavar="NAME", multiple=True, help="With --before: of this alone, or dexcare/*."
)
@click.option("--again", is_flag=True, help="Once more for all who were erased, as after a restore.")
@click.option("--reason", metavar="TEXT", default="", help="For the record: a reference, no name, no id.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask whether to, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="What was removed, for scripts.")
@click.option(
    "--wait",
    type=click.IntRange(0),
    default=600,
    show_default=True,
    help="Seconds for which a landing or sweep that is under way is waited for.",
)
def erase(
    place: str | None,
    *,
    patients: tuple[str, ...],
    before: datetime | None,
    tables: tuple[str, ...],
    again: bool,
    reason: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    wait: int,
) -> Run:
    """Remove a patient, or old days, for good.

    From lake, pages under way, warehouse and published tables; and keep out what the vendor sends again.
    """
    from health_pipelines.commands.erase import Wish
    from health_pipelines.commands.erase import erase as run

    day = before.date() if before else None
    wish = Wish(place, patients, day, tables, again, reason, dry_run, yes, as_json, wait)
    return partial(run, wish)


@command_line.command
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> Run:
    """Print what makes SHELL complete these commands.

    \b
    For bash:  health-pipelines completion bash > ~/.local/share/bash-completion/completions/health-pipelines
    For zsh:   health-pipelines completion zsh > a folder of $fpath/_health-pipelines
    For fish:  health-pipelines completion fish > ~/.config/fish/completions/health-pipelines.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    return partial(click.echo, kind(command_line, {}, PROGRAM, _COMPLETED_BY).source())
