"""When to poll a list: the first poll should find it done, because every poll costs a call of the quota.

Belongs here: what is learned from how long lists took. Does not belong here: where that is noted
(`pace_notes.py`), the waiting and the calls.

A poll that comes too early costs one of 500 calls an hour; one that comes late costs some seconds, and
nothing at all while other lists are prepared meanwhile. So the wait grows fast when a list was not done and
shrinks slowly while lists are: of a hundred polls about one comes too early.
"""

import math

from health_pipelines.drchrono.api.pace_notes import PaceNotes

FIRST_WAIT_SECONDS = 2.0
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.5, 600.0
_LATER, _SOONER = 1.5, 0.995
# One list that took very long is no reason to wait that long for all.
_MOST_AT_ONCE = 4.0


class Pace:
    """How long to wait before a list is polled, by record type and size of the page.

    What was learned is only a hint (see `PaceNotes`).
    """

    def __init__(self, notes: PaceNotes | None = None) -> None:
        self._notes = notes
        noted = notes.read() if notes else {}
        self._waits = {kind: _bounded(seconds) for kind, seconds in noted.items() if not math.isnan(seconds)}
        self._learned: set[str] = set()

    def wait_seconds(self, record_type: str, page_size: int) -> float:
        """The age at which a list is polled for the first time. It may change while one waits."""
        return self._waits.get(_kind(record_type, page_size), FIRST_WAIT_SECONDS)

    def was_done(self, record_type: str, page_size: int) -> None:
        """A first poll found its list done."""
        self._set(record_type, page_size, self.wait_seconds(record_type, page_size) * _SOONER)

    def was_pending(self, record_type: str, page_size: int, age_seconds: float, *, first: bool) -> float:
        """A poll found its list, of that age, not done. Returns the age for this list's next poll.

        Never less than the others wait for their first: what they taught counts for it, too. Only the
        `first` poll of a list teaches the others; one list that hangs must not slow them all down.
        """
        known = self.wait_seconds(record_type, page_size)
        next_age = max(age_seconds * _LATER, known)
        if first:
            self._set(record_type, page_size, next_age)
        return next_age

    def was_late(self, record_type: str, page_size: int, age_seconds: float) -> None:
        """A list was done at last, at that age, after polls that came too early."""
        known = self.wait_seconds(record_type, page_size)
        self._set(record_type, page_size, min(max(known, age_seconds), known * _MOST_AT_ONCE))

    def save(self) -> None:
        """Remember what was learned for the next sweep."""
        if self._notes is not None:
            # Of all else another process may know more by now.
            self._notes.add({kind: self._waits[kind] for kind in self._learned})

    def _set(self, record_type: str, page_size: int, seconds: float) -> None:
        kind = _kind(record_type, page_size)
        self._waits[kind] = _bounded(seconds)
        self._learned.add(kind)


def _kind(record_type: str, page_size: int) -> str:
    # Overlapping pages differ a little in size; those of about a size take about as long.
    return f"{record_type}, up to {1 << max(page_size - 1, 0).bit_length()} records"


def _bounded(seconds: float) -> float:
    return min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)
