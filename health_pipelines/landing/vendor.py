"""The door for a vendor: what its package provides, for everybody who reads it.

Belongs here: the shape of that. Does not belong here: any vendor (`dexcare/vendor.py`, `drchrono/vendor.py`),
and the list of them (`vendors/known.py`). The definitions, the checks and the doctor know vendors by this
alone, and so do the warehouse's views of what landed, so that a new one is a package with a `VENDOR` in it
and one line in the list. Current tables and marts are of DexCare's and DrChrono's records alone.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagster import (
    AssetChecksDefinition,
    AssetKey,
    AssetsDefinition,
    ConfigurableResource,
    DagsterInstance,
    DailyPartitionsDefinition,
    ScheduleDefinition,
    SensorDefinition,
)

from health_pipelines.lake.partitions import Table
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.probe.questions import Probe
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
class Order:
    """What a vendor was asked to prepare for a day that has not landed since, such as a report.

    `id`: the vendor's name for it. `asked_at`: when it was ordered (aware, UTC). `attempts`: how many were
    ordered for the same wish, this one included. `trouble`: what went wrong last, in a sentence; empty if
    nothing did. `failed_landings`: how often it came and could not be landed. `over_at`: since when nothing
    happens by itself any more; None while it is in flight. `given_up`: whether it is over as it never came.
    """

    id: str
    asked_at: datetime
    attempts: int = 1
    trouble: str = ""
    failed_landings: int = 0
    over_at: datetime | None = None
    given_up: bool = False


@dataclass(frozen=True)
class Orders:
    """Of one table. `asked_by`: the asset that is materialized to ask. `of_days`: YYYY-MM-DD."""

    asked_by: AssetKey
    of_days: Mapping[str, Order] = field(default_factory=dict)


@dataclass(frozen=True)
class CallsLeft:
    """What is left of a vendor's quota. `throttled_until`: before that the vendor takes no call at all."""

    vendor: str
    left: int
    per_hour: int
    throttled_until: datetime | None = None


@dataclass(frozen=True)
class Vendor:
    """One vendor. Everything is a function, since names and zones are settings, read when they are needed.

    `tables`: what lands, with what its checks go by; each gets the checks of a landed day, of its newest day
    and of missing days, and a view in the warehouse. `more_tables`: of the lake, in which no days land; each
    gets a view. `assets`: with daily partitions, those of `tables`. `origins`: who fills
    which table (`http.origin_of`), of those that are to be filled. `questions`: the doctor's.
    `probes`: what `health-pipelines probe` asks to learn a tenant's ways.

    `orders`: of a vendor that prepares what it is asked for: its open orders for some days of each table.
    `calls_left`: of one with a quota, at a time (aware), by what was counted here. Neither asks the vendor
    anything or writes anything.

    `forget`: removes what its runs have left on disk at a time (aware) and no run goes on with, since it may
    hold patients. Returns what was removed, in a few words each, without values.
    """

    tables: Callable[[], Sequence[CheckedTable]]
    assets: Callable[[DailyPartitionsDefinition], Sequence[AssetsDefinition]]
    schedules: Callable[[Settings], Sequence[ScheduleDefinition]]
    resources: Callable[[], Mapping[str, ConfigurableResource[Any]]]
    origins: Callable[[Settings], Mapping[Table, str]]
    sensors: Callable[[Settings], Sequence[SensorDefinition]] = lambda _: ()
    more_checks: Callable[[], Sequence[AssetChecksDefinition]] = tuple
    more_tables: Sequence[Table] = ()
    questions: Sequence[Question] = ()
    probes: Sequence[Probe] = ()
    orders: Callable[[DagsterInstance, Mapping[Table, Sequence[str]]], Mapping[Table, Orders]] = lambda *_: {}
    calls_left: Callable[[Settings, datetime], CallsLeft | None] = lambda *_: None
    forget: Callable[[datetime], Sequence[str]] = lambda _: ()
