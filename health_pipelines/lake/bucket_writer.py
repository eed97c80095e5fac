"""How one partition and its manifest are replaced in a bucket, so that a crash is never taken for tampering.

Belongs here: the order of writing, and what the next writer makes of what a dead one left. Does not belong
here: the same in a folder (`replacing.py`), and how an object is put (`object_store.py`).

No two objects are put at once, and what a dead writer had is gone with its machine. So the chain has two
lines for a partition, and these are the steps:

1. a line that *announces* the file to come: from here on the old version or the new one may stand;
2. the partition, on the condition that it is the version that this writer saw;
3. the manifest;
4. the line that says that it is in place: from here on nothing else may stand.

Whoever dies before 2 leaves the old version; whoever dies later, the new one. `verification.py` takes both
for well until the next writer of the day, who writes what is missing of a new version that stands; of a
writer on another machine, with which it has no lock in common, only once that has been silent for an hour. A
writer that another one overtook is refused at 2, or later if the other's partition took its place.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from health_pipelines.lake.chain import Link
from health_pipelines.lake.manifests import (
    NOTHING_KNOWN,
    Facts,
    Manifest,
    ManifestError,
    code_version,
    file_hash,
    text_hash,
)
from health_pipelines.lake.object_store import Kept
from health_pipelines.lake.replacing import Found, PartitionWriter, found_without_a_line
from health_pipelines.lake.store_problems import ChangedMeanwhileError
from health_pipelines.settings.clock import utc_now

if TYPE_CHECKING:
    from health_pipelines.lake.bucket_lake import BucketLake

_TRIES = 20
# A writer that announced a version so long ago does not put it in place any more.
_GIVEN_UP_AFTER = timedelta(hours=1)


class _SaidAlreadyError(Exception):
    """The next writer of the day saw that it is in place, and said so."""


class BucketWriter(PartitionWriter):
    """As `PartitionWriter`. Raises `ChangedMeanwhileError` where another machine wrote the day meanwhile, and
    `UnusableStoreError`; the partition is the old one or the new one then.
    """

    def _begin(self) -> None:
        self._bucket_lake = cast("BucketLake", self.lake)
        self._bucket, self._copies = self._bucket_lake.bucket, self._bucket_lake.copies
        self._key = self._bucket_lake.partition_key(self.table, self.day)
        self._manifest_key = self._bucket_lake.manifest_key(self.table, self.day)
        self._lines = self._bucket_lake.chain(self.table)
        self._stands = self._bucket.head(self._key)
        self._note = self._bucket.read(self._manifest_key)

    @property
    def target(self) -> Path:
        return super().target if self._stands is None else self._copies.whole(self.folder, self._stands)

    @property
    def current(self) -> Path | None:
        return None if self._stands is None else self.target

    @property
    def chain_head(self) -> str | None:
        return self._lines.head

    def replace(self, facts: Facts = NOTHING_KNOWN) -> None:
        # Looked at before anything is announced, which somebody would have to clear away.
        self._refuse_if_changed()
        manifest = self._announced(facts, self.candidate)
        # Asked once more: to put it takes long after that, and the condition holds for the rest.
        self._right.insist()
        self._stands = self._bucket.put(self._key, self.candidate, self._stands)
        self._copies.put(self.folder, self._stands, self.candidate)
        self._finish_with(manifest)

    def attest(self, facts: Facts) -> None:
        """Raises `ChangedMeanwhileError` while somebody else may put another version in place, too."""
        if any(map(self._may_be_alive, self._lines.of_day(self.day).open)):
            raise ChangedMeanwhileError(self._key)
        self._finish_with(self._announced(facts, self.target))

    def remove(self, reason: str) -> None:
        manifest = self._announced(Facts(reason=reason), None)
        self._right.insist()
        self._refuse_if_changed()
        # Without a condition, which stores do not know of this.
        self._bucket.delete(self._key)
        self._stands = None
        self._finish_with(manifest)

    def settle(self) -> None:
        """Write what a dead writer did not, of a version that it had put in place."""
        lines = self._lines.of_day(self.day)
        if not lines.open:
            return
        stands = None if self._stands is None else file_hash(self.target)
        of_it = next((link for link in reversed(lines.open) if link.file == stands), None)
        if of_it is None:
            return
        if self._note is not None and text_hash(self._note[0]) == of_it.manifest:
            self._say_it_is_in_place(of_it)
        elif (manifest := self._left_behind(of_it)) is not None:
            self._finish_with(manifest)
        elif not self._may_be_alive(of_it):
            # It is lost with its machine: nobody knows more than that.
            file = None if stands is None else self.target
            self._finish_with(self._announced(Facts(reason=of_it.final_reason), file))

    def end(self) -> None:
        """What was announced and is not in place is for the next writer to see."""
        self.discard()

    def forget_older_copies(self) -> None:
        self._copies.keep_only(self.folder, [] if self._stands is None else [self.target])

    def _may_be_alive(self, announced: Link) -> bool:
        """Whether its writer may be at it still; not if that took a lock among hosts, which is ours now."""
        is_recent = datetime.fromisoformat(announced.at) > utc_now() - _GIVEN_UP_AFTER
        return self._right.lock is None and is_recent

    def _refuse_if_changed(self) -> None:
        if _version(self._bucket.head(self._key)) != _version(self._stands):
            raise ChangedMeanwhileError(self._key)

    def _left_behind(self, link: Link) -> Manifest | None:
        """The manifest of that line, if its writer was on this machine."""
        with suppress(FileNotFoundError, ManifestError):
            text = self._pending.read_bytes()
            return Manifest.of_text(text) if text_hash(text) == link.manifest else None
        return None

    def _announced(self, facts: Facts, file: Path | None) -> Manifest:
        of_file, size = (file_hash(file), file.stat().st_size) if file else (None, 0)
        at, table = utc_now().isoformat(), str(self.table)
        made: list[Manifest] = []

        def line(number: int, head: str) -> Link:
            self._right.insist()
            made.append(Manifest(table, self.day, facts, of_file, size, at, code_version(), head))
            self._pending.write_text(made[-1].text)
            return Link.of_manifest(made[-1], number).announced

        with self.lake.alone_in(self.table):
            self._lines.add(at, lambda: self.lake.days(self.table), line)
        return made[-1]

    def _finish_with(self, manifest: Manifest) -> None:
        self._put_manifest(manifest.text.encode())
        self._say_it_is_in_place(Link.of_manifest(manifest, 0))
        self._pending.unlink(missing_ok=True)
        self._known = None

    def _put_manifest(self, text: bytes) -> None:
        seen = None if self._note is None else self._note[1]
        for _ in range(_TRIES):
            try:
                self._note = text, self._bucket.put(self._manifest_key, text, seen)
            except ChangedMeanwhileError:
                # By one who had the day before, or by one who has it since: whose partition stands?
                stands, seen = self._bucket.head(self._key), self._bucket.head(self._manifest_key)
                if _version(stands) != _version(self._stands):
                    raise
            else:
                return
        raise ChangedMeanwhileError(self._manifest_key)

    def _say_it_is_in_place(self, announced: Link) -> None:
        at = utc_now().isoformat()

        def line(number: int, head: str) -> Link:
            lines = self._lines.of_day(self.day)
            if lines.final is not None and lines.final.manifest == announced.manifest:
                raise _SaidAlreadyError
            if all(link.manifest != announced.manifest for link in lines.open):
                raise ChangedMeanwhileError(self._key)
            reason = announced.final_reason
            return replace(announced, number=number, at=at, previous=head, reason=reason)

        with self.lake.alone_in(self.table), suppress(_SaidAlreadyError):
            self._lines.add(at, tuple, line)

    def _looked_at(self) -> Found:
        if self._stands is None:
            return Found.NOTHING
        stands, lines = file_hash(self.target), self._lines.of_day(self.day)
        text = None if self._note is None else self._note[0]
        allowed = [link for link in (lines.final, *lines.open) if link is not None]
        if of_it := [link for link in allowed if link.file == stands]:
            is_known = text is not None and text_hash(text) == of_it[-1].manifest
            return Found.AS_LANDED if is_known and of_it[-1] is lines.final else Found.WITHOUT_MANIFEST
        if lines.final is not None:
            return Found.CHANGED
        return found_without_a_line(stands, text, self._lines, self.day)


def _version(kept: Kept | None) -> tuple[str | None, str | None] | None:
    return None if kept is None else (kept.e_tag, kept.version)
