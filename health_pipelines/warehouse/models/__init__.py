"""The marts: one SQL file each, which says in its header what a row is and what every column means.

Belongs here: reading those files, in the order in which they can be built. Does not belong here: the newest
version of each record, which they are made of (`warehouse/current.py`), and when they are built
(`warehouse/build.py`).

The SQL is plain DuckDB and needs no parameters: `current.*` has fixed names for what settings name, and
`local_day(time)` is the calendar day in the health system's time zone while a table is built.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from health_pipelines.lake.csv_partition import quoted

# Those that others are made of first.
_ORDER = (
    "visits",
    "daily_visits",
    "provider_activity",
    "charges",
    "appointments",
    "aging_receivables",
    "daysheet",
)


@dataclass(frozen=True)
class Model:
    """A table or view of the warehouse that is derived from what landed.

    `description` is the whole header without its columns; its first line says what the model is. `sources`
    and `full_name` are `<schema>.<table>`. `key` is empty if nothing tells rows apart. `columns` has every
    column with its description, in order.
    """

    schema: str
    name: str
    description: str
    key: tuple[str, ...]
    sources: tuple[str, ...]
    columns: Mapping[str, str]
    kept_as: Literal["table", "view"]
    sql: str

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql_name(self) -> str:
        """Quoted."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@cache
def marts() -> tuple[Model, ...]:
    """Every mart, each after those that it is made of."""
    return tuple(_read(name) for name in _ORDER)


def _read(name: str) -> Model:
    text = files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    found = re.match(r"((?:--.*\n)+)", text)
    assert found, f"{name}.sql begins with no header"
    lines = [line[2:].removeprefix(" ") for line in found[1].splitlines()]
    about, columns = lines[: lines.index("Columns:")], lines[lines.index("Columns:") + 1 :]
    said = dict(line.split(": ", 1) for line in about if re.match(r"(Key|Source|Kept as): ", line))
    kept_as = said["Kept as"].rstrip(".")
    assert kept_as in ("table", "view"), f"{name}.sql is kept as {kept_as}"
    return Model(
        schema="marts",
        name=name,
        description="\n".join(about).strip(),
        key=tuple(said["Key"].rstrip(".").split(", ")),
        sources=tuple(said["Source"].rstrip(".").split(", ")),
        columns=dict(line.split(": ", 1) for line in columns),
        kept_as="table" if kept_as == "table" else "view",
        sql=text[found.end() :],
    )
