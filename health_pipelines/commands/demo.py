"""`make demo`: three days of every table, from asking Dagster to a query, on the sandbox.

Belongs here: the story of the demo and what it prints. Does not belong here: anything made easier for it;
what runs is the real daemon, the real sensor and the real assets over real HTTP.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
from dagster import DagsterInstance

from health_pipelines.commands.dagster_api import DagsterApi
from health_pipelines.commands.environment import user_environment
from health_pipelines.commands.places import Place, sandbox_place
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import Showing
from health_pipelines.commands.services import Services, free_port, start_dagster, start_sandbox
from health_pipelines.commands.text_table import text_table
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.dexcare.visits.sensor import SENSOR_NAME
from health_pipelines.drchrono.tables import TABLES as RECORD_TABLES
from health_pipelines.lake.locks import LockedElsewhereError, locked
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.landed_partition import Landing, landings_since
from health_pipelines.publish.assets import publish_key
from health_pipelines.publish.databases import Publication, publication_of, published_models
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings import Settings, use_settings
from health_pipelines.settings import variables as names
from health_pipelines.warehouse.assets import warehouse_keys
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.models import Model
from health_pipelines.warehouse.sensor import run_under_way
from health_pipelines.warehouse.storage import WarehouseStorage, warehouse_of

DAYS = 3
WITHIN_SECONDS = 180
# Each look asks Dagster a dozen questions, which takes time from what is looked for.
LOOK_EVERY_SECONDS = 1.0
# What lands by being materialized; visits land when their reports are ready.
READ_AT_ONCE = (PROVIDER_HISTORIES, *RECORD_TABLES)
LANDING = (*(report.table for report in VISIT_REPORTS), *READ_AT_ONCE)
EXAMPLE = """
SELECT day, report_type, visits, round(median_wait_seconds / 60, 1) AS median_wait_minutes
FROM marts.daily_visits
WHERE status = 'completed'
ORDER BY day, report_type
""".strip()


def demo() -> None:
    """Raises `ProblemError` with one sentence if anything goes wrong."""
    with Showing("a place for the data is made"):
        place = sandbox_place(user_environment())
    try:
        with locked(place.dagster_home, wait=False), Services(place.logs) as services:
            _run(place, services)
    except LockedElsewhereError:
        raise ProblemError(
            f"Another `make demo` or `make dev` uses {place.dagster_home}; stop it first."
        ) from None


def _run(place: Place, services: Services) -> None:
    began = time.monotonic()
    variables = dict(place.environment)
    # This process names assets as the services do.
    use_settings(variables)
    # Before anything is started: a setting that cannot be meant is said at once.
    publication, models = _publication(Settings(variables))
    sandbox = start_sandbox(services, variables)
    variables[names.DEXCARE_BASE_URL.name] = variables[names.DRCHRONO_BASE_URL.name] = sandbox
    print(f"Sandbox: the stand-in for DexCare and DrChrono at {sandbox}, with synthetic patients.")
    print("Starting Dagster: code server, daemon and UI ...", flush=True)
    ui = start_dagster(services, variables, port=free_port(), reloads=False)
    print(f"Dagster's UI: {ui} (until the demo ends; `make dev` keeps it)")

    days = _last_days(Settings(variables), datetime.now(UTC))
    api = DagsterApi(ui)
    asked_at = datetime.now(UTC)
    # Runs rather than backfills, which Dagster begins only when it looks for them, every 30 s. Several, so
    # that pages do not wait for reports, nor one list for another.
    with Showing(f"Dagster is asked for {days[0]} to {days[-1]} of {len(LANDING)} tables"):
        api.launch_run([report.request_key.path for report in VISIT_REPORTS], days)
        for tables in (READ_AT_ONCE[::2], READ_AT_ONCE[1::2]):
            api.launch_run([asset_key(table.source, table.name).path for table in tables], days)
    with DagsterInstance.from_config(str(place.dagster_home)) as instance:
        landed = _watch(services, api, instance, days, asked_at)
        settings = Settings(variables)
        storage = WarehouseStorage()

        def is_built() -> bool:
            # Another one each time: a build may find the columns that no setting names.
            if warehouse_of(settings).is_current():
                return True
            # The sensor would have it built within a minute, or is at it; somebody is watching.
            if run_under_way(instance, storage, warehouse_keys(), datetime.now(UTC)) is None:
                api.launch_run([key.path for key in warehouse_keys()])
            return False

        _wait_until(is_built, "building the warehouse's current tables and marts", services, api, asked_at)
        warehouse = warehouse_of(settings)
    if publication is not None:
        api.launch_run([publish_key(model).path for model in models])
        _wait_until(
            lambda: (
                not publication.due(
                    warehouse.published.versions(), [model.full_name for model in models], datetime.now(UTC)
                )
            ),
            f"publishing into {publication.target.identity}",
            services,
            api,
            asked_at,
        )
    _print_result(warehouse, days, asked_at, landed)
    if publication is not None:
        print(f"\nPublished: {', '.join(publication.schemas.values())} in {publication.target.identity}.")
    print(f"\nDone in {time.monotonic() - began:.0f} s. Ask it: `make query`. Look around: `make dev`.")


def _publication(settings: Settings) -> tuple[Publication | None, list[Model]]:
    try:
        return publication_of(settings), published_models(settings)
    except PublishError as error:
        raise ProblemError(str(error)) from None


def _watch(
    services: Services, api: DagsterApi, instance: DagsterInstance, days: Sequence[str], asked_at: datetime
) -> dict[Table, dict[str, Landing]]:
    """Wait until every day has landed, saying what the sensor says whenever that changes."""
    deadline = time.monotonic() + WITHIN_SECONDS
    total = len(days) * len(LANDING)
    landed: dict[Table, dict[str, Landing]] = {table: {} for table in LANDING}
    with Showing("days landed", total) as showing:
        while True:
            landed |= {
                table: landings_since(instance, asset_key(table.source, table.name), days, asked_at)
                for table, some in landed.items()
                if len(some) < len(days)
            }
            tick = api.last_tick(SENSOR_NAME)
            done, said = (
                sum(map(len, landed.values())),
                f"the sensor: {tick.said}" if tick and tick.said else "",
            )
            showing.update(done, said)
            if done == total:
                return landed
            services.check()
            if failure := api.failed_run(asked_at.timestamp()):
                raise ProblemError(f"{failure} Look into the UI with `make dev`.")
            if tick and tick.error:
                raise ProblemError(f"The sensor failed: {tick.error}. Look into the UI with `make dev`.")
            if time.monotonic() > deadline:
                raise ProblemError(
                    f"After {WITHIN_SECONDS} s {done} of {total} days have landed ({said}); look into the UI "
                    "with `make dev`."
                )
            time.sleep(LOOK_EVERY_SECONDS)


def _wait_until(
    is_done: Callable[[], bool], doing: str, services: Services, api: DagsterApi, asked_at: datetime
) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    with Showing(doing) as showing:
        while not is_done():
            showing.update()
            services.check()
            failure = api.failed_run(asked_at.timestamp())
            if failure or time.monotonic() > deadline:
                why = failure or f"After {WITHIN_SECONDS} s {doing} has not ended."
                raise ProblemError(f"{why} Look into the UI with `make dev`.")
            time.sleep(LOOK_EVERY_SECONDS)


def _print_result(
    warehouse: Warehouse,
    days: Sequence[str],
    asked_at: datetime,
    landed: dict[Table, dict[str, Landing]],
) -> None:
    with duckdb.connect(str(warehouse.file), read_only=True) as connection:
        lines = [
            _TableLine.of(connection, table, days, asked_at, list(some.values()))
            for table, some in landed.items()
        ]
        print("\n" + text_table(_TableLine.TITLES, [line.cells() for line in lines]))
        print(f"\n{warehouse.file}\n\n{EXAMPLE}\n")
        example = connection.execute(EXAMPLE)
        titles = [str(column[0]) for column in example.description or ()]
        print(text_table(titles, [[str(value) for value in row] for row in example.fetchall()]))


@dataclass(frozen=True)
class _TableLine:
    TITLES = ("table", "partitions", "rows", "changed", "seconds from asked to queryable")

    table: str
    partitions: int
    rows: int
    changed: int
    seconds: float

    @classmethod
    def of(
        cls,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str],
        asked_at: datetime,
        landed: list[Landing],
    ) -> "_TableLine":
        name = f"{table.source}.{table.name}"
        [(rows,)] = connection.execute(
            f"SELECT count(*) FROM {name} WHERE _partition_date BETWEEN $first AND $last",
            {"first": days[0], "last": days[-1]},
        ).fetchall()
        seconds = (max(one.at for one in landed) - asked_at).total_seconds()
        return cls(name, len(landed), rows, sum(one.changed for one in landed), seconds)

    def cells(self) -> list[str]:
        return [self.table, str(self.partitions), str(self.rows), str(self.changed), f"{self.seconds:.1f}"]


def _last_days(settings: Settings, now: datetime) -> list[str]:
    """The last complete days in the health system's time zone, oldest first."""
    today = now.astimezone(settings.timezone).date()
    return [(today - timedelta(days=back)).isoformat() for back in range(DAYS, 0, -1)]
