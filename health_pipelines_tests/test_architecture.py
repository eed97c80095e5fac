"""What the pages say of the code is true: which room imports which, and where things are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from health_pipelines.settings.page import page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "health_pipelines"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
MOST_LINES = 350
TOP = {"__init__", "__main__", "definitions", "locations"}


def picture() -> list[list[str]]:
    """The lines of the picture, from above: each with its rooms."""
    [block] = re.findall(r"## The rooms.*?```\n(.*?)```", ARCHITECTURE, re.DOTALL)
    return [re.split(r"  +", line)[0].split() for line in block.splitlines()]


def imports() -> Iterator[tuple[str, str, Path]]:
    """Who imports whom, by room, and in which file."""
    for file in PACKAGE.rglob("*.py"):
        importing = room_of(file)
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.startswith("health_pipelines."):
                    yield importing, module.split(".")[1], file


def room_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else file.stem


def test_the_picture_has_every_room() -> None:
    shown = [room for line in picture() for room in line]
    there = {room_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    assert sorted(shown) == sorted(there)


def test_a_room_imports_only_rooms_below_its_own() -> None:
    level = {room: number for number, line in enumerate(picture()) for room in line}
    level["__main__"] = -1
    back = [
        f"{file.relative_to(PACKAGE)} imports {imported}"
        for importing, imported, file in imports()
        if importing != imported and level[importing] >= level[imported]
    ]
    assert back == []


def test_no_module_is_loose_at_the_top() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} == TOP


@pytest.mark.parametrize(
    "file",
    [*PACKAGE.rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_every_module_that_is_named_exists(file: Path) -> None:
    for name in re.findall(r"`([A-Za-z_/.]+\.py)`", file.read_text()):
        places = (file.parent, PACKAGE, ROOT, ROOT / "health_pipelines_tests", PACKAGE / "commands")
        assert any((place / name).exists() for place in places), name


def test_no_module_is_long() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in PACKAGE.rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def test_the_page_of_settings_is_made_from_the_list() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page(), "make settings-page"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 180
