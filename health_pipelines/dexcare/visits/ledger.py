"""The ledger: which reports were started and which of them have been dealt with, read from the event log.

Belongs here: how a ticket and its outcome are written as events of the request asset and read back. Does
not belong here: what to do about them (`report.py`). There is no other state: Dagster's event log is the
one place, written at the moment the vendor answered, and "in flight" is derived from it.

- A **ticket** is a materialization of the request asset's partition. Its data version is the report id.
- An **outcome** is an observation of the same partition, with the same data version when the report is
  settled (landed), or the report id and a mark: a state it was seen in, a landing that failed, given up.

So the newest ticket is open exactly when its report id is not the data version of the newest outcome; a
landing that overtakes a newer ticket does not close that one. Two indexed queries answer this for all days.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    EventLogRecord,
    MetadataValue,
)

from health_pipelines.dexcare.visits.client import ReportStatus
from health_pipelines.dexcare.visits.poll_plan import Hint, seconds_queued_and_running
from health_pipelines.dexcare.visits.report import LandingFailure, Ticket
from health_pipelines.landing.calendar import Window
from health_pipelines.landing.landed_partition import DATA_VERSION_TAG

_TICKET, _OUTCOME = DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION
_FAILED, _GIVEN_UP = "/landing failed", "/given up"
_UNTIL_READY = "seconds_until_ready"
# Ten years of days: more than any one wish asks for.
_MOST_COUNTED = 3660


@dataclass(frozen=True)
class OpenTicket:
    """A ticket that no outcome has settled, with its failed landings so far.

    `given_up`: it is open only in that its day has not landed.
    """

    ticket: Ticket
    failure: LandingFailure | None
    given_up: bool = False


@dataclass(frozen=True)
class GivenUp:
    """Since when nothing happens by itself any more for a ticket, and why, in the vendor's words."""

    at: datetime
    reason: str


@dataclass(frozen=True)
class Settlement:
    """A ticket that has landed. `changed`: whether the report said anything that the lake did not."""

    ticket: Ticket
    settled_at: datetime
    changed: bool


class Ledger:
    """The tickets of one request asset in one Dagster instance."""

    def __init__(self, instance: DagsterInstance, request_asset: AssetKey) -> None:
        self._instance = instance
        self._asset = request_asset

    def open_tickets(self, days: list[str] | None = None) -> dict[str, OpenTicket]:
        """The newest ticket of every day that has one which is not settled, by day."""
        reports = self._data_versions(_TICKET, days)
        outcomes = self._data_versions(_OUTCOME, days)
        unsettled = [day for day, report_id in reports.items() if outcomes.get(day) != report_id]
        failed = [day for day in unsettled if outcomes.get(day) == reports[day] + _FAILED]
        tickets = self.newest_tickets(unsettled)
        failures = {day: _read_failure(record) for day, record in self._newest(_OUTCOME, failed).items()}
        return {
            day: OpenTicket(ticket, failures.get(day), outcomes.get(day) == reports[day] + _GIVEN_UP)
            for day, ticket in sorted(tickets.items())
        }

    def newest_tickets(self, days: list[str]) -> dict[str, Ticket]:
        """The newest ticket of each of `days`, open or not."""
        records = self._newest(_TICKET, days)
        return {day: _read_ticket(day, record) for day, record in records.items()}

    def given_up(self, days: list[str]) -> dict[str, GivenUp]:
        """Why each of `days` was given up, of those whose newest ticket was."""
        records = self._newest(_OUTCOME, days)
        events = {day: record.event_log_entry.asset_observation for day, record in records.items()}
        return {
            day: GivenUp(_time(records[day].timestamp), str(event.metadata["reason"].value))
            for day, event in events.items()
            if event is not None and event.tags.get(DATA_VERSION_TAG, "").endswith(_GIVEN_UP)
        }

    def settlements(self, days: list[str]) -> dict[str, Settlement]:
        """The newest ticket of each of `days` that has one and whose report has landed, by day."""
        tickets = self.newest_tickets(days)
        outcomes = self._data_versions(_OUTCOME, days)
        settled = [day for day, ticket in tickets.items() if outcomes.get(day) == ticket.report_id]
        return {
            day: Settlement(tickets[day], _time(record.timestamp), _is_changed(record))
            for day, record in self._newest(_OUTCOME, settled).items()
        }

    def recent_durations(self) -> list[float]:
        """Seconds from the request to SUCCEEDED of the reports seen to succeed lately, at most 50."""
        records = self._instance.fetch_observations(self._asset, limit=100).records
        observations = (record.event_log_entry.asset_observation for record in records)
        values = (one.metadata.get(_UNTIL_READY) for one in observations if one is not None)
        return [float(str(value.value)) for value in values if value is not None][:50]

    def landed_since(self, moment: datetime) -> int:
        """How many days have a newest ticket from after `moment` whose report has landed."""
        recent = AssetRecordsFilter(self._asset, after_timestamp=moment.timestamp())
        records = self._instance.fetch_materializations(recent, limit=_MOST_COUNTED).records
        days = sorted({str(record.partition_key) for record in records})
        return len(self.settlements(days))

    def write_ticket(self, ticket: Ticket, window: Window, vendor_host: str) -> AssetMaterialization:
        """The event that records a started report. Log it before anything else is done."""
        return AssetMaterialization(
            asset_key=self._asset,
            partition=ticket.day,
            description=f"Report {ticket.report_id} was started.",
            tags={DATA_VERSION_TAG: ticket.report_id},
            metadata={
                "report_id": ticket.report_id,
                "requested_at": MetadataValue.timestamp(ticket.requested_at),
                "zone": ticket.zone or "",
                "window": str(window),
                "vendor": vendor_host,
                "asked_by": ticket.asked_by,
                "asked_at": MetadataValue.timestamp(ticket.asked_at),
                "attempt": ticket.attempt,
                "late": ticket.late,
                "lost_starts": ticket.lost_starts,
            },
        )

    def tickets_again(self, days: list[str]) -> list[AssetMaterialization]:
        """The newest tickets of `days` once more, for a run that was asked for a report that is started.

        The report id is the same, so that a ticket which is open stays open and a settled one settled.
        """
        events = [record.asset_materialization for record in self._newest(_TICKET, days).values()]
        return [
            AssetMaterialization(
                asset_key=self._asset,
                partition=event.partition,
                description=f"Report {event.metadata['report_id'].value} was started before.",
                tags={DATA_VERSION_TAG: str(event.metadata["report_id"].value)},
                metadata=event.metadata,
            )
            for event in events
            if event is not None
        ]

    def write_state(self, ticket: Ticket, hint: Hint, now: datetime) -> AssetObservation:
        """The event that shows where a report is; the ticket stays open."""
        queued, running = seconds_queued_and_running(ticket, hint, now)
        ready = hint.status is ReportStatus.SUCCEEDED
        return AssetObservation(
            asset_key=self._asset,
            partition=ticket.day,
            description=f"Report {ticket.report_id} is {hint.status.value}.",
            tags={DATA_VERSION_TAG: f"{ticket.report_id}/{hint.status.value}"},
            metadata={
                "report_id": ticket.report_id,
                "state": hint.status.value,
                "age_seconds": (now - ticket.requested_at).total_seconds(),
                "attempt": ticket.attempt,
                "polls": hint.polls,
                "seconds_queued": queued,
                "seconds_running": running,
                **({_UNTIL_READY: (hint.since - ticket.requested_at).total_seconds()} if ready else {}),
            },
        )

    def write_given_up(self, ticket: Ticket, reason: str) -> AssetObservation:
        """The event after which nothing happens by itself any more for this ticket."""
        return AssetObservation(
            asset_key=self._asset,
            partition=ticket.day,
            description=f"Given up after {ticket.attempt} attempts: {reason}",
            tags={DATA_VERSION_TAG: ticket.report_id + _GIVEN_UP},
            metadata={"report_id": ticket.report_id, "attempt": ticket.attempt, "reason": reason},
        )

    def write_settled(self, ticket: Ticket, *, settled_at: datetime, changed: bool) -> AssetObservation:
        """The event that closes a ticket: its report has landed, or says what the lake says already."""
        return AssetObservation(
            asset_key=self._asset,
            partition=ticket.day,
            description=f"Report {ticket.report_id} has landed." + ("" if changed else " Nothing changed."),
            tags={DATA_VERSION_TAG: ticket.report_id},
            metadata={
                "report_id": ticket.report_id,
                "changed": changed,
                "seconds_from_request_to_landing": (settled_at - ticket.requested_at).total_seconds(),
            },
        )

    def write_failure(self, ticket: Ticket, failure: LandingFailure) -> AssetObservation:
        """The event that records a failed landing; the ticket stays open."""
        return AssetObservation(
            asset_key=self._asset,
            partition=ticket.day,
            description=f"Report {ticket.report_id} could not be landed: {failure.reason}",
            tags={DATA_VERSION_TAG: ticket.report_id + _FAILED},
            metadata={
                "report_id": ticket.report_id,
                "failed_landings": failure.count,
                "failed_at": MetadataValue.timestamp(failure.failed_at),
                "final": failure.final,
                "gone": failure.gone,
                "reason": failure.reason,
            },
        )

    def _data_versions(self, event_type: DagsterEventType, days: list[str] | None) -> Mapping[str, str]:
        found = self._instance.event_log_storage.get_latest_tags_by_partition(
            self._asset, event_type, [DATA_VERSION_TAG], asset_partitions=days
        )
        return {day: tags[DATA_VERSION_TAG] for day, tags in found.items()}

    def _newest(self, event_type: DagsterEventType, days: list[str]) -> dict[str, EventLogRecord]:
        if not days:
            return {}
        ids = self._instance.get_latest_storage_id_by_partition(self._asset, event_type, set(days))
        fetch = (
            self._instance.fetch_materializations
            if event_type == _TICKET
            else self._instance.fetch_observations
        )
        records: dict[str, EventLogRecord] = {}
        for batch in _batches(list(ids.values())):
            found = fetch(AssetRecordsFilter(self._asset, storage_ids=batch), limit=len(batch))
            records |= {str(record.partition_key): record for record in found.records}
        return records


def _batches(ids: list[int], size: int = 500) -> list[list[int]]:
    # SQLite takes about 1,000 variables in a statement in its oldest versions still around.
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _read_ticket(day: str, record: EventLogRecord) -> Ticket:
    event = record.asset_materialization
    assert event is not None, "fetched as a materialization"
    metadata = event.metadata
    report_id = metadata.get("report_id")
    if report_id is None:
        # Somebody reported this partition by hand in the UI; it stands for no report.
        reported_at = _time(record.timestamp)
        return Ticket(day, "", reported_at, asked_by="", asked_at=reported_at)
    return Ticket(
        day=day,
        report_id=str(report_id.value),
        requested_at=_time(metadata["requested_at"].value),
        asked_by=str(metadata["asked_by"].value),
        asked_at=_time(metadata["asked_at"].value),
        attempt=int(str(metadata["attempt"].value)),
        late=int(str(metadata["late"].value)),
        lost_starts=int(str(metadata["lost_starts"].value)),
        zone=str(metadata["zone"].value) or None if "zone" in metadata else None,
    )


def _read_failure(record: EventLogRecord) -> LandingFailure:
    event = record.event_log_entry.asset_observation
    assert event is not None, "fetched as an observation"
    metadata = event.metadata
    return LandingFailure(
        count=int(str(metadata["failed_landings"].value)),
        failed_at=_time(metadata["failed_at"].value),
        final=bool(metadata["final"].value),
        gone=bool(metadata["gone"].value),
        reason=str(metadata["reason"].value),
    )


def _is_changed(record: EventLogRecord) -> bool:
    event = record.event_log_entry.asset_observation
    assert event is not None, "fetched as an observation"
    return bool(event.metadata["changed"].value)


def _time(timestamp: object) -> datetime:
    return datetime.fromtimestamp(float(str(timestamp)), UTC)
