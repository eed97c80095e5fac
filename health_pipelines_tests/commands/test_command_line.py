"""What a person types: help, words that are no command, and what the shell completes."""

import os
import re
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "health_pipelines"]


def typed(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *words],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def completed(line: str, **variables: str) -> list[str]:
    """What a shell offers for the last word of the line."""
    words = line.split(" ")
    answer = typed(
        _HEALTH_PIPELINES_COMPLETE="bash_complete",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        **variables,
    )
    return [said.partition(",")[2] for said in answer.stdout.splitlines() if said]


def test_help_names_first_what_a_person_does_first() -> None:
    answer = typed("--help")

    first, daily, others = (
        [line.split()[0] for line in part.splitlines() if line.startswith("  ")]
        for part in re.split(r"\n(?:The first day|Every day|Repair and set-up):\n", answer.stdout)[1:]
    )
    assert answer.returncode == 0
    assert first == ["demo", "dev", "doctor", "probe", "columns"]
    assert daily == ["status", "query"]
    assert {"build", "publish", "completion"} <= set(others)


def test_help_loads_neither_dagster_nor_an_engine() -> None:
    code = (
        "import sys; sys.argv = ['health-pipelines', '--help']; from health_pipelines.__main__ import main; "
        "main(); print({'dagster', 'duckdb', 'polars'} & set(sys.modules))"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.splitlines()[-1] == "set()"


def test_a_word_that_is_no_command_is_told_so_without_a_traceback() -> None:
    answer = typed("lnad")

    assert answer.returncode == 2
    assert "No such command 'lnad'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_port_that_no_port_can_have_is_refused_before_anything_starts() -> None:
    answer = typed("dev", "--port", "65536")

    assert answer.returncode == 2
    assert "'--port': 65536 is not in the range" in answer.stderr


def test_the_shell_completes_commands_and_options() -> None:
    assert completed("health-pipelines do") == ["doctor"]
    assert completed("health-pipelines query --c") == ["--csv"]


def test_the_shell_completes_places(tmp_path: Path) -> None:
    for name in ("uat.env", "prd.env", "notes.txt"):
        (tmp_path / name).touch()

    assert completed("health-pipelines query --place ", HEALTH_PLACES_DIR=str(tmp_path)) == ["prd", "uat"]
    assert completed("health-pipelines query --place ", HEALTH_PLACES_DIR="") == []


def test_bash_takes_what_completion_prints() -> None:
    script = typed("completion", "bash").stdout

    said = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p health-pipelines"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert "_health_pipelines_completion health-pipelines" in said
