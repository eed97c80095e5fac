"""What is counted in a report's CSV."""

import pytest

from health_pipelines.dexcare.probe.report_facts import facts_of
from health_pipelines.http import PermanentError


def test_null_the_empty_text_and_words_are_told_apart() -> None:
    facts = facts_of(b'"a","b","c"\n,"","NULL"\n"x",,"\\N"\n"NULL","y, ""z""\n","w"\n')

    assert facts.rows == 3
    assert (facts.nothing, facts.empty) == (2, 1)
    assert facts.words == {"NULL": {"a", "c"}, "\\N": {"c"}}


def test_a_column_is_a_time_only_if_it_is_one_in_every_row() -> None:
    facts = facts_of(
        b'"at","sometimes","day","text"\n'
        b'"2026-03-10 08:00:00.000","2026-03-10T08:00:00Z","2026-03-10","x"\n'
        b'"2026-03-10 09:00:00.500","","2026-03-10","y"\n'
    )

    assert {name: len(times) for name, times in facts.times.times.items()} == {"at": 2}


def test_lines_may_end_as_in_rfc_4180_and_the_last_may_end_nowhere() -> None:
    assert facts_of(b"\xef\xbb\xbfa,b\r\n1,2\r\n3,4").rows == 2


def test_equal_rows_have_equal_prints() -> None:
    first, second, third = facts_of(b"a\n1\n2\n1\n").prints

    assert first == third != second


def test_a_header_without_rows_has_nothing_to_count() -> None:
    facts = facts_of(b'"a","b"\n')

    assert (facts.rows, facts.prints, facts.times.times) == (0, [], {})


@pytest.mark.parametrize("body", [b'"a"\n"Jane"Doe"\n', b'"a"\n"Jane', b"\xff\n"])
def test_what_is_no_csv_is_refused_without_a_value(body: bytes) -> None:
    with pytest.raises(PermanentError) as refusal:
        facts_of(body)

    assert "Jane" not in str(refusal.value)
