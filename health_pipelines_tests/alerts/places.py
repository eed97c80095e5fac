"""The alerts sensor on a real instance: its receivers are real, only the daemon and its clock are played."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    SensorEvaluationContext,
    SkipReason,
)
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from starlette.responses import Response

from health_pipelines.alerts.sensor import alerts_sensor
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.freshness import Expectation
from health_pipelines.landing.missing_days import missing_evaluations
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings
from health_pipelines_tests.drchrono.scripted_vendor import ScriptedVendor, Seen, scripted_vendor

CHICAGO = ZoneInfo("America/Chicago")
VISITS, REQUESTS = AssetKey(["dexcare", "avr_virtual"]), AssetKey(["dexcare", "avr_virtual_report"])
VISITS_TABLE = Table("dexcare", "avr_virtual")
VISITS_CHECKED = CheckedTable(VISITS, VISITS_TABLE, None, None, empty_days_have_columns=True)
HISTORIES = AssetKey(["dexcare", "provider_histories"])
PATH = "/services/T0/s3cret-that-nobody-may-see"
REPOSITORY = "__repository__"
PAUSE = timedelta(minutes=15)


@dataclass
class Receiver:
    """A webhook that takes everything while it is `up`. `tried`: how often it was called."""

    vendor: ScriptedVendor
    up: bool = True
    texts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.vendor.url + PATH

    @property
    def tried(self) -> int:
        return len(self.vendor.calls)

    def take(self, seen: Seen) -> Response:
        if not self.up:
            return Response("down", 503)
        self.texts.append(json.loads(seen.body)["text"])
        return Response("ok")

    def taken(self) -> list[str]:
        """The messages since the last look."""
        texts, self.texts = self.texts, []
        return texts


@contextmanager
def receiver() -> Iterator[Receiver]:
    with scripted_vendor() as vendor:
        webhook = Receiver(vendor)
        vendor.handler = webhook.take
        yield webhook


@dataclass
class Place:
    """One code location and its ticks. `now` begins at the present, since runs fail in the present."""

    instance: DagsterInstance
    location: str | None = None
    tables: Sequence[AssetKey] = (VISITS, HISTORIES)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    lake: Lake | None = None

    def __post_init__(self) -> None:
        # Nothing is expected before the test says so.
        self.expect_from(datetime.now(UTC) + timedelta(days=365))

    def expect_from(self, first_day: datetime) -> None:
        expectation = Expectation(CHICAGO, time(8), first_day.astimezone(CHICAGO).date())
        self.sensor = alerts_sensor(self.tables, expectation, lambda: self.now, self.holes)

    def tick(self, *, after: timedelta = timedelta(seconds=30)) -> str:
        """One evaluation some time after the last; returns what it says, or raises."""
        self.now += after
        origin = RegisteredCodeLocationOrigin(self.location) if self.location else None
        context = SensorEvaluationContext(
            None,
            instance=self.instance,
            repository_name=REPOSITORY if origin else None,
            code_location_origin=origin,
        )
        result = self.sensor(context)
        assert isinstance(result, SkipReason)
        return result.skip_message or ""

    def fail(
        self, asset: AssetKey, first: str, last: str | None = None, *, at: datetime | None = None, **tags: str
    ) -> DagsterRun:
        """A run for some days of an asset, which ends before its first step; now, unless told when."""
        origin = None
        if self.location:
            repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(self.location), REPOSITORY)
            origin = RemoteJobOrigin(repository, "__ASSET_JOB")
        run: DagsterRun = create_run_for_test(
            self.instance,
            "__ASSET_JOB",
            asset_selection=frozenset([asset]),
            remote_job_origin=origin,
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last or first,
                **{name.replace("__", "/"): value for name, value in tags.items()},
            },
        )
        failed_at = at or datetime.now(UTC)
        failure = DagsterEvent(DagsterEventType.RUN_FAILURE.value, run.job_name, message="It failed.")
        self.instance.report_dagster_event(failure, run.run_id, timestamp=failed_at.timestamp())
        if at is None:
            self.now = max(self.now, failed_at)
        return run

    def holes(self, instance: DagsterInstance, now: datetime) -> list[AssetCheckEvaluation]:
        if self.lake is None:
            return []
        settings = Settings({"HEALTH_TIMEZONE": CHICAGO.key, "HEALTH_EXPECTED_BY": "08:00"})
        return missing_evaluations(instance, self.lake, [VISITS_CHECKED], settings, now)

    def keep(self, *days: str) -> None:
        """Let the lake have those days of visits."""
        assert self.lake is not None
        for day in days:
            with self.lake.writing(VISITS_TABLE, day) as writer:
                writer.candidate.touch()
                writer.replace()

    def land(self, asset: AssetKey, *days: str) -> None:
        for day in days:
            self.instance.report_runless_asset_event(AssetMaterialization(asset, partition=day))
