"""The warehouse with columns that no setting names: what it has, and where the guesses are said."""

from datetime import date

import pytest
from dagster import AssetKey, MetadataValue

from health_pipelines.dexcare.columns.guesses import file_of, visit_columns
from health_pipelines.doctor.columns_check import columns
from health_pipelines.doctor.finding import Finding, Mark
from health_pipelines.doctor.installation import Installation
from health_pipelines.publish.databases import published_models
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS
from health_pipelines.warehouse.assets import warehouse_asset
from health_pipelines.warehouse.storage import build_warehouse, warehouse_of
from health_pipelines_tests.warehouse.hospital import Hospital, Row
from health_pipelines_tests.warehouse.project import Project, materialized

FIRST, SECOND = "2026-10-01", "2026-10-02"


@pytest.fixture(autouse=True)
def nothing_is_named(clinic: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    for of_type in VISIT_COLUMN_SETTINGS.values():
        for setting in of_type.values():
            monkeypatch.delenv(setting.name)


def visits(day: str, *, first: int = 0) -> list[Row]:
    """Thirty: every fifth is cancelled. Patients wait a minute before the visit and two after it."""
    return [
        {
            "c1": f"{first + number:08x}-0000-4000-8000-000000000000",
            "c2": f"{day} 10:{number:02d}:00",
            "c3": "cancelled" if number % 5 == 0 else "completed",
            "c4": f"{day} 09:{number:02d}:00",
            "c5": None if number % 5 == 0 else f"{day} 10:{number + 2:02d}:00",
            "c6": None if number % 5 == 0 else f"{day} 11:{number:02d}:00",
        }
        for number in range(30)
    ]


def test_days_states_and_waits_are_there_from_the_first_landing(project: Project, clinic: Hospital) -> None:
    clinic.land_visits("virtual", FIRST, visits(FIRST))

    told = materialized(project.materialize())

    # Entered at 9, seen two minutes past 10: 62 minutes.
    assert clinic.query(
        "SELECT day, report_type, status, visits, median_wait_seconds FROM marts.daily_visits ORDER BY status"
    ) == [
        (date(2026, 10, 1), "virtual", "cancelled", 6, None),
        (date(2026, 10, 1), "virtual", "completed", 24, 3720.0),
    ]
    said = told["current.avr_virtual"]["guessed_columns"]
    assert said.count("is guessed: ") == 5
    assert "DEXCARE_AVR_VIRTUAL_KEY is not set and c1 is guessed: unique in the one day (30 rows)" in said
    check = project.check("avr_virtual", "columns_are_chosen")
    assert (check.passed, check.metadata["columns_guessed"]) == (False, MetadataValue.int(5))
    assert check.severity.value == "WARN"
    assert said in (check.description or "")
    assert "`health-pipelines columns`" in (check.description or "")
    assert project.check("avr_retail", "columns_are_chosen").passed
    [(comment,)] = clinic.query(
        "SELECT comment FROM duckdb_tables() WHERE schema_name = 'current' AND table_name = 'avr_virtual'"
    )
    declared = warehouse_asset(Settings.of_this_process()).specs_by_key[AssetKey(["current", "avr_virtual"])]
    assert "Key: visit_id (c1)." in comment
    # Dagster's is in Markdown.
    for about in (comment, (declared.description or "").replace("`", "")):
        assert "or a guess from what landed (key is c1, time is c2, status is c3" in about


def test_what_was_guessed_is_right_once_somebody_has_set_it(
    project: Project, clinic: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.land_visits("virtual", FIRST, visits(FIRST))
    project.materialize()
    for role, column in {
        "key": "c1",
        "time": "c2",
        "status": "c3",
        "wait_from": "c4",
        "wait_until": "c5",
    }.items():
        monkeypatch.setenv(VISIT_COLUMN_SETTINGS["virtual"][role].name, column)

    assert not warehouse_of(Settings.of_this_process()).is_current()
    told = materialized(project.materialize())

    assert "guessed_columns" not in told["current.avr_virtual"]
    assert project.check("avr_virtual", "columns_are_chosen").passed
    assert warehouse_of(Settings.of_this_process()).is_current()


def test_a_key_that_a_later_day_contradicts_hides_no_row(project: Project, clinic: Hospital) -> None:
    clinic.land_visits("virtual", FIRST, visits(FIRST))
    project.materialize()
    assert published_key(clinic) == ("visit_id",)
    # Other visits under the ids of the first day's.
    clinic.land_visits("virtual", SECOND, visits(SECOND))

    told = materialized(project.materialize())

    assert clinic.one("SELECT count(*) FROM current.avr_virtual") == 60
    assert clinic.query("SELECT DISTINCT visit_id FROM current.avr_virtual") == [(None,)]
    assert clinic.one("SELECT count(*) FROM marts.visits WHERE is_completed") == 48
    why = (
        "c1 was guessed and is not used any more, because 30 of its values are those of other visits on other"
    )
    assert why in told["current.avr_virtual"]["guessed_columns"]
    check = project.check("avr_virtual", "columns_are_chosen")
    assert not check.passed
    assert why in (check.description or "")
    assert published_key(clinic) == ()


def test_a_day_that_lands_during_a_build_and_contradicts_the_key_has_it_built_again(clinic: Hospital) -> None:
    settings = Settings.of_this_process()
    clinic.land_visits("virtual", FIRST, visits(FIRST))
    built: list[str | None] = []

    def look(_: object) -> None:
        if not built:
            clinic.land_visits("virtual", SECOND, visits(SECOND))
        built.append(visit_columns(settings)["virtual"].key)

    build_warehouse(settings, look)

    assert built == ["c1", None]
    assert clinic.one("SELECT count(*) FROM current.avr_virtual") == 60


def published_key(clinic: Hospital) -> tuple[str, ...]:
    models = {model.full_name: model for model in published_models(Settings.of_this_process())}
    return models["current.avr_virtual"].key


def test_a_build_after_more_days_makes_a_part_and_keeps_the_guess(clinic: Hospital) -> None:
    settings = Settings.of_this_process()
    days = [f"2026-10-{number:02d}" for number in range(1, 7)]
    for place, day in enumerate(days[:5]):
        clinic.land_visits("virtual", day, visits(day, first=100 * place))
    build_warehouse(settings)
    guessed = visit_columns(settings)
    clinic.land_visits("virtual", days[5], visits(days[5], first=1000))

    report = build_warehouse(settings)

    assert {one.name: one.made for one in report.models}["current.avr_virtual"] == "part"
    assert visit_columns(settings) == guessed
    assert clinic.one("SELECT count(*) FROM current.avr_virtual") == 180
    assert not build_warehouse(settings).published


def test_without_the_memory_a_build_finds_the_same(clinic: Hospital) -> None:
    settings = Settings.of_this_process()
    clinic.land_visits("virtual", FIRST, visits(FIRST))
    build_warehouse(settings)
    guessed = visit_columns(settings)
    file_of(settings).unlink()

    assert visit_columns(settings)["virtual"].guessed == ()
    assert not build_warehouse(settings).published
    assert visit_columns(settings) == guessed


def test_the_doctor_says_what_is_guessed_and_what_nobody_knows(
    clinic: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.mark for one in examined()] == [Mark.NOT_SET_UP]
    clinic.land_visits("virtual", FIRST, visits(FIRST))
    clinic.land_visits("retail", FIRST, visits(FIRST)[:5])
    build_warehouse(Settings.of_this_process())

    virtual, retail = examined()

    assert virtual.mark is Mark.WARNING
    assert virtual.says == (
        "dexcare/avr_virtual: guessed: key is c1, time is c2, status is c3, wait_from is c4, "
        "wait_until is c5. `health-pipelines columns` says why."
    )
    assert retail.says.startswith("dexcare/avr_retail: key is not known (none yet: 5 rows have landed")
    for type_ in ("virtual", "retail"):
        for setting in VISIT_COLUMN_SETTINGS[type_].values():
            monkeypatch.setenv(setting.name, "c1")
    assert [(one.mark, one.says) for one in examined()] == [(Mark.OK, "No column is guessed.")]


def examined() -> list[Finding]:
    settings = Settings.of_this_process()
    environment = dict(settings.environment)
    return columns(Installation(environment, environment, {}, utc_now))
