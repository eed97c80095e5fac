"""What a setting is: the name of an environment variable, its default and its meaning.

Belongs here: that as a value. Does not belong here: which there are (`variables.py`), and how they are read.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One environment variable. `default` is None where there is none that could be right.

    A `secret` may also be in a file, as orchestrators mount them, which the variable `file_name` then names.
    """

    name: str
    default: str | None
    meaning: str
    secret: bool = False

    @property
    def file_name(self) -> str:
        return f"{self.name}_FILE"

    @property
    def variables(self) -> tuple[str, ...]:
        """Every environment variable that can set it."""
        return (self.name, self.file_name) if self.secret else (self.name,)
