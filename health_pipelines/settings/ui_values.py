"""What the settings of Dagster's UI are read as.

Belongs here: what people see there of addresses and owners. Does not belong here: every other setting
(`values.py`), and what is shown (`landing/asset_pages.py`).
"""

import re

from health_pipelines.settings.reading import SettingError, Variables
from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import HEALTH_DOCS_URL, HEALTH_OWNERS, HEALTH_UI_URL


class UiValues(Variables):
    """Every property raises `SettingError` when its variable is malformed."""

    @property
    def ui_url(self) -> str:
        """Without a slash at its end; empty if nobody said where the UI is."""
        return self._address(HEALTH_UI_URL, seen_by="alerts show it")

    @property
    def docs_url(self) -> str:
        """Of the folder with this project's pages, without a slash at its end; empty if nobody said where."""
        return self._address(HEALTH_DOCS_URL, seen_by="Dagster's UI shows it")

    @property
    def owners(self) -> tuple[str, ...]:
        """Of every asset, as Dagster takes them: e-mail addresses, and teams as `team:name`."""
        names = [name.strip() for name in self.optional(HEALTH_OWNERS).split(",") if name.strip()]
        for name in names:
            if not re.fullmatch(r"team:[A-Za-z0-9_-]+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", name):
                raise SettingError(
                    f"{HEALTH_OWNERS.name} is {self.optional(HEALTH_OWNERS)!r}, where {name!r} is neither an "
                    "e-mail address nor a team like team:data."
                )
        return tuple(dict.fromkeys(names))

    def _address(self, setting: Setting, *, seen_by: str) -> str:
        text = self.optional(setting).rstrip("/")
        if "@" in text:
            raise SettingError(f"{setting.name} may hold no user or password: {seen_by}.")
        if text and not re.fullmatch(r"https?://[^\s<>|?#]+", text):
            raise SettingError(f"{setting.name} is {text!r}, not a URL like https://host.")
        return text
