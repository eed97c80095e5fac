"""The published file, and the note beside it that says what it contains.

Belongs here: what the note says, reading and writing it, and putting a new file in its place. Does not belong
here: making the file (`build.py`).

A note that this version did not write, or that is damaged, tells nothing: then everything is made anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from health_pipelines.lake.partitions import Table, signature
from health_pipelines.warehouse.checks import CheckReport
from health_pipelines.warehouse.landed_views import Shape, shows
from health_pipelines.warehouse.table_builder import ModelReport


@dataclass(frozen=True)
class BuildReport:
    """What is in the file now, and what a build did about it.

    `published`: whether there is a new file; False if nothing it is made of has changed. `seconds` is of the
    whole build. `problems`: a sentence for each table that could not be made; it is as it was, or not there.
    `unmade`: which of `current` those are, by full name, with the sentence.
    """

    published: bool
    seconds: float
    models: tuple[ModelReport, ...]
    problems: tuple[str, ...] = ()
    unmade: Mapping[str, str] = field(default_factory=dict)

    @property
    def corrections(self) -> tuple[str, ...]:
        """A sentence for each setting that names a column which does not exist."""
        return tuple(sentence for model in self.models for sentence in model.corrections)


@dataclass(frozen=True)
class State:
    """What one published file contains, as the note says it.

    `columns`: of each landed view. `listed`: views that name their files and so know no later ones.
    `partitions`: which file of each day the models are made of. `report`: None if there are no models.
    `storage_version`: the format of the file.
    """

    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    listed: Sequence[str] = ()
    partitions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    making: str = ""
    report: BuildReport | None = None
    storage_version: str = ""

    def shows(self, table: Table, columns: Mapping[str, str], *, are_copies: bool) -> bool:
        """Whether a file of the table with these columns, which has just landed, needs no new view.

        `are_copies`: the next build lists it; a file for each landing would be a copy of all.
        """
        known = self.columns.get(str(table))
        is_seen = are_copies or str(table) not in self.listed
        return is_seen and known is not None and shows(known, columns)


class PublishedFile:
    """`file`, of the lake that is called `lake`; its note is `note`, which is written in `work` first."""

    def __init__(self, file: Path, note: Path, work: Path, lake: str) -> None:
        self.file = file
        self._note = note
        self._work = work
        self._lake = lake

    def state(self) -> State | None:
        """What the file has; None if there is none or it is not as it was published.

        DuckDB names a log by the file's name: one here is that of a user who writes into this file, or into
        one that was replaced, and then nobody can open this one until it is built again.
        """
        if not self.file.exists() or wal(self.file).exists():
            return None
        return _state_of(self._noted().get(signature(self.file)))

    def versions(self) -> Mapping[str, str]:
        """By full name, another one for each state of each model in the file; empty if none is built."""
        state = self.state()
        return {one.name: one.version for one in state.report.models} if state and state.report else {}

    def replace(self, building: Path, state: State) -> None:
        """Rename `building` over it. The note tells of both files first, so that it is always right."""
        old = self._noted()
        files: dict[str, Any] = {signature(building): asdict(state)}
        if self.file.exists() and (now := signature(self.file)) in old:
            files[now] = old[now]
        beside = self._work / "note.json"
        beside.write_text(json.dumps({"lake": self._lake, "files": files}, indent=1))
        beside.replace(self._note)
        # The write-ahead log of somebody who wrote into the old file would be replayed into the new one.
        wal(self.file).unlink(missing_ok=True)
        building.replace(self.file)

    def _noted(self) -> Mapping[str, Any]:
        try:
            note = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return {}
        files = note.get("files") if isinstance(note, dict) and note.get("lake") == self._lake else None
        return files if isinstance(files, dict) else {}


def wal(file: Path) -> Path:
    """DuckDB's write-ahead log of a file."""
    return file.with_name(file.name + ".wal")


def _state_of(noted: Any) -> State | None:
    try:
        report = noted["report"]
        state = State(**{**noted, "report": None if report is None else _report_of(report)})
    except (KeyError, TypeError):
        return None
    maps = (state.columns, state.partitions, state.fingerprints)
    return state if all(isinstance(one, dict) for one in maps) else None


def _report_of(noted: Mapping[str, Any]) -> BuildReport:
    models = [
        ModelReport(
            **{
                **model,
                "checks": tuple(CheckReport(**check) for check in model["checks"]),
                "corrections": tuple(model["corrections"]),
            }
        )
        for model in noted["models"]
    ]
    return BuildReport(**{**noted, "models": tuple(models), "problems": tuple(noted["problems"])})


def with_views(state: State, shapes: Mapping[Table, Shape]) -> State:
    columns = {**state.columns, **{str(table): dict(shape.columns) for table, shape in shapes.items()}}
    listed = {str(table) for table, shape in shapes.items() if shape.is_listed}
    listed |= set(state.listed) - {str(table) for table in shapes}
    return replace(state, columns=columns, listed=sorted(listed))
