"""The page of all settings, `docs/settings.md`, made from the list of them.

Belongs here: how the list is told. Does not belong here: the list (`variables.py`). `make settings-page`
writes the page; a test compares it.
"""

import sys
from collections.abc import Sequence

from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import ALL_SETTINGS

_GROUPS = {
    "This project": ("HEALTH_",),
    "DexCare": ("DEXCARE_",),
    "DexCare: what your visit reports call their columns": ("DEXCARE_AVR_",),
    "DrChrono": ("DRCHRONO_",),
    "Dagster's storage": ("DAGSTER_",),
    "Publishing to a database": ("PUBLISH_",),
    "Alerts": ("ALERT_",),
}
_HEAD = """# Settings

Every setting is an environment variable, or a line of a file `.env` in the folder where a command is started;
in an installation with places, a line of the place's file ([places.md](places.md)). What a change does to
days that have landed is in [operations.md](operations.md#what-changing-a-setting-does).

A secret may be a file, as orchestrators mount them: set the variable of that name with `_FILE` behind it,
such as `DEXCARE_SERVICE_KEY_FILE`, to the file's path. The file is read whenever the secret is needed, so
that a replaced one counts at once; that of PostgreSQL when a process starts. Secrets are marked with *.
"""


def page() -> str:
    """In Markdown."""
    parts = [_HEAD]
    for title, prefixes in _GROUPS.items():
        parts.append(f"## {title}\n\n| Variable | Default | Meaning |\n| --- | --- | --- |")
        parts[-1] += "".join(f"\n{_row(setting)}" for setting in _of(prefixes)) + "\n"
    return "\n".join(parts)


def _of(prefixes: Sequence[str]) -> list[Setting]:
    """Those whose longest prefix among all groups is one of these."""
    every = [prefix for group in _GROUPS.values() for prefix in group]
    return [
        setting
        for setting in ALL_SETTINGS
        if max((one for one in every if setting.name.startswith(one)), key=len) in prefixes
    ]


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else ""
    return f"| `{setting.name}`{' *' if setting.secret else ''} | {default} | {setting.meaning} |"


if __name__ == "__main__":
    sys.stdout.write(page())
