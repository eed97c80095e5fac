"""Whether Dagster's home can be loaded, its daemon lives, sensors and schedules are on, and the lake fits.

Belongs here: what Dagster's own record says of itself. Does not belong here: opening it (`dagster_home.py`),
and what runs and assets did, which the UI shows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._daemon.controller import get_daemon_statuses

from health_pipelines.doctor.adoption_check import adoption
from health_pipelines.doctor.dagster_home import opened_home
from health_pipelines.doctor.finding import Finding, ok, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.settings.variables import DAGSTER_POSTGRES_URL

DAEMON = "`dagster-daemon run`"


def dagster(installation: Installation) -> list[Finding]:
    """The home first; without one there is nothing to say about the rest."""
    instance = opened_home(installation)
    if isinstance(instance, Finding):
        return [instance]
    try:
        daemon = _daemon(instance, installation.now())
        same_days = adoption(instance, installation.settings)
        return [_home(instance, installation), daemon, _switched_on(instance), same_days]
    finally:
        instance.dispose()


def _home(instance: DagsterInstance, installation: Installation) -> Finding:
    home = installation.dagster_home
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
