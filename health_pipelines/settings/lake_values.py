"""What the settings about a lake in object storage are read as.

Belongs here: the URL, and how much of it may lie here as copies. Does not belong here: credentials, which are
where the cloud's own tools look for them, and the storage itself (`lake/object_store.py`).
"""

import re

from health_pipelines.settings.reading import SettingError, Variables
from health_pipelines.settings.variables import HEALTH_LAKE_COPIES_GB, HEALTH_LAKE_URL

_SCHEMES = ("s3", "gs", "az")
_URL = re.compile(r"([a-z0-9]+)://([A-Za-z0-9][A-Za-z0-9._-]*)((?:/[A-Za-z0-9_.=-]+)*)/?")
GIGABYTE = 10**9


class LakeValues(Variables):
    """Every property raises `SettingError` when its variable is malformed."""

    @property
    def lake_url(self) -> str | None:
        """Such as `s3://bucket/prefix`, without a slash at its end; None where the lake is a folder."""
        text = self.optional(HEALTH_LAKE_URL)
        if not text:
            return None
        found = _URL.fullmatch(text)
        # The text is not shown where it may hold a password or a key.
        shown = "with a user, a query or a fragment" if set("@?#") & set(text) else repr(text)
        if found is None or any(part in (".", "..") for part in found[3].split("/")):
            raise SettingError(
                f"{HEALTH_LAKE_URL.name} is {shown}; it has the form s3://bucket/prefix, with letters, "
                "digits, and - _ . = in the names, and no credentials."
            )
        if found[1] not in _SCHEMES:
            raise SettingError(
                f"{HEALTH_LAKE_URL.name} is {shown}; it begins with s3://, gs:// or az://, and a folder is "
                "set by HEALTH_DATA_DIR."
            )
        return text.rstrip("/")

    @property
    def most_bytes_of_copies(self) -> int:
        """How much of a lake at a URL may lie below the data folder as copies."""
        return self.whole_number(HEALTH_LAKE_COPIES_GB) * GIGABYTE
