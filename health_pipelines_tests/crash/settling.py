"""Whether the system is at rest: nothing that was begun goes on, waits, or is held.

Belongs here: looking, and waiting for it with a bound. Does not belong here: what the data are (`truth.py`).
"""

import time

from dagster import DagsterInstance
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.settings.clock import utc_now
from health_pipelines.warehouse.storage import warehouse_of
from health_pipelines_tests.crash.plan import Role
from health_pipelines_tests.crash.processes import processes_of
from health_pipelines_tests.crash.system import System

# Without a kill everything has to be at rest after so long, in times that a run may take to its first step: a
# run that was killed before it is ended after one of them, and what was killed often is tried again later.
SETTLED_WITHIN_STARTS = 15
_OVER = {
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.CANCELED,
}
_AT_WORK = (Role.RUN, Role.STARTING, Role.COMMAND)


class NotAtRestError(Exception):
    """Something goes on, or is stuck. Says what."""


def wait_for_rest(system: System) -> float:
    """Returns the seconds that it took. Raises `NotAtRestError`."""
    begun = time.monotonic()
    within_seconds = SETTLED_WITHIN_STARTS * system.settings.run_starts_within.total_seconds()
    while True:
        try:
            with system.instance() as instance:
                restless = _restless(system, instance)
        except Exception as error:  # a server that was killed a moment ago
            restless = [f"Dagster's record cannot be read ({type(error).__name__})"]
        took = time.monotonic() - begun
        if not restless:
            return took
        if took > within_seconds:
            raise NotAtRestError(f"not at rest after {within_seconds:g} s: {'; '.join(restless)}")
        time.sleep(1)


def _restless(system: System, instance: DagsterInstance) -> list[str]:
    """What is not at rest; what costs more to look at only when the rest is."""
    return (
        _runs(instance) + _processes(system)
        or _tickets(instance) + _slots(instance) + _claims(system)
        or _warehouse(system)
        or _published(system)
        # Whatever the last look took: nothing has begun meanwhile.
        or _runs(instance)
    )


def _runs(instance: DagsterInstance) -> list[str]:
    runs = [
        f"run {run.run_id[:8]} is {run.status.value}"
        for run in instance.get_runs()
        if run.status not in FINISHED_STATUSES
    ]
    backfills = [
        f"backfill {one.backfill_id} is {one.status.value}"
        for one in instance.get_backfills()
        if one.status not in _OVER
    ]
    return runs + backfills


def _processes(system: System) -> list[str]:
    return [
        f"process {one.pid} is there ({one.role.value} {one.run_id[:8]})"
        for one in processes_of(system.home)
        if one.role in _AT_WORK
    ]


def _tickets(instance: DagsterInstance) -> list[str]:
    """Reports that were started and have not landed. None is ever given up here: the vendor delivers all."""
    return [
        f"report {one.ticket.report_id} of {report.table} {day} has not landed"
        + (" and was given up" if one.given_up else "")
        for report in VISIT_REPORTS
        for day, one in Ledger(instance, report.request_key).open_tickets().items()
    ]


def _slots(instance: DagsterInstance) -> list[str]:
    log = instance.event_log_storage
    return [
        f"pool {key}: {len(info.claimed_slots)} slots are held, {len(info.pending_steps)} steps wait"
        for key in log.get_concurrency_keys()
        if (info := log.get_concurrency_info(key)).claimed_slots or info.pending_steps
    ]


def _claims(system: System) -> list[str]:
    return [f"claim {one.name} is there" for one in (system.data / "runs").glob("*")]


def _warehouse(system: System) -> list[str]:
    return [] if warehouse_of(system.settings).is_current() else ["the warehouse is not current"]


def _published(system: System) -> list[str]:
    settings = system.settings
    publication = publication_of(settings)
    assert publication is not None
    versions = warehouse_of(settings).published.versions()
    tables = [model.full_name for model in published_models(settings)]
    return [f"{table} is to be published" for table in publication.due(versions, tables, utc_now())]
