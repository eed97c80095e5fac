"""How late days change is counted by an asset, drawn in the UI, and told by `health-pipelines status`."""

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    ExecuteInProcessResult,
    build_schedule_context,
    instance_for_test,
    materialize,
)
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData

from health_pipelines.commands.status import status_text
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import Settings
from health_pipelines.status.late import counted, late_changes_asset, late_changes_weekly
from health_pipelines.status.reading import Reading
from health_pipelines.status.report import as_json
from health_pipelines.vendors.known import landing_tables

TODAY = datetime.now(UTC).date()
VIRTUAL, RETAIL = "dexcare/avr_virtual", "dexcare/avr_retail"
SAYS = (
    "a look-back of 2 is enough: 0 of 1,000 changes came later; of days older than 3 nothing is known "
    "(100 changed rows, 25 days asked again)"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HEALTH_BUILD_WAREHOUSE", "false")
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://dexcare.invalid")


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


def tell(instance: DagsterInstance, day: date, age: int, **facts: Any) -> None:
    """That a day of virtual visits landed at that age, at noon."""
    event = AssetMaterialization(
        AssetKey(VIRTUAL.split("/")),
        partition=day.isoformat(),
        metadata={"dagster/partition_row_count": 10, "changed": True, **facts},
    )
    instance.report_dagster_event(
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name="a night",
            event_specific_data=StepMaterializationData(event, []),
        ),
        run_id="",
        timestamp=datetime.combine(day + timedelta(days=age), time(12), UTC).timestamp(),
    )


def nights(instance: DagsterInstance) -> None:
    """25 days that landed at the age of a day; four rows of each changed in a day, and none in two."""
    for number in range(25):
        day = TODAY - timedelta(days=30 - number)
        tell(instance, day, 1, rows_added=10, rows_removed=0)
        tell(instance, day, 2, rows_added=0, rows_removed=0, rows_changed=4)
        tell(instance, day, 3, rows_added=0, rows_removed=0, rows_changed=0)


def count(instance: DagsterInstance) -> ExecuteInProcessResult:
    asset = late_changes_asset(landing_tables(Settings({})))
    return materialize([asset], instance=instance, resources={"storage": Storage()})


def test_it_is_counted_drawn_and_told(instance: DagsterInstance) -> None:
    nights(instance)
    [materialized] = count(instance).asset_materializations_for_node("status__late_changes")
    facts = {name: value.value for name, value in materialized.metadata.items()}
    assert facts[VIRTUAL] == SAYS
    assert RETAIL not in facts
    image = str(facts["changes by age of the day"]).partition("base64,")[2].rstrip(")")
    assert base64.b64decode(image).startswith(b"\x89PNG")

    status = Reading(instance, Settings.of_this_process(), datetime.now(UTC)).status()
    assert f"Late changes\n  {VIRTUAL}: {SAYS}." in status_text(status, Settings({}).timezone)
    told = {one["table"]: one["late_changes"] for one in as_json(status, Settings({}).timezone)["tables"]}
    assert told[VIRTUAL] == {
        "lookback_days": 2,
        "known_up_to_age": 3,
        "says": SAYS,
        "ages": [
            {"age": 2, "watched": 25, "changed": 25, "rows": 100},
            {"age": 3, "watched": 25, "changed": 0, "rows": 0},
        ],
    }
    assert told[RETAIL] is None


def test_before_it_was_counted_nothing_is_told(instance: DagsterInstance) -> None:
    assert counted(instance) == {}
    status = Reading(instance, Settings.of_this_process(), datetime.now(UTC)).status()
    assert "Late changes" not in status_text(status, Settings({}).timezone)
    assert count(instance).success
    assert counted(instance) == {}


def test_it_is_counted_every_monday_once_something_has_landed(instance: DagsterInstance) -> None:
    settings = Settings({"HEALTH_TIMEZONE": "America/Chicago"})
    weekly = late_changes_weekly(settings, landing_tables(settings))
    assert (weekly.cron_schedule, weekly.execution_timezone) == ("0 9 * * 1", "America/Chicago")
    context = build_schedule_context(instance, scheduled_execution_time=datetime(2026, 3, 23, 14, tzinfo=UTC))
    assert weekly.evaluate_tick(context).skip_message == "Nothing that can change late has landed yet."
    tell(instance, TODAY, 1)
    assert len(weekly.evaluate_tick(context).run_requests or []) == 1
