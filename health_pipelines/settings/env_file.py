"""Adding settings to a `.env` file, or a place's, which has been written by people.

Belongs here: lines in the form in which python-dotenv reads them, and writing them without touching what is
there. Does not belong here: which settings (`commands/columns.py`), and what a file may hold
(`place_files.py`).
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from health_pipelines.settings.reading import SettingError

_PLAIN = re.compile(r"[A-Za-z0-9_.:/-]+")


def line(name: str, value: str) -> str:
    """`NAME=value`, quoted where it has to be."""
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'"


def add_settings(file: Path, settings: Mapping[str, str], comment: str) -> list[str]:
    """Append what `file` does not say yet, under a comment; returns the names that were added.

    All else stays byte for byte. The file is replaced as a whole, so that nobody reads half of it, and is for
    its owner alone if it is new. Raises `SettingError` with one sentence if that cannot be done; the file is
    as it was then.
    """
    try:
        # A link stays one.
        file = file.resolve()
        old = file.read_bytes() if file.exists() else b""
        before = _values(old)
        new = {name: value for name, value in settings.items() if before.get(name) != value}
        if not new:
            return []
        end = b"" if not old or old.endswith(b"\n") else b"\n"
        lines = [f"# {comment}", *(line(name, value) for name, value in new.items())]
        text = old + end + "".join(f"{one}\n" for one in lines).encode()
        if _values(text) != before | new:
            # A quote that is left open above, or a text that no line can say, such as ${...}.
            raise SettingError(f"{file} cannot be added to: the lines would be read as something else.")
        _replace(file, text)
    except OSError as error:
        raise SettingError(
            f"{file} cannot be written: {error.strerror or 'no access'}; make room, or make it writable."
        ) from None
    except UnicodeDecodeError:
        raise SettingError(f"{file} cannot be added to: it is not UTF-8 text.") from None
    return list(new)


def _values(text: bytes) -> dict[str, str | None]:
    # `newline`: as a file is opened by whoever reads it later.
    return dict(dotenv_values(stream=StringIO(text.decode("utf-8"), newline=None)))


def _replace(file: Path, text: bytes) -> None:
    # For its owner alone from the first byte on, then for whom the file was.
    handle, beside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        if file.exists():
            found = file.stat()
            Path(beside).chmod(found.st_mode & 0o7777)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(beside, found.st_uid, found.st_gid)
        Path(beside).replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(beside).unlink()
        raise
