"""The lake knows which zone's days its partitions are."""

from pathlib import Path

import pytest

from health_pipelines.lake.day_zones import DayZones
from health_pipelines.lake.partitions import Lake, Table

RETAIL = Table("dexcare", "avr_retail")
UTC, CHICAGO = "UTC", "America/Chicago"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def land(lake: Lake, day: str, zone: str | None) -> None:
    """`zone`: None as an older version landed it."""
    with lake.writing(RETAIL, day) as writer:
        writer.candidate.touch()
        writer.replace()
    if zone:
        lake.remember_zone(RETAIL, day, zone)


def test_days_of_another_zone_are_known_until_they_land_again(lake: Lake) -> None:
    land(lake, "2026-03-01", UTC)
    land(lake, "2026-03-02", UTC)
    assert lake.days_of_other_zones(RETAIL, UTC) == {}
    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {"2026-03-01": UTC, "2026-03-02": UTC}

    land(lake, "2026-03-03", CHICAGO)
    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {"2026-03-01": UTC, "2026-03-02": UTC}
    assert lake.days_of_other_zones(RETAIL, UTC) == {"2026-03-03": CHICAGO}

    land(lake, "2026-03-01", CHICAGO)
    land(lake, "2026-03-02", CHICAGO)
    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {}


def test_what_landed_before_anything_was_said_is_taken_for_the_same(lake: Lake) -> None:
    land(lake, "2026-03-01", None)
    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {}

    land(lake, "2026-03-02", CHICAGO)

    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {}


def test_nothing_is_written_while_the_zone_stays_and_readers_see_partitions_only(lake: Lake) -> None:
    land(lake, "2026-03-01", UTC)
    notes = [one for one in (lake.root / "dexcare" / "avr_retail").iterdir() if one.is_file()]
    [note] = [one for one in notes if "zones" in one.name]
    before = note.stat()

    land(lake, "2026-03-02", UTC)

    assert note.stat().st_mtime_ns == before.st_mtime_ns
    assert all(one.name.startswith("_") for one in notes)
    assert lake.days(RETAIL) == ["2026-03-01", "2026-03-02"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"zone": 1, "others": {}}', '{"zone": "UTC"}'])
def test_a_damaged_note_is_no_note_and_is_made_anew(lake: Lake, text: str) -> None:
    land(lake, "2026-03-01", UTC)
    (lake.root / "dexcare" / "avr_retail" / "_zones").write_text(text)
    assert DayZones.of_text(text) is None
    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {}

    land(lake, "2026-03-02", CHICAGO)

    assert lake.days_of_other_zones(RETAIL, UTC) == {"2026-03-01": CHICAGO, "2026-03-02": CHICAGO}


def test_a_day_that_was_removed_is_forgotten(lake: Lake) -> None:
    land(lake, "2026-03-01", UTC)
    land(lake, "2026-03-02", CHICAGO)
    lake.partition_file(RETAIL, "2026-03-01").unlink()

    assert lake.days_of_other_zones(RETAIL, CHICAGO) == {}
