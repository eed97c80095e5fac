"""What is left out, hashed and erased: whether it is so in the lake.

Belongs here: names that nothing has, days that landed by other settings, erasures that did not end. Does not
belong here: doing any of it (`privacy`, `commands/erasing.py`). Looks at footers, not at rows.
"""

import json

from health_pipelines.doctor.finding import Finding, ok, problem, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.drchrono.tables import SWEPT
from health_pipelines.lake.csv_partition import folded
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.holes import said
from health_pipelines.privacy.erased import Erased
from health_pipelines.privacy.partition_file import MINIMISED, TREATED, footer
from health_pipelines.privacy.patients import UnknownPatientColumnError, references
from health_pipelines.privacy.rules import rules_of
from health_pipelines.settings import Settings
from health_pipelines.vendors.known import landing_tables
from health_pipelines.vendors.privacy_names import refuse_wrong_names

_DOCUMENTED = {one.table: frozenset(map(folded, one.columns)) for one in SWEPT}


def privacy(installation: Installation) -> list[Finding]:
    """Raises `SettingError`, as of a key that is missing or a name that cannot be."""
    settings = installation.settings
    refuse_wrong_names(settings)
    lake = lake_to_read(settings)
    known = Erased.beside(lake.root)
    found = [*_names(settings, lake), *_old_days(settings, lake), *_erasures(settings, lake, known)]
    if found:
        return found
    if not (settings.left_out_columns or settings.hashed_columns or known.sources):
        return [ok("No column is left out or hashed, and nobody was erased.")]
    parts = [f"{len(settings.left_out_columns)} columns are left out, {len(settings.hashed_columns)} hashed"]
    parts += [f"patients of {' and '.join(known.sources)} are kept out"] if known.sources else []
    return [ok(f"{'; '.join(parts)}.")]


def _names(settings: Settings, lake: Lake) -> list[Finding]:
    """Names that no table has in which something landed, as of a column that the vendor renamed."""
    tables = [one.table for one in landing_tables(settings)]
    found = []
    for name in (*settings.left_out_columns, *settings.hashed_columns):
        landed = [one for one in tables if name.is_of(one.source, one.name) and lake.days(one)]
        if landed and not any(folded(name.column) in _columns(lake, one) for one in landed):
            found.append(
                warning(
                    f"No table in which something landed has the column of {name}: is it spelled as the "
                    "vendor spells it? It is looked for all the same."
                )
            )
    return found


def _columns(lake: Lake, table: Table) -> frozenset[str]:
    """What the newest day came with, and what is documented."""
    said_there = footer(lake.footer_file(table, lake.days(table)[-1])).get(TREATED, "[]")
    return _DOCUMENTED.get(table, frozenset()) | {folded(name) for name in json.loads(said_there)}


def _old_days(settings: Settings, lake: Lake) -> list[Finding]:
    found = []
    for checked in landing_tables(settings):
        now = rules_of(settings, checked.table).fingerprint
        old = [
            day
            for day, file in lake.footer_files(checked.table).items()
            if footer(file).get(MINIMISED, "") != now
        ]
        if old:
            found.append(
                warning(
                    f"{checked.table}: {said(old)} landed by other settings of what is left out or hashed, "
                    "and have what they had then until they land again; materialize them."
                )
            )
    return found


def _erasures(settings: Settings, lake: Lake, known: Erased) -> list[Finding]:
    found = []
    for source in known.sources:
        if known.pending(source):
            found.append(
                problem(
                    f"An erasure of {source} did not come to its end: nobody comes back, but something may "
                    "be left; run `health-pipelines erase --again`."
                )
            )
        for table in (one for one in lake.tables() if one.source == source):
            try:
                references(settings, table)
            except UnknownPatientColumnError as error:
                found.append(problem(f"{error} No day of it lands until then."))
    return found
