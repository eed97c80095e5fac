"""`health-pipelines columns`, started as a person starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

from health_pipelines_tests.warehouse.hospital import Hospital

ROWS = [
    {
        "Visit's #id": f"{number:08x}-0000-4000-8000-000000000000",
        "planned": f"2026-03-10 {8 + number // 6:02d}:{number % 6}0:00",
        "state": "completed" if number % 5 else "cancelled",
        "Name": f"Patient{number}",
    }
    for number in range(40)
]
KEY, TIME, STATUS = (f"DEXCARE_AVR_RETAIL_{role}" for role in ("KEY", "TIME", "STATUS"))


def run_columns(folder: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DEXCARE_", "HEALTH_"))}
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", "columns", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_says_which_column_is_which_and_writes_what_is_not_set_and_does_so_once(tmp_path: Path) -> None:
    Hospital(tmp_path / "data").land_visits("retail", "2026-03-10", ROWS)
    env = tmp_path / ".env"
    env.write_text("DEXCARE_BASE_URL=https://vendor.example\nDEXCARE_AVR_RETAIL_STATUS=state # mine\n")
    before = env.read_text()

    told = run_columns(tmp_path)

    assert told.returncode == 0, told.stderr
    assert f"{KEY}='Visit\\'s #id'\n{TIME}=planned\n" in told.stdout
    assert f"{STATUS}=" not in told.stdout
    assert "unique in the one day (40 rows), never empty, shaped like a UUID" in told.stdout
    assert "nothing has landed yet" in told.stdout
    assert "Patient" not in told.stdout
    assert env.read_text() == before

    written = run_columns(tmp_path, "--write")
    assert written.returncode == 0, written.stderr
    assert ".env has 2 settings more; restart Dagster." in written.stdout
    assert env.read_text().startswith(before)
    after = dotenv_values(env)
    assert (after[KEY], after[TIME], after[STATUS]) == ("Visit's #id", "planned", "state")

    text = env.read_bytes()
    again = run_columns(tmp_path, "--write", "--json")
    assert again.returncode == 0, again.stderr
    assert ".env is as it was." in again.stderr
    assert env.read_bytes() == text
    states = {one["setting"]: one["state"] for one in json.loads(again.stdout)["columns"]}
    assert len(states) == 15
    assert [states[name] for name in (KEY, TIME, STATUS)] == ["set"] * 3
    assert states["DEXCARE_AVR_RETAIL_WAIT_UNTIL"] == "none"


def test_a_places_columns_go_into_its_file(tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    file = tmp_path / "places" / "uat.env"
    file.write_text("DEXCARE_BASE_URL=https://vendor.example\n")
    Hospital(tmp_path / "data" / "uat").land_visits("retail", "2026-03-10", ROWS)

    written = run_columns(tmp_path, "--place", "uat", "--write", HEALTH_PLACES_DIR="places")

    assert written.returncode == 0, written.stderr
    assert dotenv_values(file)[STATUS] == "state"
    assert not (tmp_path / ".env").exists()


def test_the_sandboxs_columns_are_shown_and_written_nowhere(tmp_path: Path) -> None:
    Hospital(tmp_path / "data" / "sandbox").land_visits("retail", "2026-03-10", ROWS)

    told, refused = run_columns(tmp_path), run_columns(tmp_path, "--write")

    assert f"{TIME}=planned" in told.stdout
    assert refused.returncode == 1
    assert "No vendor is set, so that these are the columns of the sandbox" in refused.stderr
    assert not (tmp_path / ".env").exists()
