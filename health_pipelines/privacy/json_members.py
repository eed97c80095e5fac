"""Members of JSON texts that are left out or hashed, however deep they are.

Belongs here: one text. Does not belong here: which columns hold such texts (`partition_file.py`).

A vendor's record has objects in it, and what no column fits is kept as JSON. So a name that is left out is
left out there, too, at any depth; everything else stays as it came.
"""

from typing import Any

from health_pipelines.lake.csv_partition import folded
from health_pipelines.lake.json_as_it_came import JsonObject, JsonSpelling, read_as_it_came, text_of
from health_pipelines.privacy.keyed_hash import MARK, hashed_value
from health_pipelines.privacy.rules import Rules


def minimised(text: str | None, rules: Rules) -> str | None:
    """The text without what is left out, and with hashes instead of what is hashed.

    A text that is no JSON stays as it is. None, which is nothing at all, of one that is nested too deeply to
    be looked through.
    """
    if text is None:
        return None
    # An escape may hide a name.
    if not any(name in folded(text) for name in (*rules.left_out, *rules.hashed, "\\u")):
        return text
    try:
        value = read_as_it_came(text)
    except ValueError:
        return text
    except RecursionError:
        return None
    if not isinstance(value, list):  # a JsonObject is one, too
        return text
    return text_of(value) if _minimise(value, rules) else text


def _minimise(value: list[Any], rules: Rules) -> bool:
    """In place; whether anything was changed."""
    changed, todo = False, [value]
    while todo:
        one = todo.pop()
        if isinstance(one, JsonObject):
            kept = [(name, inner) for name, inner in one if not rules.leaves_out(name)]
            hashed = [(name, _hashed(inner, rules) if rules.hashes(name) else inner) for name, inner in kept]
            changed = changed or hashed != one
            one[:] = hashed
            todo += [inner for _, inner in hashed if isinstance(inner, list)]
        else:
            todo += [inner for inner in one if isinstance(inner, list)]
    return changed


def _hashed(value: Any, rules: Rules) -> Any:
    if value is None or value == "" or (isinstance(value, str) and value.startswith(MARK)):
        return value
    text = value if isinstance(value, str) and not isinstance(value, JsonSpelling) else text_of(value)
    return hashed_value(rules.key, text)
