"""What a visit report calls its columns, which DexCare does not publish.

Belongs here: that as a value. Does not belong here: the settings that say it (`variables.py`).
"""

from dataclasses import dataclass

# The first fields of `VisitColumns`, in their order.
VISIT_COLUMN_ROLES = ("key", "time", "status", "wait_from", "wait_until")


@dataclass(frozen=True)
class VisitColumns:
    """What a visit report calls its columns; None where nobody knows.

    `guessed`: the fields that no setting says, so that what landed had to.
    """

    key: str | None = None
    time: str | None = None
    status: str | None = None
    wait_from: str | None = None
    wait_until: str | None = None
    guessed: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where the names come from, as the end of a sentence."""
        if not self.guessed:
            return "those that the settings name"
        said = ", ".join(f"{name} is {getattr(self, name)}" for name in self.guessed)
        return f"those that the settings name, or a guess from what landed ({said})"
