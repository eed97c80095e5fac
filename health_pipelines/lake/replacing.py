"""How one partition and the manifest beside it are replaced, so that a crash is never taken for tampering.

Belongs here: the order of writing, and what the next writer makes of what a dead one left. Does not belong
here: where partitions are and who may write (`partitions.py`), and what a manifest says (`manifests.py`).

The order, each step durable before the next:

1. the candidate, and beside it `.manifest`, the manifest to come with the hash of the file to come;
2. a line in the table's chain: from here on the new version is the one that landed;
3. the candidate takes the partition's name, which is the moment for readers;
4. `.manifest` takes the manifest's name.

Whoever dies before 2 leaves the old version and what nobody owns. Whoever dies later leaves a `.manifest`
that the chain knows: the next writer of the day carries out what is missing, and `verification.py` says so
until then.
"""

import shutil
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.lake.chain import CHAIN, Chain, ChainReader
from health_pipelines.lake.disk import sync
from health_pipelines.lake.manifests import (
    NOTHING_KNOWN,
    Facts,
    Manifest,
    ManifestError,
    code_version,
    file_hash,
    text_hash,
)
from health_pipelines.settings.clock import utc_now

if TYPE_CHECKING:
    from health_pipelines.lake.alone import Right
    from health_pipelines.lake.partitions import Lake, Table

# Engines that read the folder as a table pass over names with an underscore or a dot.
MANIFEST, PENDING_MANIFEST, CANDIDATE = "_manifest.json", ".manifest", ".candidate"
WORK_FILES = (PENDING_MANIFEST, CANDIDATE, ".download", ".beside", ".spill")


class Found(Enum):
    """What stands where a partition is to be put, by its manifest and the chain."""

    NOTHING = "nothing"
    AS_LANDED = "as landed"
    # By the chain it is what landed, or nobody ever said what did: its manifest has to be written.
    WITHOUT_MANIFEST = "without a manifest"
    CHANGED = "changed"


class PartitionWriter:
    """The right to replace one partition, and the work files beside it (hidden from readers).

    `replace`, `attest` and `remove` raise `LockLostError` if the right is lost, and change nothing then.
    """

    def __init__(self, lake: "Lake", table: "Table", day: str, right: "Right") -> None:
        self.lake = lake
        self._right = right
        self.table = table
        self.day = day
        self.folder = folder = lake.work_folder(table, day)
        self.download = folder / ".download"
        self.candidate = folder / CANDIDATE
        # For whoever makes another candidate of it.
        self.beside = folder / ".beside"
        self._manifest = folder / MANIFEST
        self._pending = folder / PENDING_MANIFEST
        self._spill = folder / ".spill"
        self._known: Found | None = None
        self._begin()

    def _begin(self) -> None:
        self._chain = Chain(self.lake.table_folder(self.table) / CHAIN)

    @property
    def target(self) -> Path:
        """The partition's file, to be read."""
        return self.folder / f"{self.table.name}.parquet"

    @property
    def current(self) -> Path | None:
        """The partition as it stands, if it ever landed."""
        return self.target if self.target.exists() else None

    @property
    def chain_head(self) -> str | None:
        """The hash of the newest line of the table's chain, for Dagster to remember."""
        return self._chain.head

    @property
    def found(self) -> Found:
        """Whether the partition is what was landed. Reads the file once."""
        if self._known is None:
            self._known = self._looked_at()
        return self._known

    def replace(self, facts: Facts = NOTHING_KNOWN) -> None:
        """Put the candidate in the partition's place: durable when this returns, never half done.

        `facts`: what the manifest is to say of it.
        """
        # Asked for before as well: another host would have removed the candidate.
        self._right.insist()
        sync(self.candidate)
        self._announce(facts, self.candidate)
        self.candidate.replace(self.target)
        self._finish()

    def attest(self, facts: Facts) -> None:
        """Give the partition that stands a manifest; the file stays as it is."""
        self._announce(facts, self.target)
        self._finish()

    def remove(self, reason: str) -> None:
        """Take the partition away for a stated reason; its manifest stays to say so."""
        self._announce(Facts(reason=reason), None)
        self.target.unlink(missing_ok=True)
        self._finish()

    def settle(self) -> None:
        """Carry out what a writer that failed or died had announced in the chain, if it can be."""
        try:
            text = self._pending.read_bytes()
            manifest = Manifest.of_text(text)
        except (FileNotFoundError, ManifestError):
            return
        announced = self._chain.newest(self.day)
        if announced is None or announced.manifest != text_hash(text):
            return
        if manifest.file_hash is None:
            self.target.unlink(missing_ok=True)
        elif not has_hash(self.target, manifest.file_hash):
            if not has_hash(self.candidate, manifest.file_hash):
                return
            self.candidate.replace(self.target)
        self._finish()

    def end(self) -> None:
        """Leave nothing behind, also after a failure: what the chain says has landed must land."""
        self.settle()
        self.discard()

    def forget_older_copies(self) -> None:
        """Where readers get copies: leave none on this machine but of what stands."""

    def discard(self) -> None:
        """Remove the work files."""
        for file in (self.download, self.candidate, self.beside, self._pending):
            file.unlink(missing_ok=True)
        shutil.rmtree(self._spill, ignore_errors=True)

    def _announce(self, facts: Facts, file: Path | None) -> None:
        """Everything of the new version is on the disk, and the chain says that it is the one."""
        of_file, size = (file_hash(file), file.stat().st_size) if file else (None, 0)
        table_folder, at = self._chain.file.parent, utc_now().isoformat()
        with self.lake.alone_in(self.table):
            self._right.insist()
            is_first = not self._chain.exists
            previous = self._chain.begin(at, self.lake.days(self.table) if is_first else ())
            if is_first:
                sync(table_folder)
            manifest = Manifest(str(self.table), self.day, facts, of_file, size, at, code_version(), previous)
            self._pending.write_text(manifest.text)
            sync(self._pending)
            sync(self._pending.parent)
            self._chain.add(manifest)

    def _finish(self) -> None:
        self._pending.replace(self._manifest)
        sync(self.target.parent)
        self._known = None

    def _looked_at(self) -> Found:
        if not self.target.exists():
            return Found.NOTHING
        stands, newest = file_hash(self.target), self._chain.newest(self.day)
        text = self._manifest.read_bytes() if self._manifest.exists() else None
        if newest is not None:
            if newest.file != stands:
                return Found.CHANGED
            is_known = text is not None and text_hash(text) == newest.manifest
            return Found.AS_LANDED if is_known else Found.WITHOUT_MANIFEST
        return found_without_a_line(stands, text, self._chain, self.day)


def found_without_a_line(stands: str, manifest: bytes | None, chain: ChainReader, day: str) -> Found:
    """What a partition with the hash `stands` is, of whose day the chain says nothing."""
    if manifest is None:
        # Of what stood before there was a chain nobody knows better.
        is_old = not chain.exists or day in chain.stood
        return Found.WITHOUT_MANIFEST if is_old else Found.CHANGED
    try:
        says = Manifest.of_text(manifest).file_hash
    except ManifestError:
        return Found.CHANGED
    return Found.WITHOUT_MANIFEST if says == stands else Found.CHANGED


def has_hash(file: Path, wanted: str | None) -> bool:
    """Whether the file is there and has those bytes."""
    try:
        return wanted is not None and file_hash(file) == wanted
    except FileNotFoundError:
        return False
