"""The sensor that watches started reports, lands the ready ones and asks again for the lost ones.

Belongs here: one tick, from the event log over the vendor's answers to run requests. Does not belong here:
what a status means (`report.py`), when it is asked for (`poll_plan.py`), which runs follow
(`planned_runs.py`). What is in flight is derived from the event log; the cursor holds only hints. The tick
only reads from the vendor.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    define_asset_job,
    sensor,
)

from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport
from health_pipelines.dexcare.visits.client import ReportStatus
from health_pipelines.dexcare.visits.key_pause import KeyPause
from health_pipelines.dexcare.visits.land_step import MANY_DAYS_TAG
from health_pipelines.dexcare.visits.ledger import Ledger, OpenTicket
from health_pipelines.dexcare.visits.planned_runs import PlannedRun, plan
from health_pipelines.dexcare.visits.poll import Poll, Polled
from health_pipelines.dexcare.visits.poll_plan import is_due, read_hints, usual_duration, write_hints
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.http import AccessDeniedError
from health_pipelines.landing.run_claims import is_under_way
from health_pipelines.landing.run_tags import asked_for
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now

SENSOR_NAME = "dexcare_report_sensor"
# On every run that the sensor starts: which reports it is for.
REPORTS_TAG = "dexcare/reports"
# Well within the 60 s that Dagster gives a tick, together with everything else that it does.
POLLING_SECONDS = 20.0
# The same reports are not tried again at once when a run for them ended without landing them.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(hours=1)

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]

InFlight = Mapping[VisitReport, Mapping[str, OpenTicket]]
Verdicts = Mapping[VisitReport, list[Polled]]


def report_sensor(poll_seconds: int, clock: Callable[[], datetime] = utc_now) -> SensorDefinition:
    """The sensor, to be evaluated every `poll_seconds` (the daemon looks every 5 s at most)."""
    key_pause = KeyPause()

    @sensor(
        name=SENSOR_NAME,
        # With a name of its own: without one the UI calls its runs jobless.
        target=define_asset_job(
            "dexcare_reports_run",
            AssetSelection.assets(
                *(key for report in VISIT_REPORTS for key in (report.request_key, report.asset_key))
            ),
        ),
        minimum_interval_seconds=poll_seconds,
        default_status=DefaultSensorStatus.RUNNING,
        description="Asks DexCare for the status of every report in flight and lands those that are ready.",
    )
    def dexcare_report_sensor(
        context: SensorEvaluationContext, dexcare: DexCareResource, storage: Storage
    ) -> SensorResult | SkipReason:
        tick = _Tick(context, dexcare, storage, clock(), timedelta(seconds=poll_seconds))
        return tick.run(key_pause)

    return dexcare_report_sensor


@dataclass
class _Tick:
    context: SensorEvaluationContext
    dexcare: DexCareResource
    storage: Storage
    now: datetime
    interval: timedelta

    def __post_init__(self) -> None:
        self.instance = self.context.instance
        self.hints = read_hints(self.context.cursor)

    def run(self, key_pause: KeyPause) -> SensorResult | SkipReason:
        in_flight = {
            report: Ledger(self.instance, report.request_key).open_tickets() for report in VISIT_REPORTS
        }
        if not any(in_flight.values()):
            return SkipReason("No report is in flight.")
        busy = _tables_with_a_run(self.instance, self.storage, self.now)
        free = {report: days for report, days in in_flight.items() if report not in busy}
        try:
            verdicts = self._poll(free, key_pause)
        except _KeyIsPausedError as paused:
            return SkipReason(str(paused))
        self._show(verdicts)
        for problem in _problems(verdicts):
            self.context.log.warning(problem)
        runs = (self._run_request(run) for run in plan(verdicts))
        requests = [request for request in runs if request is not None]
        states = self._states(in_flight, verdicts)
        self.context.log.info(states)
        open_reports = {one.ticket.report_id for days in in_flight.values() for one in days.values()}
        cursor = write_hints({key: hint for key, hint in self.hints.items() if key in open_reports})
        if not requests:
            return SensorResult(skip_reason=states, cursor=cursor)
        return SensorResult(run_requests=requests, cursor=cursor)

    def _poll(self, free: InFlight, key_pause: KeyPause) -> Verdicts:
        """The verdict on everything in flight, asking the vendor about what is due, the oldest first."""
        at_once = self.dexcare.poll_concurrency
        poll = Poll(self.dexcare.policy, self.now, at_once, POLLING_SECONDS, self.hints)
        verdicts = {
            report: [poll.without_asking(one) for one in days.values()] for report, days in free.items()
        }
        usual = {
            report: usual_duration(Ledger(self.instance, report.request_key).recent_durations())
            for report, some in verdicts.items()
            if some
        }
        # The ticks themselves keep the interval; asking for all of it here would skip one that is early.
        shortest = self.interval / 2
        due = sorted(
            (
                one.open_ticket
                for report, some in verdicts.items()
                for one in some
                if not one.verdict.is_over
                and is_due(one.open_ticket.ticket, one.hint, usual[report], shortest, self.now)
            ),
            key=lambda one: one.ticket.requested_at,
        )
        if not due:
            return verdicts
        answers = {
            one.open_ticket.ticket.report_id: one for one in asyncio.run(self._ask(poll, due, key_pause))
        }
        return {
            report: [answers.get(one.open_ticket.ticket.report_id, one) for one in some]
            for report, some in verdicts.items()
        }

    async def _ask(self, poll: Poll, due: list[OpenTicket], key_pause: KeyPause) -> list[Polled]:
        key = self.dexcare.key_in_use()
        waits = key_pause.reason_to_wait(key, self.now)
        if waits is not None:
            raise _KeyIsPausedError(waits)
        async with self.dexcare.polling_client() as client:
            try:
                # One call tells whether the key works; only then come the others.
                first = await poll.ask(client, due[:1])
                key_pause.forget()
                return first + await poll.ask(client, due[1:])
            except AccessDeniedError as error:
                key_pause.remember(key, self.now, str(error))
                raise

    def _show(self, verdicts: Verdicts) -> None:
        """Log each change of state as an event of its day, and keep the hints for the next tick."""
        for report, some in verdicts.items():
            ledger = Ledger(self.instance, report.request_key)
            for one in some:
                if one.hint is None:
                    continue
                ticket = one.open_ticket.ticket
                before = self.hints.get(ticket.report_id)
                # Every report is QUEUED at first: the ticket says as much.
                known = before.status if before else ReportStatus.QUEUED
                # A failed landing is the newest thing to know of a day, and stays it.
                if one.hint.status is not known and not one.open_ticket.failure:
                    self.instance.report_runless_asset_event(ledger.write_state(ticket, one.hint, self.now))
                self.hints[ticket.report_id] = one.hint

    def _run_request(self, run: PlannedRun) -> RunRequest | None:
        """The request for a run, or None while one that ended without helping these reports is recent.

        A run key is remembered for ever, whatever became of its run; so it numbers the attempts.
        """
        earlier = self.instance.get_run_records(RunsFilter(tags={REPORTS_TAG: run.digest}))
        if earlier:
            pause = min(FIRST_PAUSE * 2 ** (len(earlier) - 1), LONGEST_PAUSE)
            if self.now < max(record.create_timestamp.astimezone(UTC) for record in earlier) + pause:
                return None
        return RunRequest(
            run_key=f"{run.digest}:{len(earlier)}",
            asset_selection=list(run.assets),
            # The steps tell what the checks say; planned, those of a day that still waits would be blank.
            asset_check_keys=[],
            run_config={
                "ops": {key.to_python_identifier(): {"config": config} for key, config in run.config.items()}
            },
            tags={
                **asked_for(run.tables, run.first_day, run.last_day, run.reason),
                REPORTS_TAG: run.digest,
                **({MANY_DAYS_TAG: "true"} if run.many_days else {}),
            },
        )

    def _states(self, in_flight: InFlight, verdicts: Verdicts) -> str:
        """Such as `3 queued, 5 running, 2 landed`; landed counts since the oldest wish not yet granted."""
        counts = Counter(one.verdict.value for some in verdicts.values() for one in some)
        words = [f"{count} {word}" for word, count in counts.items()]
        behind_a_run = [
            one for report, days in in_flight.items() if report not in verdicts for one in days.values()
        ]
        if behind_a_run:
            words.append(f"{len(behind_a_run)} behind a run for their table")
        # What waits for a person may do so for months, and is no measure of what goes on.
        waiting = [one.open_ticket for some in verdicts.values() for one in some if not one.verdict.is_over]
        asked_at = min((one.ticket.asked_at for one in [*waiting, *behind_a_run]), default=None)
        if asked_at is not None:
            ledgers = (Ledger(self.instance, report.request_key) for report in VISIT_REPORTS)
            words.append(f"{sum(ledger.landed_since(asked_at) for ledger in ledgers)} landed")
        return ", ".join(words)


class _KeyIsPausedError(Exception):
    """Nothing is asked for a while, because the key was refused."""


def _tables_with_a_run(instance: DagsterInstance, storage: Storage, now: datetime) -> set[VisitReport]:
    """Tables for which a run of this sensor is on its way: the next waits, and so carries more days."""
    busy: set[VisitReport] = set()
    starts_within = Settings.of_this_process().run_starts_within
    for record in instance.get_run_records(RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if REPORTS_TAG not in run.tags:
            continue
        if is_under_way(record, storage.run_claims, now=now, starts_within=starts_within):
            selected = run.asset_selection or frozenset()
            busy |= {
                report
                for report in VISIT_REPORTS
                if report.asset_key in selected or report.request_key in selected
            }
    return busy


def _problems(verdicts: Verdicts) -> list[str]:
    """What a person has to know: days for which nothing happens by itself any more."""
    return [
        f"{report.table} {one.open_ticket.ticket.day}: {one.verdict.value}"
        + (f" ({one.reason})" if one.reason else "")
        + f"; materialize {report.request_key.to_user_string()} for that day to ask again."
        for report, some in verdicts.items()
        for one in some
        if one.verdict.is_over
    ]
