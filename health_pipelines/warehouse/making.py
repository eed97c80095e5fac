"""What the models are made with, and the database that they are made in.

Belongs here: zones, memory, schemas, and what other code has left. Does not belong here: the models
(`current.py`, `models`), and how their tables are made (`table_builder.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

from health_pipelines import drchrono
from health_pipelines.lake.csv_partition import quoted, text_literal
from health_pipelines.lake.local_time import day_of_instant, zone_variables
from health_pipelines.lake.partitions import Table
from health_pipelines.settings import VisitColumns
from health_pipelines.warehouse import changed_keys
from health_pipelines.warehouse.current import Current
from health_pipelines.warehouse.current_deleted import ACCOUNT
from health_pipelines.warehouse.models import marts
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.table_builder import ModelReport

if TYPE_CHECKING:
    import duckdb

Connection: TypeAlias = "duckdb.DuckDBPyConnection"
# What is told of all models that are made, or kept, by now, whenever there is another one.
Tell: TypeAlias = "Callable[[Sequence[ModelReport]], None]"

# Modules of this package that have no part in what a model is: when it is built, and how it is shown.
_ONLY_TELL = (
    "assets.py",
    "sensor.py",
    "rebuilds.py",
    "charts.py",
    "chart_series.py",
    "dictionary.py",
    "phi.py",
    "column_sources.py",
)
# Each build takes this much of the machine at most: other steps work beside it.
_MEMORY = "50%"


@dataclass(frozen=True)
class Making:
    """What models need to know. `zone`: the health system's. `visits`: `Settings.dexcare_visit_columns`.
    `account_zone`: the DrChrono account's; None if it is the same.
    """

    zone: ZoneInfo
    visits: Mapping[str, VisitColumns]
    account_zone: ZoneInfo | None = None


@dataclass(frozen=True)
class Made:
    """What became of the models. `unmade`: tables whose views could be made and whose records could not."""

    models: tuple[ModelReport, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[WarehouseError, ...] = ()
    unmade: frozenset[Table] = frozenset()


def prepare(connection: duckdb.DuckDBPyConnection, making: Making, work: Path) -> None:
    """Let a connection know the zones, and have the schemas. `work`: where it may spill."""
    connection.execute(f"SET temp_directory = {text_literal(str(work / 'spill'))}")
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    account_zone = making.account_zone or making.zone
    for statement in (*zone_variables(making.zone), *zone_variables(account_zone, ACCOUNT)):
        connection.execute(statement)
    connection.execute(f"CREATE TEMP MACRO local_day(instant) AS {day_of_instant('instant')}")
    changed_keys.prepare(connection)
    for schema in ("current", "marts"):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")


def drop_others(connection: duckdb.DuckDBPyConnection, currents: Sequence[Current]) -> None:
    """What other code made, and is no model any more or is kept as something else."""
    models = [*(current.model for current in currents), *marts()]
    known = {(model.schema, model.name, model.kept_as) for model in models}
    for kind in ("table", "view"):
        for schema, name in connection.execute(
            f"SELECT schema_name, {kind}_name FROM duckdb_{kind}s() WHERE schema_name IN ('current', 'marts')"
        ).fetchall():
            if (schema, name, kind) not in known:
                connection.execute(f"DROP {kind} {quoted(schema)}.{quoted(name)}")


def made_by(making: Making | None) -> str:
    """Everything that decides what the models are, except the lake: the code and the settings."""
    texts = [repr(making), *(path.read_text(encoding="utf-8") for path in sources())]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def sources() -> list[Path]:
    """The files of this package that models are made by, and those that say which fields DrChrono has."""
    own = (path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".sql"))
    return [
        *sorted(path for path in own if path.name not in _ONLY_TELL),
        *sorted(Path(drchrono.__file__).parent.glob("*.json")),
    ]
