"""Whether Dagster's home can be loaded, its daemon lives, and sensors and schedules are on.

Belongs here: what Dagster's own record says of itself. Does not belong here: what runs and assets did, which
the UI shows.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._daemon.controller import get_daemon_statuses

from health_pipelines.doctor.database_check import database
from health_pipelines.doctor.finding import Finding, Mark, not_set_up, ok, problem, warning
from health_pipelines.doctor.folder_checks import belongs_to_somebody_else
from health_pipelines.doctor.installation import Installation
from health_pipelines.settings.variables import DAGSTER_POSTGRES_URL

DAEMON = "`dagster-daemon run`"
HOME = "DAGSTER_HOME"


def dagster(installation: Installation) -> list[Finding]:
    """The home first; without one there is nothing to say about the rest."""
    home = installation.dagster_home
    if home is None:
        return [not_set_up(f"{HOME} is not set, and `make dev` has made no home of its own.")]
    if not home.is_absolute() or not home.is_dir():
        return [problem(f"{HOME} is {home}, which is not the absolute path of a folder.")]
    if belongs_to_somebody_else(home):
        return [
            warning(
                f"Not opened: {home} belongs to another user, and what root leaves there, Dagster could not "
                "use. Run this as that user."
            )
        ]
    # Dagster would try for longer than a check may take, and log the words of each failure.
    if _wants_postgres(home) and database(installation).mark is Mark.PROBLEM:
        return [problem(f"{home} was not opened, as its database cannot be used.")]
    try:
        instance = DagsterInstance.from_config(str(home))
    except Exception as error:  # of Dagster, YAML, SQLAlchemy or a storage class: all mean the same here
        return [problem(f"{home}/dagster.yaml cannot be used: {_reason(error)}.")]
    try:
        daemon = _daemon(instance, installation.now())
        return [_home(instance, installation, str(home)), daemon, _switched_on(instance)]
    finally:
        instance.dispose()


def _wants_postgres(home: Path) -> bool:
    file = home / "dagster.yaml"
    return file.is_file() and "postgres" in file.read_text(encoding="utf-8")


def _reason(error: BaseException) -> str:
    """Names only: the words of a database's error may hold its address."""
    # In Dagster's words, and in those of `instance/postgres_storage.py`.
    missing = re.search(r'environment variable "(\w+)" which is not set|^(\w+) is not set', str(error))
    return (
        f"the variable {missing[1] or missing[2]}, which it needs, is not set in the environment"
        if missing
        else type(error).__name__
    )


def _home(instance: DagsterInstance, installation: Installation, home: str) -> Finding:
    in_postgres = "postgres" in type(instance.event_log_storage).__name__.lower()
    if installation.settings.postgres_url is not None and not in_postgres:
        return warning(
            f"{DAGSTER_POSTGRES_URL.name} is set, but {home}/dagster.yaml does not use it: Dagster keeps its "
            "events in files. Use the dagster.yaml at the top of this project."
        )
    return ok(f"{home} can be used, and keeps its events in {'PostgreSQL' if in_postgres else 'files'}.")


def _daemon(instance: DagsterInstance, now: datetime) -> Finding:
    statuses = get_daemon_statuses(
        instance, instance.get_required_daemon_types(), curr_time_seconds=now.timestamp(), ignore_errors=True
    )
    silent = sorted(name for name, status in statuses.items() if not status.healthy)
    heard = [status.last_heartbeat.timestamp for status in statuses.values() if status.last_heartbeat]
    if not silent:
        return ok("The daemon is alive.")
    last = (
        f"was last heard of at {datetime.fromtimestamp(max(heard), UTC):%Y-%m-%d %H:%M} UTC"
        if heard
        else "was never heard of"
    )
    if len(silent) < len(statuses):
        return warning(f"The daemon is alive, but nothing is heard of {', '.join(silent)}; restart {DAEMON}.")
    return warning(f"The daemon {last}; nothing is asked for or lands by itself until {DAEMON} runs.")


def _switched_on(instance: DagsterInstance) -> Finding:
    stopped = [state for state in instance.all_instigator_state() if state.status is InstigatorStatus.STOPPED]
    if stopped:
        return warning(f"Switched off in the UI: {_names(stopped)}. Switch on what is to run by itself.")
    return ok("No sensor and no schedule is switched off.")


def _names(states: Sequence[InstigatorState]) -> str:
    names = {
        f"{state.name} of {state.origin.repository_origin.code_location_origin.location_name}"
        for state in states
    }
    return ", ".join(sorted(names))
