"""The settings file of a place, where several places share one Dagster instance.

Belongs here: which file that is, what may be in it, and what is said of one that is wrong. Does not belong
here: what a setting means (`values.py`), and how a code location comes by its place (`locations.py`).

The file is all there is: of this project's settings in the environment only those of the instance count. A
key or a folder that the environment has for one place must not become that of another because a line is
missing in its file.
"""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from health_pipelines.settings.reading import SettingError
from health_pipelines.settings.values import Settings
from health_pipelines.settings.variables import (
    ALL_SETTINGS,
    HEALTH_ASSET_PREFIX,
    HEALTH_DATA_DIR,
    HEALTH_PLACES_DIR,
    POSTGRES_SETTINGS,
)

# What all places of an instance have in common. It comes from the environment and stands in no place's file.
_OF_THE_INSTANCE = tuple(
    name for setting in (*POSTGRES_SETTINGS, HEALTH_PLACES_DIR) for name in setting.variables
)
_OF_A_PLACE = {name for setting in ALL_SETTINGS for name in setting.variables} - set(_OF_THE_INSTANCE)


def settings_of_place(place: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings in the file `<place>.env` of `HEALTH_PLACES_DIR`, and those of the instance.

    Without a word in the file, the asset prefix is the place's name, and the data are in the folder of that
    name below `data`: no two places have either in common.

    Raises `SettingError` if there is no such file, or if anything in it is not a setting of a place.
    """
    file = file_of_place(place, Settings(environment).places_dir)
    shared = {name: environment[name] for name in _OF_THE_INSTANCE if name in environment}
    own = {
        HEALTH_ASSET_PREFIX.name: place,
        HEALTH_DATA_DIR.name: f"{HEALTH_DATA_DIR.default}/{place}",
    }
    # An empty value is an unset one here too.
    return {**own, **{name: value for name, value in _read(file).items() if value.strip()}, **shared}


def ignored_settings(taken: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """The names of settings of a place that stand in the environment and nowhere in `taken`."""
    return sorted(name for name in _OF_A_PLACE if environment.get(name, "").strip() and name not in taken)


def file_of_place(place: str, folder: Path) -> Path:
    """The settings file of a place. Raises `SettingError` if there is none."""
    file = folder / f"{place}.env"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", place):
        raise SettingError(
            f"{place!r} cannot be a place's name, which is made of letters, digits and underscores and "
            "begins with a letter."
        )
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.env"))) or "none"
        raise SettingError(
            f"The settings file {file} of the place {place} does not exist; the places in "
            f"{HEALTH_PLACES_DIR.name} are: {known}."
        )
    return file


def _read(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"The settings file {file} cannot be read: it is not UTF-8 text.") from None
    # Lines are named by number alone: what went wrong may be a key.
    for line in parse_stream(StringIO(text)):
        if line.error or (line.key is not None and line.value is None):
            # Blank lines belong to the line after them.
            blank = line.original.string[: -len(line.original.string.lstrip())].count("\n")
            number = line.original.line + blank
            raise SettingError(f"Line {number} of {file} is not of the form NAME=value.")
    found = dotenv_values(stream=StringIO(text))
    unknown = sorted(set(found) - _OF_A_PLACE)
    if unknown:
        of_the_instance = [name for name in unknown if name in _OF_THE_INSTANCE]
        why = (
            "which belongs to the Dagster instance; set it in the environment instead"
            if of_the_instance
            else "which is no setting; the settings are in docs/settings.md"
        )
        raise SettingError(f"{file} sets {(of_the_instance or unknown)[0]}, {why}.")
    return {name: value or "" for name, value in found.items()}
