"""Columns of visit reports that are guessed until a setting names them, and how guesses are remembered.

Belongs here: when a guess is made, kept and given up, and the file that says it. Does not belong here: what a
guess rests on (`proposal.py`, `measuring.py`).

A guess is made once and stays: another one for each day would change what a column of the warehouse means. It
is looked for while there is none, and given up when the column is gone. The key is looked after more
closely, since rows that share one become one row: each day that lands has to bear it out. One that does not
ends the guess for good, `current` is then as without a key, and a person has to decide. Nothing is lost by
it: the lake has every row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.dexcare.columns.measuring import connected, key_facts, measured, names_in
from health_pipelines.dexcare.columns.profile import KeyFacts
from health_pipelines.dexcare.columns.proposal import propose
from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport
from health_pipelines.lake.csv_partition import matching_column
from health_pipelines.lake.disk import replace_text
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.partitions import day_of
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Settings, VisitColumns
from health_pipelines.settings.variables import VISIT_COLUMN_SETTINGS
from health_pipelines.settings.visit_columns import VISIT_COLUMN_ROLES

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")


@dataclass(frozen=True)
class Guess:
    """`column`: None if there is none. `said`: the evidence, or why there is none.

    `is_contradicted`: it was guessed, and what landed since says otherwise.
    """

    column: str | None
    said: str
    is_contradicted: bool = False


@dataclass(frozen=True)
class Guesses:
    """Of one report, by role, for those that no setting names. `telling`: as in `Profile`, when it was made.

    `seen`: which file of each day bears them out.
    """

    of: Mapping[str, Guess] = field(default_factory=dict)
    telling: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)


def file_of(settings: Settings) -> Path:
    """Where guesses are remembered."""
    return settings.data_dir / "dexcare" / "visit_columns.json"


def remembered(settings: Settings) -> dict[str, Guesses]:
    """By report type; empty if nothing is, or nothing that can be read: then it is looked for again."""
    try:
        noted = json.loads(file_of(settings).read_text(encoding="utf-8"))
        return {
            type_: Guesses(
                {role: Guess(**guess) for role, guess in one["of"].items()},
                tuple(one["telling"]),
                one["seen"],
            )
            for type_, one in noted.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def visit_columns(settings: Settings) -> dict[str, VisitColumns]:
    """What the columns of each visit report are called: as the settings say, and else as was guessed."""
    known, found = remembered(settings), {}
    for type_, named in settings.dexcare_visit_columns.items():
        guesses = known.get(type_, Guesses()).of
        open_ = {role: guess for role, guess in guesses.items() if getattr(named, role) is None}
        guessed = {role: guess.column for role, guess in open_.items() if guess.column}
        found[type_] = replace(named, **guessed, guessed=tuple(guessed))
    return found


def find(settings: Settings) -> bool:
    """Look at what landed since, and remember what follows; returns whether any guess is another one.

    Raises `OSError` if it cannot be remembered.
    """
    before = remembered(settings)
    after = {report.type.value: guesses_now(settings, report) for report in VISIT_REPORTS}
    if after == before:
        return False
    file = file_of(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, json.dumps({type_: asdict(one) for type_, one in after.items()}, indent=1))
    return {type_: one.of for type_, one in after.items()} != {type_: one.of for type_, one in before.items()}


def guesses_now(settings: Settings, report: VisitReport) -> Guesses:
    """What a look at the lake makes of what is remembered; nothing is written."""
    type_ = report.type.value
    known = remembered(settings).get(type_, Guesses())
    named = settings.dexcare_visit_columns[type_]
    open_ = [role for role in VISIT_COLUMN_ROLES if getattr(named, role) is None]
    if not open_:
        return Guesses()
    try:
        lake = lake_to_read(settings)
        now = lake.signatures(report.table)
        if not now or (now == known.seen and known.of.keys() == set(open_)):
            return known
        files = {day_of(file): file for file in lake.partition_files(report.table)}
        if files.keys() != now.keys():
            return known  # a day is landing: the next look is soon
        decided = {role: column for role in VISIT_COLUMN_ROLES if (column := getattr(named, role))}
        with connected(settings.timezone, settings.data_dir / ".warehouse" / "spill") as connection:
            look = _Look(connection, files, decided, open_)
            return replace(look.after(known, now), seen=now)
    except (duckdb.Error, FileNotFoundError):
        # A partition that is damaged or being replaced: the build says so of the table, which stays as it is.
        return known


@dataclass(frozen=True)
class _Look:
    """`files`: by day. `named`: the columns of roles that settings name. `open_`: the other roles."""

    connection: duckdb.DuckDBPyConnection
    files: Mapping[str, Path]
    named: Mapping[str, str]
    open_: list[str]

    def after(self, known: Guesses, now: Mapping[str, str]) -> Guesses:
        there = self._newest_names()
        kept = {
            role: guess
            for role, guess in known.of.items()
            if role in self.open_
            # A key that is gone is contradicted by the day that has none.
            and (
                guess.is_contradicted
                or (guess.column and (role == "key" or self._is_in(there, guess.column)))
            )
        }
        if (key := kept.get("key")) and key.column:
            changed = [self.files[day] for day, signature in now.items() if known.seen.get(day) != signature]
            kept["key"] = self._borne_out(key, changed, known.telling)
        if len(kept) == len(self.open_):
            return replace(known, of=kept)
        every = list(self.files.values())
        profile = measured(self.connection, every)
        decided = dict(self.named) | {role: guess.column for role, guess in kept.items() if guess.column}
        undecided = {
            role: Guess(one.column, one.said)
            for role, one in propose(profile, decided).items()
            if role not in kept
        }
        telling = known.telling
        if (key := undecided.get("key")) and key.column:
            telling = profile.telling
            undecided["key"] = self._borne_out(key, every, telling)
        return Guesses({role: (kept | undecided)[role] for role in self.open_}, telling)

    def _borne_out(self, key: Guess, changed: list[Path], telling: tuple[str, ...]) -> Guess:
        assert key.column is not None
        if not changed:
            return key
        facts = key_facts(self.connection, key.column, changed, list(self.files.values()), telling)
        return Guess(None, _contradiction(key.column, facts), True) if facts.is_contradicted else key

    def _newest_names(self) -> list[str]:
        for day in sorted(self.files, reverse=True):
            names, rows = names_in(self.connection, self.files[day])
            if rows:
                return names
        return []

    def _is_in(self, names: list[str], column: str) -> bool:
        return matching_column(names, column) is not None


def sentences(report_type: str, columns: VisitColumns, guesses: Guesses) -> list[str]:
    """For people: one for each guess that is used, or that was used and is not any more."""
    said = []
    for role, guess in guesses.of.items():
        name = VISIT_COLUMN_SETTINGS[report_type][role].name
        if guess.column and role in columns.guessed:
            said.append(f"{name} is not set and {guess.column} is guessed: {guess.said}.")
        elif guess.is_contradicted and getattr(columns, role) is None:
            said.append(f"{name} is not set: {guess.said}.")
    return said


def _contradiction(column: str, facts: KeyFacts) -> str:
    if facts.broken:
        more = f" and {len(facts.broken) - 1} more days" if len(facts.broken) > 1 else ""
        why = f"on {facts.broken[0]}{more} a row has none, or that of another row"
    else:
        why = f"{facts.clashes} of its values are those of other visits on other days"
    return f"{column} was guessed and is not used any more, because {why}; every landed row is current"
