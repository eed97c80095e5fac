"""`health-pipelines probe`: find out which assumptions hold at this tenant, and write them down.

Belongs here: the plan and the consent to it, and what is printed. Does not belong here: the questions (each
vendor's `probe/`), and the written result (`probe/record.py`).
"""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from health_pipelines.commands.environment import user_environment
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import QUIET_SECONDS, Showing
from health_pipelines.doctor.folder_checks import belongs_to_somebody_else
from health_pipelines.http import VendorError
from health_pipelines.lake.ownership import keep_new_files_private
from health_pipelines.probe.finding import Finding
from health_pipelines.probe.questions import Probe, Probed, carry_out
from health_pipelines.probe.record import FILE_NAME, ProbeFileError, as_json, keep
from health_pipelines.probe.waits import Waits
from health_pipelines.settings import Settings, use_settings
from health_pipelines.settings.place_files import settings_of_place
from health_pipelines.vendors.known import vendors

_VERDICTS = {True: "holds", False: "differs", None: "not seen"}
_LOG_WIDTH = 150
_STYLES = {True: "green", False: "bold yellow", None: "dim"}


@dataclass(frozen=True)
class Options:
    """`place`: one of HEALTH_PLACES_DIR. `vendor`: ask only this one. `is_agreed`: do not ask first."""

    place: str | None = None
    vendor: str | None = None
    is_agreed: bool = False
    as_json: bool = False
    waits: Waits = field(default_factory=Waits)


def probe(options: Options) -> int:
    """Ask, print, and keep; returns the exit code: 1 if a vendor could not be asked to the end.

    Raises `ProblemError` or `SettingError` with one sentence.
    """
    # What libraries log may hold an address with its password.
    logging.disable(logging.CRITICAL)
    return answer(options)


def answer(options: Options) -> int:
    """The same, without touching how libraries log. From here on the settings are the place's."""
    environment = user_environment()
    place = options.place
    use_settings(environment if place is None else settings_of_place(place, environment))
    settings, waits = Settings.of_this_process(), options.waits
    keep_new_files_private(settings.data_group)
    if belongs_to_somebody_else(settings.data_dir):
        raise ProblemError(
            f"{settings.data_dir} belongs to another user: what root leaves there, Dagster could not read. "
            "Run this as that user."
        )
    probes = _planned(settings, options.vendor, waits)
    if not probes:
        raise ProblemError("There is nobody to ask.")
    _agree(probes, is_agreed=options.is_agreed)
    found = _carried_out(probes, settings, waits, is_shown=not options.as_json)
    if options.as_json:
        print(json.dumps({"place": place, "probes": [as_json(one) for one in found]}, indent=2))
    else:
        _print(found)
        if any(map(_has_seen, found)):
            print(f"\nKept in {settings.data_dir / FILE_NAME}; `health-pipelines doctor` reads it.")
    return int(any(one.stopped for one in found))


def _planned(settings: Settings, vendor: str | None, waits: Waits) -> list[Probe]:
    """Those that can be asked; of each other one a sentence on stderr."""
    planned = []
    known = vendors(settings)
    names = {probe.vendor for one in known for probe in one.probes}
    if vendor is not None and vendor not in names:
        raise ProblemError(f"There is no vendor {vendor!r} to probe; there are {', '.join(sorted(names))}.")
    for one in known:
        for probe in one.probes:
            if vendor not in (None, probe.vendor):
                continue
            if reason := probe.not_set_up(settings):
                _say(f"{probe.subject} is not asked: {reason}")
                continue
            try:
                calls = one.calls_left(settings, waits.now())
            except VendorError as error:
                _say(f"{probe.subject} is not asked: {error}")
                continue
            if calls is not None and (calls.throttled_until or calls.left < probe.most_calls):
                _say(
                    f"{probe.subject} is not asked: {calls.left} of {calls.per_hour} calls are left in this "
                    f"hour, and {probe.most_calls} may be needed; try again after the full hour."
                )
                continue
            planned.append(probe)
    return planned


def _agree(probes: Sequence[Probe], *, is_agreed: bool) -> None:
    """Say what will be asked, and go on only if somebody wants it."""
    for probe in probes:
        _say(f"{probe.subject}: at most {probe.most_calls} calls ({probe.leaves}).")
    total = sum(probe.most_calls for probe in probes)
    _say(f"At most {total} calls in all, answered with real records; none of them is kept or shown.")
    if is_agreed:
        return
    if not sys.stdin.isatty():
        raise ProblemError(f"Nothing was asked, as this is no terminal; --yes agrees to {total} calls.")
    if not click.confirm("Begin?", err=True):
        raise ProblemError("Nothing was asked.")


def _carried_out(
    probes: Sequence[Probe], settings: Settings, waits: Waits, *, is_shown: bool
) -> list[Probed]:
    total = sum(len(probe.assumptions) for probe in probes)
    console = None if is_shown else Console(quiet=True, force_terminal=True)
    found: list[Probed] = []
    with Showing("assumptions", total, console=console) as showing:
        shown = (0, "")

        def tell(known: Probed) -> None:
            nonlocal shown
            _keep(settings, known)
            done = sum(len(one.findings) for one in found) + len(known.findings)
            shown = done, f"{known.subject}, {known.calls} calls"
            showing.update(*shown)

        async def sleep(seconds: float) -> None:
            """In pieces, so that a log says now and then that it goes on."""
            while seconds > 0:
                piece = min(seconds, QUIET_SECONDS)
                await waits.sleep(piece)
                seconds -= piece
                showing.update(*shown)

        for probe in probes:
            found.append(asyncio.run(carry_out(probe, settings, replace(waits, sleep=sleep), tell)))
    return found


def _keep(settings: Settings, known: Probed) -> None:
    # Whoever could not ask anything has nothing to say, and what was seen before still counts.
    if not _has_seen(known):
        return
    try:
        keep(settings.data_dir, known)
    except ProbeFileError as error:
        raise ProblemError(str(error)) from None


def _print(found: Sequence[Probed]) -> None:
    """A table of all that was asked, and a sentence for each that was not asked to the end."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LOG_WIDTH)
    table = RichTable("assumption", "documented", "seen", "", "what follows", show_lines=True)
    for one in (one for one in found if _has_seen(one)):
        table.add_section()
        table.add_row(f"[bold]{one.subject}[/]")
        for finding in one.findings:
            table.add_row(*_row(finding))
    if table.row_count:
        console.print(table)
    for one in found:
        print(f"{one.subject} at {one.host}: {one.calls} of {one.most_calls} planned calls were made.")
        if one.stopped:
            print(f"{one.subject} was not asked to the end: {one.stopped}", file=sys.stderr)


def _row(finding: Finding) -> tuple[str, str, str, str, str]:
    verdict = f"[{_STYLES[finding.holds]}]{_VERDICTS[finding.holds]}[/]"
    name, documented, seen, follows = map(
        escape, (finding.assumption, finding.documented, finding.seen, finding.follows)
    )
    return name, documented, seen, verdict, follows


def _has_seen(known: Probed) -> bool:
    return any(one.holds is not None for one in known.findings)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
