"""The chain of a table: one line for each time that a partition was put in place or removed, oldest first.

Belongs here: the file's lines and how one is added. Does not belong here: where the file is and who holds the
lock meanwhile (`partitions.py`), and what follows from a line (`verification.py`).

Each line holds the hash of the line before it, so that none can be changed or taken out without changing all
after it; the hash of the newest, the *head*, is told to Dagster with every landing, so that lines cannot be
taken off the end unnoticed either. The first line says which days stood there before the chain began.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from health_pipelines.lake.manifests import Manifest, text_hash

# Its name, in the folder of the table.
CHAIN = "_chain"
_TAIL = 1 << 14  # bytes, of which a line is some 400
# How the reason of a line begins that says what is about to be put in place, in a bucket.
_ANNOUNCED = "announced: "


class BrokenChainError(Exception):
    """A line is none. Says why, without a full stop."""


@dataclass(frozen=True)
class Link:
    """A line. `file`, `manifest`: hashes; `file` is None where the day was removed for a `reason`.

    `stood`: in the first line alone, the days (YYYY-MM-DD) that were there before.
    """

    number: int
    at: str
    previous: str | None
    day: str | None = None
    reason: str = ""
    file: str | None = None
    manifest: str | None = None
    stood: tuple[str, ...] = ()

    @property
    def is_announced(self) -> bool:
        """Whether it says what is about to be put in place, and not yet that it is."""
        return self.reason.startswith(_ANNOUNCED)

    @property
    def announced(self) -> "Link":
        """The same, as what is about to be."""
        return replace(self, reason=f"{_ANNOUNCED}{self.reason}")

    @property
    def final_reason(self) -> str:
        return self.reason.removeprefix(_ANNOUNCED)

    @property
    def line(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @property
    def hash(self) -> str:
        return text_hash(self.line)

    @classmethod
    def of_manifest(cls, manifest: Manifest, number: int) -> Self:
        """The line that says that its file is in place, or that the day was removed."""
        return cls(
            number,
            manifest.at,
            manifest.previous,
            manifest.day,
            manifest.facts.reason,
            manifest.file_hash,
            manifest.hash,
        )

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """Raises `BrokenChainError`."""
        try:
            found: dict[str, Any] = json.loads(line)
            link = cls(**{**found, "stood": tuple(found["stood"])})
        except (ValueError, TypeError, KeyError):
            raise BrokenChainError("it is no line of a chain") from None
        if link.line != line:
            raise BrokenChainError("it is not written as a chain's lines are")
        return link


@dataclass
class DayLines:
    """What the lines of one day say together; they are added oldest first.

    `final`: the newest of what was put in place, `before`: the one before it. `open`: what was announced
    later and never said to be in place, the oldest first: its writer is at it or died.
    """

    before: Link | None = None
    final: Link | None = None
    open: list[Link] = field(default_factory=list)

    def add(self, link: Link) -> None:
        if link.is_announced:
            self.open.append(link)
            return
        self.before, self.final = self.final, link
        # A line closes its own announcement and those before it: a later one may be in place by now.
        own = [place for place, one in enumerate(self.open) if one.manifest == link.manifest]
        self.open = self.open[own[0] + 1 :] if own else []


class ChainReader(ABC):
    """The lines of a chain, wherever they are."""

    @property
    @abstractmethod
    def exists(self) -> bool: ...

    @property
    @abstractmethod
    def head(self) -> str | None:
        """The hash of the newest line, whatever it says; None where there is none."""

    @abstractmethod
    def _lines(self) -> Iterator[bytes]:
        """Those that were written to their end, the oldest first."""

    def links(self, problems: list[str]) -> Iterator[Link]:
        """All lines that can be read, the oldest first. A last line that was not written to its end is none.

        `problems` gets a sentence, without a full stop, for each that is no line or does not follow from the
        one before it.
        """
        head = None
        for number, line in enumerate(self._lines()):
            try:
                link = Link.of_line(line)
            except BrokenChainError as error:
                problems.append(f"line {number + 1}: {error}")
            else:
                if link.previous != head or link.number != number:
                    problems.append(f"line {number + 1} does not follow from the one before it")
                yield link
            head = text_hash(line)

    def of_day(self, day: str) -> DayLines:
        """What its lines say that can be read."""
        found, mark = DayLines(), _mark(day)
        for line in self._lines():
            with suppress(BrokenChainError):
                if mark in line:
                    found.add(Link.of_line(line))
        return found

    @property
    def stood(self) -> frozenset[str]:
        """The days that stood there before the chain began."""
        try:
            first = next(self._lines(), None)
            return frozenset(Link.of_line(first).stood if first else ())
        except BrokenChainError:
            return frozenset()


@dataclass(frozen=True)
class Chain(ChainReader):
    """The chain in `file`, which may not be there yet."""

    file: Path

    @property
    def exists(self) -> bool:
        return self.file.exists()

    @property
    def head(self) -> str | None:
        line, _ = self._end()
        return text_hash(line) if line else None

    def newest(self, day: str) -> Link | None:
        """What was said last of a day. Of a chain that was changed: None, if its line cannot be read."""
        mark, found = _mark(day), None
        for line in self._lines():
            if mark in line:
                found = line
        try:
            return Link.of_line(found) if found else None
        except BrokenChainError:
            return None

    def begin(self, at: str, stood: Collection[str]) -> str:
        """Make it ready for a line, and return its head.

        A chain that is not there begins, with the days that `stood` there before; what half a line a crash
        left behind is cut off.
        """
        with self.file.open("ab") as file:
            last, half = self._end()
            if half:
                os.truncate(self.file, self.file.stat().st_size - half)
            if last is None:
                last = Link(0, at, None, stood=tuple(sorted(stood))).line
                file.write(last)
                file.flush()
                os.fsync(file.fileno())
        return text_hash(last)

    def add(self, manifest: Manifest) -> str:
        """Add the line of a manifest, whose `previous` is the head; durable when this returns the new one."""
        last, _ = self._end()
        assert last is not None, "begin() comes first"
        link = Link.of_manifest(manifest, number_of(last) + 1)
        with self.file.open("ab") as file:
            file.write(link.line)
            file.flush()
            os.fsync(file.fileno())
        return link.hash

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.file.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield line
        except FileNotFoundError:
            return

    def _end(self) -> tuple[bytes | None, int]:
        """The last line, and how many bytes of half a line come after it."""
        try:
            with self.file.open("rb") as file:
                size, want = os.fstat(file.fileno()).st_size, _TAIL
                while True:
                    file.seek(max(0, size - want))
                    tail = file.read(want)
                    whole, _, half = tail.rpartition(b"\n")
                    if whole and (want >= size or b"\n" in whole):
                        return whole.rpartition(b"\n")[2] + b"\n", len(half)
                    if want >= size:
                        return None, len(tail)
                    want *= 2
        except FileNotFoundError:
            return None, 0


def _mark(day: str) -> bytes:
    """What a line of that day has."""
    return f'"day":"{day}"'.encode()


def number_of(line: bytes) -> int:
    """Of a line that somebody changed: 0, which the next reader tells."""
    try:
        return Link.of_line(line).number
    except BrokenChainError:
        return 0
