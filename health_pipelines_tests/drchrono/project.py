"""The project's DrChrono assets in this process, and what their rows must be by the sandbox's own account."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import polars as pl
import pytest
from dagster import (
    AssetRecordsFilter,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    in_process_executor,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile
from health_pipelines.drchrono.assets import record_asset
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RecordType
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.tables import SWEPT, key_of
from health_pipelines.drchrono.vendor import VENDOR
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.checks import table_checks
from health_pipelines.landing.freshness import Expectation
from health_pipelines.settings import Settings
from health_pipelines.warehouse.storage import WarehouseStorage
from health_pipelines_tests.support.sandbox_process import SandboxProcess

TOKEN = "sandbox-token"
# As far from UTC as zones go, and far from the zone of the partitions' calendar.
ACCOUNT_ZONE = ZoneInfo("Pacific/Auckland")
BY_NAME = {record_type.name: record_type for record_type in SWEPT}
LINEAGE = ("_partition_date", "_report_id", "_extracted_at")

Row = dict[str, Any]


def drchrono_settings(sandbox: SandboxProcess, data: Path, **more: str) -> dict[str, str]:
    """The variables of a project whose vendor is the sandbox, which counts no calls."""
    return {
        "HEALTH_DATA_DIR": str(data),
        "HEALTH_TIMEZONE": "America/Chicago",
        "HEALTH_START_DATE": "2026-03-01",
        "DRCHRONO_BASE_URL": sandbox.url,
        "DRCHRONO_ACCESS_TOKEN": TOKEN,
        "DRCHRONO_TIMEZONE": ACCOUNT_ZONE.key,
        "DRCHRONO_CALLS_PER_HOUR": "100000",
        "DRCHRONO_CALLS_PER_SECOND": "1000",
        "DRCHRONO_HTTP_ATTEMPTS": "2",
        **more,
    }


def lists_are_quick(data: Path) -> None:
    """What many sweeps of a quick vendor would have taught: poll after half a second."""
    pace = Pace(PaceFile(data / "drchrono" / "pace.json"))
    for record_type in SWEPT:
        for size in (16, 32, 64, record_type.page_size):
            for _ in range(400):
                pace.was_done(record_type.name, size)
    pace.save()


@dataclass
class Project:
    """Steps are real and the instance is; only the daemon is played.

    `page_size`: smaller than the vendor's largest, so that few records make many pages.
    """

    instance: DagsterInstance
    data: Path
    page_size: int | None = None

    def __post_init__(self) -> None:
        settings = Settings.of_this_process()
        days = daily_partitions(settings.start_date, settings.timezone)
        self.lake = lake_to_read(settings)
        self.definitions = Definitions(
            assets=[record_asset(self._in_pages(record_type), days) for record_type in SWEPT],
            asset_checks=table_checks(VENDOR.tables(), days, Expectation.of(settings)),
            resources={"drchrono": DrChronoResource(), "storage": WarehouseStorage()},
            executor=in_process_executor,
        )

    def _in_pages(self, record_type: RecordType) -> RecordType:
        if self.page_size is None or record_type is LINE_ITEM_DELETIONS:
            return record_type
        return replace(record_type, page_size=self.page_size)

    def materialize(
        self, record_type: RecordType, first: str, last: str | None = None, run_id: str | None = None
    ) -> ExecuteInProcessResult:
        """A range run, as a person or the daemon starts it; failures are in the result."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[key_of(record_type)],
            instance=self.instance,
            raise_on_error=False,
            run_id=run_id,
            tags={
                ASSET_PARTITION_RANGE_START_TAG: first,
                ASSET_PARTITION_RANGE_END_TAG: last or first,
            },
        )

    def materialized(self, record_type: RecordType) -> list[str]:
        """The days of all materializations, sorted."""
        records = self.instance.fetch_materializations(key_of(record_type), limit=1000).records
        return sorted(str(record.partition_key) for record in records)

    def observed(self, record_type: RecordType) -> list[str]:
        """The days of all observations, sorted."""
        records = self.instance.fetch_observations(key_of(record_type), limit=1000).records
        return sorted(str(record.partition_key) for record in records)

    def facts(self, record_type: RecordType, day: str) -> Mapping[str, Any]:
        """What the newest event of a day's landing says."""
        of_day = AssetRecordsFilter(key_of(record_type), asset_partitions=[day])
        records = [
            *self.instance.fetch_materializations(of_day, limit=1).records,
            *self.instance.fetch_observations(of_day, limit=1).records,
        ]
        newest = max(records, key=lambda one: one.storage_id)
        event = newest.asset_materialization or newest.event_log_entry.asset_observation
        assert event is not None
        return {name: value.value for name, value in event.metadata.items()}

    def file(self, record_type: RecordType, day: str) -> Path:
        return self.lake.partition_file(record_type.table, day)

    def rows(self, record_type: RecordType, day: str) -> dict[str, Row]:
        """A day's rows by key, as they are in the file but with JSON texts parsed."""
        found = [parsed_row(record_type, row) for row in self.raw_rows(record_type, day)]
        by_key = {row[record_type.key]: row for row in found}
        assert len(by_key) == len(found), "a key is there twice"
        return by_key

    def raw_rows(self, record_type: RecordType, day: str) -> list[Row]:
        return pl.read_parquet(
            self.file(record_type, day), glob=False, hive_partitioning=False, use_statistics=False
        ).to_dicts()

    def keys(self, record_type: RecordType, *days: str) -> set[str]:
        return {key for day in days for key in self.rows(record_type, day)}


def without_lineage(rows: Mapping[str, Row]) -> dict[str, Row]:
    return {key: {name: row[name] for name in row if name not in LINEAGE} for key, row in rows.items()}


def true_rows(
    sandbox: SandboxProcess,
    record_type: RecordType,
    since: str,
    *,
    verbose: bool = False,
    zone: ZoneInfo = ACCOUNT_ZONE,
) -> dict[str, Row]:
    """By key the rows that the vendor's records must be, of all that changed on that day or later."""
    records = (
        deletions(sandbox, since)
        if record_type is LINE_ITEM_DELETIONS
        else sandbox.drchrono_records(record_type.name, since=since, verbose=str(verbose).lower())
    )
    return {str(record[record_type.key]): row_of(record_type, record, zone) for record in records}


def changed_on(rows: Mapping[str, Row], record_type: RecordType, day: str) -> dict[str, Row]:
    """Those whose last change, by the account's clock, was on that day."""
    assert record_type.changed is not None
    return {key: row for key, row in rows.items() if row[f"{record_type.changed}_text"].startswith(day)}


def deletions(sandbox: SandboxProcess, since: str) -> list[dict[str, Any]]:
    """What the vendor says of deleted line items, read as simply as can be."""
    url: str | None = f"{sandbox.url}/api/line_item_deletions?since={since}"
    found: list[dict[str, Any]] = []
    while url:
        answer = httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status().json()
        found += answer["data"]
        url = answer["next"]
    return found


def row_of(record_type: RecordType, record: Mapping[str, Any], zone: ZoneInfo) -> Row:
    """The row that a record must become, told another way than the project does it."""
    row: Row = {}
    extra = {name: value for name, value in record.items() if name not in record_type.columns}
    sent: dict[str, list[str]] = {"missing": [], "numbers": [], "strings": []}
    for field, kind in record_type.columns.items():
        value = record.get(field)
        if field not in record:
            sent["missing"].append(field)
        if kind == "text" and _is_number(value):
            sent["numbers"].append(field)
        row[field] = _column(kind, value, zone)
        if kind == "time":
            row[f"{field}_text"] = value if isinstance(value, str) else None
        elif kind == "decimal" and isinstance(value, str) and row[field] is not None:
            sent["strings"].append(field)
        if row[field] is None and value is not None and not (kind == "time" and isinstance(value, str)):
            extra[field] = value
    row["_extra"] = extra or None
    row["_as_sent"] = {name: names for name, names in sent.items() if names} or None
    return row


def _column(kind: str, value: Any, zone: ZoneInfo) -> object:  # noqa: PLR0911 - one for each kind
    """What fits the column, or None."""
    text = value if isinstance(value, str) else ""
    number = repr(value) if _is_number(value) else text
    match kind:
        case "text":
            return number if _is_number(value) else value if isinstance(value, str) else None
        case "integer":
            return value if _is_number(value) and isinstance(value, int) else None
        case "decimal":
            return Decimal(number) if re.fullmatch(r"-?\d+(\.\d{1,4})?", number) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
        case "time":
            return _moment(text, zone)
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC) if text else None


def parsed_row(record_type: RecordType, row: Row) -> Row:
    json_columns = [name for name, kind in record_type.columns.items() if kind == "json"]
    texts = {name: row[name] for name in (*json_columns, "_extra", "_as_sent")}
    return {**row, **{name: None if text is None else json.loads(text) for name, text in texts.items()}}


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def inodes(project: Project, record_type: RecordType, days: Iterable[str]) -> dict[str, tuple[int, int]]:
    """What changes when a day's file is written again."""
    stats = {day: project.file(record_type, day).stat() for day in days}
    return {day: (stat.st_ino, stat.st_mtime_ns) for day, stat in stats.items()}
