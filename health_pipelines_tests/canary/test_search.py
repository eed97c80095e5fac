"""The search itself: a word that is planted is found, wherever and however it is written."""

import base64
import gzip
import json
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus

import polars as pl
import psycopg
import pytest

from health_pipelines_tests.canary.search import Hit, Search, watching
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

WORD = "Zébulon O'Canary&Söhne"
SEARCH = Search({"name": WORD, "number": "907-65-4329"})


def zstd(content: bytes, folder: Path) -> bytes:
    file = folder / "packed.csv.zst"
    pl.DataFrame({"column": [content.decode()]}).write_csv(
        file, include_header=False, quote_style="never", compression="zstd"
    )
    packed = file.read_bytes()
    file.unlink()
    return packed


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "upper case": lambda text: text.decode().upper().encode(),
    "JSON": lambda text: json.dumps(text.decode()).encode(),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text.decode())).encode(),
    "repr": lambda text: repr([text.decode()]).encode(),
    "SQL": lambda text: text.decode().replace("'", "''").encode(),
    "HTML": lambda text: text.decode().replace("&", "&amp;").replace("'", "&#x27;").encode(),
    "URL": lambda text: quote_plus(text.decode()).encode(),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "hex": lambda text: text.hex().encode(),
    "base64": base64.b64encode,
    "base64 for URLs": base64.urlsafe_b64encode,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zlib in base64 in JSON": lambda text: json.dumps(
        {"cursor": base64.b64encode(zlib.compress(text)).decode()}
    ).encode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_word_is_found_however_it_is_written(way: str, before: str) -> None:
    content = b"noise \x00\xff " + WAYS[way](f"{before} {WORD} and so on".encode()) + b" more noise"
    assert {hit.word for hit in SEARCH.in_bytes("here", content)} == {"name"}


def test_a_word_is_found_in_zstd(tmp_path: Path) -> None:
    text = f"{WORD} and {' '.join(str(number * number) for number in range(999))}"
    packed = zstd(text.encode(), tmp_path)
    assert WORD.encode() not in packed
    assert Hit("here", "name", "zstd > plain") in SEARCH.in_bytes("here", b"noise" + packed)
    in_json = json.dumps({"body": base64.b64encode(packed).decode()}).encode()
    assert Hit("here", "name", "base64 > zstd > plain") in SEARCH.in_bytes("here", in_json)


@pytest.mark.parametrize(
    "content", [b"", b"Zebulon O'Canary", b"907-65-432", b"\x28\xb5\x2f\xfd no frame", b"\x1f\x8b\x08"]
)
def test_nothing_is_found_where_nothing_is(content: bytes) -> None:
    assert SEARCH.in_bytes("here", content) == set()


def test_a_hit_says_nothing_of_the_word() -> None:
    [hit] = SEARCH.in_bytes("here", b"SSN 907-65-4329.")
    assert hit == Hit("here", "number", "plain")


@pytest.mark.parametrize(
    "plant",
    [
        lambda folder: (folder / "compute.err").write_text(f"line\n{WORD}\n"),
        lambda folder: (folder / f"{WORD}.log").touch(),
        lambda folder: (
            (folder / "deep" / "er").mkdir(parents=True)
            or (folder / "deep" / "er" / "note.json").write_text(json.dumps({"x": WORD}))
        ),
        lambda folder: pl.DataFrame({"a": [WORD] * 50}).write_parquet(folder / "rows.parquet"),
    ],
    ids=["a log", "a name", "a deep file", "a Parquet file"],
)
def test_a_word_is_found_in_a_folder(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    assert SEARCH.in_folder(tmp_path) == set()
    plant(tmp_path)
    assert {hit.word for hit in SEARCH.in_folder(tmp_path)} == {"name"}
    # As if it were the lake's; the name of a file is looked at in any case.
    assert all(hit.where.startswith("name of") for hit in SEARCH.in_folder(tmp_path, left_out=lambda _: True))


def test_a_word_is_found_across_two_pages_of_an_event_log(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    for offset in range(0, 4200, 300):
        file.unlink(missing_ok=True)
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA page_size = 512")
            database.execute("CREATE TABLE event_logs (event TEXT)")
            database.execute("INSERT INTO event_logs VALUES (?)", ("x" * offset + WORD + "y" * 4000,))
        database.close()
        assert any(hit.where == "events.db, event_logs" for hit in SEARCH.in_folder(tmp_path)), offset


def test_a_word_is_found_in_postgres(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE kvs (key text, value text, body bytea)")
        connection.execute("INSERT INTO kvs VALUES ('a', 'nothing', ''), ('b', %s, '')", (json.dumps(WORD),))
        connection.execute("CREATE SCHEMA lake")
        connection.execute("CREATE TABLE lake.bodies AS SELECT %s::bytea AS body", (WORD.encode(),))
    assert {hit.where for hit in SEARCH.in_postgres(postgres_url)} == {"public.kvs", "lake.bodies"}
    found = SEARCH.in_postgres(postgres_url, left_out=lambda schema: schema == "lake")
    assert {hit.where for hit in found} == {"public.kvs"}


def test_a_word_is_found_among_the_arguments_of_a_process_and_in_a_file_that_goes_again(
    tmp_path: Path,
) -> None:
    child = [sys.executable, "-c", "import sys; sys.stdin.read()", f"--password={WORD}"]
    with watching(SEARCH, tmp_path) as watch:
        with subprocess.Popen(child, stdin=subprocess.PIPE) as process:
            wait_for(lambda: process.pid in watch.processes, "a look at the process")
            assert process.stdin is not None
            process.stdin.close()
        (tmp_path / "spill").write_text(WORD)
        wait_for(lambda: watch.files, "a look at the file")
        (tmp_path / "spill").unlink()
    assert {hit.where for hit in watch.hits} == {"arguments of a process", "temporary spill"}
