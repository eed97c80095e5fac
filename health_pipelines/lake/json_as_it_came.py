"""JSON text read so that it can be written again as it came.

Belongs here: reading without losing a repeated name or the spelling of a number, and writing. Does not belong
here: what is changed in between.
"""

import json
from typing import Any


class JsonObject(list[tuple[str, Any]]):
    """A JSON object as it came: every field in order, also one that comes twice."""


class JsonSpelling(str):
    """A JSON number as it came."""

    __slots__ = ()


class _Written(str):
    """A piece of JSON text that is written already."""

    __slots__ = ()


def read_as_it_came(text: str | bytes) -> Any:
    """Raises `ValueError`, and `RecursionError` for one that is nested too deeply."""
    return json.loads(
        text,
        object_pairs_hook=JsonObject,
        parse_float=JsonSpelling,
        parse_int=JsonSpelling,
        parse_constant=JsonSpelling,
    )


def text_of(value: Any) -> str:
    """Compact JSON, ASCII only, numbers as they came. Not by recursion: values may be nested deeply."""
    parts: list[str] = []
    todo: list[Any] = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, _Written):
            parts.append(one)
        elif isinstance(one, JsonSpelling):
            parts.append(str(one))
        elif isinstance(one, JsonObject | list):
            named = isinstance(one, JsonObject)
            members: list[Any] = [_Written("{" if named else "[")]
            for place, member in enumerate(one):
                members.append(
                    _Written(("," if place else "") + (f"{json.dumps(member[0])}:" if named else ""))
                )
                members.append(member[1] if named else member)
            members.append(_Written("}" if named else "]"))
            todo += reversed(members)
        else:
            parts.append(json.dumps(one))
    return "".join(parts)
