"""`health-pipelines status`: one screen, exit codes for cron, JSON for scripts, and nothing left behind."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import DagsterInstance
from sqlalchemy import event
from sqlalchemy.engine import Engine

from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.status import answer
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.dexcare.visits.report import Ticket
from health_pipelines.drchrono.api.quota import Quota, shared_quota
from health_pipelines.drchrono.tables import TABLES as DRCHRONO_TABLES
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.calendar import day_window
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.publish.memory import Remembered
from health_pipelines.publish.target import Totals
from health_pipelines.settings import Settings, use_settings
from health_pipelines.warehouse.storage import warehouse_of
from health_pipelines_tests.status.planted import (
    PATIENT,
    backfill,
    everything_in,
    forget_settings,
    instance_in,
    land,
    make_home,
    put,
    take_away,
)
from health_pipelines_tests.support.landed import days_from

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

ROOT = Path(__file__).parents[2]
VIRTUAL, RETAIL = VISIT_REPORTS[0], VISIT_REPORTS[1]
VISITS, PATIENTS = VIRTUAL.table, Table("drchrono", "patients")
KEY, TOKEN, PASSWORD = "key-of-a-test", "token-of-a-test", "password-of-a-test"
# The newest expected day is the 19th, a Thursday.
NOW = datetime(2026, 3, 20, 15, tzinfo=UTC)
NEWEST = "2026-03-19"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both vendors set up, as nobody would answer; afterwards the environment as it was."""
    before = dict(os.environ)
    forget_settings()
    os.environ |= {
        "HEALTH_DATA_DIR": str(tmp_path / "data"),
        "HEALTH_START_DATE": "2026-01-01",
        "HEALTH_TIMEZONE": "UTC",
        "HEALTH_BUILD_WAREHOUSE": "false",
        "DEXCARE_BASE_URL": "https://dexcare.invalid",
        "DEXCARE_SERVICE_KEY": KEY,
        "DRCHRONO_ACCESS_TOKEN": TOKEN,
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ |= before
    use_settings(os.environ)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with instance_in(tmp_path / "home") as instance:
        yield instance


def told(place: str | None = None, day: str | None = None) -> tuple[dict[str, Any], str, int]:
    """The JSON, the screen and the exit code, which agree; no patient and no secret is in either."""
    of_day = date.fromisoformat(day) if day else None
    written, code = answer(place, NOW, as_json_text=True, day=of_day)
    text, again = answer(place, NOW, day=of_day)
    found: dict[str, Any] = json.loads(written)
    assert code == again == (0 if found["is_well"] else 1)
    for word in (PATIENT, KEY, TOKEN, PASSWORD):
        assert word not in written + text
    assert max(map(len, text.splitlines())) < 500
    return found, text, code


def of_table(found: dict[str, Any], table: Table = VISITS) -> dict[str, Any]:
    [one] = [one for one in found["tables"] if one["table"] == str(table)]
    return dict(one)


def typed(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", "status", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_if_nothing_is_missing_all_is_well(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, *days_from("2026-03-17", 3))
    land(data, instance, PATIENTS, NEWEST, rows=3)

    found, text, code = told()

    assert code == 0
    assert "2026-03-20 15:00 UTC; the newest expected day is 2026-03-19." in text
    visits = of_table(found)
    assert (visits["first_day"], visits["newest_day"]) == ("2026-03-17", NEWEST)
    assert (visits["complete_to"], visits["missing"]) == (NEWEST, [])
    assert visits["last_landing"]["day"] == NEWEST
    assert visits["last_landing"]["rows"] == 10
    assert visits["rows"] == {"day": NEWEST, "landed": 10, "usual": None, "is_few": False}
    # Nobody asked for those, and a tenant may not have them: no alarm.
    assert of_table(found, RETAIL.table)["newest_day"] is None
    assert [line.split()[:4] for line in text.splitlines() if line.startswith("dexcare/avr_retail")] == [
        ["dexcare/avr_retail", "nothing", "yet", "0"]
    ]


def test_cron_learns_by_the_exit_code_that_a_day_is_missing(data: Path, instance: DagsterInstance) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    days = [(yesterday - timedelta(days=ago)).isoformat() for ago in range(4, -1, -1)]
    land(data, instance, VISITS, *days)

    well = typed()
    take_away(data, VISITS, days[2])
    ill = typed("--json")

    assert (well.returncode, well.stderr) == (0, "")
    assert (ill.returncode, ill.stderr) == (1, "")
    assert [one["day"] for one in of_table(json.loads(ill.stdout))["missing"]] == [days[2]]
    assert typed("--day", "tomorrow").returncode == 2


def test_where_no_vendor_is_set_it_is_the_sandbox_of_make_demo(
    data: Path, instance: DagsterInstance, tmp_path: Path
) -> None:
    land(data, instance, VISITS, NEWEST)
    home = make_home(data / "sandbox" / "dagster_home")
    with DagsterInstance.from_config(str(home)) as of_the_sandbox:
        land(data / "sandbox", of_the_sandbox, PATIENTS, NEWEST, rows=3)
    # Who says which Dagster is meant, or has a vendor, means that.
    assert of_table(told()[0])["newest_day"] == NEWEST
    del os.environ["DEXCARE_BASE_URL"], os.environ["DRCHRONO_ACCESS_TOKEN"]
    assert of_table(told()[0])["newest_day"] == NEWEST
    del os.environ["DAGSTER_HOME"]

    done = typed("--json")
    found, _, _ = told()

    assert of_table(found)["newest_day"] is None
    assert of_table(found, PATIENTS)["newest_day"] == NEWEST
    assert done.stderr == f"{data / 'sandbox'}, the sandbox's with synthetic patients, as no vendor is set\n"
    assert of_table(json.loads(done.stdout), PATIENTS)["newest_day"] == NEWEST


def test_it_loads_no_library_that_it_has_no_use_for(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, NEWEST)
    code = (
        "import sys; sys.argv = ['health-pipelines', 'status']\n"
        "from health_pipelines.__main__ import main\n"
        "main(); print(sorted(sys.modules))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout

    assert str(VISITS) in said
    loaded = set(re.findall(r"'(\w+)'", said.splitlines()[-1]))
    # Dagster's record needs sqlalchemy, and what a partition has polars.
    assert {"dagster", "sqlalchemy", "polars"} <= loaded
    assert not loaded & {"duckdb", "numpy", "httpx", "stamina", "psycopg", "matplotlib", "dagster_postgres"}


def test_a_day_that_was_never_asked_for_and_one_that_is_gone_are_told_apart(
    data: Path, instance: DagsterInstance
) -> None:
    land(data, instance, PATIENTS, "2026-03-15", "2026-03-17", "2026-03-18", NEWEST)
    take_away(data, PATIENTS, "2026-03-17")

    found, text, code = told()

    says = {one["day"]: (one["kind"], one["was_there"]) for one in of_table(found, PATIENTS)["missing"]}
    assert code == 1
    assert says == {"2026-03-16": ("never_asked", False), "2026-03-17": ("gone", True)}
    assert of_table(found, PATIENTS)["complete_to"] == "2026-03-15"
    assert (
        "drchrono/patients\n"
        "  1 day: 2026-03-16: never asked for.\n"
        "  1 day: 2026-03-17: landed once, and its partition is gone from the lake; nobody has asked for it "
        "again.\n"
    ) in f"{text}\n"


def test_a_day_that_a_backfill_is_to_ask_for_is_told_as_that(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-17", NEWEST)
    at = datetime(2026, 3, 20, 14, 30, tzinfo=UTC)
    instance.add_backfill(backfill(instance, ["2026-03-18"], at))

    found, text, code = told()

    [missing] = of_table(found)["missing"]
    assert (code, missing["kind"], missing["since"]) == (1, "backfill_to_begin", at.isoformat())
    assert "2026-03-18: asked for by a backfill of 2026-03-20 14:30, which has not begun." in text


def test_a_lake_that_is_not_mounted_is_told_as_days_that_are_gone(
    data: Path, instance: DagsterInstance
) -> None:
    land(data, instance, VISITS, *days_from("2026-03-17", 3))
    for day in days_from("2026-03-17", 3):
        take_away(data, VISITS, day)

    found, _, code = told()

    assert code == 1
    assert [one["kind"] for one in of_table(found)["missing"]] == ["gone"] * 3
    assert of_table(found)["newest_day"] is None


def test_days_that_are_left_out_are_named_and_do_not_count(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-16", "2026-03-18", NEWEST)
    os.environ["HEALTH_DAYS_LEFT_OUT"] = "2026-03-17"

    found, _, code = told()
    [story] = [one for one in told(day="2026-03-17")[0]["tables"] if one["table"] == str(VISITS)]

    assert code == 0
    assert of_table(found)["left_out"] == ["2026-03-17"]
    assert (story["is_missing"], story["stands"]) == (False, "left out by HEALTH_DAYS_LEFT_OUT")


@pytest.mark.parametrize(
    ("day", "code", "stands"),
    [
        ("2026-03-15", 0, "before the first day that landed, 2026-03-16"),
        ("2026-03-16", 0, "in the lake, 10 rows"),
        ("2026-03-17", 1, "missing: never asked for"),
        ("2026-03-20", 0, "not expected yet"),
    ],
)
def test_only_a_day_that_is_missing_makes_its_story_a_bad_one(
    data: Path, instance: DagsterInstance, day: str, code: int, stands: str
) -> None:
    land(data, instance, VISITS, "2026-03-16", "2026-03-18", NEWEST)

    found, _, ended_with = told(day=day)

    assert ended_with == code
    assert of_table(found)["stands"] == stands


def test_days_of_another_time_zone_are_not_well(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-18", NEWEST)
    lake = Lake(data / "lake")
    lake.remember_zone(VISITS, "2026-03-18", "UTC")
    lake.remember_zone(VISITS, NEWEST, "America/Chicago")

    found, text, code = told()

    assert code == 1
    assert of_table(found)["of_other_zones"] == {NEWEST: "America/Chicago"}
    assert f"1 day: {NEWEST}: landed as days of America/Chicago" in text


def test_a_newest_day_with_few_rows_is_marked(data: Path, instance: DagsterInstance) -> None:
    thursdays = [(date(2026, 3, 19) - timedelta(weeks=week)).isoformat() for week in range(1, 6)]
    for day in thursdays:
        put(data, VISITS, day, rows=200)
    land(data, instance, VISITS, NEWEST, rows=5)

    found, text, _ = told()

    assert of_table(found)["rows"] == {"day": NEWEST, "landed": 5, "usual": 200.0, "is_few": True}
    assert "5 (few)" in text


def test_the_warehouse_is_current_until_something_lands(data: Path, instance: DagsterInstance) -> None:
    os.environ["HEALTH_BUILD_WAREHOUSE"] = "true"
    land(data, instance, VISITS, "2026-03-18")
    os.environ["HEALTH_DAYS_LEFT_OUT"] = NEWEST
    warehouse_of(Settings(os.environ)).build()
    assert told()[2] == 0

    land(data, instance, VISITS, NEWEST)
    found, text, code = told()

    assert code == 1
    assert not found["warehouse"]["is_current"]
    assert found["warehouse"]["since"]
    assert "The warehouse does not have all that has landed, since " in text
    # People who build it themselves are not told every hour.
    os.environ["HEALTH_BUILD_WAREHOUSE"] = "false"
    assert told()[2] == 0


def test_publishing_is_told_by_what_was_published_last_and_asks_no_database(
    data: Path, instance: DagsterInstance
) -> None:
    land(data, instance, VISITS, NEWEST)
    os.environ["PUBLISH_URL"] = f"postgresql://somebody:{PASSWORD}@127.0.0.1:1/nothing"
    warehouse = warehouse_of(Settings(os.environ))
    warehouse.build()

    found, text, code = told()

    assert code == 1
    assert not found["publishing"]["is_current"]
    assert "current.avr_virtual" in found["publishing"]["due"]
    assert "Publishing is not current: " in text

    publication = publication_of(Settings(os.environ))
    assert publication is not None
    names = [model.full_name for model in published_models(Settings(os.environ))]
    for table, made_of in publication.due(warehouse.published.versions(), names, NOW).items():
        publication.memory.keep(table, Remembered("1", made_of, Totals(0, 0), NOW, NOW), None)
    found, text, code = told()

    assert code == 0
    assert found["publishing"]["is_current"]
    assert "Publishing is current." in text


def calls(data: Path, number: int, now: datetime = NOW) -> None:
    """Count so many calls, and no more than that."""

    async def call() -> None:
        quota = quota_of(data, now)
        for _ in range(number):
            await quota.acquire()
        quota.close()

    asyncio.run(call())


def quota_of(data: Path, now: datetime) -> Quota:
    return shared_quota(
        data / "drchrono" / "quota",
        Settings(os.environ).postgres_url,
        TOKEN,
        per_hour=500,
        per_second=100,
        say=lambda _: None,
        now=lambda: now,
    )


def test_the_calls_that_are_left_in_this_hour_are_told(data: Path, instance: DagsterInstance) -> None:
    assert told()[0]["calls_left"] == [
        {"vendor": "DrChrono", "left": 500, "per_hour": 500, "throttled_until": None, "problem": None}
    ]
    calls(data, 5, NOW - timedelta(hours=1))
    calls(data, 3)

    found, text, _ = told()

    # Looked at four times by now.
    assert found["calls_left"][0]["left"] == 497
    assert "DrChrono: 497 of 500 calls are left in this hour." in text


def test_a_throttle_is_told_until_it_ends(data: Path, instance: DagsterInstance) -> None:
    async def throttle(seconds: float) -> None:
        quota = quota_of(data, NOW)
        await quota.throttled(seconds)
        quota.close()

    asyncio.run(throttle(600))
    assert told()[0]["calls_left"][0]["throttled_until"] == "2026-03-20T15:10:00+00:00"
    assert told()[0]["calls_left"][0]["left"] == 500

    asyncio.run(throttle(3600))
    assert told()[0]["calls_left"][0]["left"] == 0


def test_a_quota_that_cannot_be_read_is_said_and_stops_nothing(data: Path, instance: DagsterInstance) -> None:
    calls(data, 1)
    [file] = (data / "drchrono" / "quota").glob("*.sqlite")
    file.write_text("no database, and longer than a header of SQLite has to be" * 10)

    found, text, code = told()

    assert code == 0
    assert "cannot be used" in found["calls_left"][0]["problem"]
    assert "The file of the quota" in text


def test_a_place_is_told_of_by_its_own_settings_lake_and_events(
    data: Path, instance: DagsterInstance, tmp_path: Path
) -> None:
    land(data, instance, VISITS, NEWEST)
    places = tmp_path / "places"
    places.mkdir()
    (places / "uat.env").write_text(
        f"HEALTH_DATA_DIR={tmp_path / 'uat'}\nHEALTH_START_DATE=2026-01-01\nHEALTH_TIMEZONE=America/Chicago\n"
        f"DEXCARE_BASE_URL=https://uat.invalid\nDEXCARE_SERVICE_KEY={KEY}\nHEALTH_BUILD_WAREHOUSE=false\n"
    )
    os.environ["HEALTH_PLACES_DIR"] = str(places)
    assert told()[2] == 0
    use_settings({"HEALTH_ASSET_PREFIX": "uat"})
    land(tmp_path / "uat", instance, VISITS, "2026-03-17", NEWEST, rows=7)

    found, text, code = told("uat")

    assert code == 1
    assert found["place"] == "uat"
    assert [one["day"] for one in of_table(found)["missing"]] == ["2026-03-18"]
    assert of_table(found)["last_landing"]["rows"] == 7
    assert "2026-03-20 10:00 CDT" in text
    assert told()[2] == 0


def test_no_file_is_written_whatever_is_told(data: Path, instance: DagsterInstance, tmp_path: Path) -> None:
    land(data, instance, VISITS, "2026-03-17", NEWEST)
    calls(data, 1)
    instance.dispose()
    before = everything_in(data, tmp_path / "home")

    told()
    told(day="2026-03-18")

    assert everything_in(data, tmp_path / "home") == before


def test_no_quota_and_no_data_folder_are_made_by_looking(data: Path, instance: DagsterInstance) -> None:
    assert told()[2] == 0

    assert not data.exists()


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of any SQL database of Dagster's."""
    asked: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_the_number_of_queries_does_not_grow_with_the_days(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-15", NEWEST)
    answer(None, NOW)  # what Dagster asks once
    with statements() as few:
        answer(None, NOW)
    land(data, instance, VISITS, "2026-01-01", *days_from("2026-02-01", 20))
    for day in days_from("2026-02-05", 10):
        take_away(data, VISITS, day)

    with statements() as many:
        assert len(of_table(told()[0])["missing"]) > 50

    # `told` asks twice.
    assert len(many) <= 2 * len(few)


def test_a_secret_in_the_words_of_a_vendor_is_taken_out(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-17", NEWEST)
    give_up(instance, "2026-03-18", f"DexCare says that {KEY} is wrong")

    found, text, _ = told()

    [missing] = of_table(found)["missing"]
    assert missing["says"].endswith(": DexCare says that *** is wrong")
    assert "DexCare says that *** is wrong" in text


def give_up(instance: DagsterInstance, day: str, reason: str) -> None:
    ledger = Ledger(instance, VIRTUAL.request_key)
    ticket = Ticket(day, "report-1", NOW, asked_by="somebody", asked_at=NOW, attempt=3)
    window = day_window(day, Settings(os.environ).timezone)
    instance.report_runless_asset_event(ledger.write_ticket(ticket, window, "dexcare.invalid"))
    instance.report_runless_asset_event(ledger.write_given_up(ticket, reason))


def test_the_story_of_a_missing_day_says_what_was_tried(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-17", NEWEST)
    give_up(instance, "2026-03-18", "DexCare says CANCELLED")

    found, text, code = told(day="2026-03-18")

    story = of_table(found)
    assert code == 1
    assert story["stands"].startswith("missing: given up ")
    assert [one["says"] for one in story["moments"]] == [
        "Report report-1 was started",
        "Given up after 3 attempts: DexCare says CANCELLED",
    ]
    assert "dexcare/avr_virtual 2026-03-18: missing: given up " in text


KEYS = {
    "": {
        "place",
        "at",
        "is_well",
        "newest_expected_day",
        "tables",
        "warehouse",
        "publishing",
        "calls_left",
    },
    "table": {
        "table",
        "is_set_up",
        "is_well",
        "first_day",
        "newest_day",
        "complete_to",
        "missing",
        "left_out",
        "of_other_zones",
        "last_landing",
        "late_changes",
        "rows",
    },
    "missing": {"day", "kind", "was_there", "since", "attempts", "run_id", "order_id", "says"},
    "currency": {"is_current", "is_wanted", "since", "due", "says"},
}


def test_the_keys_of_the_json_are_those_that_scripts_rely_on(data: Path, instance: DagsterInstance) -> None:
    land(data, instance, VISITS, "2026-03-17", NEWEST)

    found, _, _ = told()
    of_day, _, _ = told(day="2026-03-18")

    assert set(found) == KEYS[""]
    assert len(found["tables"]) == 4 + len(DRCHRONO_TABLES)
    assert {key for table in found["tables"] for key in table} == KEYS["table"]
    assert set(of_table(found)["missing"][0]) == KEYS["missing"]
    assert set(found["warehouse"]) == set(found["publishing"]) == KEYS["currency"]
    assert set(of_day) == {"place", "at", "is_well", "tables"}
    assert set(of_table(of_day)) == {"table", "day", "is_missing", "stands", "moments"}


def test_where_nothing_is_set_up_nothing_is_wrong(tmp_path: Path, instance: DagsterInstance) -> None:
    for name in ("DEXCARE_BASE_URL", "DRCHRONO_ACCESS_TOKEN"):
        del os.environ[name]

    _, text, code = told()

    assert code == 0
    assert "No vendor is set up, and nothing has landed." in text


def no_home(folder: Path) -> None:
    del os.environ["DAGSTER_HOME"]


def home_that_is_not_there(folder: Path) -> None:
    os.environ["DAGSTER_HOME"] = str(folder / "nowhere")


def home_whose_database_is_down(folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    os.environ["DAGSTER_POSTGRES_URL"] = f"postgresql://dagster:{PASSWORD}@127.0.0.1:1/dagster"


def home_with_a_broken_file(folder: Path) -> None:
    (folder / "home" / "history").mkdir(parents=True)
    (folder / "home" / "dagster.yaml").write_text(f"storage: [{PASSWORD}")


def home_in_which_nothing_ran(folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").touch()


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (no_home, "DAGSTER_HOME is not set, and `make dev` has made no home of its own."),
        (home_that_is_not_there, "nowhere, which is not the absolute path of a folder."),
        (home_whose_database_is_down, "The database of DAGSTER_POSTGRES_URL cannot be used: "),
        (home_with_a_broken_file, "dagster.yaml cannot be used: "),
        (home_in_which_nothing_ran, "has no record yet: nothing has run there."),
    ],
)
def test_a_dagster_home_that_cannot_be_read_is_one_sentence(plant: Any, says: str, tmp_path: Path) -> None:
    plant(tmp_path)
    before = everything_in(tmp_path)

    with pytest.raises(ProblemError) as problem:
        answer(None, NOW)

    assert says in str(problem.value)
    assert "\n" not in str(problem.value)
    assert PASSWORD not in str(problem.value)
    assert everything_in(tmp_path) == before


def test_what_a_person_sees_of_a_problem_is_a_sentence_and_exit_code_1(tmp_path: Path) -> None:
    home_whose_database_is_down(tmp_path)

    done = typed("--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert "The database of DAGSTER_POSTGRES_URL cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr


def test_a_record_in_postgresql_is_read_as_well_and_not_written(
    data: Path, tmp_path: Path, postgres_url: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    os.environ["DAGSTER_POSTGRES_URL"] = postgres_url
    with DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        land(data, instance, VISITS, "2026-03-17", NEWEST)
        give_up(instance, "2026-03-18", "DexCare says CANCELLED")
    # No table of the quota is there yet, and looking makes none.
    assert told()[0]["calls_left"][0]["left"] == 500
    assert not [name for name in tables_in(postgres_url) if "ratelimit" in name]
    calls(data, 5, NOW - timedelta(hours=1))
    calls(data, 3)
    before = rows_in(postgres_url)

    found, _, code = told()
    told(day="2026-03-18")

    assert code == 1
    assert [one["kind"] for one in of_table(found)["missing"]] == ["given_up"]
    assert found["calls_left"][0]["left"] == 497
    assert rows_in(postgres_url) == before


def tables_in(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return sorted(name for (name,) in found)


def rows_in(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        counted = {}
        for name in tables_in(url):
            row = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
            counted[name] = row[0] if row else 0
    return counted
