"""Names that a target allows, made of names that it does not.

Belongs here: shortening. Does not belong here: how long a name may be (the target says). Pure.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

_DIGEST = 8


@dataclass(frozen=True)
class NameLimit:
    """How long a name may be: `length` bytes of UTF-8, or UTF-16 code units if not `in_bytes`."""

    length: int
    in_bytes: bool

    def allows(self, name: str) -> bool:
        return self._length(name) <= self.length

    def _length(self, name: str) -> int:
        return len(name.encode()) if self.in_bytes else len(name.encode("utf-16-le")) // 2


def shortened(name: str, limit: NameLimit, taken: Collection[str] = ()) -> str:
    """`name` if it is allowed; otherwise its beginning and a digest of the whole of it.

    The same name is always shortened alike, whatever others there are. In `taken` are the names that must
    stay apart from it; a clash with one of them by its digest is less likely than a broken disk, and then
    the digest is longer.
    """
    if limit.allows(name) and name not in taken:
        return name
    for digits in range(_DIGEST, 33):
        digest = hashlib.sha256(name.encode()).hexdigest()[:digits]
        for end in range(len(name), -1, -1):
            short = f"{name[:end]}_{digest}"
            if limit.allows(short):
                break
        if short not in taken:
            return short
    raise AssertionError("no digest keeps the names apart")
