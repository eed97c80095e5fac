"""The proof of a CSV's shape, against tables written and read here by other means (Python's `csv`)."""

import codecs
import csv
import io
import itertools
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from health_pipelines.lake.csv_shape import CsvError, CsvShape, CsvSummary, record_that_is_not_utf8

# All that an error may ever say: words of our own and numbers.
NOT_A_VALUE = re.compile(
    r"record \d+ has \d+ fields where the header has \d+"
    r"|the body ends inside a quoted value of record \d+"
    r"|the body ends without a line end after record \d+, and the connection did not say where it ends: "
    r"it may be cut off"
    r"|record \d+ has a quote where no value begins or ends"
    r"|the body has no header"
    r"|the header is not UTF-8"
    r"|the header is not a CSV record|the header ends inside a quoted value"
    r"|the first \d+ bytes hold no complete header"
)

Record = Sequence[str | None]


@dataclass(frozen=True)
class Table:
    """A table and how it is written: as AWS Athena does, every value quoted, nothing for NULL."""

    header: Sequence[str]
    records: Sequence[Record]
    line_end: bytes = b"\n"
    byte_order_mark: bool = False
    final_line_end: bool = True

    def lines(self) -> list[bytes]:
        """The header and the records, each with its line end."""
        mark = codecs.BOM_UTF8 if self.byte_order_mark else b""
        lines = [mark + line(self.header), *(line(record) for record in self.records)]
        whole = [one + self.line_end for one in lines]
        # A single NULL without a line end would be no record at all.
        if not self.final_line_end and lines[-1]:
            whole[-1] = lines[-1]
        return whole

    def body(self) -> bytes:
        return b"".join(self.lines())


def line(record: Record) -> bytes:
    values = ("" if value is None else '"' + value.replace('"', '""') + '"' for value in record)
    return ",".join(values).encode()


NASTY = st.text(st.sampled_from(',"\n\rab\0 é漢😀'), max_size=6)
VALUES = st.none() | NASTY


@st.composite
def tables(draw: st.DrawFn, *, least_columns: int = 1, least_records: int = 0, most: int = 8) -> Table:
    header = draw(st.lists(NASTY, min_size=least_columns, max_size=5))
    record = st.lists(VALUES, min_size=len(header), max_size=len(header))
    return Table(
        header,
        draw(st.lists(record, min_size=least_records, max_size=most)),
        line_end=draw(st.sampled_from([b"\n", b"\r\n"])),
        byte_order_mark=draw(st.booleans()),
        final_line_end=draw(st.booleans()),
    )


CHUNK_SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=5)


def chunks(body: bytes, sizes: Iterable[int]) -> list[bytes]:
    found: list[bytes] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(body):
            return found
        found.append(body[start : start + size])
        start += size
    raise AssertionError("a cycle does not end")


def summary_of(parts: Iterable[bytes], *, end_is_proven: bool = True) -> CsvSummary:
    shape = CsvShape()
    for part in parts:
        shape.feed(part)
    return shape.summary(end_is_proven=end_is_proven)


def refusal_of(parts: Iterable[bytes], *, end_is_proven: bool = True) -> str:
    with pytest.raises(CsvError) as refused:
        summary_of(parts, end_is_proven=end_is_proven)
    return str(refused.value)


@given(table=tables(), sizes=CHUNK_SIZES)
def test_the_header_and_the_number_of_records_are_right_however_the_body_is_cut_into_chunks(
    table: Table, sizes: list[int]
) -> None:
    expected = CsvSummary(tuple(table.header), len(table.records))

    assert summary_of(chunks(table.body(), sizes)) == expected
    assert summary_of([table.body()]) == expected


@given(table=tables(least_records=1), sizes=CHUNK_SIZES, data=st.data())
def test_a_field_too_many_is_refused_with_the_number_of_its_record(
    table: Table, sizes: list[int], data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, len(table.records)))
    position = data.draw(st.integers(0, len(table.header)))
    broken = list(table.records[number - 1])
    broken.insert(position, data.draw(VALUES))
    body = with_record(table, number, broken)

    assert refusal_of(chunks(body, sizes)) == (
        f"record {number} has {len(table.header) + 1} fields where the header has {len(table.header)}"
    )


@given(table=tables(least_columns=2, least_records=1), sizes=CHUNK_SIZES, data=st.data())
def test_a_field_too_few_is_refused_with_the_number_of_its_record(
    table: Table, sizes: list[int], data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, len(table.records)))
    broken = list(table.records[number - 1])
    broken.pop(data.draw(st.integers(0, len(broken) - 1)))
    body = with_record(table, number, broken)

    assert refusal_of(chunks(body, sizes)) == (
        f"record {number} has {len(table.header) - 1} fields where the header has {len(table.header)}"
    )


def with_record(table: Table, number: int, record: Record) -> bytes:
    records = [*table.records[: number - 1], record, *table.records[number:]]
    return Table(table.header, records, table.line_end, table.byte_order_mark, table.final_line_end).body()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_wrong_record_is_refused_as_soon_as_it_ends(line_end: bytes) -> None:
    shape = CsvShape()
    shape.feed(b'"a","b"' + line_end + b'"1","2"' + line_end + b'"1"')
    with pytest.raises(CsvError, match=r"^record 2 has 1 fields where the header has 2$"):
        shape.feed(line_end + b'"1","2"')


@settings(max_examples=50)
@given(table=tables(most=4))
def test_a_body_whose_end_nobody_proved_is_whole_exactly_when_it_ends_with_a_record(table: Table) -> None:
    lines = table.lines()
    body = b"".join(lines)
    ends = {
        end: number
        for number, (one, end) in enumerate(zip(lines, itertools.accumulate(map(len, lines)), strict=True))
        if one.endswith(b"\n")
    }

    for cut in range(len(body) + 1):
        if cut in ends:
            assert summary_of([body[:cut]], end_is_proven=False).records == ends[cut]
        else:
            assert NOT_A_VALUE.fullmatch(refusal_of([body[:cut]], end_is_proven=False))


@settings(max_examples=50)
@given(table=tables(most=4))
def test_a_body_whose_end_is_proven_is_whole_exactly_when_it_is_a_rectangle(table: Table) -> None:
    """The transport vouches for the last byte; whether the bytes make a table is decided as `csv` does.

    So a cut that the transport did not notice can pass where a value could have ended: that is why nothing
    else than a length or a last chunk counts as proof.
    """
    body = table.body()
    for cut in range(len(body) + 1):
        expected = rectangle(body[:cut])
        if expected is None:
            assert NOT_A_VALUE.fullmatch(refusal_of([body[:cut]], end_is_proven=True))
        else:
            assert summary_of([body[:cut]], end_is_proven=True) == expected


def rectangle(body: bytes) -> CsvSummary | None:
    """What Python's csv module says: header and records if all have as many fields and all quotes close."""
    if body.count(b'"') % 2:
        return None
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        return None
    # An empty line is one field that is NULL.
    records = [record or [""] for record in csv.reader(io.StringIO(text, newline=""), strict=True)]
    if not records or len({len(record) for record in records}) > 1:
        return None
    return CsvSummary(tuple(records[0]), len(records) - 1)


BODIES = st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"a", b"\xff", codecs.BOM_UTF8]), max_size=30)


@given(parts=BODIES, end_is_proven=st.booleans())
@example(parts=[b"a,b\n", b'"Eve', b"\xff"], end_is_proven=True)
def test_any_bytes_at_all_are_counted_or_refused_in_words_of_our_own(
    parts: list[bytes], end_is_proven: bool
) -> None:
    try:
        summary_of(parts, end_is_proven=end_is_proven)
    except CsvError as error:
        refused = error
    else:
        return
    assert NOT_A_VALUE.fullmatch(str(refused))
    assert refused.__cause__ is None
    assert refused.__suppress_context__ or refused.__context__ is None


@pytest.mark.parametrize(
    "body",
    [
        b'"name","born"\n"Eve Patient","1970-01-01","x"\n',
        b'"name","born"\n"Eve Patient"\n',
        b'"name","born"\n"Eve Patient","1970-01-01"',
        b'"name","born"\n"Eve Pati',
        b'"name","born"\n"Eve" Patient","1970-01-01"\n',
        b'"Eve" Patient,"1970-01-01"\n',
        b'"Eve Patient","1970\n',
        b'"Eve Patient\xff","1970"\n',
    ],
)
def test_no_error_says_a_value(body: bytes) -> None:
    message = refusal_of([body], end_is_proven=False)

    assert NOT_A_VALUE.fullmatch(message)
    assert "Eve" not in message
    assert "1970" not in message


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n", codecs.BOM_UTF8, codecs.BOM_UTF8 + b"\n", b'\n"a"\n'])
@pytest.mark.parametrize("end_is_proven", [True, False])
def test_a_body_without_a_header_is_refused(body: bytes, end_is_proven: bool) -> None:
    assert refusal_of([body], end_is_proven=end_is_proven) == "the body has no header"


def test_a_body_that_was_never_fed_is_refused() -> None:
    assert refusal_of([], end_is_proven=True) == "the body has no header"
    assert refusal_of([b"", b""], end_is_proven=True) == "the body has no header"


@pytest.mark.parametrize("end_is_proven", [True, False])
def test_a_header_with_its_line_end_is_a_table_without_records(end_is_proven: bool) -> None:
    assert summary_of([b'"a","b"\n'], end_is_proven=end_is_proven) == CsvSummary(("a", "b"), 0)


def test_a_header_without_its_line_end_is_a_table_only_if_the_end_is_proven() -> None:
    assert summary_of([b'"a","b"'], end_is_proven=True) == CsvSummary(("a", "b"), 0)
    assert refusal_of([b'"a","b"'], end_is_proven=False).startswith(
        "the body ends without a line end after record 0,"
    )


def test_a_last_record_without_its_line_end_is_one_only_if_the_end_is_proven() -> None:
    body = b'"a","b"\n"1","2"\n"3","4"'

    assert summary_of([body], end_is_proven=True).records == 2
    assert refusal_of([body], end_is_proven=False).startswith(
        "the body ends without a line end after record 2,"
    )


def test_a_body_that_ends_within_quotes_is_refused_with_the_number_of_the_record() -> None:
    assert refusal_of([b'"a"\n"1"\n"2\n']) == "the body ends inside a quoted value of record 2"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_empty_line_of_a_table_of_one_column_is_a_record_that_is_null(line_end: bytes) -> None:
    # NULL, "x", NULL, "", NULL.
    body = line_end.join([b'"only"', b"", b'"x"', b"", b'""', b"", b""])

    for size in range(1, len(body) + 1):
        assert summary_of(chunks(body, [size]), end_is_proven=False) == CsvSummary(("only",), 5)


def test_an_empty_line_of_a_wider_table_is_a_record_that_is_too_short() -> None:
    assert refusal_of([b'"a","b"\n"1","2"\n\n']) == "record 2 has 1 fields where the header has 2"


def test_values_without_quotes_count_as_well() -> None:
    assert summary_of([b"a,b\n1,2\n,\n3,\n"]) == CsvSummary(("a", "b"), 3)


def test_header_names_keep_what_is_in_them() -> None:
    body = codecs.BOM_UTF8 + '"say ""hi""","two\nlines","a,b","",é,ID,id\n'.encode()

    assert summary_of([body]).header == ('say "hi"', "two\nlines", "a,b", "", "é", "ID", "id")


def test_a_table_may_be_cut_into_two_chunks_anywhere_also_at_every_quote() -> None:
    body = b'"a","b"\r\n"""","x""y"\r\n"\n","""\r\n"""\r\n,""\r\n"","\n"",""\n"'
    assert rectangle(body) == CsvSummary(("a", "b"), 4)

    for cut in range(len(body) + 1):
        assert summary_of([body[:cut], body[cut:]]) == CsvSummary(("a", "b"), 4)
    at_quotes = [part for part in re.split(rb'(")', body) if part]
    assert summary_of(at_quotes) == CsvSummary(("a", "b"), 4)


@pytest.mark.parametrize("length", range(1, 40))
def test_the_count_does_not_depend_on_where_the_groups_of_eight_bytes_fall(length: int) -> None:
    value = b"x" * length
    good = b"a,b\n" + b"%b,1\n" % value * 9
    bad = good + b"%b\n" % value + b"%b,1\n" % value

    assert summary_of([good]).records == 9
    assert summary_of(chunks(good, [8])).records == 9
    assert refusal_of([bad]) == "record 10 has 1 fields where the header has 2"


def test_ten_thousand_columns_are_counted_and_one_missing_is_found() -> None:
    header = [f"column {number}" for number in range(10_000)]
    full = line([str(number) if number % 3 else None for number in range(10_000)]) + b"\n"
    body = line(header) + b"\n" + full * 50

    assert summary_of(chunks(body, [1 << 16])) == CsvSummary(tuple(header), 50)
    short = line([""] * 9_999) + b"\n"
    assert refusal_of(chunks(body + short + full, [1 << 16])) == (
        "record 51 has 9999 fields where the header has 10000"
    )


def test_a_value_of_five_megabytes_is_one_field() -> None:
    value = 'He said "hello, world",\r\n\n,' * (5_000_000 // 27)
    body = Table(["id", "note"], [["1", "x"], ["2", value], [None, None]]).body()
    assert len(body) > 5_000_000

    for sizes in ([1 << 18], [99_991], [len(body)]):
        assert summary_of(chunks(body, sizes), end_is_proven=False).records == 3
    assert refusal_of(chunks(body[:-8], [1 << 18])) == "the body ends inside a quoted value of record 2"


@pytest.mark.parametrize(("columns", "size"), [(50, 1), (50, 7), (50, 8), (1_000, 4096)])
def test_a_header_may_come_in_many_chunks(columns: int, size: int) -> None:
    header = [f'name "{number}",\n' for number in range(columns)]
    body = Table(header, [[None] * columns, [""] * columns]).body()

    assert summary_of(chunks(body, [size])) == CsvSummary(tuple(header), 2)


def test_a_header_that_never_ends_is_given_up() -> None:
    megabyte = b"x" * (1 << 20)

    assert NOT_A_VALUE.fullmatch(refusal_of(itertools.repeat(megabyte, 20), end_is_proven=True))


@pytest.mark.timeout(10)
def test_a_quote_that_the_header_never_closes_is_found_without_hanging() -> None:
    # 4 MB of lines, as a download gives them. The work must not grow with the square of that.
    body = b'"a,b\n' + b"1,2\n" * (1 << 20)

    assert refusal_of(chunks(body, [1 << 18])) == "the header ends inside a quoted value"


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xe6\xbc", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_record_that_is_not_utf8_is_found_whatever_newlines_stand_in_quotes_before_it(
    number: int, bad: bytes, piece_bytes: int, tmp_path: Path
) -> None:
    records = [b'"1","x\n\n""y"\n', '"é漢😀","\r\n"\n'.encode(), b',"\n"\n']
    records[number - 1] = b'"\n","\n' + bad + b'"\n'
    file = tmp_path / "body.csv"
    file.write_bytes(b'"a\nb","c"\n' + b"".join(records))

    assert record_that_is_not_utf8(file, piece_bytes=piece_bytes) == number


@pytest.mark.parametrize("piece_bytes", range(1, 12))
def test_a_record_ends_after_its_bad_byte_however_the_file_is_read(piece_bytes: int, tmp_path: Path) -> None:
    file = tmp_path / "body.csv"
    file.write_bytes("a\n1\n漢".encode() + b"\xff\n3\n")

    assert record_that_is_not_utf8(file, piece_bytes=piece_bytes) == 2


@pytest.mark.parametrize("end", [b"\xc3", b"\xc3\n", b"x\xf0\x9f"])
def test_a_character_that_the_body_ends_within_is_in_the_last_record(end: bytes, tmp_path: Path) -> None:
    file = tmp_path / "body.csv"
    file.write_bytes(b"a\n1\n2\n" + end)

    assert record_that_is_not_utf8(file) == 3


@given(table=tables())
def test_a_body_that_is_utf8_has_no_record_that_is_not(table: Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body.csv"
        file.write_bytes(table.body())
        assert record_that_is_not_utf8(file) is None
