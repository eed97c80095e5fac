"""`health-pipelines build`: bring `current` and `marts` of the warehouse up to what has landed.

Belongs here: what the command prints. Does not belong here: the building (`warehouse/build.py`).
"""

import sys
from collections.abc import Sequence

from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import Showing
from health_pipelines.commands.text_table import text_table
from health_pipelines.lake.ownership import keep_new_files_private
from health_pipelines.settings import Settings
from health_pipelines.warehouse.assets import warehouse_keys
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.storage import build_warehouse, warehouse_of
from health_pipelines.warehouse.table_builder import ModelReport


def build() -> int:
    """Returns the exit code: 1 if a table could not be made, which is as it was then.

    Raises `ProblemError` with one sentence if nothing could be built; the warehouse is as it was then.
    """
    settings = Settings.of_this_process()
    keep_new_files_private(settings.data_group)
    with Showing("tables and marts", len(warehouse_keys()), to_stderr=True) as showing:
        try:
            report = build_warehouse(settings, tell=lambda made: showing.update(len(made), _progress(made)))
        except WarehouseError as error:
            raise ProblemError(str(error)) from None
    lines = [
        [one.name, str(one.rows), one.made, f"{one.seconds:.1f}", _casts(sum(one.failed_casts.values()))]
        for one in report.models
    ]
    print(text_table(("model", "rows", "made", "seconds", "values that do not fit"), lines))
    for sentence in report.corrections:
        print(f"\n{sentence}")
    for sentence in report.problems:
        print(f"\n{sentence}", file=sys.stderr)
    said = "" if report.published else " Nothing has changed since it was built."
    print(f"\n{warehouse_of(settings).file}: {len(report.models)} models in {report.seconds:.1f} s.{said}")
    return 1 if report.problems else 0


def _progress(made: Sequence[ModelReport]) -> str:
    rows = sum(one.rows for one in made)
    return f"{rows:,} rows, the last of {made[-1].name}" if made else ""


def _casts(count: int) -> str:
    return str(count) if count else ""
