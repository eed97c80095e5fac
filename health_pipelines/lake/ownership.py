"""Who may read what this project keeps on disk: its owner alone, and a group if one is set.

Belongs here: the permissions of files that will be made and of those that are there. Does not belong here:
which folder that is (`settings`), and what is in it.

Everything below the data folder is about patients: the lake, the warehouse, pages under way, Dagster's logs.
So it does not depend on the umask that a shell, a cron job or a container happens to have.
"""

import os
import shutil
import stat
from pathlib import Path

# What only the processes of this project have business with, whatever group may read the rest.
OWNERS_ALONE = ("dagster_home", "drchrono", "logs", "privacy", "probe.json", "runs", ".warehouse")


class OwnershipError(Exception):
    """Permissions could not be set. One sentence that says what to do."""


def keep_new_files_private(group: str | None) -> None:
    """Let what this process and its children make from now on be for the owner, and a group if one is set."""
    os.umask(0o077 if group is None else 0o027)


def close(folder: Path, group: str | None) -> int:
    """Take from everybody else what is below `folder` already; returns how many files and folders were open.

    The folder itself first, after which nobody else gets at the rest. With a `group`, new files inherit it.
    Does nothing where `folder` is closed, so that it may be called at every start. Raises `OwnershipError`.
    """
    try:
        if not folder.is_dir() or not (_is_open(folder, group) or _lacks_group(folder, group)):
            return 0
        opened = 0
        for path in (folder, *sorted(folder.rglob("*"))):
            if not path.is_symlink():
                opened += _close(path, None if _is_the_owners_alone(folder, path) else group)
    except (PermissionError, LookupError) as error:
        why = (
            f"there is no group {group}" if isinstance(error, LookupError) else "it belongs to somebody else"
        )
        raise OwnershipError(
            f"The permissions of {folder} cannot be set ({why}); check HEALTH_DATA_GROUP, and run "
            "`chown -R` and `chmod -R go=` on the folder."
        ) from None
    return opened


def open_paths(folder: Path, group: str | None) -> list[Path]:
    """What others than the owner, and the group, may read or write below `folder`."""
    return [
        path
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink()
        and _is_open(path, None if _is_the_owners_alone(folder, path) else group)
        # A folder that nobody else may enter closes what is in it.
        and not any(_bars_all(above) for above in path.parents if above.is_relative_to(folder))
    ]


def _is_the_owners_alone(folder: Path, path: Path) -> bool:
    return path != folder and path.relative_to(folder).parts[0] in OWNERS_ALONE


def _close(path: Path, group: str | None) -> bool:
    mode = stat.S_IMODE(path.stat().st_mode)
    was_open = _is_open(path, group)
    kept = mode & 0o700
    if group is not None:
        shutil.chown(path, group=group)
        kept |= (kept & 0o500) >> 3
        kept |= stat.S_ISGID if path.is_dir() else 0
    path.chmod(kept)
    return was_open


def _is_open(path: Path, group: str | None) -> bool:
    allowed = 0o700 if group is None else 0o750
    return bool(path.stat().st_mode & 0o777 & ~allowed)


def _lacks_group(folder: Path, group: str | None) -> bool:
    return group is not None and (folder.group() != group or not folder.stat().st_mode & stat.S_ISGID)


def _bars_all(folder: Path) -> bool:
    return not folder.stat().st_mode & 0o077
