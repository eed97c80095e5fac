"""Whether a partition is still what was landed, by its bytes, its manifest and the chain.

Belongs here: what is compared, what each difference is called, and its sentence. Does not belong here: how a
partition gets its manifest (`replacing.py`), and what Dagster knows of it (`landing/adoption.py`). Nothing is
healed or written here; files are read a piece at a time, and of a table two lines a day are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from health_pipelines.lake.chain import DayLines, Link
from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.lake.manifests import LANDED, Manifest, ManifestError, text_hash
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.replacing import CANDIDATE, PENDING_MANIFEST, has_hash
from health_pipelines.settings.postgres_address import PostgresError


class State(StrEnum):
    """Stable names, for scripts."""

    AS_LANDED = "as_landed"
    # Landed by a version that wrote none; the next landing of the day makes one.
    WITHOUT_MANIFEST = "without_manifest"
    # A process died while it put the day in place; the next landing of the day carries it out.
    UNFINISHED = "unfinished"
    BEING_WRITTEN = "being_written"
    CHANGED = "changed"
    MISSING = "missing"
    EXTRA = "extra"
    MANIFEST_CHANGED = "manifest_changed"
    MANIFEST_MISSING = "manifest_missing"
    CHAIN_BROKEN = "chain_broken"
    UNREADABLE = "unreadable"

    @property
    def is_well(self) -> bool:
        return self in (State.AS_LANDED, State.WITHOUT_MANIFEST, State.UNFINISHED, State.BEING_WRITTEN)


@dataclass(frozen=True)
class Finding:
    """`day`: None for what is about the table. `says`: what is wrong and what to do, in one sentence."""

    table: str
    day: str | None
    state: State
    says: str = ""


_AGAIN = "land the day again, or restore it from a backup, and find out who writes into the lake"
_LOOKS = 5
_AWAY = "move it out of the lake, as engines read it as rows"


@dataclass
class TableVerification:
    """One look at a table of the lake.

    `days`: every day that is there or was ever landed. `broken`: what is wrong with the chain, in sentences
    without a full stop.
    """

    lake: Lake
    table: Table
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chain = self.lake.chain(self.table)
        self._lines: dict[str, DayLines] = {}
        self._stood: frozenset[str] = frozenset()
        self._hashes: set[str] = set()
        for link in self._chain.links(self.broken):
            self._hashes.add(link.hash)
            if link.day is None:
                self._stood = frozenset(link.stood)
            else:
                self._lines.setdefault(link.day, DayLines()).add(link)
        there = self.lake.known_days(self.table)
        self.days = sorted({*self._lines, *self._stood, *there})
        if not self._chain.exists and any(self._manifest(day) is not None for day in there):
            self.broken.append("the chain is gone, while there are manifests")

    def knows(self, head: str) -> bool:
        """Whether a line has this hash, such as the one that Dagster remembers as the newest."""
        return head in self._hashes

    def removed(self, day: str) -> bool:
        """Whether the day was taken away for a stated reason."""
        final = self._lines.get(day, DayLines()).final
        return final is not None and final.file is None

    def rewritten(self, day: str) -> bool:
        """Whether what stands was put there for another reason than a landing."""
        final = self._lines.get(day, DayLines()).final
        return final is not None and final.reason != LANDED

    def of_table(self) -> Iterator[Finding]:
        """What is not about a day: the chain, and files that are no partition."""
        for what in self.broken:
            says = (
                f"{self.table}: {what}; restore the chain from a backup, or let a new one begin "
                "(docs/evidence.md), and find out who writes into the lake."
            )
            yield Finding(str(self.table), None, State.CHAIN_BROKEN, says)
        for file in self.lake.strange_files(self.table):
            says = f"{file} is no partition that landed; {_AWAY}."
            yield Finding(str(self.table), None, State.EXTRA, says)

    def of_day(self, day: str) -> Finding:
        """Compare a day. Takes time with its size; waits for nobody."""
        finding = self._compared(day, self._lines.get(day, DayLines()))
        if finding.state.is_well or not (self.lake.has_copies or self._work(day).is_dir()):
            return finding
        # A landing may have come in between: once more, while nobody can write the day.
        try:
            with self.lake.alone_with(self.table, day):
                return self._again(day)
        except LockedElsewhereError:
            return Finding(str(self.table), day, State.BEING_WRITTEN)
        except PostgresError:
            # Whether another host is at it nobody knows then; a lake is looked at without its database, too.
            return self._again(day)

    def _again(self, day: str) -> Finding:
        for _ in range(_LOOKS):
            chain = self.lake.chain(self.table)
            finding = self._compared(day, chain.of_day(day))
            # In a bucket others may write all the same: what was read belongs together if nobody did.
            if finding.state.is_well or self.lake.chain(self.table).head == chain.head:
                break
        return finding

    def _compared(self, day: str, lines: DayLines) -> Finding:
        try:
            no_lines = lines.final is None and not lines.open
            state, what = self._of_no_line(day) if no_lines else self._of_lines(day, lines)
        except OSError as error:
            what = f"cannot be read ({error.strerror}); look at the disk, then restore it from a backup"
            state = State.UNREADABLE
        return Finding(str(self.table), day, state, f"{self.table} {day} {what}." if what else "")

    def _of_lines(self, day: str, lines: DayLines) -> tuple[State, str]:
        stands = self.lake.partition_hash(self.table, day)
        manifest = self._manifest(day)
        says, pending = _hash_of(manifest), _hash_of(_read(self._work(day) / PENDING_MANIFEST))
        link, before = lines.final, lines.before
        # Of what stood before the chain nobody knows the hash.
        is_older_than_the_chain = before is None and day in self._stood
        if lines.open:
            is_known = (link is None and (is_older_than_the_chain or stands is None)) or stands in (
                *((link.file,) if link else ()),
                *(one.file for one in lines.open),
            )
            if is_known:
                return _of_announced(stands, says, lines)
            link = link or lines.open[-1]
        assert link is not None, "a day with lines has one of the two"
        if stands == link.file:
            return _of_its_manifest(says, pending, link)
        is_the_old_one = is_older_than_the_chain or stands == (before.file if before else None)
        if link.file is None:
            return _of_removed(pending, link, is_the_old_one=is_the_old_one)
        if (
            is_the_old_one
            and link.manifest in (pending, says)
            and has_hash(self._work(day) / CANDIDATE, link.file)
        ):
            return State.UNFINISHED, (
                "stands as it was: a process died while it put a new version in place, which lies beside "
                "it; the next landing of the day puts it there"
            )
        if stands is None:
            return State.MISSING, f"landed on {link.at[:10]} and is gone; {_AGAIN}"
        return _changed(link.at, self._what_is(day, stands, manifest))

    def _of_no_line(self, day: str) -> tuple[State, str]:
        stands, manifest = self.lake.partition_hash(self.table, day), self._manifest(day)
        if stands is None:
            known = "it stood there when the chain began" if day in self._stood else "its manifest is there"
            return State.MISSING, f"is gone, while {known}; {_AGAIN}"
        if manifest is not None:
            return self._of_its_own_manifest(day, stands, manifest)
        if not self._chain.exists or day in self._stood:
            return State.WITHOUT_MANIFEST, ""
        return State.EXTRA, f"never landed: {self._what_is(day, stands)}; {_AWAY}"

    def _of_its_own_manifest(self, day: str, stands: str, manifest: bytes) -> tuple[State, str]:
        """Of a day that no line is about."""
        try:
            says = Manifest.of_text(manifest)
        except ManifestError:
            return State.MANIFEST_CHANGED, f"has a manifest that nobody can read; {_AGAIN}"
        if (says.table, says.day) != (str(self.table), day):
            return State.EXTRA, f"never landed: it is a copy of {says.table} {says.day}; {_AWAY}"
        if says.file_hash != stands:
            return _changed(says.at, self._what_is(day, stands, manifest))
        return State.CHAIN_BROKEN, (
            f"has a manifest that the chain does not know: lines were taken off the chain; {_AGAIN}"
        )

    def _what_is(self, day: str, stands: str, manifest: bytes | None = None) -> str:
        """What a file is that should not be there, if any chain of the lake knows it.

        `manifest`: the one beside it, which the chain does not know.
        """
        for table in [self.table, *(one for one in self.lake.tables() if one != self.table)]:
            for link in self.lake.chain(table).links([]):
                if link.file == stands and (table, link.day) == (self.table, day):
                    return f"it is an older version, of {link.at[:10]}"
                if link.file == stands:
                    return f"it is {table} {link.day}"
        if manifest is None:
            return "nothing says where it is from"
        try:
            fits = Manifest.of_text(manifest).file_hash == stands
        except ManifestError:
            fits = False
        return (
            "its manifest fits it and is not in the chain, so both were changed together or lines were taken "
            "off the chain"
            if fits
            else "its bytes are others"
        )

    def _work(self, day: str) -> Path:
        return self.lake.work_folder(self.table, day)

    def _manifest(self, day: str) -> bytes | None:
        return self.lake.manifest_text(self.table, day)


def _of_announced(stands: str | None, says: str | None, lines: DayLines) -> tuple[State, str]:
    """Of a file that is what stood, or what its writer said would: in a bucket, or after a crash there."""
    final = lines.final
    if final is not None and says not in (final.manifest, *(one.manifest for one in lines.open)):
        return _of_its_manifest(says, None, final)
    if (final.file if final else None) == stands:
        return State.UNFINISHED, (
            "stands as it was: a process is putting another version in place, or died before it did; if none "
            "is at work, land the day again"
        )
    return State.UNFINISHED, (
        "has landed, and the chain does not say so yet: a process is at it, or died in between; the next "
        "landing of the day writes it"
    )


def _of_its_manifest(says: str | None, pending: str | None, link: Link) -> tuple[State, str]:
    """Of a file that is what its line says. `says`, `pending`: hashes of the manifests that are there."""
    if says == link.manifest:
        return State.AS_LANDED, ""
    if pending == link.manifest:
        return State.UNFINISHED, (
            "has landed, and its manifest is behind: a process died in between; the next landing of the day "
            "writes it"
        )
    state, what = (
        (State.MANIFEST_MISSING, "is gone") if says is None else (State.MANIFEST_CHANGED, "was changed")
    )
    return state, f"is what landed, but its manifest {what}; land the day again, which writes it"


def _of_removed(pending: str | None, link: Link, *, is_the_old_one: bool) -> tuple[State, str]:
    """Of a file that stands where one was removed for a reason."""
    if pending == link.manifest and is_the_old_one:
        return State.UNFINISHED, (
            f"is being removed ({link.reason}): a process died in between; the next writer of the day ends it"
        )
    return State.EXTRA, f"was removed ({link.reason}) on {link.at[:10]}, and a file is there again; {_AWAY}"


def _changed(at: str, what: str) -> tuple[State, str]:
    return State.CHANGED, f"is not what landed on {at[:10]}: {what}; {_AGAIN}"


def _hash_of(text: bytes | None) -> str | None:
    return None if text is None else text_hash(text)


def _read(file: Path) -> bytes | None:
    """A small file; None if there is none."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
