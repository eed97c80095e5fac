"""The list of vendors: those of this project, and those that a place adds.

Belongs here: the list. Does not belong here: what a vendor provides (`landing/vendor.py`).
"""

from collections.abc import Sequence
from importlib import import_module

from health_pipelines.dexcare.vendor import VENDOR as DEXCARE
from health_pipelines.drchrono.vendor import VENDOR as DRCHRONO
from health_pipelines.lake.partitions import Table
from health_pipelines.landing.vendor import Vendor
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.variables import HEALTH_VENDORS

OURS = (DEXCARE, DRCHRONO)


def vendors(settings: Settings) -> tuple[Vendor, ...]:
    """All of a place. Raises `SettingError` if `HEALTH_VENDORS` names what is none."""
    return (*OURS, *more_vendors(settings))


def more_vendors(settings: Settings) -> tuple[Vendor, ...]:
    """Those that are not of this project."""
    return tuple(_vendor_in(module) for module in settings.more_vendors)


def landing_tables(settings: Settings) -> list[CheckedTable]:
    """The tables that data land in."""
    return [checked for vendor in vendors(settings) for checked in vendor.tables()]


def lake_tables(settings: Settings) -> Sequence[Table]:
    """Every table of the lake that the warehouse shows."""
    found = [checked.table for checked in landing_tables(settings)]
    return [*found, *(table for vendor in vendors(settings) for table in vendor.more_tables)]


def _vendor_in(module: str) -> Vendor:
    try:
        found = import_module(module).VENDOR
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"{HEALTH_VENDORS.name} names {module!r}, which is no module with a VENDOR in it ({error})."
        ) from None
    if not isinstance(found, Vendor):
        raise SettingError(f"{HEALTH_VENDORS.name} names {module!r}, whose VENDOR is no Vendor.")
    return found
