"""What is published where, as the settings of a place say it.

Belongs here: from settings to a target, schemas and tables. Does not belong here: the settings
(`settings/publish_values.py`), and publishing (`publisher.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from health_pipelines.dexcare.columns.guesses import visit_columns
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.publish.due import due
from health_pipelines.publish.memory import Memory
from health_pipelines.publish.mssql.address import SCHEMES as MSSQL
from health_pipelines.publish.mssql.target import MssqlTarget
from health_pipelines.publish.postgres.target import PostgresTarget
from health_pipelines.publish.source import made_of
from health_pipelines.publish.tables import PublishError
from health_pipelines.publish.target import Target
from health_pipelines.settings import Secret, SettingError, Settings
from health_pipelines.settings.variables import PUBLISH_TABLES, PUBLISH_URL
from health_pipelines.warehouse.current import current_tables
from health_pipelines.warehouse.lake_tables import TABLES
from health_pipelines.warehouse.models import Model, marts

_POSTGRES = ("postgres", "postgresql")


@dataclass(frozen=True)
class Publication:
    """What one place publishes. `schemas`: in the target, by the schema in the warehouse."""

    target: Target
    schemas: Mapping[str, str]
    memory: Memory
    work: Path
    with_deleted: bool

    def due(self, versions: Mapping[str, str], tables: Collection[str], now: datetime) -> dict[str, str]:
        """Which of `tables` are to be published, and what each would be made of. Asks the target nothing.

        `versions`: of the warehouse's tables (`PublishedFile.versions`); one that it has not is not due.
        """
        made_of_now = {
            table: made_of(
                versions[table],
                schema=self.schemas[table.split(".", 1)[0]],
                target=self.target.identity,
                with_deleted=self.with_deleted,
            )
            for table in tables
            if table in versions
        }
        known = {table: self.memory.of(table) for table in made_of_now}
        return {table: made_of_now[table] for table in due(made_of_now, known, now)}


def publication_of(settings: Settings) -> Publication | None:
    """None if nothing is published. Raises `SettingError`; `PublishError` if the address is none."""
    url = settings.publish_url
    if url is None:
        return None
    folder = settings.data_dir / "publish"
    return Publication(
        _target(url),
        {schema: f"{settings.publish_schema}_{schema}" for schema in ("current", "marts")},
        Memory(folder),
        folder / "spill",
        settings.publishes_deleted,
    )


def kind_of(settings: Settings) -> str:
    """What Dagster's UI calls the kind of database, which nobody connects to for it."""
    url = settings.publish_url
    return "sqlserver" if url and _scheme(url) in MSSQL else "postgres"


def _scheme(url: Secret) -> str:
    return url.reveal().split(":", 1)[0].lower()


def _target(url: Secret) -> Target:
    scheme = _scheme(url)
    if scheme in MSSQL:
        return MssqlTarget(url)
    if scheme.split("+", 1)[0] in _POSTGRES:
        return PostgresTarget(url)
    raise PublishError(
        f"{PUBLISH_URL.name} is no URL of a database that is published into, like "
        "postgresql://user:password@host/database or mssql://user:password@host/database."
    )


def published_models(settings: Settings) -> list[Model]:
    """The models that `PUBLISH_TABLES` chooses. Raises `SettingError` if it names one that is not there."""
    # As if nothing had landed: names and keys do not depend on it.
    currents = current_tables(dict.fromkeys(TABLES, LINEAGE_COLUMNS), visit_columns(settings))
    every = [*(current.model for current in currents), *marts()]
    known = {name for model in every for name in (model.full_name, f"{model.schema}.*")}
    chosen = settings.publish_tables
    if unknown := [name for name in chosen if name not in known]:
        raise SettingError(
            f"{PUBLISH_TABLES.name} names {unknown[0]}, which the warehouse has not; it has "
            f"{', '.join(model.full_name for model in every)}."
        )
    return [model for model in every if {model.full_name, f"{model.schema}.*"} & set(chosen)]
