"""The chain of a table in a bucket: the same lines as in a folder, in one object.

Belongs here: reading it, and adding a line although nothing can be added to an object. Does not belong here:
what a line says (`chain.py`), and when one is added (`bucket_writer.py`).

The whole object is put anew, on the condition that it is the version that was read; whoever is refused reads
again and adds again.
"""

from collections.abc import Callable, Collection, Iterator

from health_pipelines.lake.chain import ChainReader, Link, number_of
from health_pipelines.lake.manifests import text_hash
from health_pipelines.lake.object_store import Bucket, Kept
from health_pipelines.lake.store_problems import ChangedMeanwhileError, UnusableStoreError
from health_pipelines.settings.variables import HEALTH_LAKE_URL

# Each means that somebody else added a line in the meantime.
_TRIES = 50


class BucketChain(ChainReader):
    """The chain in the object `key`, which may not be there yet. What was read is remembered until `read`."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._text: bytes | None = None
        self._kept: Kept | None = None
        self._is_read = False

    def read(self) -> None:
        """As it is now; one small call if it is what it was."""
        found = self._bucket.read(self._key, unless=self._kept)
        if found is not None:
            self._text, self._kept = found
        elif self._kept is None or self._bucket.head(self._key) is None:
            self._text, self._kept = None, None
        self._is_read = True

    @property
    def exists(self) -> bool:
        self._be_read()
        return self._text is not None

    @property
    def head(self) -> str | None:
        last = self._last
        return text_hash(last) if last else None

    def add(self, at: str, stood: Callable[[], Collection[str]], make: Callable[[int, str], Link]) -> Link:
        """Add the line that `make` makes of its number and of the head before it.

        A chain that is not there begins, with the days that `stood` there before. What `make` raises ends it,
        as when somebody else's line leaves nothing to be said.
        """
        for _ in range(_TRIES):
            self.read()
            begun = self._text or Link(0, at, None, stood=tuple(sorted(stood()))).line
            # Half a line can only come from elsewhere, as a copy of a folder's chain.
            begun = begun[: begun.rfind(b"\n") + 1]
            last = begun[begun.rstrip(b"\n").rfind(b"\n") + 1 :]
            link = make(number_of(last) + 1, text_hash(last))
            text = begun + link.line
            try:
                self._kept = self._bucket.put(self._key, text, self._kept)
            except ChangedMeanwhileError:
                self.read()
                # An answer was lost, and then somebody else added a line.
                if link.line in (self._text or b""):
                    return link
                continue
            self._text = text
            return link
        raise UnusableStoreError(
            f"{self._key} in {HEALTH_LAKE_URL.name} ({self._bucket.url}) is changed by others all the time; "
            "land again when less lands at once."
        )

    @property
    def _last(self) -> bytes | None:
        line = None
        for line in self._lines():  # noqa: B007 - the last one
            pass
        return line

    def _lines(self) -> Iterator[bytes]:
        self._be_read()
        for line in (self._text or b"").splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield line

    def _be_read(self) -> None:
        if not self._is_read:
            self.read()
