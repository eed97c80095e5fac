"""Several places, such as UAT and PRD or two health systems, as code locations of one Dagster instance.

Belongs here: the way from the name in `workspace.yaml` to the definitions of a place. Does not belong here:
what is in a place's settings file (`settings/place_files.py`). Any name without a leading underscore is a
place:

    python_module: {module_name: health_pipelines.locations, attribute: uat, location_name: uat}

Dagster gives each code location a process of its own, and each of its runs another, and all of them load the
definitions by this pointer. So a process is for one place, and reads the place's settings itself.
"""

import logging as _logging
import os as _os
from functools import cache as _cache

from dagster import Definitions as _Definitions

from health_pipelines import settings as _settings
from health_pipelines.settings import place_files as _place_files

_places_of_this_process: list[str] = []


def __getattr__(name: str) -> _Definitions:
    """The definitions of the place `name`. Raises `SettingError` in one sentence."""
    # Python and Dagster ask modules for names with underscores, which may or may not be there.
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _definitions_of(name)


@_cache
def _definitions_of(place: str) -> _Definitions:
    # Cached: a process keeps the settings that it began with, as it does with those of its environment.
    if set(_places_of_this_process) - {place}:
        raise _settings.SettingError(
            f"This process is for the place {_places_of_this_process[0]}; the place {place} needs one of its "
            "own, as each code location of a workspace has."
        )
    taken = _place_files.settings_of_place(place, _os.environ)
    if ignored := _place_files.ignored_settings(taken, _os.environ):
        _logging.getLogger(__name__).warning(
            "The place %s takes its settings from its file alone; ignored in the environment: %s.",
            place,
            ", ".join(ignored),
        )
    _settings.use_settings(taken)
    _places_of_this_process.append(place)
    # Not before: importing it reads settings.
    from health_pipelines.definitions import build_definitions  # noqa: PLC0415

    return build_definitions(_settings.Settings.of_this_process())
