"""A value that shows itself to nobody by accident.

Belongs here: the wrapper. Does not belong here: where secrets come from (`values.py`, `secret_file.py`).
"""


class Secret:
    """A key or token. It shows itself to `reveal()` only: not in a repr, a log, a format or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")
