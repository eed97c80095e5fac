"""What is known of one landed partition, as the text of the note beside it.

Belongs here: the facts, the manifest as a value and as text, hashes. Does not belong here: when the note is
written (`replacing.py`), the order in which a table's manifests came (`chain.py`), and whether a partition is
still what its manifest says (`verification.py`). No patient's value is in a manifest.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

LANDED = "landed"


class ManifestError(Exception):
    """A text that is no manifest."""


@dataclass(frozen=True)
class Facts:
    """What whoever puts a partition in place knows of it; None and nothing for what it does not.

    `reason`: why it is put there: `landed`, or a word such as `erased`. `window`: from and to (UTC), as it
    was asked for. `vendor_count`: how many records the vendor says that there are, of `vendor_counted` (in
    words). `rows_sent`: how many came or stayed; `rows`: how many the file has. `keys`: how many different
    ones. `content_hash`: of what the vendor said. `report_ids`: of reports, lists or queries.
    """

    reason: str = LANDED
    window: str | None = None
    vendor_count: int | None = None
    vendor_counted: str | None = None
    rows_sent: int | None = None
    rows: int | None = None
    keys: int | None = None
    content_hash: str | None = None
    report_ids: Sequence[str] = ()


NOTHING_KNOWN = Facts()


@dataclass(frozen=True)
class Manifest:
    """`file_hash`: SHA-256 of the Parquet file's bytes; None of a partition that was removed for a reason.

    `at`: when it was put in place (aware, UTC). `previous`: the hash of the line before its own in the chain.
    """

    table: str
    day: str
    facts: Facts
    file_hash: str | None
    file_bytes: int
    at: str
    code_version: str
    previous: str | None

    @property
    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @property
    def hash(self) -> str:
        return text_hash(self.text.encode())

    @classmethod
    def of_text(cls, text: str | bytes) -> Self:
        """Raises `ManifestError`."""
        try:
            found: dict[str, Any] = json.loads(text)
            facts = Facts(**found.pop("facts"))
            datetime.fromisoformat(found["at"])
            return cls(**found, facts=facts)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ManifestError("it is no manifest") from None


def text_hash(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def file_hash(file: Path) -> str:
    """Of the bytes, a piece at a time. Raises `OSError`."""
    with file.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"


@cache
def code_version() -> str:
    """The package's version, and a hash of its modules: most of what lands was never a release."""
    package = Path(__file__).parents[1]
    found = hashlib.sha256()
    for module in sorted(package.rglob("*.py")):
        found.update(f"{module.relative_to(package)}\n".encode())
        found.update(module.read_bytes())
    return f"{version('health-pipelines')}+{found.hexdigest()[:12]}"
