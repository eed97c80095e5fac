"""Looks for words that were planted, in bytes of any kind: as they are, written otherwise, packed.

Belongs here: how a word may be hidden, and where bytes come from (folders, databases, processes). Does not
belong here: which words they are, and where they may be (`places.py`).
"""

import base64
import binascii
import html
import json
import re
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import polars as pl
import psycopg
from psycopg import sql

# Packed in packed in packed.
DEEPEST = 3
# Of what comes out of a pack, so that a bomb is none.
LARGEST = 1 << 26
# Long enough for something packed; a word that is only written so is looked for as it is (`_forms`).
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{32,}={0,2}")
_HEX = re.compile(rb"[0-9A-Fa-f]{32,}")
_GZIP, _ZLIB, _ZSTD = (
    re.compile(rb"\x1f\x8b\x08"),
    re.compile(rb"\x78[\x01\x5e\x9c\xda]"),
    b"\x28\xb5\x2f\xfd",
)
_PARQUET = b"PAR1"
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, order=True)
class Hit:
    """`where` a word was, which one (its name, not itself), and `how` it was written, the outermost first."""

    where: str
    word: str
    how: str


@dataclass(frozen=True)
class Search:
    """`words`: by name, each long and odd enough to be nowhere by chance."""

    words: Mapping[str, str]
    _forms: Mapping[bytes, tuple[str, str]] = field(init=False, repr=False)
    _any: "re.Pattern[bytes]" = field(init=False, repr=False)
    # Hashes of what had nothing in it: an event log says most things many times.
    _empty: set[int] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        forms = {
            form.lower(): (name, how)
            for name, word in self.words.items()
            # The plainest last: where two ways of writing agree it is the one that is told.
            # Bytes have a lower case only where they are ASCII.
            for spelled in (word.lower(), word.upper(), word)
            for how, form in reversed(list(_forms(spelled)))
        }
        object.__setattr__(self, "_forms", forms)
        longest_first = sorted(forms, key=len, reverse=True)
        object.__setattr__(self, "_any", re.compile(b"|".join(map(re.escape, longest_first))))

    def only(self, *names: str) -> "Search":
        """The same for some of the words."""
        return Search({name: self.words[name] for name in names})

    def in_bytes(self, where: str, content: bytes, how: str = "", depth: int = 0) -> set[Hit]:
        """Everything that is in there, whatever the case of its letters."""
        if (seen := hash((content, depth))) in self._empty:
            return set()
        hits = set()
        for found in self._any.finditer(content.lower()):
            name, way = self._forms[found[0]]
            hits.add(Hit(where, name, f"{how}{way}"))
        if depth < DEEPEST:
            for way, unpacked in _unpacked(content):
                hits |= self.in_bytes(where, unpacked, f"{how}{way} > ", depth + 1)
        if not hits:
            self._empty.add(seen)
        return hits

    def in_folder(self, folder: Path, *, left_out: Callable[[Path], bool] = lambda _: False) -> set[Hit]:
        """In names and contents of files, and in the rows of SQLite databases. `left_out` gets files."""
        hits = set()
        for path in sorted(folder.rglob("*")):
            shown = str(path.relative_to(folder))
            hits |= self.in_bytes(f"name of {shown}", shown.encode())
            if path.is_symlink() or not path.is_file() or left_out(path):
                continue
            with suppress(FileNotFoundError):
                content = path.read_bytes()
                hits |= self.in_bytes(shown, content)
                if content.startswith(b"SQLite format 3"):
                    hits |= self._in_sqlite(shown, path)
                if content.startswith(_PARQUET):
                    hits |= self._in_parquet(shown, path)
        return hits

    def in_postgres(self, url: str, *, left_out: Callable[[str], bool] = lambda _: False) -> set[Hit]:
        """In every row of every table, as text. `left_out` gets schemas."""
        hits = set()
        with psycopg.connect(url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for schema, table in tables:
                if left_out(schema):
                    continue
                rows = connection.execute(
                    sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, table))
                )
                for (row,) in rows:
                    hits |= self.in_bytes(f"{schema}.{table}", row.encode())
        return hits

    def _in_sqlite(self, shown: str, path: Path) -> set[Hit]:
        """A value may begin on one page of the file and end on another."""
        hits = set()
        with closing(sqlite3.connect(path)) as database:
            database.text_factory = bytes
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                for row in database.execute(f'SELECT * FROM "{table.decode()}"'):
                    for value in row:
                        content = value if isinstance(value, bytes) else str(value).encode()
                        hits |= self.in_bytes(f"{shown}, {table.decode()}", content)
        return hits

    def _in_parquet(self, shown: str, path: Path) -> set[Hit]:
        hits = set()
        for row in pl.read_parquet(path, glob=False, hive_partitioning=False).iter_rows():
            hits |= self.in_bytes(f"{shown}, rows", repr(row).encode())
        return hits


@dataclass
class Watch:
    """What was seen in passing. `hits`, and in how many places it looked."""

    hits: set[Hit] = field(default_factory=set)
    processes: set[int] = field(default_factory=set)
    files: set[Path] = field(default_factory=set)


@contextmanager
def watching(search: Search, temporary: Path) -> Iterator[Watch]:
    """Look at the arguments of all processes and at temporary files, again and again while the block runs.

    Not at environments: secrets are given to processes there or in files, and only the owner reads either.
    """
    watch, ended = Watch(), threading.Event()
    thread = threading.Thread(target=_look, args=(search, temporary, watch, ended), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join(60)


def _look(search: Search, temporary: Path, watch: Watch, ended: threading.Event) -> None:
    seen: set[bytes] = set()
    while not ended.wait(_PAUSE_SECONDS):
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                # Again each time: a process may change what it is called.
                arguments = (process / "cmdline").read_bytes()
                if arguments not in seen:
                    seen.add(arguments)
                    watch.hits |= search.in_bytes("arguments of a process", arguments)
                watch.processes.add(int(process.name))
        for file in temporary.rglob("*"):
            with suppress(OSError):
                if file.is_file() and file not in watch.files:
                    watch.hits |= search.in_bytes(f"temporary {file.name}", file.read_bytes())
                    watch.files.add(file)


def _forms(word: str) -> Iterator[tuple[str, bytes]]:
    """Ways in which a word is written, and their names."""
    text = word.encode()
    yield "plain", text
    yield "URL", quote(word, safe="").encode()
    yield "form", quote_plus(word).encode()
    yield "JSON", json.dumps(word)[1:-1].encode()
    yield "JSON in JSON", json.dumps(json.dumps(word)[1:-1])[1:-1].encode()
    yield "repr", repr(word)[1:-1].encode()
    yield "HTML", html.escape(word).encode()
    yield "SQL", word.replace("'", "''").encode()
    yield "UTF-16", word.encode("utf-16-le")
    yield "hex", text.hex().encode()
    for shift in range(3):
        # What is beside it changes the characters at its ends.
        coded = base64.b64encode(b"\0" * shift + text)
        kept = coded[(0, 2, 3)[shift] : len(coded) - (0, 3, 2)[(shift + len(text)) % 3]]
        yield "base64", kept
        yield "base64", kept.replace(b"+", b"-").replace(b"/", b"_")


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What is packed in there."""
    for found in _BASE64.finditer(content):
        text = found[0].rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        with suppress(binascii.Error):
            yield "base64", base64.b64decode(text[: len(text) - (len(text) % 4 == 1)] + b"==")
    for found in _HEX.finditer(content):
        yield "hex", bytes.fromhex(found[0][: len(found[0]) // 2 * 2].decode())
    for pattern, name, window in ((_GZIP, "gzip", 31), (_ZLIB, "zlib", 15)):
        for found in pattern.finditer(content):
            with suppress(zlib.error):
                yield name, zlib.decompressobj(window).decompress(content[found.start() :], LARGEST)
    start = content.find(_ZSTD)
    while start >= 0:
        yield from _zstd(content[start:])
        start = content.find(_ZSTD, start + 1)


def _zstd(content: bytes) -> Iterator[tuple[str, bytes]]:
    # No library of ours speaks it alone; polars does, for CSV of one column.
    with suppress(pl.exceptions.PolarsError, OSError):
        lines = pl.read_csv(content, has_header=False, separator="\x00", quote_char=None, infer_schema=False)
        yield "zstd", "\n".join(filter(None, lines.to_series().to_list())).encode()
