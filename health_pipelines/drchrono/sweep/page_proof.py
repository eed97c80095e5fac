"""A page that came, looked at as proof.

Belongs here: which records it has, at which places of the order, and when they changed. Does not belong here:
what pages prove together (`pages.py`), and what is done about a page that proves nothing (`reading.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.api.client import UnexpectedAnswerError
from health_pipelines.drchrono.records import RecordType
from health_pipelines.drchrono.sweep.order import Order, local_time, order_of_keys, order_of_times, place_of
from health_pipelines.drchrono.sweep.pages import Hashes, Page, PageRead
from health_pipelines.lake.json_partition import value_text
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import numpy as np
else:
    np = loaded_when_used("numpy")


@dataclass(frozen=True, eq=False)
class ProvenPage:
    """A page that came, as proof. `oldest` and `newest`: the changes in it, in the account's local time.

    `rises`: whether the places in it rise; None if that cannot be told.
    """

    proof: PageRead
    keys: Hashes
    oldest: datetime | None
    newest: datetime | None
    rises: bool | None


def is_sorted_by_change(record_type: RecordType) -> bool:
    """Whether a record that changes moves to another place of its list."""
    return record_type.order_by == record_type.changed


def proven_page(
    record_type: RecordType, page: Page, count: int, results: Sequence[dict[str, Any]], zone: ZoneInfo
) -> ProvenPage:
    """`count`: of the whole list. `zone`: of times that say none.

    Raises `UnexpectedAnswerError` if the records do not come in the order that was asked for.
    """
    keys = [value_text(record.get(record_type.key)) or "" for record in results]
    if is_sorted_by_change(record_type):
        times = [record.get(record_type.order_by) for record in results]
        order, places = order_of_times(times, zone), [place_of(time, zone) for time in times]
    else:
        order, places = order_of_keys([record.get(record_type.key) for record in results]), keys
    # Without a place in the order that was asked for, pages that share records prove nothing.
    if order is Order.NONE and record_type.order_by in (record_type.changed, record_type.key):
        hint = ""
        if is_sorted_by_change(record_type):
            hint = f" Is DRCHRONO_TIMEZONE, which is {zone.key}, the zone of the practice's times?"
        raise UnexpectedAnswerError(
            f"DrChrono's list of {record_type.name} is not sorted by {record_type.order_by}, although "
            f"that was asked for; whether it is complete cannot be proven.{hint}"
        )
    changes = [
        moment
        for record in results
        if record_type.changed and (moment := local_time(record.get(record_type.changed), zone))
    ]
    return ProvenPage(
        PageRead(page, count, _hashes(zip(keys, places, strict=True)), _hashes(places)),
        _hashes(keys),
        oldest=min(changes, default=None),
        newest=max(changes, default=None),
        rises={Order.RISING: True, Order.FALLING: False}.get(order),
    )


def _hashes(values: Iterable[object]) -> Hashes:
    # Python's own hash of text differs from process to process, which is no harm: pages are hashed anew.
    return np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=8).digest(), "little")
            for value in values
        ),
        dtype=np.uint64,
    )
