"""The sensor that watches started reports and lands the ready ones.

Belongs here: one tick, from the event log over the vendor's answers to run requests. Does not belong here:
what a status means (`report.py`), which runs to start (`landing_runs.py`). It keeps no cursor: everything
is derived from the event log and the runs, so that there is nothing to lose. It only reads from the vendor.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from dagster import (
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.dexcare.land_step import MANY_DAYS_TAG
from health_pipelines.dexcare.landing_runs import LandingRun, plan
from health_pipelines.dexcare.ledger import Ledger, OpenTicket
from health_pipelines.dexcare.poll import Polled, poll
from health_pipelines.dexcare.report import Verdict
from health_pipelines.dexcare.resource import DexCareResource
from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport
from health_pipelines.run_claims import end_dead_runs, is_alive
from health_pipelines.storage import Storage

SENSOR_NAME = "dexcare_report_sensor"
# On every run that the sensor starts: which reports it is for.
REPORTS_TAG = "dexcare/reports"
# Half of the 60 s that Dagster gives a tick.
POLLING_SECONDS = 30.0
# A run that has no living process after this long will never have one.
TIME_TO_START = timedelta(minutes=5)
# The same reports are not tried again at once when a run for them ended without landing them.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(hours=1)

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def report_sensor(poll_seconds: int) -> SensorDefinition:
    """The sensor, to be evaluated every `poll_seconds` (the daemon looks every 5 s at most)."""

    @sensor(
        name=SENSOR_NAME,
        target=AssetSelection.assets(*(report.asset_key for report in VISIT_REPORTS)),
        minimum_interval_seconds=poll_seconds,
        default_status=DefaultSensorStatus.RUNNING,
        description="Asks DexCare for the status of every report in flight and lands those that are ready.",
    )
    def dexcare_report_sensor(
        context: SensorEvaluationContext, dexcare: DexCareResource, storage: Storage
    ) -> SensorResult | SkipReason:
        now = datetime.now(UTC)
        for run_id in end_dead_runs(context.instance, storage.run_claims):
            context.log.warning(f"Run {run_id} had no process any more and was marked as failed.")
        landing_now = _tables_being_landed(context.instance, storage, now)
        in_flight = {
            report: Ledger(context.instance, report.request_key).open_tickets() for report in VISIT_REPORTS
        }
        if not any(in_flight.values()):
            return SkipReason("No report is in flight.")
        to_poll = {report: days for report, days in in_flight.items() if report not in landing_now}
        polled = asyncio.run(_poll(dexcare, to_poll, now)) if any(to_poll.values()) else {}
        ready = {
            report: [one.open_ticket for one in some if one.verdict is Verdict.LAND]
            for report, some in polled.items()
        }
        states = _states(context.instance, in_flight, polled)
        for problem in _problems(polled):
            context.log.warning(problem)
        requests = [
            request
            for run in plan(ready)
            if (request := _run_request(context.instance, run, now)) is not None
        ]
        if not requests:
            return SkipReason(states)
        context.log.info(states)
        return SensorResult(run_requests=requests)

    return dexcare_report_sensor


async def _poll(
    dexcare: DexCareResource, in_flight: Mapping[VisitReport, Mapping[str, OpenTicket]], now: datetime
) -> dict[VisitReport, list[Polled]]:
    owner = {
        one.ticket.report_id: report for report, tickets in in_flight.items() for one in tickets.values()
    }
    tickets = [one for some in in_flight.values() for one in some.values()]
    async with dexcare.client(patient=False) as client:
        polled = await poll(client, tickets, now, at_once=dexcare.concurrency, within_seconds=POLLING_SECONDS)
    by_report: dict[VisitReport, list[Polled]] = {report: [] for report in in_flight}
    for one in polled:
        by_report[owner[one.open_ticket.ticket.report_id]].append(one)
    return by_report


def _tables_being_landed(instance: DagsterInstance, storage: Storage, now: datetime) -> set[VisitReport]:
    """Tables for which a run of this sensor is on its way: the next waits, and so carries more days."""
    busy: set[VisitReport] = set()
    for record in instance.get_run_records(RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if REPORTS_TAG not in run.tags:
            continue
        waits_in_the_queue = run.status is DagsterRunStatus.QUEUED
        starts = now - record.update_timestamp.astimezone(UTC) < TIME_TO_START
        if waits_in_the_queue or starts or is_alive(storage.run_claims, run.run_id):
            busy |= {report for report in VISIT_REPORTS if report.asset_key in (run.asset_selection or ())}
    return busy


def _run_request(instance: DagsterInstance, run: LandingRun, now: datetime) -> RunRequest | None:
    """The request for a run, or None while a run that ended without landing these reports is recent.

    A run key is remembered for ever, whatever became of its run; so it numbers the attempts.
    """
    earlier = instance.get_run_records(RunsFilter(tags={REPORTS_TAG: run.digest}))
    if earlier:
        pause = min(FIRST_PAUSE * 2 ** (len(earlier) - 1), LONGEST_PAUSE)
        if now < max(record.create_timestamp.astimezone(UTC) for record in earlier) + pause:
            return None
    return RunRequest(
        run_key=f"{run.digest}:{len(earlier)}",
        asset_selection=[report.asset_key for report in run.reports],
        tags={
            ASSET_PARTITION_RANGE_START_TAG: run.first_day,
            ASSET_PARTITION_RANGE_END_TAG: run.last_day,
            REPORTS_TAG: run.digest,
            **({MANY_DAYS_TAG: "true"} if run.many_days else {}),
        },
    )


def _states(
    instance: DagsterInstance,
    in_flight: Mapping[VisitReport, Mapping[str, OpenTicket]],
    polled: Mapping[VisitReport, list[Polled]],
) -> str:
    """Such as `3 queued, 5 running, 2 landed`; landed counts since the oldest wish that is not granted."""
    counts = Counter(one.verdict for some in polled.values() for one in some)
    words = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
    being_landed = sum(len(days) for report, days in in_flight.items() if report not in polled)
    if being_landed:
        words.append(f"{being_landed} with a run that is landing their table")
    asked_at = min(one.ticket.asked_at for days in in_flight.values() for one in days.values())
    landed = sum(Ledger(instance, report.request_key).landed_since(asked_at) for report in VISIT_REPORTS)
    return ", ".join([*words, f"{landed} landed"])


def _problems(polled: Mapping[VisitReport, list[Polled]]) -> list[str]:
    """What a person has to know: days for which nothing happens by itself any more."""
    return [
        f"{report.table} {one.open_ticket.ticket.day}: {one.verdict.value}"
        + (f" ({one.reason})" if one.reason else "")
        + f"; materialize {report.request_key.to_user_string()} for that day to ask again."
        for report, some in polled.items()
        for one in some
        if one.verdict.is_over
    ]
