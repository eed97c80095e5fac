"""Libraries that are loaded when something of them is first used.

Belongs here: how a module names a large library without loading it. Does not belong here: which module does.

The code server and every run load the definitions anew, and a command loads what it is made of: what few of
them need is not worth half a second each time. A module says it so, and keeps its annotations as text (`from
__future__ import annotations`), which would load the library otherwise:

    if TYPE_CHECKING:
        import polars as pl
    else:
        pl = loaded_when_used("polars")
"""

from importlib import import_module
from typing import Any


def loaded_when_used(name: str) -> Any:
    """Stands for the module of that name, which is imported when an attribute is first asked for.

    Not `importlib.util.LazyLoader`: in Python 3.11 two threads that ask at once can get half a module.
    """
    return _LoadedWhenUsed(name)


class _LoadedWhenUsed:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(import_module(self._name), attribute)
        # The next time Python finds it here and does not ask.
        setattr(self, attribute, found)
        return found
