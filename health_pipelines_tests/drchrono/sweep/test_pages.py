"""No record slips between two pages, whatever comes, goes or moves while they are read."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipelines.drchrono.sweep.pages import (
    OVERLAP,
    ListTooLongError,
    Page,
    PageRead,
    different_records,
    is_whole,
    next_pages,
    pages_over,
)

ROUNDS = 6


def hashes(values: Sequence[object]) -> np.ndarray:
    return np.array([hash(value) & (2**64 - 1) for value in values], dtype=np.uint64)


@dataclass
class Vendor:
    """A list as the vendor has it: records by id, with the time of their last change."""

    changes: dict[int, int]
    by_time: bool
    rng: random.Random
    clock: int = 1_000_000
    touched: set[int] = field(default_factory=set)
    """Whatever was inserted, removed or updated since the first page."""

    def ordered(self) -> list[int]:
        if not self.by_time:
            return sorted(self.changes)
        # Equal times come in any order, another one in each query.
        return sorted(self.changes, key=lambda one: (self.changes[one], self.rng.random()))

    def read(self, page: Page) -> tuple[PageRead, list[int]]:
        ids = self.ordered()[page.start : page.end]
        places = [self.changes[one] if self.by_time else one for one in ids]
        records = hashes(list(zip(ids, places, strict=True)))
        return PageRead(page, len(self.changes), records, hashes(places)), ids

    def something_happens(self) -> None:
        kind = self.rng.choice(["insert", "remove", "update"])
        self.clock += self.rng.choice([0, 1])
        if kind == "insert":
            one = self.rng.randrange(10_000)
        elif self.changes:
            one = self.rng.choice(sorted(self.changes))
        else:
            return
        self.touched.add(one)
        if kind == "remove":
            del self.changes[one]
        else:
            self.changes[one] = self.clock


def sweep(vendor: Vendor, largest: int, between: Callable[[], None]) -> tuple[bool, set[int], int]:
    """Read until the pages are proven to be whole: whether they are, the ids that came, the pages read."""
    places_needed = 2 if vendor.by_time else 1
    read: list[PageRead] = []
    came: set[int] = set()
    for _ in range(ROUNDS):
        wanted = next_pages(read, places_needed=places_needed, largest=largest)
        if not wanted:
            return True, came, len(read)
        # In any order: pages are asked for concurrently.
        for page in vendor.rng.sample(wanted, len(wanted)):
            if read:
                between()
            answer, ids = vendor.read(page)
            read.append(answer)
            came.update(ids)
    return False, came, len(read)


@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32),
    records=st.integers(0, 120),
    largest=st.sampled_from([16, 20, 50]),
    by_time=st.booleans(),
    times=st.sampled_from([5, 40, 10_000]),
    busy=st.sampled_from([0.0, 0.05, 0.3, 0.9]),
)
def test_every_record_that_nobody_touched_is_read_or_the_pages_are_not_whole(
    *, seed: int, records: int, largest: int, by_time: bool, times: int, busy: float
) -> None:
    rng = random.Random(seed)
    changes = {one: rng.randrange(times) for one in rng.sample(range(10_000), records)}
    vendor = Vendor(dict(changes), by_time, rng)

    def between() -> None:
        while rng.random() < busy:
            vendor.something_happens()

    whole, came, _ = sweep(vendor, largest, between)

    if whole:
        assert changes.keys() - vendor.touched <= came


@pytest.mark.parametrize("by_time", [False, True])
@pytest.mark.parametrize("records", [0, 1, 7, 1000, 1001, 25_000])
def test_a_quiet_list_is_whole_after_one_round(records: int, by_time: bool) -> None:
    vendor = Vendor({one: one for one in range(records)}, by_time, random.Random(1))

    whole, came, pages = sweep(vendor, 1000, lambda: None)

    assert whole
    assert len(came) == records
    assert pages == len(pages_over(0, records, 1000))


@pytest.mark.parametrize("by_time", [False, True])
def test_a_list_that_moves_by_more_than_the_overlap_costs_few_pages_more(by_time: bool) -> None:
    rng = random.Random(3)
    vendor = Vendor({one: one for one in range(0, 20_000, 2)}, by_time, rng)
    busy_until = 3  # pages
    quiet_pages = len(pages_over(0, 10_000, 500))

    def between() -> None:
        nonlocal busy_until
        if busy_until:
            busy_until -= 1
            for one in rng.sample(sorted(vendor.changes)[:4000], 3 * OVERLAP):
                vendor.touched.add(one)
                del vendor.changes[one]

    whole, came, pages = sweep(vendor, 500, between)

    assert whole
    assert set(vendor.changes) <= came
    assert quiet_pages <= pages <= quiet_pages + 6


def test_counting_alone_would_believe_what_is_not_whole() -> None:
    """One record goes, one comes: equal counts, as many different records, and 12 was never read."""
    before = list(range(0, 40, 2))
    vendor = Vendor({one: one for one in before}, by_time=False, rng=random.Random(0))
    first, ids = vendor.read(Page(1, 7))
    came = set(ids)
    pages = [first]
    del vendor.changes[0]
    vendor.changes[98] = 1
    for page in (Page(2, 7), Page(3, 7)):
        answer, ids = vendor.read(page)
        pages.append(answer)
        came.update(ids)

    assert {one.count for one in pages} == {20}
    assert len(came) == different_records(one.records for one in pages) == 20
    assert set(before) - {0} - came == {14}
    assert not is_whole(pages, places_needed=1)


def test_records_of_one_and_the_same_moment_prove_nothing_where_the_order_is_by_time() -> None:
    vendor = Vendor(dict.fromkeys(range(30), 5), by_time=True, rng=random.Random(2))

    whole, _, _ = sweep(vendor, 20, lambda: None)

    assert not whole


@pytest.mark.parametrize(("largest", "end"), [(20, 300), (1000, 300_000), (20_000, 6_000_000)])
def test_pages_overlap_from_the_first_place_to_the_last(largest: int, end: int) -> None:
    pages = pages_over(0, end, largest)

    assert pages[0].start == 0
    assert pages[-1].end >= end
    assert all(page.size <= largest and page.number <= 1000 for page in pages)
    overlap = min(OVERLAP, largest // 4)
    for left, right in pairwise(pages):
        assert right.start <= left.end - overlap
        assert right.end > left.end


def test_overlapping_costs_a_twentieth_of_the_calls() -> None:
    assert 250 / len(pages_over(0, 250_000, 1000)) >= 0.95


def test_a_list_beyond_the_vendors_page_numbers_is_refused_in_words() -> None:
    with pytest.raises(ListTooLongError, match="beyond the vendor's 1000 pages of 1000"):
        pages_over(0, 1_200_000, 1000)
