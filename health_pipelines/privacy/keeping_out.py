"""A candidate on its way into the lake: what may not be there is taken out before it is the partition.

Belongs here: which rules hold at that moment, and the order of it. Does not belong here: how a file is
rewritten (`partition_file.py`), and removing what is in the lake already (`purge.py`).

This is done by the one writer of a partition, while it is: who is erased is read then and not when a landing
began. So one that began before an erasure brings nobody back; the erasure waits for it, and looks after it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from health_pipelines.lake.csv_partition import content_hash_of
from health_pipelines.lake.partitions import PartitionBusyError
from health_pipelines.lake.replacing import PartitionWriter
from health_pipelines.privacy.erased import Erased
from health_pipelines.privacy.keyed_hash import LostKeyError, keyed_hash
from health_pipelines.privacy.partition_file import (
    MINIMISED,
    ROWS_ERASED,
    ErasedRows,
    UnreadableFileError,
    erased_in,
    write_without,
)
from health_pipelines.privacy.patients import UnknownPatientColumnError, references
from health_pipelines.privacy.purge import names_of, purge_dependents
from health_pipelines.privacy.rules import Rules, rules_of
from health_pipelines.settings import Settings


class NotKeptError(Exception):
    """The candidate may not become the partition, which is as it was. One sentence, without values."""


def keep_out(writer: PartitionWriter, settings: Settings, *, is_minimised: bool = False) -> None:
    """Take out of the candidate what may not be in the lake. `is_minimised`: its columns are right already.

    Raises `NotKeptError`, and `SettingError` if the settings are malformed or a key is missing.
    """
    refuse_day_before_the_first(writer)
    rules = Rules() if is_minimised else rules_of(settings, writer.table)
    with telling_why():
        erased = erased_rows(writer, settings)
        taken = erased_in([writer.candidate], erased, writer.folder) if erased else {}
        found = taken.get(writer.candidate)
        if not rules and not found:
            return
        metadata = {ROWS_ERASED: str(found.rows)} if found else {}
        if rules:
            hash_ = kept_content_hash(writer, content_hash_of(writer.candidate) or "", settings)
            metadata |= {MINIMISED: rules.fingerprint, "content_hash": hash_}
        write_without(
            writer.candidate, writer.beside, rules, erased, metadata=metadata, keep_columns=is_minimised
        )
        if found and erased:
            names = names_of(writer.table, found.keys, rules_of(settings, writer.table))
            purge_dependents(writer.lake, writer.table, names, settings)
    writer.beside.replace(writer.candidate)


@contextmanager
def telling_why() -> Iterator[None]:
    """Whatever keeps anything from being kept out keeps the candidate out."""
    try:
        yield
    except (UnreadableFileError, UnknownPatientColumnError, LostKeyError, PartitionBusyError) as error:
        raise NotKeptError(str(error)) from None


def refuse_day_before_the_first(writer: PartitionWriter) -> None:
    """Raise `NotKeptError` for a day of which nothing is kept any more."""
    first = writer.lake.kept_from(writer.table)
    if first is not None and writer.day < first:
        raise NotKeptError(
            f"{writer.table} {writer.day} is before {first}, and of days before that nothing is kept since "
            "`erase --before`; set HEALTH_START_DATE to it, so that nobody asks for them."
        )


def erased_rows(writer: PartitionWriter, settings: Settings) -> ErasedRows | None:
    """Whose rows are kept out of the table as of now; None if nobody's are."""
    known = Erased.beside(writer.lake.root)
    hashes = known.hashes(writer.table.source)
    return ErasedRows(references(settings, writer.table), hashes, known.key) if hashes else None


def kept_content_hash(writer: PartitionWriter, content_hash: str, settings: Settings) -> str:
    """The hash of what is kept of an answer with this hash.

    Another one for other rules, so that a day is written again when they change. With a key: the hash of a
    whole answer would let somebody try what was left out of it.
    """
    rules = rules_of(settings, writer.table)
    if not rules:
        return content_hash
    key = Erased.beside(writer.lake.root).key
    return f"hmac-sha256:{keyed_hash(key, f'{rules.fingerprint}:{content_hash}')}"
