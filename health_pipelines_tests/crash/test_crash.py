"""Whatever process of the whole system is killed, at whatever moment: in the end all is as at the vendors.

A very short round; `make crash-test` carries out as many as somebody has hours for (docs/crash-test.md).
"""

import subprocess
import sys
from pathlib import Path

import pytest

from health_pipelines_tests.crash.system import POSTGRES
from health_pipelines_tests.support.dagster_processes import ROOT

# A round is bounded by itself, and says what is not at rest.
_WITHIN_SECONDS = 3600
# Where other tests run beside it, a run may take a minute to start.
_RUN_START_SECONDS = 120


def carry_out(folder: Path, kills: int, storage: str, *options: str) -> str:
    """A process of its own, which has the environment of the system that it tries; returns what it said."""
    table = folder / "table.md"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "health_pipelines_tests.crash", "--verbose", *options),
            *("--run-start", str(_RUN_START_SECONDS)),
            *("--kills", str(kills), "--seed", "1", "--storage", storage, "--table", str(table)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert f"| kills | {kills} |" in table.read_text()
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(_WITHIN_SECONDS + 60)
def test_whatever_process_is_killed_all_is_as_at_the_vendors_in_the_end(tmp_path: Path) -> None:
    assert "3 kills" in carry_out(tmp_path, 3, "sqlite")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(_WITHIN_SECONDS + 60)
def test_whatever_is_killed_postgresql_too_all_is_as_at_the_vendors_in_the_end(
    tmp_path: Path,
) -> None:
    said = carry_out(tmp_path, 50, POSTGRES, "--check-itself")
    assert "PostgreSQL" in said, "the server was never killed"
