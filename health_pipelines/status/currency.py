"""Whether the warehouse and what is published are current.

Belongs here: from what they say of themselves to words. Does not belong here: how they know it
(`warehouse/backlog.py`, `publish/due.py`). Nothing is built, published or asked for.
"""

from datetime import datetime

from health_pipelines.settings import Settings
from health_pipelines.settings.variables import HEALTH_BUILD_WAREHOUSE, PUBLISH_URL
from health_pipelines.status.report import Currency
from health_pipelines.warehouse.problems import WarehouseError
from health_pipelines.warehouse.storage import warehouse_of


def warehouse(settings: Settings) -> Currency:
    """By a look at the files of the lake, not into them."""
    is_wanted = settings.build_warehouse
    by_itself = "" if is_wanted else f" ({HEALTH_BUILD_WAREHOUSE.name} is off: people build it)"
    try:
        backlog = warehouse_of(settings).backlog()
    except WarehouseError as error:
        return Currency(False, f"cannot be compared with the lake: {error}".rstrip("."), is_wanted)
    if backlog.newest is None:
        return Currency(True, "has nothing to be made of: nothing has landed", is_wanted)
    if backlog.is_current:
        return Currency(True, f"is current{by_itself}", is_wanted)
    if backlog.waiting_since is None:
        says = "is to be built again: days are gone, the settings or the code have changed, or a table failed"
        return Currency(False, says + by_itself, is_wanted)
    return Currency(False, f"does not have all that has landed{by_itself}", is_wanted, backlog.waiting_since)


def publishing(settings: Settings, now: datetime) -> Currency:
    """By what was published last, as this machine remembers it. Raises `SettingError`."""
    if settings.publish_url is None:
        return Currency(True, f"is not set up: {PUBLISH_URL.name} is not set", is_wanted=False)
    # Not before it is needed: it takes longer to load than to ask.
    from health_pipelines.publish.databases import publication_of, published_models  # noqa: PLC0415
    from health_pipelines.publish.tables import PublishError  # noqa: PLC0415

    try:
        publication = publication_of(settings)
        tables = [model.full_name for model in published_models(settings)]
    except PublishError as error:
        return Currency(False, f"cannot be done: {error}".rstrip("."))
    assert publication is not None
    due = list(publication.due(warehouse_of(settings).published.versions(), tables, now))
    if not due:
        return Currency(True, "is current")
    count = f"{len(due)} of {len(tables)} tables are" if len(due) != 1 else f"1 of {len(tables)} tables is"
    return Currency(False, f"is not current: {count} to be published or compared again", due=due)
