"""The calendar of days and tables: which state a day has, how it is told, and when Dagster hears of it."""

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, SensorResult, build_sensor_context
from PIL import Image, ImageColor

from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import Settings, use_settings
from health_pipelines.status.calendar import (
    SIGNS,
    Calendar,
    Line,
    Month,
    State,
    as_markdown,
    calendar_of,
    state_of,
)
from health_pipelines.status.calendar_asset import calendar_sensor
from health_pipelines.status.calendar_image import COLOURS, draw
from health_pipelines.status.reading import Reading
from health_pipelines.status.reasons import Kind, Reason
from health_pipelines.status.report import TableStatus
from health_pipelines_tests.status.planted import PATIENT, forget_settings, instance_in, land, put, take_away

VIRTUAL, RETAIL = Table("dexcare", "avr_virtual"), Table("dexcare", "avr_retail")
# Yesterday is the 9th, in the zone of the settings as well.
NOW = datetime(2026, 3, 10, 18, tzinfo=UTC)
DAY = "2026-03-05"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    with monkeypatch.context() as own:
        forget_settings()
        own.setenv("HEALTH_DATA_DIR", str(tmp_path))
        own.setenv("HEALTH_TIMEZONE", "America/Chicago")
        own.setenv("HEALTH_START_DATE", "2026-01-01")
        with instance_in(tmp_path / "home") as instance:
            yield instance
    use_settings(os.environ)


def read(instance: DagsterInstance) -> Calendar:
    return calendar_of(Reading(instance, Settings.of_this_process(), NOW))


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (Kind.RUN_UNDER_WAY, State.ON_ITS_WAY),
        (Kind.IN_FLIGHT, State.ON_ITS_WAY),
        (Kind.GIVEN_UP, State.GIVEN_UP),
        (Kind.NOT_TO_BE_LANDED, State.GIVEN_UP),
        (Kind.RUN_FAILED, State.FAILED),
        (Kind.GONE, State.MISSING),
        (Kind.NEVER_ASKED, State.MISSING),
    ],
)
def test_a_missing_day_has_the_state_of_its_reason(kind: Kind, state: State) -> None:
    status = TableStatus("t", is_set_up=True, missing={DAY: Reason(kind)})
    assert state_of(DAY, status, set(), set(), None) is state


def test_a_day_that_is_there_has_rows_or_none_or_is_one_of_another_zone() -> None:
    status = TableStatus("t", is_set_up=True)
    assert state_of(DAY, status, {DAY}, set(), None) is State.LANDED
    assert state_of(DAY, status, {DAY}, {DAY}, None) is State.EMPTY
    moved = TableStatus("t", is_set_up=True, of_other_zones={DAY: "UTC"})
    assert state_of(DAY, moved, {DAY}, {DAY}, None) is State.OTHER_ZONE


def test_a_day_that_nobody_misses_is_not_expected_unless_something_is_under_way_for_it() -> None:
    status = TableStatus("t", is_set_up=True)
    assert state_of(DAY, status, set(), set(), Reason(Kind.NEVER_ASKED)) is State.NOT_EXPECTED
    assert state_of(DAY, status, set(), set(), Reason(Kind.IN_FLIGHT)) is State.ON_ITS_WAY


def test_the_calendar_is_read_from_the_lake_and_dagsters_events(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    land(tmp_path, instance, VIRTUAL, "2026-03-04", "2026-03-05", "2026-03-07", "2026-03-09")
    put(tmp_path, VIRTUAL, "2026-03-08", rows=0)
    take_away(tmp_path, VIRTUAL, "2026-03-05")
    Lake(tmp_path / "lake").remember_zone(VIRTUAL, "2026-03-04", "America/Chicago")
    Lake(tmp_path / "lake").remember_zone(VIRTUAL, "2026-03-07", "UTC")

    calendar = read(instance)

    assert (calendar.days[0], calendar.days[-1], len(calendar.days)) == ("2026-02-03", "2026-03-09", 35)
    assert (calendar.months[0], calendar.months[-1], len(calendar.months)) == ("2025-04", "2026-03", 12)
    # Nobody is set up to be asked, and nothing else has landed.
    [line] = calendar.lines
    assert (line.table, line.newest_day) == ("dexcare/avr_virtual", "2026-03-09")
    # The 3rd, before the first; the 4th; the 5th, gone; the 6th, never asked for; and so on.
    assert "".join(SIGNS[state] for state in line.states[-7:]) == ".#??Z0#"
    assert {SIGNS[state] for state in line.states[:-7]} == {"."}
    assert line.months[-1] == Month(landed=4, missing=2)
    assert line.months[-2] == Month(landed=0, missing=0)
    assert [sentence.partition(":")[0] for sentence in line.why] == ["1 day", "1 day"]


CALENDAR = Calendar(
    ["2026-03-01", "2026-03-02", "2026-03-03"],
    ["2026-02", "2026-03"],
    [
        Line(
            "a/one", "2026-03-01", [State.LANDED, State.GIVEN_UP, State.MISSING], [Month(28, 0), Month(1, 2)]
        ),
        Line("a/two", None, [State.NOT_EXPECTED] * 3, [Month(0, 0)] * 2, ["1 day: 2026-03-03: why"]),
    ],
)


def test_in_markdown_each_state_has_a_sign_and_the_legend_has_its_words() -> None:
    text = as_markdown(CALENDAR)
    assert "| Table | Newest day | 2026-03-01 to 2026-03-03 |" in text
    assert "| a/one | 2026-03-01 | `#X?` |" in text
    assert "| a/two | none | `...` |" in text
    assert text.endswith("- a/two: 1 day: 2026-03-03: why.")
    for state, sign in SIGNS.items():
        assert f"`{sign}` {state.value}" in text
    assert len(set(SIGNS.values())) == len(State)


def test_the_picture_has_the_colours_of_the_states_and_is_small() -> None:
    png = draw(CALENDAR)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    found = {image.getpixel((x, y)) for x in range(image.width) for y in range(image.height)}
    for state, colour in COLOURS.items():
        assert ImageColor.getrgb(colour) in found, state
    assert len(set(COLOURS.values())) == len(State)
    assert len(png) < 50_000


def test_dagster_hears_of_a_calendar_when_it_differs_and_not_otherwise(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    def tick() -> dict[str, Any] | None:
        said = calendar_sensor(lambda: NOW)(build_sensor_context(instance))
        assert isinstance(said, SensorResult)
        for event in said.asset_events:
            # As the daemon does.
            instance.report_runless_asset_event(event)
            return {name: value.value for name, value in event.metadata.items()}
        return None

    land(tmp_path, instance, VIRTUAL, "2026-03-07", "2026-03-08", "2026-03-09")
    first = tick()
    assert first is not None
    assert first["days missing in a year"] == 0
    assert first["calendar"].startswith("![Days and tables](data:image/png;base64,")
    assert tick() is None

    take_away(tmp_path, VIRTUAL, "2026-03-08")
    second = tick()
    assert second is not None
    assert second["days missing in a year"] == 1
    assert "#?#` |" in second["in words"]
    assert PATIENT not in str(second)
