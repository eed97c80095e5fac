"""Publishing as Dagster shows and starts it: on a real instance, a real warehouse and a real PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    ExecuteInProcessResult,
    RunRequest,
    SensorDefinition,
    SkipReason,
    build_sensor_context,
    instance_for_test,
)

from health_pipelines.definitions import build_definitions
from health_pipelines.publish.assets import ROWS_EQUAL
from health_pipelines.publish.sensor import publish_sensors
from health_pipelines.settings import Settings
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS
from health_pipelines.warehouse.assets import warehouse_keys
from health_pipelines.warehouse.storage import WarehouseStorage
from health_pipelines_tests.warehouse.hospital import NAMED, Hospital
from health_pipelines_tests.warehouse.test_models import visit

CHOSEN = {"current.avr_virtual", "current.patients", "marts.visits", "marts.daily_visits"}


class Place:
    """A place of the process's settings: its steps run and its sensor ticks, `passed` ahead of the clock."""

    def __init__(self, instance: DagsterInstance, hospital: Hospital) -> None:
        self.instance = instance
        self.hospital = hospital
        self.passed = timedelta()
        self.definitions = build_definitions(Settings.of_this_process())

    @property
    def sensor(self) -> SensorDefinition:
        [sensor] = publish_sensors(Settings.of_this_process(), clock=lambda: datetime.now(UTC) + self.passed)
        return sensor

    def land(self, day: str, status: str) -> None:
        self.hospital.land_visits("virtual", day, [visit("v1", f"{day} 10:00:00", status)])
        self.hospital.warehouse.build()

    def materialize(self, keys: list[AssetKey], tags: dict[str, str] | None = None) -> ExecuteInProcessResult:
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=keys, instance=self.instance, raise_on_error=False, tags=tags
        )

    def tick(self) -> RunRequest | str:
        context = build_sensor_context(
            instance=self.instance, resources={"storage": WarehouseStorage()}, definitions=self.definitions
        )
        said = self.sensor(context)
        if isinstance(said, SkipReason):
            return said.skip_message or ""
        assert isinstance(said, RunRequest)
        return said

    def do(self) -> set[str]:
        """What the sensor asks for, done; the names of the tables."""
        request = self.tick()
        assert isinstance(request, RunRequest), request
        keys = list(request.asset_selection or [])
        self.materialize(keys, dict(request.tags))
        return {".".join(key.path[-2:]) for key in keys}


@pytest.fixture
def place(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PUBLISH_URL", postgres_url)
    monkeypatch.setenv("PUBLISH_TABLES", ", ".join(CHOSEN))
    for of_type in VISIT_COLUMN_SETTINGS.values():
        for name, setting in of_type.items():
            monkeypatch.setenv(setting.name, getattr(NAMED, name))
    hospital = Hospital(tmp_path)
    with instance_for_test() as instance:
        yield Place(instance, hospital)


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def publish_keys(settings: Settings) -> set[AssetKey]:
    graph = build_definitions(settings).resolve_asset_graph()
    return {key for key in graph.get_all_asset_keys() if "publish" in key.path}


def test_without_a_database_there_is_nothing_to_see() -> None:
    assert publish_keys(Settings({})) == set()
    assert publish_sensors(Settings({})) == []


def test_every_table_is_an_asset_below_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLISH_URL", "postgresql://db.example.com/d")
    graph = build_definitions(Settings.of_this_process()).resolve_asset_graph()
    assert publish_keys(Settings.of_this_process()) == {
        AssetKey(["publish", *key.path]) for key in warehouse_keys()
    }
    visits = AssetKey(["publish", "marts", "daily_visits"])
    assert graph.get(visits).parent_keys == {AssetKey(["marts", "daily_visits"])}
    assert graph.get(visits).group_name == "publish"
    assert "health_marts.daily_visits" in (graph.get(visits).description or "")
    assert {key.name for key in graph.get(visits).check_keys} == {ROWS_EQUAL}


def test_those_that_are_chosen_are_assets_and_a_place_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTH_ASSET_PREFIX", "uat")
    monkeypatch.setenv("PUBLISH_URL", "postgresql://db.example.com/d")
    monkeypatch.setenv("PUBLISH_TABLES", "marts.charges, current.patients")
    assert publish_keys(Settings.of_this_process()) == {
        AssetKey(["uat", "publish", "marts", "charges"]),
        AssetKey(["uat", "publish", "current", "patients"]),
    }


def test_a_build_is_published_without_anyone_asking_and_only_what_changed(
    place: Place, postgres_url: str
) -> None:
    assert place.tick() == "Nothing is built yet."
    place.land("2026-10-01", "waiting")
    assert place.do() == CHOSEN
    assert place.tick() == "What is published is current."
    statuses = "SELECT status FROM health_current.avr_virtual"
    assert ask(postgres_url, statuses) == [("waiting",)]

    place.land("2026-10-02", "completed")
    changed = place.do()
    assert {"current.avr_virtual", "marts.visits", "marts.daily_visits"} <= changed
    assert "current.patients" not in changed
    assert ask(postgres_url, statuses) == [("completed",)]
    assert place.tick() == "What is published is current."


def test_a_publishing_says_what_it_did_and_its_check_that_both_are_equal(place: Place) -> None:
    place.land("2026-10-01", "waiting")
    key = AssetKey(["publish", "current", "avr_virtual"])
    result = place.materialize([key])
    [event] = result.get_asset_materialization_events()
    metadata: dict[str, Any] = {name: one.value for name, one in event.materialization.metadata.items()}
    assert metadata["dagster/row_count"] == metadata["rows_inserted"] == 1
    assert (metadata["how"], metadata["rows_updated"], metadata["rows_deleted"]) == ("made", 0, 0)
    assert metadata["bytes_sent"] > 0
    [check] = result.get_asset_check_evaluations()
    assert (check.passed, check.metadata["rows"].value) == (True, 1)


def test_a_person_who_materializes_a_table_has_every_row_compared(place: Place, postgres_url: str) -> None:
    place.land("2026-10-01", "waiting")
    key = AssetKey(["publish", "current", "avr_virtual"])
    assert place.materialize([key]).success
    ask(postgres_url, "UPDATE health_current.avr_virtual SET status = 'by hand'")
    result = place.materialize([key])
    [event] = result.get_asset_materialization_events()
    assert event.materialization.metadata["rows_updated"].value == 1
    assert ask(postgres_url, "SELECT status FROM health_current.avr_virtual") == [("waiting",)]


def test_what_is_known_is_compared_after_a_day(
    place: Place, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health_pipelines.publish.assets.utc_now", lambda: datetime.now(UTC) + place.passed)
    place.land("2026-10-01", "waiting")
    place.do()
    ask(postgres_url, "UPDATE health_current.avr_virtual SET status = 'by hand'")
    place.passed = timedelta(hours=23)
    assert place.tick() == "What is published is current."
    place.passed = timedelta(hours=25)
    assert place.do() == CHOSEN
    assert ask(postgres_url, "SELECT status FROM health_current.avr_virtual") == [("waiting",)]


def test_an_address_that_is_none_is_red_where_people_are_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.land("2026-10-01", "waiting")
    monkeypatch.setenv("PUBLISH_URL", "mysql://u:secret@h/d")
    request = place.tick()
    assert isinstance(request, RunRequest)
    result = place.materialize(list(request.asset_selection or []), dict(request.tags))
    assert not result.success
    said = {str(failure.step_failure_data.error) for failure in result.get_step_failure_events()}
    assert len(said) >= 1
    assert all("PUBLISH_URL is no URL of a database" in one and "secret" not in one for one in said)
    assert "did not help (attempt 1)" in str(place.tick())


def test_a_table_that_cannot_be_published_is_red_alone_and_tried_again(
    place: Place, postgres_url: str
) -> None:
    ask(postgres_url, "CREATE SCHEMA health_current")
    ask(postgres_url, "CREATE VIEW health_current.patients AS SELECT 1 AS id")
    place.land("2026-10-01", "waiting")
    request = place.tick()
    assert isinstance(request, RunRequest)
    result = place.materialize(list(request.asset_selection or []), dict(request.tags))

    assert not result.success
    [failure] = result.get_step_failure_events()
    assert "health_current.patients is no table in the target" in str(failure.step_failure_data.error)
    assert len(result.get_asset_materialization_events()) == len(CHOSEN) - 1
    assert place.do() == {"current.patients"}
    waiting = place.tick()
    assert "did not help (attempt 1)" in str(waiting)
    ask(postgres_url, "DROP VIEW health_current.patients")
    place.passed = timedelta(minutes=2)
    assert place.do() == {"current.patients"}
    assert place.tick() == "What is published is current."
