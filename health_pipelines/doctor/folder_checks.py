"""Whether the data folder can be written, has room, and holds what this installation would put there.

Belongs here: files and the disk. Does not belong here: Dagster's home (`dagster_checks.py`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.doctor.finding import Finding, not_set_up, ok, problem, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.lake.opening import COPIES, LAKE, lake_to_read
from health_pipelines.lake.ownership import open_paths
from health_pipelines.lake.partitions import OtherOriginError, Table
from health_pipelines.landing.freshness import Expectation
from health_pipelines.landing.holes import holes_in
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings.variables import HEALTH_DATA_DIR, HEALTH_DAYS_LEFT_OUT, HEALTH_START_DATE
from health_pipelines.vendors.known import lake_tables, landing_tables, vendors

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = loaded_when_used("duckdb")

GIGABYTE = 10**9
LEAST_FREE_BYTES = 10 * GIGABYTE
# While a day is replaced there are the old file, the download and the new file.
COPIES_OF_A_DAY = 3


def writable(installation: Installation) -> Finding:
    """Whether the folders can be written by who runs this, who should be who runs Dagster."""
    data = installation.settings.data_dir
    if belongs_to_somebody_else(data):
        return warning(
            f"{data} belongs to another user (number {data.stat().st_uid}) and this is root, who may write "
            "everywhere; run this as the user that runs Dagster."
        )
    if not data.is_dir():
        above = _nearest_existing(data)
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            return problem(
                f"{data} cannot be made, as {above} is not a folder that can be written; "
                f"set {HEALTH_DATA_DIR.name}."
            )
        return ok(f"{data} does not exist yet and is made when something lands.")
    for folder in (data, *(data / name for name in (LAKE, COPIES, "runs", "drchrono"))):
        if folder.is_dir() and (why := _why_not_writable(folder)):
            return problem(f"{folder} cannot be written ({why}); give it to the user that runs Dagster.")
    return ok(f"{data} can be written.")


def closed(installation: Installation) -> Finding:
    """Whether nobody else can read the data."""
    data, group = installation.settings.data_dir, installation.settings.data_group
    if not data.is_dir():
        return ok(f"{data} is made for its owner alone.")
    opened = open_paths(data, group)
    if opened:
        return problem(
            f"{len(opened)} files or folders below {data} can be read by other users, {opened[0]} for one; "
            "restart Dagster, which closes them, or run `chmod -R go=` on the folder."
        )
    return ok(f"{data} is for {f'its owner and the group {group}' if group else 'its owner alone'}.")


def disk(installation: Installation) -> Finding:
    """Whether there is room for the days to come."""
    data = installation.settings.data_dir
    free = shutil.disk_usage(_nearest_existing(data)).free
    lake = lake_to_read(installation.settings)
    tables = lake_tables(installation.settings)
    sizes = [size for table in tables for size in lake.sizes(table)]
    return disk_finding(free, max(sizes, default=0))


def disk_finding(free_bytes: int, largest_day_bytes: int) -> Finding:
    """`largest_day_bytes`: of one partition of one table."""
    free = f"{free_bytes / GIGABYTE:,.1f} GB are free"
    largest = f"the largest day of a table takes {largest_day_bytes / GIGABYTE:,.1f} GB"
    if free_bytes < COPIES_OF_A_DAY * largest_day_bytes:
        return warning(
            f"Only {free}, and {largest}, of which there are {COPIES_OF_A_DAY} copies while it is replaced; "
            "make room."
        )
    if free_bytes < LEAST_FREE_BYTES:
        return warning(f"Only {free}; make room before it is less than a day needs.")
    return ok(f"{free}.")


def lake(installation: Installation) -> Finding:
    """Whether what has landed is from the hosts that are configured."""
    root = lake_to_read(installation.settings)
    tables = lake_tables(installation.settings)
    landed = [table for table in tables if root.days(table)]
    try:
        for table, origin in _origins(installation).items():
            root.refuse_other_origin(table, origin)
    except OtherOriginError as error:
        return problem(str(error))
    if not landed:
        return not_set_up("Nothing has landed yet.")
    return ok(f"{len(landed)} of {len(tables)} tables have landed, from the hosts that are configured.")


def first_day(installation: Installation) -> Finding:
    """Where nobody set it, Dagster's UI counts days as missing that nobody asked for."""
    settings = installation.settings
    root, start = lake_to_read(settings), settings.start_date
    landed = [day for checked in landing_tables(settings) for day in root.days(checked.table)[:1]]
    first = date.fromisoformat(min(landed, default=start.isoformat()))
    if settings.is_set(HEALTH_START_DATE) or first <= start:
        return ok(f"Days can be asked for from {start} on.")
    return warning(
        f"{HEALTH_START_DATE.name} is not set, so that Dagster's UI counts {(first - start).days} days from "
        f"{start} on as missing that never landed. Set it to {first}, the first that did, or to the first "
        "day that you want."
    )


def missing(installation: Installation) -> Finding:
    """Whether a table has a hole between its first day and its newest."""
    settings = installation.settings
    root, newest = lake_to_read(settings), Expectation.of(settings).newest_day(installation.now())
    found = {
        checked.table: holes_in(root, checked, settings, before=newest or date.min)
        for checked in landing_tables(settings)
    }
    if not any(holes.days for holes in found.values()):
        return ok("No table lacks a day between its first and its newest.")
    texts = [f"{table}: {'. '.join(holes.sentences)}" for table, holes in found.items() if holes.days]
    return warning(
        f"{'; '.join(texts)}. The daily schedule asks for them, the oldest first; name days that are meant "
        f"to be so in {HEALTH_DAYS_LEFT_OUT.name}."
    )


def warehouse(installation: Installation) -> Finding:
    """Whether people can open the file that they query."""
    file = installation.settings.data_dir / "warehouse.duckdb"
    if not file.exists():
        return not_set_up(f"{file} is made when something lands.")
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            counted = connection.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchone()
    except duckdb.Error as error:
        if "lock" in str(error).lower():
            return warning(
                f"Somebody has opened {file} for writing, so that nobody else can read it; open it read-only."
            )
        return problem(
            f"{file} cannot be opened ({type(error).__name__}); "
            "remove it, and the next landing builds it again."
        )
    assert counted is not None
    return ok(f"{file} can be read and has {counted[0]} views.")


def belongs_to_somebody_else(folder: Path) -> bool:
    """Whether this is root in a folder of another user, who could not use what root leaves there."""
    return os.geteuid() == 0 and folder.exists() and folder.stat().st_uid != 0


def _origins(installation: Installation) -> Mapping[Table, str]:
    """The tables that are to be filled, and by whom."""
    settings = installation.settings
    return {
        table: origin for vendor in vendors(settings) for table, origin in vendor.origins(settings).items()
    }


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _why_not_writable(folder: Path) -> str | None:
    try:
        # A file without a name, which is gone however this ends.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"?")
            file.flush()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None
