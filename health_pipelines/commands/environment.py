"""The environment of a person at a terminal, and where the sandbox's data are by it.

Belongs here: what every command needs before it knows more. Does not belong here: what services are given
(`places.py`). Nothing here loads Dagster, so that a command which needs none answers at once.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from health_pipelines.settings import Settings


def user_environment() -> dict[str, str]:
    """This process's environment, over the `.env` of the working directory."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return from_file | dict(os.environ)


def sandbox_data(environment: Mapping[str, str]) -> Path:
    """Where the sandbox's lake and warehouse are."""
    return Settings(environment).data_dir / "sandbox"


def has_no_vendor(environment: Mapping[str, str]) -> bool:
    """Whether nobody is set who could be asked: then `make demo` and `make dev` are of the sandbox."""
    settings = Settings(environment)
    return not (settings.has_dexcare or settings.has_drchrono)
