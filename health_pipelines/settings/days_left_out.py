"""Days that somebody means to be without, as `HEALTH_DAYS_LEFT_OUT` names them.

Belongs here: what a part of that setting means. Does not belong here: what follows from it
(`landing/holes.py`).
"""

from dataclasses import dataclass
from datetime import date

from health_pipelines.settings.reading import SettingError
from health_pipelines.settings.variables import HEALTH_DAYS_LEFT_OUT


@dataclass(frozen=True)
class LeftOut:
    """Days that somebody means to be without, of one table or of all (`table` None), both ends included."""

    first: date
    last: date
    table: str | None = None

    def covers(self, table: str, day: date) -> bool:
        return self.first <= day <= self.last and self.table in (None, table)


def left_out(text: str, whole: str) -> LeftOut:
    """`2026-03-01`, `2026-03-01..2026-03-05`, and either behind the name of a table and a colon.

    `whole`: all of the setting, for the sentence of `SettingError`.
    """
    table, colon, days = text.rpartition(":")
    first, _, last = days.partition("..")
    try:
        found = LeftOut(
            date.fromisoformat(first.strip()), date.fromisoformat((last or first).strip()), table or None
        )
    except ValueError:
        found = None
    if found is None or found.last < found.first or (colon and "/" not in table):
        raise SettingError(
            f"{HEALTH_DAYS_LEFT_OUT.name} is {whole!r}"
            + (f", where {text!r} is" if text != whole else ", which is")
            + " no day like 2026-03-01, no range like 2026-03-01..2026-03-05, and neither of them behind a "
            "table like dexcare/avr_retail:."
        )
    return found
