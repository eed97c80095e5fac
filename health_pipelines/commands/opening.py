"""Which place a command is about, and its Dagster home.

Belongs here: settings of the place that is meant, the instance, and taking secrets out of what is said. Does
not belong here: what is looked at.
"""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from dagster import DagsterInstance

from health_pipelines.commands.environment import has_no_vendor, sandbox_data, user_environment
from health_pipelines.commands.places import sandbox_variables
from health_pipelines.commands.problem import ProblemError
from health_pipelines.doctor.dagster_home import is_in_postgres, opened_home
from health_pipelines.doctor.database_check import database
from health_pipelines.doctor.finding import Finding, Mark
from health_pipelines.doctor.installation import Installation
from health_pipelines.settings import use_settings
from health_pipelines.settings.place_files import settings_of_place


def installation_of(place: str | None, now: datetime) -> Installation:
    """The place that is meant at `now` (aware): with no vendor and no Dagster home set, the sandbox if there
    is one, which is said on standard error. From here on the settings of this process are the place's.

    Raises `SettingError`.
    """
    environment = user_environment()
    if place is None and _is_sandbox(environment):
        data = sandbox_data(environment)
        environment = sandbox_variables(environment, in_postgres=is_in_postgres(data / "dagster_home"))
        print(f"{data}, the sandbox's with synthetic patients, as no vendor is set", file=sys.stderr)
    # Dagster's own configuration reads the environment, and `.env` as part of it.
    os.environ.update(environment)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    taken = environment if place is None else settings_of_place(place, environment)
    use_settings(taken)
    return Installation(taken, environment, {}, now=lambda: now, place=place)


def _is_sandbox(environment: Mapping[str, str]) -> bool:
    """As `make dev` would have it, where it or `make demo` ran and nobody said which Dagster is meant."""
    home = sandbox_data(environment) / "dagster_home"
    return has_no_vendor(environment) and not environment.get("DAGSTER_HOME", "").strip() and home.is_dir()


@contextmanager
def opened(installation: Installation, *, may_make_files: bool = False) -> Iterator[DagsterInstance]:
    """Its Dagster instance. `may_make_files`: also where nothing was ever recorded.

    Raises `ProblemError` with one sentence if it cannot be opened.
    """
    home = installation.dagster_home
    if home is not None and home.is_dir() and is_in_postgres(home):
        answers = database(installation)
        if answers.mark is Mark.PROBLEM:
            raise ProblemError(answers.says)
    found = opened_home(installation, may_make_files=may_make_files)
    if isinstance(found, Finding):
        raise ProblemError(found.says)
    try:
        yield found
    finally:
        found.dispose()


def without(found: Any, hidden: Collection[str]) -> Any:
    """The same without a secret in any text: for what a library or a vendor says in unforeseen words."""
    if isinstance(found, str):
        for secret in sorted(hidden, key=len, reverse=True):
            found = found.replace(secret, "***")
        return found
    if isinstance(found, dict):
        return {name: without(value, hidden) for name, value in found.items()}
    return [without(one, hidden) for one in found] if isinstance(found, list) else found
