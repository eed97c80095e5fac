"""`make demo` and `make dev`, started as a person starts them."""

import os
import re
import signal
import stat
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import httpx
import psycopg
import pytest

from health_pipelines.commands.services import free_port
from health_pipelines_tests.support.dagster_processes import ROOT
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(900)
# On a machine that runs other tests beside it.
RUNS_WITHIN_SECONDS = 400


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A machine on which nothing is set; the real vendor's variables must not matter to the demo."""
    ours = ("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept.pop("DAGSTER_HOME", None)
    return {**kept, "HEALTH_DATA_DIR": str(folder), **more}


def run_demo(variables: dict[str, str], folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", "demo"],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUNS_WITHIN_SECONDS,
        check=False,
        umask=0,
    )


def table_of(output: str) -> dict[str, list[str]]:
    """The table's lines by table name: partitions, rows, changed, seconds."""
    lines = re.findall(r"^((?:dexcare|drchrono)\.\S+) +(\d+) +(\d+) +(\d+) +([\d.]+)$", output, re.MULTILINE)
    return {name: numbers for name, *numbers in lines}


def test_the_demo_lands_three_days_and_publishes_them(tmp_path: Path, postgres_url: str) -> None:
    variables = environment(
        tmp_path,
        DEXCARE_BASE_URL="https://real.example.com",
        DEXCARE_SERVICE_KEY="real",
        PUBLISH_URL=postgres_url,
    )
    # Dagster reads this file by itself, over what it is told; and a prefix may stand here alone.
    (tmp_path / ".env").write_text(
        "HEALTH_ASSET_PREFIX=north\nDEXCARE_BASE_URL=https://real.example.com\nDEXCARE_SERVICE_KEY=real\n"
    )
    first = run_demo(variables, tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    table = table_of(first.stdout)
    assert set(table) == {
        *(f"dexcare.avr_{report}" for report in ("virtual", "retail", "provider_booking")),
        *(f"drchrono.{name}" for name in ("appointments", "patients", "line_items", "transactions")),
        *(f"drchrono.{name}" for name in ("prescription_messages", "eligibility_checks")),
        *(f"drchrono.{name}" for name in ("clinical_notes", "clinical_note_field_values")),
        "dexcare.provider_histories",
        "drchrono.line_item_deletions",
    }
    for name, (partitions, rows, changed, seconds) in table.items():
        assert (partitions, changed) == ("3", "3")
        # Few line items are deleted.
        assert int(rows) > (100 if name.startswith("dexcare") else 0) or name.endswith("deletions")
        assert float(seconds) < RUNS_WITHIN_SECONDS
    # Whatever takes long is shown.
    said = re.findall(r"^ +\d+ s  (?:\d+ )?([\w' ]{9})", first.stdout, re.MULTILINE)
    assert [one for one, _ in groupby(said)] == [
        "a place f",
        "Dagster's",
        "Dagster i",
        "of 39 day",
        "building ",
        "publishin",
    ]
    marts = r"^\d{4}-\d\d-\d\d +(?:virtual|retail|provider_booking) +\d+ +\d+\.\d$"
    assert len(re.findall(marts, first.stdout, re.MULTILINE)) == 3 * 3
    # Published beside what a real place would publish, and with its prefix.
    with psycopg.connect(postgres_url) as connection:
        published = connection.execute(
            "SELECT sum(visits) FROM north_sandbox_health_marts.daily_visits"
        ).fetchone()
        [(schemas,)] = connection.execute(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%health%'"
        ).fetchall()
    assert published == (sum(int(line[1]) for name, line in table.items() if "avr" in name),)
    assert schemas == 2
    # Whatever the umask, everything is for its owner alone.
    kept = list((tmp_path / "sandbox").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in kept} == {0}


@pytest.mark.long
def test_the_demo_asked_again_rewrites_nothing(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    first = run_demo(variables, tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    table = table_of(first.stdout)
    # Of a type without change times a sweep brings what came since, too: the first day may have more now.
    grows = {"drchrono.prescription_messages", "drchrono.clinical_notes"}
    files = sorted((tmp_path / "sandbox" / "lake").glob("*/*/date=*/*.parquet"))
    assert len(files) == 3 * len(table)
    still = [file for file in files if f"{file.parts[-4]}.{file.parts[-3]}" not in grows]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in still]

    again = run_demo(variables, tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {name for name, line in table_of(again.stdout).items() if line[2] != "0"} <= grows
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in still] == before


def test_a_demo_that_cannot_work_ends_with_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    failed = run_demo(environment(tmp_path, HEALTH_TIMEZONE="Mars/Olympus"))
    assert failed.returncode == 1
    assert failed.stderr.strip().count("\n") == 0
    assert "HEALTH_TIMEZONE" in failed.stderr


@pytest.mark.parametrize(
    ("told", "exit_code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGTERM, 143)]
)
def test_dev_says_that_it_is_the_sandbox_serves_the_ui_and_leaves_no_process_behind(
    tmp_path: Path, told: signal.Signals, exit_code: int
) -> None:
    port = free_port()
    log = tmp_path / "dev.log"
    with log.open("wb") as output:
        dev = subprocess.Popen(
            # As a shell starts a background command: with SIGINT ignored.
            ["sh", "-c", f"trap '' INT; exec {sys.executable} -m health_pipelines dev --port {port}"],
            env=environment(tmp_path / "data"),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: "Dagster's UI:" in log.read_text(), "the UI's address", within_seconds=90)
        assert "No vendor is set, so this is the sandbox" in log.read_text()
        assert instigators(f"http://127.0.0.1:{port}") == {
            "alerts": "RUNNING",
            "dexcare_report_sensor": "RUNNING",
            "housekeeping": "RUNNING",
            "dexcare_daily": "RUNNING",
            "drchrono_daily": "RUNNING",
            "drchrono_reconciliation": "RUNNING",
            "late_changes_weekly": "RUNNING",
            "calendar_sensor": "RUNNING",
            "freshness": "RUNNING",
            "warehouse_sensor": "RUNNING",
        }
    finally:
        dev.send_signal(told)
        assert dev.wait(60) == exit_code
    assert processes_that_mention(str(tmp_path)) == []


def processes_that_mention(folder: str) -> list[str]:
    """Command lines of living processes whose environment names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if folder.encode() in environment and process.name != str(os.getpid()):
            found.append(command)
    return found


def instigators(url: str) -> dict[str, str]:
    """The sensors and schedules of the UI with their status."""
    query = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
        sensors { name sensorState { status } } schedules { name scheduleState { status } } } } } }"""
    answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=30).json()
    [repository] = answer["data"]["repositoriesOrError"]["nodes"]
    return {one["name"]: one["sensorState"]["status"] for one in repository["sensors"]} | {
        one["name"]: one["scheduleState"]["status"] for one in repository["schedules"]
    }
