"""What was published last, kept on this machine: with it only changed rows are looked for and sent.

Belongs here: reading and writing it. Does not belong here: what is done with it (`publisher.py`, `due.py`).

It can be deleted at any time: the next publishing of a table then compares every row. It is written after the
target has committed; one that a crash left behind names another version than the target does, and is not
used. Its keys are those of patients' records: the folder is in the data folder, and as private.
"""

import json
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from health_pipelines.lake.disk import replace_text
from health_pipelines.publish.target import Totals


@dataclass(frozen=True)
class Remembered:
    """The last publishing of a table. `version`: as the target's note says it. `made_of`: which state of the
    warehouse's table, and by which settings. `files`: Parquet with the key's columns and `_row_hash`: the
    first of all rows, each further one of those that were sent later, without a hash where they are gone;
    none of a table without a key. `is_altered`: whether the target could not hold some value. Times are
    aware.
    """

    version: str
    made_of: str
    totals: Totals
    published_at: datetime
    compared_at: datetime
    files: tuple[Path, ...] = ()
    is_altered: bool = False


class Memory:
    """`folder` is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, table: str) -> Remembered | None:
        """`table`: `<schema>.<table>` in the warehouse. None if nothing is known, or it is damaged."""
        try:
            noted = json.loads(self._note(table).read_text())
            files = tuple(self.folder / name for name in noted["files"])
            if not all(file.exists() for file in files):
                return None
            return Remembered(
                noted["version"],
                noted["made_of"],
                Totals(int(noted["rows"]), int(noted["combined_hash"])),
                datetime.fromisoformat(noted["published_at"]),
                datetime.fromisoformat(noted["compared_at"]),
                files,
                bool(noted["is_altered"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(
        self,
        table: str,
        remembered: Remembered,
        write: Callable[[Path], None] | None,
    ) -> None:
        """Remember a publishing instead of the one before. `write`: writes one more file after those of
        `remembered`; None without one.

        A crash in it leaves the one before, or none.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        files = [file.name for file in remembered.files]
        if write:
            files.append(f"{table}.{remembered.version}.parquet")
            write(self.folder / files[-1])
        noted = {
            "version": remembered.version,
            "made_of": remembered.made_of,
            "rows": remembered.totals.rows,
            "combined_hash": str(remembered.totals.combined_hash),
            "published_at": remembered.published_at.isoformat(),
            "compared_at": remembered.compared_at.isoformat(),
            "files": files,
            "is_altered": remembered.is_altered,
        }
        replace_text(self._note(table), json.dumps(noted, indent=1))
        self._drop_others(table, set(files))

    def tidy(self, table: str) -> None:
        """Remove what a crash in `keep` left behind."""
        known = self.of(table)
        if known:
            self._drop_others(table, {file.name for file in known.files})

    def _drop_others(self, table: str, names: Set[str]) -> None:
        for file in self.folder.glob(f"{table}.*.parquet"):
            if file.name not in names:
                with suppress(FileNotFoundError):  # another publisher of the same table
                    file.unlink()

    def _note(self, table: str) -> Path:
        return self.folder / f"{table}.json"
