"""Where a command keeps things, and the environment that it gives to services.

Belongs here: folders and variables. Does not belong here: processes.

The sandbox has a folder of its own, `sandbox/` below `HEALTH_DATA_DIR`, with its own Dagster home, lake and
warehouse: synthetic patients and real ones never share a table or an event log.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from dagster import DagsterInstance
from dotenv import dotenv_values

from health_pipelines import settings as names
from health_pipelines.event_log import PooledSqliteEventLogStorage
from health_pipelines.settings import Settings

# The sandbox's defaults: DexCare's key is the one in the vendor's documentation.
SANDBOX_KEY = "SECRET_TOKEN"
SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but the sandbox
SANDBOX_ZONE = "UTC"


@dataclass(frozen=True)
class Place:
    """`data`: the lake's and the warehouse's folder. `environment`: for every service of the command."""

    data: Path
    environment: Mapping[str, str]

    @property
    def dagster_home(self) -> Path:
        return Path(self.environment["DAGSTER_HOME"])

    @property
    def logs(self) -> Path:
        return self.data / "logs"


def user_environment() -> dict[str, str]:
    """This process's environment, over the `.env` of the working directory."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return from_file | dict(os.environ)


def real_place(environment: Mapping[str, str]) -> Place:
    """The vendor as configured, on `DAGSTER_HOME` if there is one, else on the embedded home."""
    data = Settings(environment).data_dir
    # Absolute, as services have another working directory.
    theirs = {**environment, names.HEALTH_DATA_DIR.name: str(data)}
    return _prepared(data, {"DAGSTER_HOME": str(data / "dagster_home"), **theirs})


def sandbox_place(environment: Mapping[str, str]) -> Place:
    """The sandbox's folders; the vendor's address is added when the sandbox has one."""
    data = Settings(environment).data_dir / "sandbox"
    vendors = (one for one in names.ALL_SETTINGS if one.name.startswith(("DEXCARE_", "DRCHRONO_")))
    theirs = {name for one in vendors for name in one.variables}
    kept = {name: value for name, value in environment.items() if name not in theirs}
    return _prepared(
        data,
        {
            **kept,
            "DAGSTER_HOME": str(data / "dagster_home"),
            names.HEALTH_DATA_DIR.name: str(data),
            names.DEXCARE_SERVICE_KEY.name: SANDBOX_KEY,
            names.DRCHRONO_ACCESS_TOKEN.name: SANDBOX_TOKEN,
            names.DRCHRONO_TIMEZONE.name: SANDBOX_ZONE,
            # The sandbox is quick, and somebody is watching.
            names.DEXCARE_POLL_SECONDS.name: "5",
        },
    )


def embedded_home(folder: Path) -> str:
    """The `dagster.yaml` of an embedded home in `folder`, an absolute path."""
    storage = {
        "module": PooledSqliteEventLogStorage.__module__,
        "class": PooledSqliteEventLogStorage.__name__,
        # Where Dagster keeps its event log by itself: only the way to open the files is another.
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    template = (files("health_pipelines.commands") / "embedded_home.yaml").read_text()
    # YAML takes JSON, whatever is in the path.
    return f"{template}\nevent_log_storage: {json.dumps(storage)}\n"


def _prepared(data: Path, environment: Mapping[str, str]) -> Place:
    place = Place(data, {**environment, **_absolute_secret_files(environment)})
    if place.dagster_home == data / "dagster_home":
        place.dagster_home.mkdir(parents=True, exist_ok=True)
        (place.dagster_home / "dagster.yaml").write_text(embedded_home(place.dagster_home))
        # Makes the tables of a fresh home: services that start together would get in each other's way.
        with DagsterInstance.from_config(str(place.dagster_home)):
            pass
    return place


def _absolute_secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name files of secrets; absolute, as services have another working directory."""
    named = (one.file_name for one in names.ALL_SETTINGS if one.secret)
    set_ = {name: environment[name].strip() for name in named if environment.get(name, "").strip()}
    return {name: str(Path(path).absolute()) for name, path in set_.items() if not path.startswith("~")}
