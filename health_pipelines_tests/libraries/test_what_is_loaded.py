"""What large libraries are loaded with what: each of them costs every run, tick or command its time."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import pytest

from health_pipelines.libraries import loaded_when_used

LARGE = {
    "alembic",
    "duckdb",
    "httpx",
    "matplotlib",
    "numpy",
    "polars",
    "psycopg",
    "rich",
    "sqlalchemy",
    "stamina",
}


def loaded_by(code: str, **variables: str) -> set[str]:
    """Which of them are loaded in a new process that ran this."""
    ours = ("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*{LARGE} & set(sys.modules))"],
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_definitions_load_no_large_library_but_dagster() -> None:
    code = "import health_pipelines.definitions"

    assert loaded_by(code) == set()
    # With publishing there is a database to speak to.
    assert loaded_by(code, PUBLISH_URL="postgresql://nobody@127.0.0.1/nothing") <= {"duckdb", "psycopg"}


def test_a_library_is_loaded_by_the_first_attribute_and_not_before() -> None:
    code = "from health_pipelines.libraries import loaded_when_used\nhttp = loaded_when_used('httpx')\n"

    assert loaded_by(code) == set()
    assert "httpx" in loaded_by(f"{code}http.URL")


def test_what_stands_for_a_library_has_its_attributes_and_no_others() -> None:
    path = loaded_when_used("os.path")

    assert path.join is os.path.join
    assert path.join is os.path.join  # the second time without asking
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = path.nothing


def test_threads_that_ask_at_once_get_the_whole_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(0.2)\nlast = 'there'\n")
    monkeypatch.syspath_prepend(tmp_path)
    slow, together, found = loaded_when_used("slow_to_load"), Barrier(8), list[str]()

    def ask() -> None:
        together.wait()
        found.append(slow.last)

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["there"] * 8
