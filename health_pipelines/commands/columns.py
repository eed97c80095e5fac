"""`health-pipelines columns`: which column of a visit report is which, with the evidence, and as settings.

Belongs here: which place is meant, what is printed, and what is written where. Does not belong here: finding
the columns (`dexcare/columns/`), and how a settings file is added to (`settings/env_file.py`).
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from health_pipelines.commands.environment import sandbox_data, user_environment
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.text_table import text_table
from health_pipelines.dexcare.columns.guesses import guesses_now
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.lake.opening import LAKE, lake_to_read
from health_pipelines.settings import Settings
from health_pipelines.settings.env_file import add_settings, line
from health_pipelines.settings.place_files import file_of_place, settings_of_place
from health_pipelines.settings.variables import HEALTH_DATA_DIR, VISIT_COLUMN_SETTINGS
from health_pipelines.settings.visit_columns import VISIT_COLUMN_ROLES

_COMMENT = "Columns of DexCare's visit reports, found in what landed by `health-pipelines columns`."


@dataclass(frozen=True)
class Line:
    """One role of one report. `is`: set, guessed, ambiguous, contradicted or none. No value is in it."""

    report: str
    role: str
    setting: str
    column: str | None
    state: str
    evidence: str


def columns(place: str | None, *, as_json_text: bool = False, write: bool = False) -> int:
    """Print them; with `write`, add what is guessed to the settings. Returns the exit code.

    `place`: one of HEALTH_PLACES_DIR. Raises `ProblemError` or `SettingError` with one sentence.
    """
    settings, is_sandbox = _settings(place)
    if write and is_sandbox:
        raise ProblemError(
            "No vendor is set, so that these are the columns of the sandbox, which no setting needs; "
            "set DEXCARE_BASE_URL first."
        )
    lines = _lines(settings)
    guessed = {one.setting: one.column for one in lines if one.state == "guessed" and one.column}
    if as_json_text:
        print(json.dumps({"place": place, "columns": [asdict(one) for one in lines]}, indent=2))
    else:
        print(_text(lines, guessed))
    if write:
        file = Path(".env") if place is None else _file_of(place)
        added = add_settings(file, guessed, _COMMENT)
        done = f"has {len(added)} settings more; restart Dagster" if added else "is as it was"
        print(f"\n{file} {done}.", file=sys.stderr if as_json_text else sys.stdout)
    return 0


def _settings(place: str | None) -> tuple[Settings, bool]:
    """Whose columns they are, and whether it is the sandbox: as `make dev`, while no vendor is set."""
    environment = user_environment()
    if place is not None:
        return Settings(settings_of_place(place, environment)), False
    own, sandbox = Settings(environment), sandbox_data(environment)
    no_vendor = not (own.has_dexcare or own.has_drchrono)
    has_none = own.lake_url is None and not (own.data_dir / LAKE).exists()
    if no_vendor and sandbox.exists() and has_none:
        named = {one.name for of_type in VISIT_COLUMN_SETTINGS.values() for one in of_type.values()}
        kept = {name: value for name, value in environment.items() if name not in named}
        return Settings({**kept, HEALTH_DATA_DIR.name: str(sandbox)}), True
    return own, False


def _file_of(place: str) -> Path:
    return file_of_place(place, Settings(user_environment()).places_dir)


def _lines(settings: Settings) -> list[Line]:
    found = []
    for report in VISIT_REPORTS:
        type_ = report.type.value
        has_landed = bool(lake_to_read(settings).days(report.table))
        guesses = guesses_now(settings, report).of
        for role in VISIT_COLUMN_ROLES:
            name = VISIT_COLUMN_SETTINGS[type_][role].name
            guess, chosen = guesses.get(role), getattr(settings.dexcare_visit_columns[type_], role)
            if chosen:
                found.append(Line(type_, role, name, chosen, "set", ""))
            elif guess is None:
                why = "what landed cannot be read" if has_landed else "nothing has landed yet"
                found.append(Line(type_, role, name, None, "none", why))
            else:
                state, _, said = guess.said.partition(": ")
                if guess.column or guess.is_contradicted:
                    state, said = ("guessed" if guess.column else "contradicted"), guess.said
                found.append(Line(type_, role, name, guess.column, state, said))
    return found


def _text(lines: list[Line], guessed: dict[str, str]) -> str:
    parts = []
    for report in VISIT_REPORTS:
        rows = [
            [one.role, one.column or "", one.state, one.evidence]
            for one in lines
            if one.report == report.type.value
        ]
        parts.append(f"{report.table}\n{text_table(('role', 'column', 'is', 'evidence'), rows)}")
    if guessed:
        ready = "\n".join(line(name, column) for name, column in guessed.items())
        parts.append(f"Guessed columns are used until a setting names one. If they are right:\n\n{ready}")
    return "\n\n".join(parts)
