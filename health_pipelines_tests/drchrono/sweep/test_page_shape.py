"""What is seen of a page when it comes spares reading it twice, and never changes what lands."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from health_pipelines.drchrono.landing import page_reading
from health_pipelines.drchrono.landing.day_files import write_day
from health_pipelines.drchrono.landing.page_reading import PageFile
from health_pipelines.drchrono.sweep.page_shape import (
    BOOLEAN,
    CONTAINER,
    HAZARDOUS_NUMBER,
    NUMBER,
    STRING,
    PageShape,
    is_spelled_by_duckdb,
    shape_of,
)
from health_pipelines.http.json_text import read_json
from health_pipelines.lake.csv_partition import content_hash_of
from health_pipelines_tests.drchrono.landing.test_day_files import (
    DAY,
    JSON,
    TRANSACTIONS,
    page,
    rows_of,
    staged,
)


def looked_at(came: PageFile) -> PageFile:
    """The page with the shape that a sweep sees of it."""
    return replace(came, shape=shape_of(read_json(came.path.read_bytes())["results"]))


def shape(records: str) -> PageShape | None:
    return shape_of(read_json(records.encode()))


def outcome(pages: Sequence[PageFile], folder: Path) -> tuple[Any, ...]:
    came = staged(TRANSACTIONS, pages, folder)
    write_day(came, None, DAY, folder / "all", report_id="sweep")
    return rows_of(folder / "all"), content_hash_of(folder / "all"), came.rows_by_day, came.drift


STRINGS = st.sampled_from(
    ["", "x", "007", "20.00", "19.99", "-0", "1e2", "5.", " 5", "é/\\\"\u2028\0", "2026-03-08", "null",
     "2026-03-08T02:30:00", "2026-03-08T02:30:00Z", "soon", "99999999999999.9999", "\ud800", '"a":1']
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, -0.0, 1, 7, 30, 1.1, 19.99, 0.1, 20.12345, 1e22, 1e-7, 10**18, 2**63, 10**30, float("nan")]
)
# Mostly every value of a field is of one type, which is what a shape is good for.
VALUES = st.sampled_from(
    [st.none(), st.none() | STRINGS, st.none() | NUMBERS, st.none() | st.booleans(), STRINGS,
     STRINGS | NUMBERS, st.none() | st.integers(-100, 100), JSON]
)  # fmt: skip


@st.composite
def regular_pages(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Pages whose records mostly have the same fields, each mostly with values of one type."""
    fields = draw(
        st.lists(
            st.sampled_from([*TRANSACTIONS.columns, "new", "Id", "a'\"b", "_extra"]), unique=True, max_size=20
        )
    )
    values = {field: draw(VALUES) for field in fields if field != "id"}
    pages = draw(st.lists(st.lists(st.fixed_dictionaries(dict(values)), max_size=5), min_size=1, max_size=3))
    keys = iter(range(100, 200))
    return [[{"id": draw(st.sampled_from([int, str]))(next(keys)), **one} for one in few] for few in pages]


@pytest.mark.slow
@settings(max_examples=10)
@given(pages=regular_pages())
@example(pages=[[{"id": 1, "adjustment": 0.1}], [{"id": "2", "adjustment": "0.1"}]])
@example(pages=[[{"id": 1, "adjustment": float("nan")}]])
@example(pages=[[{"id": "1", "new": 1}], [{"id": "2", "new": None}], []])
@example(
    pages=[[{"id": "1", "updated_at": "2026-03-08T02:30:00Z", "ins_name": "5"}, {"id": "2", "ins_name": 5}]]
)
def test_looking_at_pages_when_they_come_changes_nothing(pages: list[list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [page(folder, records, order) for order, records in enumerate(pages)]
        assert outcome(list(map(looked_at, files)), folder) == outcome(files, folder)


@pytest.mark.parametrize(
    "records",
    [
        '[{"id": 1, "adjustment": 1, "adjustment": 2}]',
        '[{"id": 1, "new": 1, "new": null}]',
        '[{"id": 1, "adjustment": null, "adjustment": null}]',
        '[{"id": 1, "posted_date": "2026-03-08", "posted_date": null}]',
        '[{"id": 1, "updated_at": "2026-03-08T02:30:00", "updated_at": null}]',
        '[{"id": 1, "claim_status": "\\ud800"}]',
        '[{"id": 1, "adjustment": 0.10000000000000000555}]',
        '[{"id": 1, "insurance": {"a": 1, "a": 2}}]',
        '[{"id": 1, "insurance": [1e-400]}]',
        '[{"id": 1, "new": 1}, {"id": 2}]',
        '[{"id": 1, "carried by odd_pages.py": "x"}]',
        "[]",
    ],
)
def test_a_page_that_is_odd_lands_the_same_whether_or_not_it_was_looked_at(
    tmp_path: Path, records: str
) -> None:
    files = [page(tmp_path, records), page(tmp_path, '[{"id": 5, "adjustment": "1.10"}]', 1)]
    assert outcome(list(map(looked_at, files)), tmp_path) == outcome(files, tmp_path)


def refuse(*_: object) -> None:
    raise AssertionError("the pages are read twice")


@pytest.mark.parametrize(
    ("records", "is_read_once"),
    [
        ('[{"id": 1, "adjustment": "1.10", "new": true}, {"id": 2, "adjustment": null, "new": 1}]', True),
        ('[{"id": 1, "adjustment": 1.1}, {"id": "2", "adjustment": "1.10"}]', True),
        ('[{"id": 1, "adjustment": 1.10}, {"id": "2", "adjustment": "1.10"}]', False),
        ('[{"id": 1, "adjustment": 1.10, "adjustment": 2}]', False),
        ('[{"id": 1, "adjustment": 1.10}, {"id": 2}]', False),
        ('[{"id": 1, "NEW": 1, "new": 2}]', False),
    ],
)
def test_pages_that_were_looked_at_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: str, is_read_once: bool
) -> None:
    looked = looked_at(page(tmp_path, records))
    monkeypatch.setattr(page_reading, "_shapes", refuse)
    if is_read_once:
        assert staged(TRANSACTIONS, [looked], tmp_path).rows_by_day
    else:
        with pytest.raises(AssertionError, match="read twice"):
            staged(TRANSACTIONS, [looked], tmp_path)


def test_an_odd_page_is_read_twice_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = '[{"id": %d, "updated_at": "2026-03-0%dT00:00:00", "adjustment": null}]'
    odd = '[{"id": 1, "updated_at": "2026-03-08T00:00:00"}, {"id": 2}]'
    texts = [usual % (1, 8), odd, "[]", usual % (2, 8)]
    pages = [looked_at(page(tmp_path, text, order)) for order, text in enumerate(texts)]
    really, again = page_reading._shapes, list[str]()

    def noting(database: Any, record_type: Any, paths: Sequence[str], file: Path) -> Any:
        again.extend(paths)
        return really(database, record_type, paths, file)

    monkeypatch.setattr(page_reading, "_shapes", noting)
    write_day(staged(TRANSACTIONS, pages, tmp_path), None, DAY, tmp_path / "all", report_id="sweep")
    assert again == [str(pages[1].path)]
    # Of key 1 the later page stays, though it was read apart; of key 2 the one with a time.
    found = {row["id"]: row["_report_id"] for row in rows_of(tmp_path / "all")}
    assert found == {"1": "list-1", "2": "list-3"}


@pytest.mark.parametrize(
    "types",
    [
        {"id": {NUMBER}, "posted_date": {STRING}, "adjustment": {NUMBER}},  # a field that is not there
        {"id": {NUMBER}, "posted_date": {BOOLEAN}},
    ],
)
def test_a_field_that_is_not_as_it_was_seen_is_read_again(tmp_path: Path, types: dict[str, set[str]]) -> None:
    came = page(tmp_path, [{"id": 1, "posted_date": "2026-03-08"}])
    seen = PageShape({name: frozenset(found) for name, found in types.items()})
    assert outcome([replace(came, shape=seen)], tmp_path) == outcome([came], tmp_path)


@pytest.mark.parametrize(
    ("records", "types"),
    [
        ('[{"a": 1, "b": null}, {"a": "x", "b": null}]', {"a": {NUMBER, STRING}, "b": set()}),
        ('[{"a": [1.5], "b": true}, {"a": {}, "b": 1.5}]', {"a": {CONTAINER}, "b": {BOOLEAN, NUMBER}}),
        ("[]", {}),
        ('[{"a": 1}, {"b": 1}]', None),
        ('[{"a": 1}, {"a": 1, "b": 1}]', None),
        ("[{}]", None),
        ('[{"b": 1, "a": 1}, {"a": 1, "b": 1}]', None),
        ('[{"a": 1.2345678901234567}]', None),
        ('[{"a": {"b": 1e5}}]', None),
        ('[{"a": {"b": [1.10]}}]', None),
        ('[{"a": NaN}]', None),
    ],
)
def test_a_shape_is_the_types_of_every_field(records: str, types: dict[str, set[str]] | None) -> None:
    seen = shape(records)
    assert (None if seen is None else dict(seen.types)) == types


def test_no_value_is_in_a_shape() -> None:
    assert "secret" not in repr(shape('[{"id": 1, "notes": "secret"}]'))


SPELLINGS: st.SearchStrategy[str] = st.from_regex(
    r"\A-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?\Z"
)


@settings(max_examples=300)
@given(
    number=SPELLINGS,
    around=st.sampled_from(
        [
            ('{"a":', "}"),
            ('{"a" :\r\n ', "\n}"),
            ("[", "]"),
            ("[ \t", ",1]"),
            ('["1e5",', " ,0]"),
            ("[[0.1, ", "]]"),
        ]
    ),
)
@example(number="1.10", around=("[", "]"))
@example(number="-0", around=("[", "]"))
@example(number="1e+22", around=("[", "]"))
@example(number="1e-05", around=('{"a":', "}"))
@example(number="0.00001", around=("[", "]"))
def test_a_number_that_duckdb_would_spell_otherwise_is_seen_when_it_comes_and_later(
    number: str, around: tuple[str, str]
) -> None:
    text = number.join(around)
    [(as_duckdb_has_it,)] = duckdb.execute("SELECT (?::JSON -> '$')::VARCHAR", [text]).fetchall()
    stays = re.sub(r"\s", "", as_duckdb_has_it) == re.sub(r"\s", "", text)

    # A longer way than needed loses time, a shorter one a code.
    if not stays:
        assert not is_spelled_by_duckdb(read_json(text.encode()))
    if not is_spelled_by_duckdb(read_json(text.encode())):
        assert re.search(HAZARDOUS_NUMBER, text)


@pytest.mark.parametrize(
    ("text", "is_hazardous"),
    [
        ('{"a": 123456789.0123456}', True),
        ('{"a":123456789.01234}', False),
        ("[1,1e5]", True),
        ("[1,\t-1.5E-7]", True),
        ('{"a":"1234567890123456","b":1}', False),
        ('{"a":"00000000-0000-0000-0000-12e456789012"}', False),
        ('{"a":"x1e5"}', False),
        ('{"a":"2026-03-08T08:15:00.250000Z"}', False),
        (f'{{"a":"{"1" * 40}","b":{"1" * 40}.5}}', True),
    ],
)
def test_texts_of_digits_are_no_numbers(text: str, is_hazardous: bool) -> None:
    assert bool(re.search(HAZARDOUS_NUMBER, text)) is is_hazardous
    assert is_spelled_by_duckdb(read_json(text.encode())) is not is_hazardous
