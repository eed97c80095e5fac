"""A change of records that a test orders: which records, and what becomes of them. Reading it, not doing it.

    {"list": "line_items", "insert": 2, "update": ["123"], "archive": [], "remove": ["7"],
     "vanish": ["8"], "reappear": ["9"],
     "set": {"status": "Arrived"}, "plant": {"123": {"undocumented": [1, 2]}}}

What vanishes is gone without a word anywhere, and may reappear as it was. `set` is what inserted and updated
records say from then on; `plant` makes records say something without having changed. Records are named by
their key (`id`; `appointment` for clinical notes), as text or number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from health_pipelines.sandbox.drchrono.kinds import LIST_NAMES, ListName

CHANGE_WORDS = frozenset(
    {"list", "insert", "update", "archive", "remove", "vanish", "reappear", "set", "plant"}
)


@dataclass(frozen=True)
class Change:
    """Records of one type, by their keys as text."""

    list: ListName | None = None
    """None: the type of the list that it happens to."""
    insert: int = 0
    update: tuple[str, ...] = ()
    archive: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    vanish: tuple[str, ...] = ()
    reappear: tuple[str, ...] = ()
    set: Mapping[str, object] = field(default_factory=dict)
    plant: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


def read_change(given: Mapping[str, object]) -> Change:
    """The change of a JSON object, whose other words are for somebody else; ValueError says what is wrong."""
    name, insert = given.get("list"), given.get("insert", 0)
    if name is not None and name not in LIST_NAMES:
        raise ValueError(f"'list' must be one of {', '.join(LIST_NAMES)}, not {name!r}")
    if isinstance(insert, bool) or not isinstance(insert, int) or insert < 0:
        raise ValueError("'insert' must be a whole number from 0 on")
    fields, planted = given.get("set", {}), given.get("plant", {})
    if not isinstance(fields, dict):
        raise ValueError("'set' must be an object of fields")
    if not isinstance(planted, dict) or not all(isinstance(one, dict) for one in planted.values()):
        raise ValueError("'plant' must be an object of keys, each with an object of fields")
    change = Change(
        list=name,
        insert=insert,
        update=_keys(given, "update"),
        archive=_keys(given, "archive"),
        remove=_keys(given, "remove"),
        vanish=_keys(given, "vanish"),
        reappear=_keys(given, "reappear"),
        set=fields,
        plant=planted,
    )
    struck = change.update or change.archive or change.remove or change.vanish or change.reappear
    if not (insert or struck or planted):
        raise ValueError("a change must insert, update, archive, remove, vanish, reappear or plant something")
    return change


def _keys(given: Mapping[str, object], word: str) -> tuple[str, ...]:
    keys = given.get(word, [])
    if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
        raise ValueError(f"'{word}' must be a list of keys")
    return tuple(str(key) for key in keys)
