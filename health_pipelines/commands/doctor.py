"""`health-pipelines doctor`: what is wrong with this installation, and what to do.

Belongs here: which settings are examined, and what is printed. Does not belong here: the checks (`doctor/`).
"""

import logging
import os
import sys
from collections.abc import Callable

from dotenv import dotenv_values

from health_pipelines.commands.environment import user_environment
from health_pipelines.doctor.checkup import CHECK_WITHIN_SECONDS, Checkup, summary
from health_pipelines.doctor.finding import Finding, Mark, line
from health_pipelines.doctor.installation import Installation, impatient
from health_pipelines.settings import SettingError, Settings, use_settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.settings.place_files import ignored_settings, settings_of_place


def doctor(place: str | None, *, check_within_seconds: float = CHECK_WITHIN_SECONDS) -> int:
    """Print a line for each check; returns the exit code.

    `place`: one of HEALTH_PLACES_DIR; None for the settings in the environment.
    """
    # What libraries log may hold an address with its password.
    logging.disable(logging.CRITICAL)
    code, is_stuck = examine(
        place, lambda text: print(text, flush=True), check_within_seconds=check_within_seconds
    )
    if is_stuck:
        # Python would wait for what did not answer.
        sys.stdout.flush()
        os._exit(code)
    return code


def examine(
    place: str | None, say: Callable[[str], None], *, check_within_seconds: float
) -> tuple[int, bool]:
    """`say` is told each line as it comes. Returns the exit code, and whether a check is at it still."""
    environment = user_environment()
    # Dagster's own configuration reads the environment, and `.env` as part of it.
    os.environ.update(environment)
    try:
        installation = _installation(place, environment)
    except SettingError as error:
        say(line("settings", Finding(Mark.PROBLEM, str(error)), Settings(environment).revealed_secrets()))
        return 1, False
    use_settings(impatient(installation.environment))
    checkup, hidden, findings = Checkup(installation, check_within_seconds), installation.hidden(), []
    for subject, finding in checkup.findings():
        findings.append(finding)
        say(line(subject, finding, hidden))
    say(f"\n{summary(findings)}")
    return int(any(finding.mark is Mark.PROBLEM for finding in findings)), checkup.is_stuck


def _installation(place: str | None, environment: dict[str, str]) -> Installation:
    taken = environment if place is None else settings_of_place(place, environment)
    return Installation(
        environment=taken,
        process_environment=environment,
        from_dotenv={name: value for name, value in dotenv_values(".env").items() if value is not None},
        now=utc_now,
        place=place,
        ignored=tuple(ignored_settings(taken, environment)) if place is not None else (),
    )
