"""The door for a vendor: what its package provides, for everybody who reads it.

Belongs here: the shape of that. Does not belong here: any vendor (`dexcare/vendor.py`, `drchrono/vendor.py`),
and the list of them (`vendors/known.py`). The definitions, the checks and the doctor know vendors by this
alone, and so do the warehouse's views of what landed, so that a new one is a package with a `VENDOR` in it
and one line in the list. Current tables and marts are of DexCare's and DrChrono's records alone.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetChecksDefinition,
    AssetsDefinition,
    ConfigurableResource,
    DailyPartitionsDefinition,
    ScheduleDefinition,
    SensorDefinition,
)

from health_pipelines.lake.partitions import Table
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings


class NotAskedError(Exception):
    """A question was not asked, and why: something better is to be done with the call."""


@dataclass(frozen=True)
class Question:
    """What the doctor asks a vendor to see that it answers and takes the key.

    `ask` makes the cheapest call that shows it, and raises `VendorError`, or `NotAskedError`. It starts
    nothing and reads no patient's record. `not_set_up` says why there is nobody to ask, if so. `host`: who
    answers. `if_not_found`: a sentence with the setting that seems wrong if the vendor knows no such path.
    `leaves_something`: whether asking writes what runs read, such as a renewed token or the count of a quota.
    """

    subject: str
    not_set_up: Callable[[Settings], str | None]
    host: Callable[[Settings], str]
    ask: Callable[[], Coroutine[Any, Any, None]]
    if_not_found: str
    takes: str = "key"
    leaves_something: bool = False


@dataclass(frozen=True)
class Vendor:
    """One vendor. Everything is a function, since names and zones are settings, read when they are needed.

    `tables`: what lands, with what its checks go by; each gets the checks of a landed day, of its newest day
    and of missing days, and a view in the warehouse. `assets`: with daily partitions. `origins`: who fills
    which table (`http.origin_of`), of those that are to be filled. `questions`: the doctor's.
    """

    tables: Callable[[], Sequence[CheckedTable]]
    assets: Callable[[DailyPartitionsDefinition], Sequence[AssetsDefinition]]
    schedules: Callable[[Settings], Sequence[ScheduleDefinition]]
    resources: Callable[[], Mapping[str, ConfigurableResource[Any]]]
    origins: Callable[[Settings], Mapping[Table, str]]
    sensors: Callable[[Settings], Sequence[SensorDefinition]] = lambda _: ()
    more_checks: Callable[[], Sequence[AssetChecksDefinition]] = tuple
    questions: Sequence[Question] = ()
