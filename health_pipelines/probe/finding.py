"""What was found out about an assumption, and what a setting has to be because of it. Pure.

Belongs here: the form of a finding, and whether a setting contradicts it. Does not belong here: any vendor's
assumptions. A finding holds names, counts and times of the vendor's, never a value of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from health_pipelines.settings import Settings
from health_pipelines.settings.variables import ALL_SETTINGS

_SETTINGS = {setting.name: setting for setting in ALL_SETTINGS}


@dataclass(frozen=True)
class Need:
    """What a setting has to be. `why`: what was seen, as the end of a sentence.

    `at_least`, `at_most`: of a whole number. `other_than`: a value that was seen to be wrong. `instead`: the
    setting that counts where this one is not set, if there is one.
    """

    setting: str
    why: str
    at_least: int | None = None
    at_most: int | None = None
    other_than: str | None = None
    instead: str | None = None

    @property
    def wish(self) -> str:
        """`DEXCARE_POLL_SECONDS at most 5`."""
        if self.other_than is not None:
            return f"{self.setting} other than {self.other_than}"
        how = f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}"
        return f"{self.setting} {how}"

    def contradicted(self, settings: Settings) -> str | None:
        """What the setting is, if it is not what it has to be. Raises `SettingError` if it cannot be read."""
        setting = _SETTINGS[self.setting]
        if self.other_than is not None:
            value = settings.optional(setting)
            if not value and self.instead:
                value = settings.text(_SETTINGS[self.instead])
            return value if value == self.other_than else None
        number = settings.whole_number(setting)
        is_low = self.at_least is not None and number < self.at_least
        is_high = self.at_most is not None and number > self.at_most
        return str(number) if is_low or is_high else None


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    `documented`: what the vendor's documents say, or that they are silent and what is assumed then. `holds`:
    whether that is so here; None if it was not seen, and `seen` says why. `follows`: what to do, or what this
    project does by itself; empty if nothing follows.
    """

    assumption: str
    documented: str
    seen: str
    holds: bool | None
    follows: str = ""
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class Assumption:
    """Something that is to be found out."""

    name: str
    documented: str

    def seen(
        self, what: str, *, holds: bool = True, follows: str = "", needs: Sequence[Need] = ()
    ) -> Finding:
        return Finding(self.name, self.documented, what, holds, follows, tuple(needs))

    def not_seen(self, why: str) -> Finding:
        return Finding(self.name, self.documented, why, None)
