"""`health-pipelines doctor`: each fault has its line, the other checks go on, and no secret is shown."""

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from dagster import AssetMaterialization, DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import make_url

from health_pipelines.commands.doctor import examine
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.doctor.checkup import CHECKS
from health_pipelines.doctor.clock_check import clock_finding
from health_pipelines.doctor.finding import Mark, line, ok
from health_pipelines.doctor.folder_checks import disk_finding
from health_pipelines.drchrono.tables import TABLES as DRCHRONO_TABLES
from health_pipelines.http import origin_of
from health_pipelines.lake.locks import locked
from health_pipelines.lake.partitions import Lake
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.freshness import Expectation
from health_pipelines.settings import Settings, use_settings
from health_pipelines.settings.variables import ALL_SETTINGS
from health_pipelines_tests.drchrono.project import TOKEN
from health_pipelines_tests.support.sandbox_process import SandboxProcess

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

ROOT = Path(__file__).parents[2]
KEY = "SECRET_TOKEN"
WRONG = "wr0ng-but-still-a-secret"
NOBODY = 65534
LIMIT_SECONDS = 30
VIRTUAL = VISIT_REPORTS[0].table


@pytest.fixture(autouse=True)
def files_are_made_as_the_services_make_them() -> None:
    os.umask(0o077)


@pytest.fixture(autouse=True)
def settings(data: Path, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both vendors set up, in a working directory without `.env`; afterwards the environment as it was."""
    before = dict(os.environ)
    # Of the developer who runs this.
    ours = {name for setting in ALL_SETTINGS for name in setting.variables} | {"DAGSTER_HOME"}
    kept = {name for name in before if name.startswith("DEXCARE_") or name.startswith("HEALTH_")}
    for name in ours - kept:
        os.environ.pop(name, None)
    os.environ |= {
        "DRCHRONO_BASE_URL": vendor.url,
        "DRCHRONO_ACCESS_TOKEN": TOKEN,
        "DRCHRONO_CALLS_PER_HOUR": "100000",
    }
    monkeypatch.chdir(data.parent)
    yield
    os.environ.clear()
    os.environ |= before
    use_settings(os.environ)


class Report:
    """What the command printed."""

    def __init__(self, code: int, lines: list[str]) -> None:
        self.code = code
        self.text = "\n".join(lines)
        pattern = rf"^({'|'.join(Mark)}) +([^:]+): (.*)$"
        self.found = [match.groups() for match in re.finditer(pattern, self.text, re.MULTILINE)]

    def of(self, subject: str) -> tuple[str, str]:
        """The mark and the words of the one finding about the subject."""
        [(mark, _, says)] = [one for one in self.found if one[1] == subject]
        return mark, says

    def marked(self, mark: str) -> list[str]:
        return [f"{subject}: {says}" for found, subject, says in self.found if found == mark]


def examined(place: str | None = None, *, check_within_seconds: float = LIMIT_SECONDS) -> Report:
    lines: list[str] = []
    code, _ = examine(place, lines.append, check_within_seconds=check_within_seconds)
    report = Report(code, lines)
    assert {subject for _, subject, _ in report.found} <= set(CHECKS), report.text
    # One line for each finding, an empty one, and the summary.
    assert report.text.count("\n") == len(report.found) + 1 or len(report.found) == 1, report.text
    assert code == (1 if report.marked(Mark.PROBLEM) else 0), report.text
    secrets = Settings(dict(os.environ)).revealed_secrets()
    assert not [secret for secret in secrets | {KEY, TOKEN, WRONG} if secret in report.text], report.text
    return report


def dagster_home(folder: Path, dagster_yaml: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(dagster_yaml)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


@contextmanager
def instance_in(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance


def beat(instance: DagsterInstance, at: datetime, *, without: str = "") -> None:
    """Let the daemon have been alive at that time."""
    for kind in set(instance.get_required_daemon_types()) - {without}:
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "a daemon", []))


def test_when_all_is_well_every_check_says_so_and_the_exit_code_is_0(
    data: Path, tmp_path: Path, postgres_url: str
) -> None:
    home = dagster_home(tmp_path / "home", (ROOT / "dagster.yaml").read_text())
    os.environ |= {"DAGSTER_POSTGRES_URL": postgres_url, "ALERT_WEBHOOK_URL": f"https://example.org/{WRONG}"}
    os.environ |= {"PUBLISH_URL": postgres_url, "DEXCARE_AVR_VIRTUAL_KEY": "visit_id"}
    newest = newest_expected_day().isoformat()
    with instance_in(home) as instance:
        beat(instance, datetime.now(UTC))
        instance.report_runless_asset_event(
            AssetMaterialization(asset_key(VIRTUAL.source, VIRTUAL.name), partition=newest)
        )
    plant_day(data, newest, origin=origin_of(os.environ["DEXCARE_BASE_URL"]))
    duckdb.connect(str(data / "warehouse.duckdb")).close()

    done = subprocess.run(
        [sys.executable, "-m", "health_pipelines", "doctor"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    report = Report(done.returncode, done.stdout.splitlines())
    assert done.returncode == 0, done.stdout + done.stderr
    assert [subject for _, subject, _ in report.found if subject != "Dagster"] == [
        name for name in CHECKS if name not in ("places", "Dagster")
    ]
    assert not report.marked(Mark.PROBLEM)
    assert not report.marked(Mark.NOT_SET_UP)
    # A machine with little room may run this too.
    assert not [one for one in report.marked(Mark.WARNING) if not one.startswith("disk:")]
    dagster = [says for _, subject, says in report.found if subject == "Dagster"]
    assert dagster == [
        f"{home} can be used, and keeps its events in PostgreSQL.",
        "The daemon is alive.",
        "No sensor and no schedule is switched off.",
        "The lake has the same days.",
    ]
    assert report.of("database")[1].startswith("PostgreSQL ")
    assert not [secret for secret in (KEY, TOKEN, WRONG, postgres_url) if secret in done.stdout + done.stderr]


def test_an_examination_starts_nothing_and_costs_one_call_of_the_quota(vendor: SandboxProcess) -> None:
    examined()

    assert {name: count for name, count in vendor.calls()["by_operation"].items() if count} == {
        "status": 1,
        "provider_histories": 1,
        "list_poll": 1,
        "no_route": 1,
    }


def test_without_anything_set_nothing_is_wrong(data: Path) -> None:
    for name in [
        name for name in os.environ if name.startswith(("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_"))
    ]:
        del os.environ[name]

    report = examined()

    assert report.code == 0
    assert report.of("time zones")[0] == Mark.WARNING
    for subject in ("lake", "warehouse", "clock", "DexCare", "provider histories", "DrChrono", "database"):
        assert report.of(subject)[0] == Mark.NOT_SET_UP
    assert "Nobody is told" in report.of("alerts")[1]


NO_ROUTE = {"kind": "http", "status": 404, "body": {"message": "no Route matched with those values"}}
OTHER_404 = {"kind": "http", "status": 404, "body": {"error": "Not Found"}}
HTML_404 = {"kind": "http", "status": 404, "text": "<html>nothing here</html>"}
LOGIN_PAGE = {"kind": "http", "status": 200, "text": "<html>Log in</html>"}
ANY_REPORT = {"kind": "http", "status": 200, "body": {"status": "RUNNING"}}
ANY_LIST = {"kind": "http", "status": 200, "body": {"status": "In progress", "uuid": "1"}}
ANY_ROWS = {"kind": "http", "status": 200, "body": {"rows": []}}
BROKEN = {"kind": "http", "status": 500, "body": {"error": f"no database, {KEY}"}}


@pytest.mark.parametrize(
    ("operation", "fault", "subject", "says"),
    [
        ("status", NO_ROUTE, "DexCare", "DEXCARE_BASE_URL does not lead to DexCare's API"),
        ("status", OTHER_404, "DexCare", "DEXCARE_BASE_URL does not seem to lead to DexCare's API."),
        ("status", HTML_404, "DexCare", "DEXCARE_BASE_URL does not seem to lead to DexCare's API."),
        ("status", LOGIN_PAGE, "DexCare", "does DEXCARE_BASE_URL lead to its API?"),
        ("status", ANY_REPORT, "DexCare", "about a report that nobody started"),
        ("status", BROKEN, "DexCare", "DexCare answered 500"),
        ("status", {"kind": "redirect", "to": "other"}, "DexCare", "Check DEXCARE_BASE_URL."),
        ("provider_histories", NO_ROUTE, "provider histories", "DEXCARE_APR_BASE_URL does not lead to"),
        ("provider_histories", OTHER_404, "provider histories", "DEXCARE_APR_BASE_URL does not seem to"),
        ("provider_histories", ANY_ROWS, "provider histories", "no 'count'"),
        ("list_poll", HTML_404, "DrChrono", "DRCHRONO_BASE_URL does not seem to lead to DrChrono's API."),
        ("list_poll", LOGIN_PAGE, "DrChrono", "does DRCHRONO_BASE_URL lead to its API?"),
        ("list_poll", ANY_LIST, "DrChrono", "as if it had a list that nobody started"),
        ("list_poll", BROKEN, "DrChrono", "DrChrono answered 500"),
    ],
)
def test_a_vendor_that_is_not_there_is_a_problem_of_that_vendor_alone(
    operation: str, fault: dict[str, Any], subject: str, says: str, vendor: SandboxProcess
) -> None:
    vendor.add_fault(operation, fault)

    report = examined()

    assert report.of(subject)[0] == Mark.PROBLEM
    assert says in report.of(subject)[1]
    # Nobody who sits in front of a terminal waits for another attempt.
    assert vendor.calls()["by_operation"][operation] == 1
    assert len(report.marked(Mark.PROBLEM)) == 1


def test_a_throttled_vendor_is_left_in_peace(vendor: SandboxProcess) -> None:
    vendor.add_fault("list_poll", {"kind": "throttle", "seconds": 2295}, times=1)

    mark, says = examined().of("DrChrono")

    assert mark == Mark.WARNING
    assert says.startswith("Not asked, to leave the calls to the runs: DrChrono throttled the calls")


def set_variables(**values: str) -> Callable[[Path], None]:
    def plant(_: Path) -> None:
        os.environ.update(values)

    return plant


def unset(name: str) -> Callable[[Path], None]:
    def plant(_: Path) -> None:
        del os.environ[name]

    return plant


def wrong_key_in_a_file(folder: Path) -> None:
    (folder / "key").write_text(f"{WRONG}\n")
    del os.environ["DEXCARE_SERVICE_KEY"]
    os.environ["DEXCARE_SERVICE_KEY_FILE"] = str(folder / "key")


def application(**values: str) -> Callable[[Path], None]:
    """An application of DrChrono's that renews its tokens, instead of a token."""

    def plant(_: Path) -> None:
        del os.environ["DRCHRONO_ACCESS_TOKEN"]
        os.environ.update(
            {
                "DRCHRONO_CLIENT_ID": "sandbox-client",
                "DRCHRONO_CLIENT_SECRET": "sandbox-secret",
                "DRCHRONO_REFRESH_TOKEN": WRONG,
                **values,
            }
        )

    return plant


def env_says_otherwise(folder: Path) -> None:
    (folder / ".env").write_text(f"DEXCARE_SERVICE_KEY={WRONG}\n")


def data_below_a_file(folder: Path) -> None:
    (folder / "file").touch()
    os.environ["HEALTH_DATA_DIR"] = str(folder / "file" / "data")


def data_where_nothing_can_be_made(_: Path) -> None:
    os.environ["HEALTH_DATA_DIR"] = "/proc/self"


def other_hosts_day(folder: Path) -> None:
    plant_day(folder / "data", origin="ecvapi.uat.example.org")


def other_hosts_records(folder: Path) -> None:
    lake = Lake(folder / "data" / "lake")
    with lake.writing(DRCHRONO_TABLES[0], "2026-03-10") as writer:
        writer.candidate.touch()
        writer.replace()
    lake.remember_origin(DRCHRONO_TABLES[0], "app.drchrono.com")


def hole(folder: Path) -> None:
    newest = newest_expected_day()
    for days_ago in (0, 2, 3, 5):
        day = (newest - timedelta(days=days_ago)).isoformat()
        plant_day(folder / "data", day, origin=origin_of(os.environ["DEXCARE_BASE_URL"]))


def day_without_a_first_day(folder: Path) -> None:
    os.environ["HEALTH_START_DATE"] = ""
    plant_day(folder / "data", "2025-01-31", origin=origin_of(os.environ["DEXCARE_BASE_URL"]))


def hole_that_is_meant(folder: Path) -> None:
    hole(folder)
    newest = newest_expected_day()
    os.environ["HEALTH_DAYS_LEFT_OUT"] = ",".join(
        f"dexcare/avr_virtual:{newest - timedelta(days=days_ago)}" for days_ago in (1, 4)
    )


def newest_expected_day() -> date:
    newest = Expectation.of(Settings(dict(os.environ))).newest_day(datetime.now(UTC))
    assert newest is not None
    return newest


def plant_day(data: Path, day: str = "2026-03-10", *, origin: str, size_bytes: int | None = None) -> None:
    lake = Lake(data / "lake")
    with lake.writing(VIRTUAL, day) as writer:
        duckdb.sql(f"COPY (SELECT 'a' AS status) TO '{writer.candidate}' (FORMAT parquet)")
        writer.replace()
        if size_bytes is not None:
            os.truncate(writer.target, size_bytes)
    lake.remember_origin(VIRTUAL, origin)


def day_larger_than_the_room(folder: Path) -> None:
    # Sparse: it is that large only in name.
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    plant_day(folder / "data", origin=origin_of(os.environ["DEXCARE_BASE_URL"]), size_bytes=free // 2)


def damaged_warehouse(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "warehouse.duckdb").write_text("no database")


def no_place(folder: Path) -> None:
    os.environ["HEALTH_PLACES_DIR"] = str(folder)


def home_that_needs_a_database(folder: Path) -> None:
    dagster_home(folder / "home", (ROOT / "dagster.yaml").read_text())


def home_whose_database_is_down(folder: Path) -> None:
    dagster_home(folder / "home", (ROOT / "dagster.yaml").read_text())
    os.environ["DAGSTER_POSTGRES_URL"] = f"postgresql://dagster:{WRONG}@127.0.0.1:1/dagster"


def home_with_a_broken_file(folder: Path) -> None:
    dagster_home(folder / "home", f"storage: [{WRONG}")


def home_without_the_database(folder: Path) -> None:
    dagster_home(folder / "home")
    os.environ["DAGSTER_POSTGRES_URL"] = f"postgresql://dagster:{WRONG}@127.0.0.1:1/dagster"


URL = "DAGSTER_POSTGRES_URL"
PROBLEM, WARNING = Mark.PROBLEM, Mark.WARNING


@pytest.mark.parametrize(
    ("plant", "subject", "mark", "says"),
    [
        (set_variables(DEXCARE_POLL_SECONDS="soon"), "settings", PROBLEM, "DEXCARE_POLL_SECONDS is 'soon'"),
        (set_variables(DEXCARE_HTTP_ATTEMPTS="0"), "settings", PROBLEM, "DEXCARE_HTTP_ATTEMPTS is '0'"),
        (set_variables(DEXCARE_SERVICE_KYE="x"), "settings", WARNING, "is DEXCARE_SERVICE_KEY meant?"),
        (set_variables(HEATLH_TIMEZONE="x"), "settings", WARNING, "is HEALTH_TIMEZONE meant?"),
        (env_says_otherwise, "settings", WARNING, "DEXCARE_SERVICE_KEY is one thing in .env and another in"),
        (unset("DEXCARE_BASE_URL"), "settings", WARNING, "nothing is asked of DexCare"),
        (set_variables(HEALTH_TIMEZONE=""), "time zones", WARNING, "HEALTH_TIMEZONE is not set. Days are"),
        (no_place, "places", PROBLEM, "which has no settings file such as uat.env"),
        (set_variables(HEALTH_PLACES_DIR="/missing"), "places", PROBLEM, "which is not a folder"),
        (data_below_a_file, "data folder", PROBLEM, "is not a folder that can be written"),
        (
            data_where_nothing_can_be_made,
            "data folder",
            PROBLEM,
            "/proc/self cannot be written (",
        ),
        (day_larger_than_the_room, "disk", WARNING, "the largest day of a table takes"),
        (other_hosts_day, "lake", PROBLEM, "was filled by ecvapi.uat.example.org"),
        (other_hosts_records, "lake", PROBLEM, "was filled by app.drchrono.com"),
        (day_without_a_first_day, "first day", WARNING, "counts 30 days from 2025-01-01 on as missing that"),
        (hole, "missing days", WARNING, " are missing. The daily schedule asks for them"),
        (
            hole_that_is_meant,
            "missing days",
            Mark.OK,
            "No table lacks a day between its first and its newest",
        ),
        (damaged_warehouse, "warehouse", PROBLEM, "the next landing builds it again"),
        (set_variables(DEXCARE_SERVICE_KEY=WRONG), "DexCare", PROBLEM, "Check DEXCARE_SERVICE_KEY."),
        (wrong_key_in_a_file, "DexCare", PROBLEM, "Check DEXCARE_SERVICE_KEY."),
        (unset("DEXCARE_SERVICE_KEY"), "DexCare", PROBLEM, "DEXCARE_SERVICE_KEY is not set."),
        (set_variables(DEXCARE_BASE_URL="http://127.0.0.1:1"), "DexCare", PROBLEM, "no connection to"),
        (set_variables(DEXCARE_BASE_URL="http://127.0.0.1:1"), "clock", WARNING, "DexCare does not answer"),
        (set_variables(DEXCARE_BASE_URL="http://example.org"), "DexCare", PROBLEM, "use https://"),
        (set_variables(DEXCARE_BASE_URL="ecvapi"), "DexCare", PROBLEM, "is not a URL like https://host"),
        (set_variables(DEXCARE_BASE_URL="ecvapi"), "clock", WARNING, "does not begin with https://"),
        (
            set_variables(DEXCARE_APR_API_KEY=WRONG),
            "provider histories",
            PROBLEM,
            "Check DEXCARE_APR_API_",
        ),
        (set_variables(DRCHRONO_ACCESS_TOKEN=WRONG), "DrChrono", PROBLEM, "Check DRCHRONO_ACCESS_TOKEN."),
        (application(DRCHRONO_CLIENT_SECRET=WRONG), "DrChrono", PROBLEM, "Check DRCHRONO_CLIENT_ID, "),
        (application(), "DrChrono", PROBLEM, "DrChrono no longer accepts DRCHRONO_REFRESH_TOKEN"),
        (set_variables(DAGSTER_POSTGRES_URL=f"u:{WRONG}@host/db"), "database", PROBLEM, "is not a URL like"),
        (set_variables(DAGSTER_POSTGRES_URL=f"postgresql://u:{WRONG}%zz@h/d"), "database", PROBLEM, "%40"),
        (
            set_variables(DAGSTER_POSTGRES_URL=f"postgresql+psycopg2://u:{WRONG}@127.0.0.1:1/d"),
            "database",
            PROBLEM,
            "no server listens there",
        ),
        (set_variables(DAGSTER_HOME="/missing"), "Dagster", PROBLEM, "not the absolute path of a folder"),
        (set_variables(DAGSTER_HOME="."), "Dagster", PROBLEM, "not the absolute path of a folder"),
        (home_whose_database_is_down, "Dagster", PROBLEM, "as its database cannot be used"),
        (home_whose_database_is_down, "DrChrono", PROBLEM, "is kept in the database"),
        (home_that_needs_a_database, "Dagster", PROBLEM, "the variable DAGSTER_POSTGRES_URL, which it needs"),
        (home_with_a_broken_file, "Dagster", PROBLEM, "dagster.yaml cannot be used"),
        (home_without_the_database, "Dagster", WARNING, "does not use it: Dagster keeps its events in files"),
        (set_variables(ALERT_EMAIL_TO="a@example.org"), "alerts", PROBLEM, "ALERT_SMTP_HOST is not set."),
    ],
)
def test_each_fault_has_its_line_and_the_other_checks_go_on(
    plant: Callable[[Path], None], subject: str, mark: Mark, says: str, tmp_path: Path
) -> None:
    plant(tmp_path)

    report = examined()

    assert [one for one in report.found if one[:2] == (mark, subject) and says in one[2]], report.text
    assert {found for _, found, _ in report.found} >= set(CHECKS) - {"places"}


def test_a_malformed_setting_is_said_once_and_who_needs_it_refers_to_it() -> None:
    os.environ["HEALTH_DATA_DIR"] = "lake*"

    report = examined()

    assert report.text.count("lake*") == 1
    assert report.of("disk") == (Mark.PROBLEM, "Cannot be checked before the settings above are right.")
    assert report.of("DexCare")[0] == Mark.OK


def test_a_token_is_renewed_if_that_is_due_and_kept(vendor: SandboxProcess, tmp_path: Path) -> None:
    # One of this test's own: a refresh token can be used once.
    own = uuid.uuid4().hex
    application(DRCHRONO_REFRESH_TOKEN=own)(tmp_path)
    vendor.change_settings(drchrono_refresh_token=own)
    try:
        first, second = examined(), examined()
    finally:
        vendor.change_settings(drchrono_refresh_token="sandbox-refresh")

    assert first.of("DrChrono")[0] == second.of("DrChrono")[0] == Mark.OK
    assert vendor.drchrono_calls()["token"] == {"POST": 1}


def test_the_key_of_a_place_is_that_of_its_file_and_what_is_ignored_is_said(
    vendor: SandboxProcess, tmp_path: Path
) -> None:
    places = tmp_path / "places"
    places.mkdir()
    (places / "uat.env").write_text(
        f"DEXCARE_BASE_URL={vendor.url}\nDEXCARE_SERVICE_KEY={KEY}\nHEALTH_TIMEZONE=America/Denver\n"
    )
    os.environ |= {
        "HEALTH_PLACES_DIR": str(places),
        "DEXCARE_SERVICE_KEY": WRONG,
        "DEXCARE_DAILY_AT": "01:00",
    }

    of_place, of_environment = examined("uat"), examined()

    assert of_place.of("DexCare")[0] == Mark.OK
    assert of_place.of("data folder")[1].startswith(str(tmp_path / "data" / "uat"))
    assert "America/Denver" in of_place.of("time zones")[1]
    assert "ignored in the environment: DEXCARE_DAILY_AT, " in of_place.of("settings")[1]
    assert of_environment.of("DexCare")[0] == Mark.PROBLEM
    assert of_environment.of("places")[1].endswith("with --place uat.")


def test_a_place_that_is_not_there_is_a_problem_by_itself(tmp_path: Path) -> None:
    os.environ["HEALTH_PLACES_DIR"] = str(tmp_path)

    report = examined("prd")

    assert report.code == 1
    assert "of the place prd does not exist; the places in HEALTH_PLACES_DIR are: none." in report.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_leaves_nothing_in_the_folders_of_another_user(data: Path, vendor: SandboxProcess) -> None:
    home = dagster_home(data / "dagster_home")
    for folder in (data, home):
        os.chown(folder, NOBODY, NOBODY)

    report = examined()

    assert "run this as the user that runs Dagster" in report.of("data folder")[1]
    for subject in ("data folder", "DrChrono", "Dagster"):
        assert report.of(subject)[0] == Mark.WARNING
    assert [path.name for path in data.rglob("*")] == ["dagster_home", "dagster.yaml"]
    assert vendor.calls()["by_operation"].get("list_poll", 0) == 0


def test_a_warehouse_that_somebody_writes_into_is_a_warning(data: Path) -> None:
    data.mkdir()
    writer = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", writer, str(data / "warehouse.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        mark, says = examined().of("warehouse")
        process.communicate("\n")

    assert mark == Mark.WARNING
    assert "opened for writing" not in says
    assert "has opened" in says
    assert examined().of("warehouse")[1].endswith("has 0 views.")


@pytest.mark.parametrize(
    ("age", "without", "says"),
    [
        (timedelta(), "SCHEDULER", "The daemon is alive, but nothing is heard of SCHEDULER; restart"),
        (timedelta(hours=5), "", "The daemon was last heard of at 20"),
        (None, "", "The daemon was never heard of; nothing is asked for"),
    ],
)
def test_a_daemon_that_does_not_run_is_a_warning(
    age: timedelta | None, without: str, says: str, tmp_path: Path
) -> None:
    home = dagster_home(tmp_path / "home")
    if age is not None:
        with instance_in(home) as instance:
            beat(instance, datetime.now(UTC) - age, without=without)

    report = examined()

    assert report.code == 0
    assert [one for one in report.marked(Mark.WARNING) if one.startswith(f"Dagster: {says}")], report.text


def test_a_schedule_that_is_switched_off_is_a_warning_that_names_it_and_its_place(tmp_path: Path) -> None:
    home = dagster_home(tmp_path / "home")
    location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="uat")
    with instance_in(home) as instance:
        for name, status in (
            ("dexcare_daily", InstigatorStatus.STOPPED),
            ("drchrono_daily", InstigatorStatus.RUNNING),
        ):
            origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
            when = ScheduleInstigatorData("15 2 * * *")
            instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, status, when))

    report = examined()

    expected = "Dagster: Switched off in the UI: dexcare_daily of uat. Switch on what is to run by itself."
    assert expected in report.marked(Mark.WARNING)


def test_the_home_of_make_dev_is_found_by_itself(data: Path) -> None:
    home = dagster_home(data / "dagster_home")
    del os.environ["DAGSTER_HOME"]

    assert [f"Dagster: {home} can be used, and keeps its events in files."] == [
        one for one in examined().marked(Mark.OK) if one.startswith("Dagster: /")
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"database": "nothing_of_that_name"}, "the server has no such database"),
        ({"username": "nobody_of_that_name"}, "the server has no such user"),
    ],
)
def test_a_database_that_refuses_is_a_problem(change: dict[str, str], says: str, postgres_url: str) -> None:
    url = make_url(postgres_url).set(password=WRONG, **change)  # type: ignore[arg-type]
    os.environ["DAGSTER_POSTGRES_URL"] = url.render_as_string(hide_password=False)

    mark, said = examined().of("database")

    assert mark == Mark.PROBLEM
    assert says in said or "refuses the user or the password" in said


def test_a_database_in_which_no_table_can_be_made_is_a_warning(postgres_url: str) -> None:
    user = f"reader_{os.getpid()}_{threading.get_ident()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{WRONG}'")
        try:
            url = make_url(postgres_url).set(username=user, password=WRONG)
            os.environ["DAGSTER_POSTGRES_URL"] = url.render_as_string(hide_password=False)
            mark, says = examined().of("database")
        finally:
            connection.execute(f"DROP ROLE {user}")

    assert mark == Mark.WARNING
    assert "its user may not make tables" in says


def test_publishing_is_well_where_its_user_may_write(postgres_url: str) -> None:
    assert examined().of("publishing") == (
        Mark.NOT_SET_UP,
        "PUBLISH_URL is not set; nothing is published into a database.",
    )
    os.environ["PUBLISH_URL"] = postgres_url
    mark, says = examined().of("publishing")
    assert mark == Mark.OK
    assert "answers and lets 21 tables be published into health_current and health_marts" in says


def test_publishing_by_a_user_who_may_not_write_is_a_problem(postgres_url: str) -> None:
    user = f"reader_{os.getpid()}_{threading.get_ident()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{WRONG}'")
        try:
            url = make_url(postgres_url).set(username=user, password=WRONG)
            os.environ["PUBLISH_URL"] = url.render_as_string(hide_password=False)
            mark, says = examined().of("publishing")
        finally:
            connection.execute(f"DROP ROLE {user}")

    assert mark == Mark.PROBLEM
    assert "may not make the schema health_current; GRANT CREATE ON DATABASE" in says


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PUBLISH_URL": f"postgresql://u:{WRONG}@no-such-host.invalid/d"}, "the host is not known"),
        ({"PUBLISH_URL": f"mysql://u:{WRONG}@h/d"}, "PUBLISH_URL is no URL of a database"),
        ({"PUBLISH_HOST": "h", "PUBLISH_TABLES": "marts.nothing"}, "PUBLISH_TABLES names marts.nothing"),
        ({"PUBLISH_HOST": "h", "PUBLISH_SCHEMA": "a-b"}, "PUBLISH_SCHEMA is 'a-b'"),
    ],
)
def test_publishing_that_cannot_be_is_a_problem(variables: dict[str, str], says: str) -> None:
    os.environ.update(variables)
    report = examined()
    found = [one for one in report.marked(Mark.PROBLEM) if says in one]
    assert found, report
    assert all(WRONG not in one for one in found)


@contextmanager
def clock_at(says: str | None) -> Iterator[str]:
    """The URL of a server that says this is the time; None for one that says nothing of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            assert "authorization" not in self.headers
            self.send_response_only(404)
            if says is not None:
                self.send_header("Date", says)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name it has
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("time", "says"),
    [
        ("Tue, 03 Mar 2026 03:04:05 GMT", "This machine's clock is "),
        ("yesterday", "Cannot be compared, as DexCare does not say what time it is."),
        (None, "Cannot be compared, as DexCare does not say what time it is."),
    ],
)
def test_a_clock_that_differs_from_the_vendors_is_a_warning(time: str | None, says: str) -> None:
    with clock_at(time) as url:
        os.environ["DEXCARE_BASE_URL"] = url

        mark, said = examined().of("clock")

    assert mark == Mark.WARNING
    assert said.startswith(says)


def test_a_minute_of_difference_between_clocks_is_let_pass() -> None:
    now = datetime(2026, 3, 3, tzinfo=UTC)

    assert clock_finding(now, now - timedelta(seconds=60), "DexCare").mark == Mark.OK
    assert clock_finding(now, now + timedelta(seconds=60), "DexCare").mark == Mark.OK
    ahead = clock_finding(now, now - timedelta(seconds=61), "DexCare")
    behind = clock_finding(now, now + timedelta(hours=2, seconds=3), "DexCare")
    assert (ahead.mark, behind.mark) == (Mark.WARNING, Mark.WARNING)
    assert ahead.says.startswith("This machine's clock is 0:01:01 (h:mm:ss) ahead of DexCare's")
    assert behind.says.startswith("This machine's clock is 2:00:03 (h:mm:ss) behind DexCare's")


def test_room_for_three_copies_of_the_largest_day_and_for_ten_gigabytes_is_enough() -> None:
    gigabyte = 10**9

    assert disk_finding(10 * gigabyte, 3 * gigabyte).mark == Mark.OK
    assert disk_finding(10 * gigabyte - 1, 0).mark == Mark.WARNING
    assert disk_finding(12 * gigabyte - 1, 4 * gigabyte).mark == Mark.WARNING


def test_what_a_library_says_in_words_that_hold_a_secret_is_shown_without_it() -> None:
    shown = line("database", ok(f"could not open\n  postgresql://u:{WRONG}@h"), {WRONG, ""})

    assert shown == "ok          database: could not open postgresql://u:***@h"


def test_a_check_that_gets_no_answer_is_left_alone_and_the_command_ends(data: Path, tmp_path: Path) -> None:
    examined()  # makes the file of the quota
    [lock] = (data / "drchrono" / "quota").glob("*.lock")
    # Dagster tries such a database for longer than this, and logs what the driver says each time.
    url = f"postgresql://dagster:{WRONG}@127.0.0.1:1/dagster"
    dagster_home(tmp_path / "home", f"storage: {{postgres: {{postgres_url: '{url}'}}}}")
    code = (
        "import sys; from health_pipelines.commands.doctor import doctor; "
        "sys.exit(doctor(None, check_within_seconds=2))"
    )

    # DrChrono's check waits for the lock of the quota as long as it is held, and so would Python at its end.
    with locked(lock, wait=True):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    report = Report(done.returncode, done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (1, "")
    assert report.marked(Mark.PROBLEM) == [
        f"{name}: No answer within 2 s." for name in ("DrChrono", "Dagster")
    ]
    assert report.of("DexCare")[0] == Mark.OK
    assert report.of("alerts")[0] == Mark.NOT_SET_UP


def test_a_check_that_fails_by_itself_says_where_and_nothing_of_what_it_held(data: Path) -> None:
    # A file where the lake's folder of a table is: nobody foresaw that.
    folder = data / "lake" / VIRTUAL.source / VIRTUAL.name
    folder.mkdir(parents=True)
    (folder / "_origin").mkdir()

    mark, says = examined().of("lake")

    assert mark == Mark.PROBLEM
    assert re.fullmatch(
        r"The check failed by itself \(IsADirectoryError in lake/partitions\.py:\d+\)\.", says
    )


def test_data_that_others_can_read_are_a_problem(data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    (data / "warehouse.duckdb").touch()
    assert examined().of("other users")[0] == Mark.OK
    (data / "warehouse.duckdb").chmod(0o644)
    data.chmod(0o755)

    mark, says = examined().of("other users")

    assert mark == Mark.PROBLEM
    assert "can be read by other users" in says
