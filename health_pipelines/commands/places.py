"""Where a command keeps things, and the environment that it gives to services.

Belongs here: folders and variables. Does not belong here: processes.

The sandbox has a folder of its own, `sandbox/` below `HEALTH_DATA_DIR`, with its own Dagster home, lake and
warehouse, and in PostgreSQL a schema of its own: synthetic patients and real ones never share a table or an
event log.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterInstance

from health_pipelines.commands.environment import sandbox_data
from health_pipelines.commands.problem import ProblemError
from health_pipelines.instance.sqlite_event_log import PooledSqliteEventLogStorage
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.ownership import OwnershipError, close, keep_new_files_private
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import Settings
from health_pipelines.settings import variables as names
from health_pipelines.settings.postgres_address import PostgresAddress, PostgresError
from health_pipelines.warehouse.lake_tables import TABLES

_POSTGRES_MODULE = "health_pipelines.instance.postgres_storage"
if TYPE_CHECKING:
    from health_pipelines.instance import postgres_storage
else:
    postgres_storage = loaded_when_used(_POSTGRES_MODULE)

# The sandbox's defaults: DexCare's key is the one in the vendor's documentation.
SANDBOX_KEY = "SECRET_TOKEN"
SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but the sandbox
SANDBOX_ZONE = "UTC"
SANDBOX_SCHEMA = "sandbox"


@dataclass(frozen=True)
class Place:
    """`data`: the lake's and the warehouse's folder. `environment`: for every service of the command.
    `storage`: where Dagster keeps its events, for people.
    """

    data: Path
    # Not shown: it holds the keys.
    environment: Mapping[str, str] = field(repr=False)
    storage: str

    @property
    def dagster_home(self) -> Path:
        return Path(self.environment["DAGSTER_HOME"])

    @property
    def logs(self) -> Path:
        return self.data / "logs"


def real_place(environment: Mapping[str, str]) -> Place:
    """The vendor as configured, on `DAGSTER_HOME` if there is one, else on the embedded home.

    That one keeps Dagster's events in PostgreSQL if it is set. Raises `ProblemError` if it cannot be used.
    """
    data = Settings(environment).data_dir
    # Absolute, as services have another working directory.
    theirs = {**environment, names.HEALTH_DATA_DIR.name: str(data)}
    return _prepared(data, {"DAGSTER_HOME": str(data / "dagster_home"), **theirs})


def sandbox_place(environment: Mapping[str, str], *, in_postgres: bool = False) -> Place:
    """The sandbox's folders; the vendor's address is added when the sandbox has one.

    `in_postgres`: keep Dagster's events in PostgreSQL if it is set, in a schema of their own. Raises
    `ProblemError` if it cannot be used.
    """
    url = Settings(environment).postgres_url if in_postgres else None
    if url is not None:
        with _problems_of_postgres(), PostgresAddress.of(url).connected() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SANDBOX_SCHEMA}")
    place = _prepared(sandbox_data(environment), sandbox_variables(environment, in_postgres=url is not None))
    return place if url is None else replace(place, storage=f"{place.storage}, schema {SANDBOX_SCHEMA}")


def sandbox_variables(environment: Mapping[str, str], *, in_postgres: bool) -> dict[str, str]:
    """What every process at the sandbox is given, but for the sandbox's address. Makes nothing.

    `in_postgres`: whether Dagster's events are there. Raises `ProblemError` if its address is malformed.
    """
    data = sandbox_data(environment)
    vendors = (one for one in names.ALL_SETTINGS if one.name.startswith(("DEXCARE_", "DRCHRONO_")))
    theirs = {name for one in (*vendors, *names.POSTGRES_SETTINGS) for name in one.variables}
    kept = {name: value for name, value in environment.items() if name not in theirs}
    if in_postgres and (url := Settings(environment).postgres_url):
        with _problems_of_postgres():
            # What is made there is made in the sandbox's schema.
            address = PostgresAddress.of(url).with_option("search_path", SANDBOX_SCHEMA)
        kept[names.DAGSTER_POSTGRES_URL.name] = address.url.reveal()
    kept[names.HEALTH_DATA_DIR.name] = str(data)
    if lake := Settings(environment).lake_url:
        # Synthetic patients and real ones never share a table.
        kept[names.HEALTH_LAKE_URL.name] = f"{lake}/sandbox"
    return {
        **kept,
        "DAGSTER_HOME": str(data / "dagster_home"),
        names.DEXCARE_SERVICE_KEY.name: SANDBOX_KEY,
        names.DRCHRONO_ACCESS_TOKEN.name: SANDBOX_TOKEN,
        names.DRCHRONO_TIMEZONE.name: SANDBOX_ZONE,
        names.PUBLISH_SCHEMA.name: f"sandbox_{Settings(environment).text(names.PUBLISH_SCHEMA)}",
        **_first_day_of_the_sandbox(kept),
        # The sandbox is quick, and somebody is watching.
        names.DEXCARE_POLL_SECONDS.name: "5",
    }


def _first_day_of_the_sandbox(environment: Mapping[str, str]) -> dict[str, str]:
    """Where it was used before, its first day is the first that landed, unless a person says otherwise.

    The UI counts all days since the first as missing until they land. Only here: what is in flight for a day
    before it would be lost, and a real place loses nothing.
    """
    settings = Settings(environment)
    if settings.is_set(names.HEALTH_START_DATE):
        return {}
    lake = lake_to_read(settings)
    landed = [day for table in TABLES for day in lake.days(table)[:1]]
    return {names.HEALTH_START_DATE.name: min(landed)} if landed else {}


def embedded_home(folder: Path, *, in_postgres: bool = False) -> str:
    """The `dagster.yaml` of an embedded home in `folder`, an absolute path."""
    sqlite = {
        "module": PooledSqliteEventLogStorage.__module__,
        "class": PooledSqliteEventLogStorage.__name__,
        # Where Dagster keeps its event log by itself: only the way to open the files is another.
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    postgres = {"module": _POSTGRES_MODULE, "class": "PostgresStorage", "config": {}}
    name, value = ("storage", {"custom": postgres}) if in_postgres else ("event_log_storage", sqlite)
    template = (files("health_pipelines.commands") / "embedded_home.yaml").read_text()
    # YAML takes JSON, whatever is in the path.
    return f"{template}\n{name}: {json.dumps(value)}\n"


def _prepared(data: Path, environment: Mapping[str, str]) -> Place:
    environment = {**environment, **_absolute_secret_files(environment)}
    home = Path(environment["DAGSTER_HOME"])
    if home != data / "dagster_home":
        return Place(data, environment, f"what {home / 'dagster.yaml'} says")
    settings = Settings(environment)
    url = settings.postgres_url
    keep_new_files_private(settings.data_group)
    try:
        if opened := close(data, settings.data_group):
            print(
                f"{opened} files and folders below {data} could be read by other users, and are closed now."
            )
    except OwnershipError as error:
        raise ProblemError(str(error)) from None
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(embedded_home(home, in_postgres=url is not None))
    # Makes the tables where there are none: services that start together would get in each other's way.
    if url is None:
        with DagsterInstance.from_config(str(home)):
            return Place(data, environment, f"files in {home}")
    with _problems_of_postgres():
        postgres_storage.PostgresStorage.of(settings).event_log_storage.dispose()
        return Place(data, environment, f"PostgreSQL on {PostgresAddress.of(url).shown}")


@contextmanager
def _problems_of_postgres() -> Iterator[None]:
    try:
        yield
    except PostgresError as error:
        raise ProblemError(str(error)) from None


def _absolute_secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name files of secrets; absolute, as services have another working directory."""
    named = (one.file_name for one in names.ALL_SETTINGS if one.secret)
    set_ = {name: environment[name].strip() for name in named if environment.get(name, "").strip()}
    return {name: str(Path(path).absolute()) for name, path in set_.items() if not path.startswith("~")}
