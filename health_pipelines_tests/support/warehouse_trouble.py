"""Ways in which a warehouse can be of no use, none of which is any business of a landing."""

from collections.abc import Callable, Mapping
from pathlib import Path


def _no_folder(data: Path) -> None:
    (data / ".warehouse").write_text("a file where the folder for building should be")


def _no_database(data: Path) -> None:
    (data / "warehouse.duckdb").mkdir()


TROUBLES: Mapping[str, Callable[[Path], None]] = {
    "no folder to build in": _no_folder,
    "a folder in place of the file": _no_database,
}
