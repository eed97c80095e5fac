"""Which pages of a list to ask for, and the proof that no record slipped between two of them.

Belongs here: pure arithmetic and set logic. Does not belong here: calls, files, time (`reading.py`).

Each page is a query of its own at a moment of its own. A record that comes or goes between two of them
moves all later records, so that one can be skipped although every page looks perfect. Counting does not
help: if one record goes and another comes, the count and the number of different records stay the same, and
a third is missed. So pages overlap, and this is what is believed:

Two pages *meet* if they share a record at the same place of the order. A page is a contiguous piece of the
ordered list at its moment, and records that nobody touches keep their order among each other. So the pieces
of two pages that meet make one contiguous piece, and a chain of pages that meet, from the list's first page
to one that reached its end, contains every record that was there all the time. What came, went or moved
meanwhile does not matter, nor in which order or how far apart in time the pages were read, nor which way the
list is sorted.

"At the same place of the order": where the order is by a unique id, the shared record itself. Where it is by
change time, records with equal times may swap places between two queries; then the shared records must have
two different times, since one that hides in a tie would have to hide in both.

Overlapping pages come from unequal page sizes: page 3 of 990 begins at record 1,980.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = loaded_when_used("numpy")

Hashes: TypeAlias = "NDArray[np.uint64]"

# The vendor's own limit for the number of a page.
LAST_PAGE = 1000
# By how many records neighbouring pages overlap, at most a quarter page. As many come or go between the two
# before they no longer meet, which costs two calls once; a larger overlap would cost calls every time.
OVERLAP = 10


class ListTooLongError(Exception):
    """The vendor's page numbers end before the list does. One sentence that says what to do."""


@dataclass(frozen=True, order=True)
class Page:
    """A page to ask for: number `number` (from 1) of pages with `size` records."""

    number: int
    size: int

    @property
    def start(self) -> int:
        """The place of its first record in the list, from 0."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """The place behind its last record, if it is full."""
        return self.number * self.size


@dataclass(frozen=True, eq=False)
class PageRead:
    """A page that came. `page`: what the vendor says it is; `count`: how many records the list had then.

    `records` and `places`: of each record the hash of what it is (key and place) and of its place in the
    order.
    """

    page: Page
    count: int
    records: Hashes
    places: Hashes

    @property
    def is_first(self) -> bool:
        return self.page.start == 0

    @property
    def reached_the_end(self) -> bool:
        return self.page.end >= self.count

    @property
    def expected_records(self) -> int:
        """How many records it must have, by its own count."""
        return max(0, min(self.page.size, self.count - self.page.start))


@dataclass(frozen=True)
class Piece:
    """Pages that meet: one contiguous piece of the list, from place `start` to before `end`."""

    start: int
    end: int
    is_first: bool
    reached_the_end: bool


def pieces(read: Sequence[PageRead], *, places_needed: int) -> list[Piece]:
    """The contiguous pieces that the pages make, in the order of the list.

    `places_needed`: at how many different places of the order two pages must share records to meet.
    """
    # Between two moments records move by some places, hardly by more than a page.
    by_start = sorted((one for one in read if one.records.size), key=lambda one: one.page.start)
    parent = list(range(len(by_start)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for later, right in enumerate(by_start):
        for earlier in range(later - 1, -1, -1):
            left = by_start[earlier]
            if right.page.start - left.page.start > left.page.size + right.page.size:
                break
            if root(earlier) != root(later) and _meet(left, right, places_needed):
                parent[root(later)] = root(earlier)
    groups: dict[int, list[PageRead]] = {}
    for index, one in enumerate(by_start):
        groups.setdefault(root(index), []).append(one)
    found = [
        Piece(
            start=min(one.page.start for one in group),
            end=max(one.page.start + one.records.size for one in group),
            is_first=any(one.is_first for one in group),
            reached_the_end=any(one.reached_the_end for one in group),
        )
        for group in groups.values()
    ]
    return sorted(found, key=lambda piece: (piece.start, piece.end))


def is_whole(read: Sequence[PageRead], *, places_needed: int) -> bool:
    """Whether the pages are proven to hold every record that was there all the time."""
    if any(one.count == 0 and one.is_first for one in read):
        return True  # an empty list is one page and one moment
    return any(
        piece.is_first and piece.reached_the_end for piece in pieces(read, places_needed=places_needed)
    )


def next_pages(read: Sequence[PageRead], *, places_needed: int, largest: int) -> list[Page]:
    """The pages that join the pieces, from the first page to the end of the list; none once it is whole.

    `read` in the order of reading. Raises `ListTooLongError`.
    """
    if is_whole(read, places_needed=places_needed):
        return []
    found = pieces(read, places_needed=places_needed)
    wanted: list[Page] = []
    reach = found[0].end if found and found[0].is_first else 0
    if not reach:
        wanted.append(Page(1, largest))
    for piece in found:
        if piece.is_first:
            reach = max(reach, piece.end)
        else:
            # Ends that should meet and do not, because records moved: half a page to either side of them.
            margin = _overlap(largest) if piece.start >= reach else largest // 2
            wanted += pages_over(min(reach, piece.start) - margin, piece.start + margin, largest)
            reach = max(reach, piece.end)
    if not any(piece.reached_the_end for piece in found):
        wanted += pages_over(
            reach - _overlap(largest), max(read[-1].count if read else 0, reach + 1), largest
        )
    return sorted(set(wanted))


def pages_over(start: int, end: int, largest: int, overlap: int = OVERLAP) -> list[Page]:
    """The pages, at most `largest` each, that cover the places from `start` to before `end`.

    Each has the last `overlap` places, at most a quarter page, of the one before.
    """
    found: list[Page] = []
    start, overlap = max(0, start), _overlap(largest, overlap)
    while not found or found[-1].end < end:
        found.append(_page_from(start, largest, overlap))
        start = found[-1].end - overlap
    return found


def _overlap(largest: int, wanted: int = OVERLAP) -> int:
    return min(wanted, largest // 4)


def _page_from(start: int, largest: int, overlap: int) -> Page:
    """The page that begins at `start` or shortly before it and reaches furthest."""
    best = Page(1, largest)
    for before in range(start // (largest + 1) + 1, LAST_PAGE):
        page = Page(before + 1, start // before)
        if start + page.size <= best.end:
            break  # smaller ones reach less far, even if they begin exactly at `start`
        if page.end > best.end:
            best = page
    if best.end <= start + overlap:
        raise ListTooLongError(
            f"The list goes on after record {start}, which is beyond the vendor's {LAST_PAGE} pages of "
            f"{largest}; begin with a later day, and ask the vendor for what is older."
        )
    return best


def different_records(keys: Iterable[Hashes]) -> int:
    """How many different keys there are in all pages."""
    every = list(keys)
    return int(np.unique(np.concatenate(every)).size) if every else 0


def _meet(left: PageRead, right: PageRead, places_needed: int) -> bool:
    _, in_left, _ = np.intersect1d(left.records, right.records, return_indices=True)
    return np.unique(left.places[in_left]).size >= places_needed
