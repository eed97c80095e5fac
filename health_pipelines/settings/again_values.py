"""What the settings of asking again are read as: the weekly look-back, and comparing all ids with a vendor.

Belongs here: those of values.py that decide what is asked for once more. Does not belong here: the list of
settings (`variables.py`), and how a value is read (`reading.py`).
"""

from health_pipelines.settings.reading import Value, Variables
from health_pipelines.settings.variables import (
    DEXCARE_WEEKLY_LOOKBACK_DAYS,
    DRCHRONO_RECONCILE,
    DRCHRONO_RECONCILE_MOST_CALLS,
)


class AgainValues(Variables):
    """Part of `Settings`."""

    dexcare_weekly_lookback_days = Value(Variables.whole_number_or_0, DEXCARE_WEEKLY_LOOKBACK_DAYS)
    """0 if no night differs from the others."""

    @property
    def drchrono_reconcile(self) -> tuple[str, ...]:
        """Names of record types, or `all`; which there are is known to `drchrono/reconciliation/`."""
        return tuple(name.strip() for name in self.optional(DRCHRONO_RECONCILE).split(",") if name.strip())

    drchrono_reconcile_most_calls = Value(Variables.whole_number, DRCHRONO_RECONCILE_MOST_CALLS)
