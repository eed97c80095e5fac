"""Keyed hashes (HMAC-SHA-256), in Python and in SQL, and the key that an installation makes for itself.

Belongs here: how they are made. Does not belong here: what is hashed.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.lake.locks import locked

if TYPE_CHECKING:
    import duckdb

_BLOCK = 64
# What file systems without hard links say, which are of one host.
_HAS_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
# What a hashed value begins with, so that it is seen for what it is, and not hashed again.
MARK = "hmac:"


class LostKeyError(Exception):
    """There are hashes and no key. One sentence that says what to do."""


def keyed_hash(key: bytes, text: str) -> str:
    """64 hexadecimal digits."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def hashed_value(key: bytes, text: str) -> str:
    """What a column has instead of its value."""
    return MARK + keyed_hash(key, text)


def prepare_sql(connection: duckdb.DuckDBPyConnection, name: str, key: bytes) -> None:
    """Make the SQL function `name(text)`, which says what `keyed_hash` says."""
    whole = hashlib.sha256(key).digest() if len(key) > _BLOCK else key
    padded = whole.ljust(_BLOCK, b"\0")
    # In variables: an error may quote a statement.
    for part, pad in (("inner", 0x36), ("outer", 0x5C)):
        blob = "".join(f"\\x{byte ^ pad:02x}" for byte in padded)
        connection.execute(f"SET VARIABLE {name}_{part} = '{blob}'::BLOB")
    inner = f"unhex(sha256(getvariable('{name}_inner') || encode(text)))"
    connection.execute(
        f"CREATE OR REPLACE TEMP MACRO {name}(text) AS sha256(getvariable('{name}_outer') || {inner})"
    )


def own_key(folder: Path) -> bytes:
    """The key in `folder`, which is made if there is none: random, and readable by its owner alone.

    Raises `LostKeyError` if hashes were made with one that is gone.
    """
    file = folder / "key"
    try:
        return bytes.fromhex(file.read_text().strip())
    except FileNotFoundError:
        pass
    private_folder(folder)
    with locked(folder, wait=True):
        if file.exists():
            return bytes.fromhex(file.read_text().strip())
        if any(folder.glob("*.jsonl")):
            raise LostKeyError(
                f"{file} is gone, without which nobody knows whom {folder} says to be erased; restore it "
                "from a backup."
            )
        beside = folder / f".key.{secrets.token_hex(8)}"
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as made:
                made.write(secrets.token_hex(32) + "\n")
                made.flush()
                os.fsync(made.fileno())
            # The first of many hosts wins, between which the lock of a folder does not hold: what one of them
            # has hashed with its key must not lose it. A link replaces nothing.
            with suppress(FileExistsError):
                os.link(beside, file)
        except OSError as error:
            if error.errno not in _HAS_NO_LINKS:
                raise
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    return own_key(folder)


def private_folder(folder: Path) -> None:
    """Make it, for its owner alone whatever the umask."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
