"""Words that a test looks for afterwards, put into everything that a vendor tells of people.

Belongs here: which fields are about people, and how a word is put into them. Does not belong here: the fields
themselves. Pure; a name of nothing is planted nowhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMES_AND_TEXTS = re.compile(
    r"name|note|reason|comment|address|email|employer|initials|flag_text|^value$|^message|complaint", re.I
)
_NUMBERS = re.compile(r"social_security|phone|patient_id|chart_id|^referral_id|insurance_id", re.I)
# Addresses and names of the clinic's own, which tables of the warehouse are grouped by.
_NOBODYS = re.compile(r"region|department|clinic_name|practice_name|queue|plan_name|file_name|service", re.I)


@dataclass(frozen=True)
class Planted:
    """`name`: in names and free text. `number`: instead of numbers that stand for a person."""

    name: str = ""
    number: str = ""

    def into(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with both planted, at any depth. What is NULL, empty or no text stays as it is."""
        if not (self.name or self.number):
            return dict(row)
        return {field: self._planted(field, value) for field, value in row.items()}

    def _planted(self, field: str, value: Any) -> Any:
        if isinstance(value, dict):
            return self.into(value)
        if isinstance(value, list):
            return [self._planted(field, one) for one in value]
        if not isinstance(value, str) or not value or _NOBODYS.search(field):
            return value
        if self.number and _NUMBERS.search(field):
            return self.number
        return f"{value} {self.name}" if self.name and _NAMES_AND_TEXTS.search(field) else value


NOTHING = Planted()
