"""The eight record types of DrChrono's bulk lists: what each is called, asked for and made of.

Belongs here: one entry per record type, the kinds of its documented fields (`fields.json`) and what they
mean, in our words (`meanings.json`). Does not belong here: how a kind becomes columns of a file
(`drchrono/landing/columns.py`), and how a list is asked for (`api/client.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from health_pipelines.lake.partitions import Table

# text: keys too, because the same key is an integer in one list and a string in another.
# decimal: money and quantities, exact, never a float.
# time: a timestamp without a zone, read in the account's zone.
# json: lists and objects, and fields documented as text that are known to hold objects.
KINDS = ("text", "integer", "decimal", "boolean", "date", "time", "json")


@dataclass(frozen=True)
class RecordType:
    """One bulk list. `name` is also the name of the asset and of the table in the lake and in DuckDB."""

    name: str
    about: str  # half a sentence, for the asset's description
    key: str  # the field that tells records apart
    changed: str | None  # the field with the time of the last change; None: the vendor sends none
    page_size: int  # the most records the vendor puts on a page
    order_by: str
    extra_parameters: Mapping[str, str]

    @property
    def path(self) -> str:
        return f"/api/{self.name}_list"

    @property
    def table(self) -> Table:
        return Table("drchrono", self.name)

    @property
    def columns(self) -> Mapping[str, str]:
        """Every documented field with its kind (one of `KINDS`), the key first."""
        return _by_record_type("fields.json")[self.name]

    @property
    def meanings(self) -> Mapping[str, str]:
        """Every documented field with what it means, a sentence."""
        return _by_record_type("meanings.json")[self.name]


@cache
def _by_record_type(file: str) -> Mapping[str, Mapping[str, str]]:
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    return MappingProxyType({name: MappingProxyType(fields) for name, fields in json.loads(text).items()})


def _record_type(
    name: str,
    about: str,
    *,
    key: str = "id",
    changed: str | None = "updated_at",
    page_size: int = 1000,
    order_by: str = "id",
    extra_parameters: Mapping[str, str] = MappingProxyType({}),
) -> RecordType:
    return RecordType(name, about, key, changed, page_size, order_by, extra_parameters)


RECORD_TYPES: tuple[RecordType, ...] = (
    _record_type(
        "appointments",
        "every appointment, archived ones included",
        # The vendor does not sort this list by id.
        order_by="updated_at",
        # Without it a deleted appointment is never seen again: with it, it says so in `deleted_flag`.
        extra_parameters=MappingProxyType({"show_archived": "true"}),
    ),
    _record_type("patients", "patient charts with demographics and insurance"),
    _record_type("line_items", "billing lines of appointments"),
    _record_type("transactions", "payments and adjustments of billing lines"),
    _record_type("prescription_messages", "messages to and from pharmacies", changed=None),
    _record_type("eligibility_checks", "answers of insurers on a patient's coverage"),
    _record_type("clinical_notes", "the clinical note of each appointment", key="appointment", changed=None),
    _record_type("clinical_note_field_values", "single values filled into clinical notes", page_size=20_000),
)

# No bulk list but a plain one; without it nobody would know which line items are gone.
LINE_ITEM_DELETIONS = _record_type(
    "line_item_deletions",
    "billing lines that were deleted",
    key="billing_line_item_id",
    changed="created_at",
    order_by="",
)
