"""Why a file could not be written or read, as one sentence that says what to do.

Belongs here: telling a full disk, one that is only read, too few open files and too little memory from each
other, whoever met it: Python, SQLite, Polars or DuckDB; and replacing a small file. Does not belong here:
what is done then, and the files of partitions (`partitions.py`). No sentence says a value of a row.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    pl = loaded_when_used("polars")
    duckdb = loaded_when_used("duckdb")

NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
_TO_DO = {
    NO_ROOM: "make room on the disk of HEALTH_DATA_DIR",
    frozenset({errno.EROFS, errno.EACCES, errno.EPERM}): "let this user write into HEALTH_DATA_DIR",
    frozenset({errno.EMFILE, errno.ENFILE}): "allow this service more of them (LimitNOFILE, ulimit -n)",
    frozenset({errno.ENOMEM}): "give this service more memory, or ask for fewer days at once",
}
# What libraries say where they do not give the number, in small letters.
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "failed to offload": errno.ENOSPC,
    "file too large": errno.EFBIG,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,
    "permission denied": errno.EACCES,
    "too many open files": errno.EMFILE,
    "unable to open database file": errno.EIO,
    "disk i/o error": errno.EIO,
}
_ABOUT_PARQUET = "parquet: "
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
# More than a footer and a block.
_MORE_BYTES = 1 << 20


class UnusableDiskError(Exception):
    """Files could not be written or read, or memory was short. One sentence without values of the rows."""


@contextmanager
def naming_the_disk() -> Iterator[None]:
    """Turn what is about the disk of the data into `UnusableDiskError`; the rest passes through."""
    try:
        yield
    except Exception as error:
        sentence = about_the_disk(error)
        if sentence is None:
            raise
        # `from None`: the words of libraries may quote what was being written.
        raise UnusableDiskError(sentence) from None


def about_the_disk(error: Exception) -> str | None:
    """What is wrong and what to do, or None if the error is about something else."""
    number = error_number(error)
    if number is None:
        return None
    what = os.strerror(number)
    if do := next((do for numbers, do in _TO_DO.items() if number in numbers), None):
        return f"{what}: {do}; nothing else has to be repaired."
    if isinstance(error, OSError) and error.filename:
        what = f"{what}: {os.fsdecode(error.filename)}"
    return f"{what}; check the disk of HEALTH_DATA_DIR."


def error_number(error: Exception) -> int | None:
    """The operating system's number for it, whoever wraps it; None if it is about something else."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    said = str(error).partition("\n")[0]
    found = _OS_ERROR.search(said)
    if isinstance(error, OSError):
        # Those that Polars raises have the number in their words alone.
        return error.errno or (int(found[1]) if found else errno.EIO)
    if isinstance(error, pl.exceptions.PolarsError):
        # What begins so is about the file, and never about what is to be written into it.
        about_a_file = said.startswith(_ABOUT_PARQUET)
        return (int(found[1]) if found else errno.EIO) if about_a_file else None
    for kind, otherwise in _kinds().items():
        if isinstance(error, kind):
            return next((number for words, number in _WORDS.items() if words in said.lower()), otherwise)
    return None


def _kinds() -> dict[type[Exception], int | None]:
    """Which exceptions say it in words, and what those are about that say it in others."""
    return {
        duckdb.OutOfMemoryException: errno.ENOMEM,
        duckdb.IOException: errno.EIO,
        # A commit that finds no room is not called an error of files.
        duckdb.TransactionException: None,
        sqlite3.Error: None,
    }


@contextmanager
def saying_why_not_written(file: Path) -> Iterator[None]:
    """Polars writes a Parquet file in this block; if it does not say what kept it from it, the disk is asked.

    It says `transport error` of a footer that found no room. Raises `OSError` then, and else what it said.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        if error_number(error) == errno.EIO:
            with file.open("ab") as unfinished:
                unfinished.write(bytes(_MORE_BYTES))
        raise


def replace_text(file: Path, text: str) -> None:
    """Make `text` the file's content: the old one or the new one, whole, and durable when this returns.

    One process at a time. Raises `OSError`, and then the file is as it was and nothing is left beside it.
    """
    beside = file.with_name(f".{file.name}.new")
    try:
        with beside.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    sync(file.parent)


def sync(path: Path) -> None:
    """What was written of a file, or the names in a folder, is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
