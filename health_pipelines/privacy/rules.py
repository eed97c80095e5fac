"""Which columns of one table are left out, and of which a keyed hash lands.

Belongs here: that as a value, from the settings. Does not belong here: doing it (`partition_file.py`), and
whether such tables and columns exist (`vendors/privacy_names.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field

from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS, folded
from health_pipelines.lake.partitions import Table
from health_pipelines.privacy.keyed_hash import keyed_hash
from health_pipelines.settings import ColumnName, Settings


@dataclass(frozen=True)
class Rules:
    """Names as `folded` has them: DuckDB does not tell `SSN` from `ssn`, and here nobody should.

    `key`: of the hashes; empty if nothing is hashed.
    """

    left_out: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()
    key: bytes = field(default=b"", repr=False)

    def __bool__(self) -> bool:
        return bool(self.left_out or self.hashed)

    def leaves_out(self, name: str) -> bool:
        return folded(name) in self.left_out

    def hashes(self, name: str) -> bool:
        return folded(name) in self.hashed

    @property
    def fingerprint(self) -> str:
        """Another one for other rules, and for another key; empty without any."""
        if not self:
            return ""
        said = [sorted(self.left_out), sorted(self.hashed), self.key and keyed_hash(self.key, "fingerprint")]
        return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:16]


def rules_of(settings: Settings, table: Table) -> Rules:
    """Raises `SettingError` if the settings are malformed, or the key is missing."""
    left_out = _columns(settings.left_out_columns, table)
    hashed = _columns(settings.hashed_columns, table) - left_out
    key = settings.hash_key.reveal().encode() if hashed else b""
    return Rules(left_out, hashed, key)


def _columns(names: Collection[ColumnName], table: Table) -> frozenset[str]:
    own = {folded(one.column) for one in names if one.is_of(table.source, table.name)}
    return frozenset(own - set(LINEAGE_COLUMNS))
