"""What is in the repository is ours, and nothing that an editor, a merge or a machine left behind."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_BEHIND = re.compile(r"\.(orig|rej|bak|swp|tmp|pyc)$|~$|(^|/)(\.DS_Store|Thumbs\.db)$")
CONFLICT = re.compile(rb"^(<{7} |>{7} |={7}$)", re.MULTILINE)
LARGEST_BYTES = 512 << 10


@pytest.fixture(scope="module")
def files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git, which alone knows what is in the repository")
    said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in said.stdout.split("\0") if name and (ROOT / name).exists()]


def test_nothing_that_was_left_behind_is_in_it(files: list[Path]) -> None:
    assert [file.name for file in files if LEFT_BEHIND.search(str(file))] == []


def test_no_half_of_a_merge_is_in_it(files: list[Path]) -> None:
    assert [file for file in files if file.suffix != ".png" and CONFLICT.search(file.read_bytes())] == []


def test_nothing_large_is_in_it(files: list[Path]) -> None:
    assert [file for file in files if file.stat().st_size > LARGEST_BYTES] == []
