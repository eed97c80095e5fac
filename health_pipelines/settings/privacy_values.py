"""What the settings about patients' data are read as.

Belongs here: which columns are left out, hashed, or name a patient, and the key. Does not belong here: every
other setting (`values.py`), and what is done with these (`privacy`).
"""

from health_pipelines.settings.column_names import ColumnName, column_names
from health_pipelines.settings.reading import SettingError, Variables
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.variables import (
    HEALTH_HASH_KEY,
    HEALTH_HASHED,
    HEALTH_LEAVE_OUT,
    HEALTH_PATIENT_COLUMNS,
)

# In characters: `openssl rand -hex 32` makes 64. A short one is found by trying.
SHORTEST_KEY = 32


class PrivacyValues(Variables):
    """Every property raises `SettingError` when its variable is malformed."""

    @property
    def left_out_columns(self) -> tuple[ColumnName, ...]:
        """Columns that do not reach the lake."""
        return column_names(HEALTH_LEAVE_OUT, self.optional(HEALTH_LEAVE_OUT))

    @property
    def hashed_columns(self) -> tuple[ColumnName, ...]:
        """Columns of which a keyed hash reaches the lake."""
        named = column_names(HEALTH_HASHED, self.optional(HEALTH_HASHED), bundles=())
        left_out = set(self.left_out_columns)
        if both := [name for name in named if name in left_out]:
            raise SettingError(
                f"{HEALTH_HASHED.name} and {HEALTH_LEAVE_OUT.name} both name {both[0]}; remove it from one."
            )
        return named

    @property
    def hash_key(self) -> Secret:
        """Of those hashes. Raises `SettingError` if none is set, or one that is too short."""
        key = self.secret(HEALTH_HASH_KEY)
        if len(key.reveal()) < SHORTEST_KEY:
            raise SettingError(
                f"{HEALTH_HASH_KEY.name} has fewer than {SHORTEST_KEY} characters, which is too short; make "
                "one with `openssl rand -hex 32`."
            )
        return key

    @property
    def patient_columns(self) -> tuple[ColumnName, ...]:
        """Columns that name a row's patient, beside those of DrChrono, which are known."""
        return column_names(HEALTH_PATIENT_COLUMNS, self.optional(HEALTH_PATIENT_COLUMNS), bundles=())
